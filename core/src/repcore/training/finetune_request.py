"""From what a user asks of a fine-tuning to its task, its settings and its splits."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from repcore.config.resolve import ResolvedPart, resolve_sections
from repcore.config.schema import TrainerConfig
from repcore.config.yaml import parse_override
from repcore.data.accounting import report_account
from repcore.data.label_budgets import label_budgets, validated_on_itself, within_budget
from repcore.data.split_plans import SplitPlan
from repcore.embedding.model import Model
from repcore.errors import ConfigError
from repcore.evaluation.probing import LabelledRows, classes_shown, split_plan
from repcore.interfaces import DatasetReader, ProbeSplit
from repcore.registry import Entry
from repcore.reporting import Reporter
from repcore.specs import TargetSpec, TaskSpec
from repcore.training.few_rows import is_few
from repcore.training.finetune import DEFAULTS, FinetuneSettings
from repcore.training.methods import learns_from_labels
from repcore.training.plan import sampler_of


def finetune_settings(
    model: Model,
    target: TargetSpec,
    dataset: Any,
    task: str | None,
    overrides: Sequence[str],
    method: str | None = None,
    *,
    few: bool = False,
) -> FinetuneSettings:
    """The task by name or by the kind of label, the sections of its run, and the method.

    Args:
        few: there are few labelled rows: core's task is taken where none is named and no setting is one of the
            domain's, because it reads the pooled vector that probes read.

    Raises:
        ConfigError: no task fits, or a setting is wrong.
    """
    known = model.registry
    if task is None:
        wanted = (target.kind, target.level)
        # of items the domain's own come first; of elements the domain's are named, because each fits one encoder;
        # methods read pooled vectors, which core's tasks do
        offered = [*known.entries("task", model.domain), *known.entries("task", "")]
        plain = method is not None or (few and not any(one.startswith("task.") for one in overrides))
        offered = offered if target.level == "item" and not plain else list(reversed(offered))
        fitting = [
            entry
            for entry in offered
            if (entry.spec.target_kind, entry.spec.target_level) == wanted and _goes_with(entry, model)
        ]
        if not fitting:
            raise ConfigError(f"no task for {target.kind} labels of {target.level} level", hint="--task NAME")
        entry = fitting[0]
    else:
        entry = known.task(task, model.domain)
        if not _goes_with(entry, model):
            raise ConfigError(
                f"task {entry.full_name} does not go with {model.folder.encoder_name}",
                expected=f"encoder {' or '.join(entry.spec.encoders)}",
                hint="leave the task out: one is chosen by the label",
            )
        _check_kind(entry, target)
    further = {"task": entry.load("config")}
    chosen = None if method is None else known.objective(method, model.domain)
    if chosen is not None:
        learns_from_labels(chosen, model.folder.part("encoder", known).entry, known)
        further["method"] = chosen.load("config")
    sections = resolve_sections(DEFAULTS, overrides, further)
    if sections["data"].limit is not None:  # rows are split before a run knows of them
        raise ConfigError(
            f"data.limit={sections['data'].limit} is for pre-training; a fine-tuning takes rows by their labels",
            hint="--labels N: so many labelled training rows",
        )
    if sections["trainer"].seed != TrainerConfig().seed:  # each of the runs has its own
        asked = f"trainer.seed={sections['trainer'].seed}"
        raise ConfigError(
            f"{asked} is for pre-training; a fine-tuning has the seeds 0, 1, ...", hint="--seeds N: so many of them"
        )
    part = ResolvedPart(entry, sections.pop("task"))
    way = None if chosen is None else ResolvedPart(chosen, sections.pop("method"))
    given = frozenset(parse_override(one)[0] for one in overrides)
    return FinetuneSettings(part, target, dataset, sections, way, given=given)


def settings_for_rows(
    settings: FinetuneSettings,
    model: Model,
    rows: LabelledRows,
    plan: SplitPlan,
    task: str | None,
    overrides: Sequence[str],
    method: str | None = None,
) -> FinetuneSettings:
    """The settings with the task that goes with the number of labelled rows, the largest of any fold.

    Args:
        settings: of :func:`finetune_settings`, with the same further arguments.
    """
    labelled = rows.labelled(settings.target)
    parts = [np.union1d(one.train, one.train if one.validation is None else one.validation) for one in _folds(plan)]
    most = max((int(labelled[part].sum()) for part in parts), default=0)
    if not is_few(settings, most):
        return settings
    chosen = finetune_settings(model, settings.target, settings.dataset, task, overrides, method, few=True)
    return dataclasses.replace(settings, task=chosen.task)


def _folds(plan: SplitPlan) -> list[ProbeSplit]:
    return [one for folds in plan.folds for one in folds]


def _check_kind(entry: Entry[TaskSpec], target: TargetSpec) -> None:
    """Whether a named task learns such a label: before there is a folder of a run.

    Raises:
        ConfigError: it learns other kinds.
    """
    kinds = tuple(getattr(entry.load(), "kinds", ())) or (entry.spec.target_kind,)
    if target.kind in kinds:
        return
    as_kind = f"--read label_kind={kinds[0]} where {target.name!r} is one, or " if target.level == "item" else ""
    raise ConfigError(
        f"{target.name!r} is a {target.kind} label, and task {entry.full_name} learns {' or '.join(kinds)}",
        hint=f"{as_kind}leave the task out: one is chosen by the label",
    )


def _goes_with(entry: Entry[TaskSpec], model: Model) -> bool:
    return not entry.spec.encoders or model.folder.encoder_name.rpartition("/")[2] in entry.spec.encoders


def tell_rows(
    rows: LabelledRows, target: TargetSpec, reader: DatasetReader, reporter: Reporter, settings: FinetuneSettings
) -> None:
    """Say what was read and how, which rows take no part, and which are learned from without a label."""
    report_account(reader, reporter)
    lost = [name for name, sample in zip(rows.ids, rows.samples, strict=True) if sample is None]
    if lost:
        named = ", ".join(lost[:3]) + (", ..." if len(lost) > 3 else "")
        reporter.warn(f"{len(lost):,} of {len(rows.ids):,} rows cannot be used and take no part ({named})")
    empty = len(rows.ids) - len(lost) - int(rows.labelled(target).sum())
    if empty > 0:
        part = "take no part"
        if sampler_of(settings.method or settings.task, settings.sections["data"]) == "mixed":
            part = "those of them that are not for testing are its unlabelled rows"
            part = f"{settings.method.name if settings.method else 'data.sampler=mixed'} learns from them, too: {part}"
        reporter.info(f"{empty:,} of {len(rows.ids):,} rows have no {target.name!r} and {part}")


def request_plan(model: Model, rows: LabelledRows, target: TargetSpec, request: Mapping[str, Any]) -> SplitPlan:
    """Splits of all seeds; ``--folds K`` keeps groups together, else shares of classes."""
    if request["seeds"] < 1 or request["ensemble"] < 1:
        raise ConfigError(f"--seeds {request['seeds']} --ensemble {request['ensemble']}: at least 1 of each")
    split, folds = request["split"], request["folds"]
    split = "group" if request.get("group") and split == "random" else split
    if folds is not None:
        if split not in ("random", "group", "stratified"):
            raise ConfigError(f"--folds {folds} with --split {split}", expected="--split random, group or stratified")
        grouped = any(one is not None for one in rows.groups)
        word = "group-folds" if grouped else "stratified-folds" if target.kind == "class" else "folds"
        split = f"{word}:{folds}"
    seeds = list(range(request["seeds"]))
    plan = split_plan(model.registry, model.folder.preprocessor_name, rows, target, split, seeds)
    return _of_few(plan, rows, target, request.get("labels"), seeds)


def _of_few(plan: SplitPlan, rows: LabelledRows, target: TargetSpec, labels: str | None, seeds: list[int]) -> SplitPlan:
    """``--labels N``: so many labelled training rows, and none beside them for validation."""
    if labels is None:
        return plan
    budgets = label_budgets(labels)
    if len(budgets) > 1:
        raise ConfigError(
            f"--labels {labels}: a fine-tuning has one number of labels", hint=f"--labels {budgets[0].word}"
        )
    return validated_on_itself(
        within_budget(plan, budgets[0], rows.labelled(target), seeds, classes_shown(rows, target))
    )


def name_in_folder(name: str) -> str:
    """A label's name as part of a folder's."""
    return "".join(one if one.isalnum() or one in "-_." else "-" for one in name)[:60]
