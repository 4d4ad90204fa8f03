"""``repcore.finetune`` and ``repcore.probe``: labels from Python."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repcore.api.given_data import GivenData, as_overrides, given_data, opened_model, reporter_for
from repcore.api.runs import Run
from repcore.arguments import checked
from repcore.config.resolve import ResolvedPart
from repcore.data.copies import copies_across
from repcore.data.given_tables import reading
from repcore.data.label_budgets import LabelBudget, label_budgets
from repcore.data.memory import MEMORY
from repcore.devices import torch_device
from repcore.embedding.inference import InferenceOptions
from repcore.embedding.model import Model
from repcore.embedding.opening import with_columns
from repcore.embedding.results import pandas_module
from repcore.errors import ConfigError, DataError, RepcoreError
from repcore.evaluation.copied_rows import labelled_rows, with_copies
from repcore.evaluation.dense_answers import with_ignored
from repcore.evaluation.dense_probing import EVERYTHING, PROTOCOL, ElementProbing
from repcore.evaluation.element_metrics import element_metrics
from repcore.evaluation.element_tables import element_tables
from repcore.evaluation.layer_mix import MIXES, LayerChoice
from repcore.evaluation.probing import check_joined, chosen_targets, compute_features, probe_features
from repcore.evaluation.protocol import ProbeTable
from repcore.interfaces import DatasetReader
from repcore.launching import is_first_process
from repcore.process_state import leaves_no_trace
from repcore.report.build import build_report
from repcore.reporting import Reporter
from repcore.specs import TargetSpec
from repcore.training.finetune_checks import check_start
from repcore.training.finetune_plan import FinetuneOutcome, FinetuneRequest, record_of, run_plan
from repcore.training.finetune_request import (
    finetune_settings,
    name_in_folder,
    request_plan,
    settings_for_rows,
    tell_rows,
)
from repcore.training.methods import further_columns, method_columns
from repcore.training.run_folder import RunFolder, run_name

if TYPE_CHECKING:
    import pandas as pd
    import torch


@checked
@leaves_no_trace
def finetune(
    model: Model | Run | Path | str,
    data: Any,  # anything that Model.reader() takes, with labels
    *,
    label: str | None = None,
    task: str | None = None,
    method: str | None = None,
    plain: bool = True,
    reader: str | None = None,
    id_column: str | None = None,
    read: Mapping[str, Any] | None = None,
    split: str = "random",
    group: str | None = None,
    folds: int | None = None,
    labels: str | int | None = None,
    seeds: int = 1,
    ensemble: int = 1,
    twin: bool = True,
    ignore: int | None = None,
    keep_copies_together: bool = False,
    name: str | None = None,
    out: Path | str = "runs",
    device: str | torch.device = "auto",
    progress: bool | Reporter = False,
    report: bool = True,
    **overrides: Any,
) -> Run:
    """Train a model on labels, beside the same network from random weights, as ``repcore DOMAIN finetune`` does.

    Args:
        model: a model, a run, or the folder of either.
        data: a table with a label column, (input, label) pairs, samples with targets, or a path.
        label: which label; the only one if None.
        task: registered task; by the kind of label if None.
        method: how to learn from labels (``core-tuning``), with settings such as ``method__domain="site"``; the task's
            plain loss if None.
        plain: with a method, also train with the plain loss.
        id_column / read: column of a table that names its rows, and further settings of the reader.
        split / group / folds / labels / seeds / ensemble / twin: as the options of the command.
        report: write ``report.html``.
        overrides: settings such as ``trainer={"epochs": 10}`` or ``finetune__layer_decay=0.75``.

    Returns:
        a run whose ``metrics`` are those of the test rows and whose model predicts.

    Raises:
        DataError: no such label, or several and none named. CheckpointError: the model's network was changed since it
            was loaded: save it first. RepcoreError: wrong settings.
    """
    opened, teller, where = opened_model(model).unchanged(), reporter_for(progress), torch_device(device, "device")
    opened_with = partial(_opened, opened, data, reader, reading(id_column, read))
    given, dataset, source = with_columns(opened.encoder, [label] if label and not group else [], opened_with)
    target = with_ignored(_one_target(source, label), ignore)
    asked = task, as_overrides(overrides), method
    settings = finetune_settings(opened, target, dataset, *asked)
    if set(columns := method_columns(settings.method)) - {one.name for one in source.targets}:
        given, dataset, source = with_columns(opened.encoder, [target.name, *columns], opened_with)
        settings = dataclasses.replace(settings, dataset=dataset)
    rows = labelled_rows(
        opened, source, target, group, together=keep_copies_together,
        further=further_columns(opened.encoder, settings.method, source.targets),
    )  # fmt: skip
    tell_rows(rows, target, source, teller, settings)
    request = {
        "model": opened.folder.lasting_name, "label": target.name, "task": task, "method": method, "plain": plain,
        "split": split, "group": group, "folds": folds, "seeds": seeds, "ensemble": ensemble,
        "labels": None if labels is None else str(labels),
        "twin": twin, "keep_copies_together": keep_copies_together, "overrides": as_overrides(overrides),
        "data": MEMORY if given.reader is not None else str(given.settings.get("path", given.settings["name"])),
        "data_fingerprint": source.fingerprint,
    }  # fmt: skip
    plan = request_plan(opened, rows, target, request)
    settings = settings_for_rows(settings, opened, rows, plan, *asked)
    if leak := copies_across(plan, rows.copies, rows.ids):
        teller.warn(leak)
    wanted = FinetuneRequest(list(range(seeds)), ensemble, twin, bool(method) and plain)
    check_start(opened, settings, rows, plan, wanted, teller)
    learn = partial(run_plan, opened, settings, rows, plan, wanted, reporter=teller, device=where)
    return _recorded(learn, _run_folder(Path(out), opened.domain, target, name), request, where, report)


def _opened(
    model: Model, data: Any, reader: str | None, options: Mapping[str, Any] | None, names: Sequence[str]
) -> tuple[GivenData, ResolvedPart, DatasetReader]:
    """What was given, the data set with its settings, and its open reader, with labels by name."""
    found = given_data(
        model.registry, data, domain=model.domain, preprocessor=model.folder.preprocessor_name, reader=reader,
        labels=tuple(names), options=options, fitted=model.preprocessor,
    )  # fmt: skip
    return found, *found.opened(model.registry, model.domain)


def _one_target(source: DatasetReader, label: str | None) -> TargetSpec:
    """The label to learn: the one that is named, else the only one, where labels of whole items come first."""
    level = None if label else "item" if any(one.level == "item" for one in source.targets) else None
    targets = chosen_targets(source, [label] if label else [], level)
    if len(targets) > 1:
        raise DataError("which label?", labels=", ".join(one.name for one in targets), hint="label=NAME")
    return targets[0]


def _run_folder(out: Path, domain: str, target: TargetSpec, name: str | None) -> RunFolder:
    folder = RunFolder.create(out, run_name(f"{domain}/finetune-{name_in_folder(target.name)}", name))
    folder.write_json("config.json", {"recipe": f"{domain}/finetune"})  # the training writes the whole of it
    return folder


def _recorded(
    learn: Callable[..., FinetuneOutcome], folder: RunFolder, request: Mapping[str, Any], device: str, report: bool
) -> Run:
    """What was learned and how long it took, with its record and its page in the run's folder."""
    started = time.perf_counter()
    try:
        outcome = learn(folder=folder)
    except RepcoreError:
        if is_first_process() and not any(folder.path.rglob("metrics.jsonl")):  # refused before it began
            folder.remove()
        raise
    record = record_of(outcome, request)
    folder.write_json("finetune.json", record)
    seconds = time.perf_counter() - started
    if report:
        build_report(outcome.folder)
    steps = outcome.results[0].steps  # the part whose model is kept comes first
    return Run(outcome.folder, steps, seconds, record["test"], record["verdict"], device)


class ProbeTables(list[ProbeTable]):
    """Results of a probe, one a label; ``to_pandas`` gives all rows of all of them."""

    def to_pandas(self) -> pd.DataFrame:
        """A row for each features, probe and metric, with the label's name.

        Raises:
            PluginError: pandas is not installed.
        """
        rows = [
            {
                "label": table.target.name,
                "features": one.features,
                "probe": one.probe,
                "metric": one.metric,
                "mean": one.mean,
                "sd": one.deviation,
            }
            for table in self
            for one in table.entries
        ]
        frame: pd.DataFrame = pandas_module().DataFrame(rows)
        return frame


@checked
@leaves_no_trace
def probe(
    model: Model | Run | Path | str,
    data: Any,  # anything that Model.reader() takes, with labels
    *,
    label: str | Sequence[str] | None = None,
    protocols: Sequence[str] = (),
    reader: str | None = None,
    id_column: str | None = None,
    read: Mapping[str, Any] | None = None,
    split: str = "random",
    seeds: int = 3,
    labels: str | int | None = None,
    keep_copies_together: bool = False,
    layers: str | None = None,
    mix: str | None = None,
    level: str | None = None,
    tokens: str | None = None,
    joined: str | Sequence[str] = (),
    batch_size: int = 64,
    device: str | torch.device | None = None,
    progress: bool | Reporter = False,
) -> ProbeTables:
    """What frozen features know about labels of items or elements, beside random-init twins and raw inputs, as
    ``repcore probe``.

    Args:
        label: which labels; all that are found if None.
        protocols: such as ``ridge@1``; by the kind of label if empty.
        id_column / read: column of a table that names its rows, and further settings of the reader.
        split / seeds / labels / layers / mix / level / tokens: as the options of the command.
        joined: the command's ``--with``, raw features of the domain such as ``descriptors`` (with ``level``: such as
            ``place``), which the encoder's and its twin's get beside their own.

    Raises:
        DataError: no labels, or no such label. ConfigError: a protocol that does not fit, or layers that are not there.
    """
    if mix and not layers:
        raise ConfigError(f"mix={mix!r} needs layers", hint='layers="all"')
    _check_elements(level, tokens=tokens, layers=layers)
    if joined and layers:
        raise ConfigError(f"joined={joined!r} does not go together with layers", hint="leave joined out")
    beside = [joined] if isinstance(joined, str) else list(joined)
    opened, teller = opened_model(model, device), reporter_for(progress)
    names = [label] if isinstance(label, str) else list(label or ())
    source = opened.reader(data, reader=reader, options=reading(id_column, read), labels=names)
    numbers, budgets = list(range(seeds)), label_budgets(str(labels)) if labels is not None else ()
    options = InferenceOptions(batch_size=batch_size, device=opened.device)
    if level is not None:
        return ProbeTables(
            element_tables(
                opened, source, level, numbers, options, teller,
                asked=_asked(opened, protocols, budgets, tokens, beside),
                labels=names, split=split, together=keep_copies_together,
            )
        )  # fmt: skip
    check_joined(opened, beside)
    targets = chosen_targets(source, names)
    mixed = LayerChoice.asked(opened, layers, mix or MIXES[0]) if layers else None
    features = compute_features(opened, source, numbers, options, teller, mixed=mixed, joined=beside)
    features.rows = with_copies(features.rows, opened.preprocessor, together=keep_copies_together)
    return ProbeTables(
        probe_features(
            opened.registry, features, target, preprocessor_name=opened.folder.preprocessor_name,
            protocols=list(protocols), split=split, seeds=numbers, warn=teller.warn, budget=budget,
        )
        for target in targets
        for budget in budgets or (None,)
    )  # fmt: skip


def _asked(
    model: Model,
    protocols: Sequence[str],
    budgets: Sequence[LabelBudget],
    tokens: str | None,
    joined: Sequence[str],
) -> ElementProbing:
    metrics = element_metrics(model.registry, model.folder.preprocessor_name)
    return ElementProbing(
        protocols=protocols or (PROTOCOL,),
        budgets=budgets or (EVERYTHING,),
        metrics=metrics,
        tokens=tokens,
        joined=joined,
    )


def _check_elements(level: str | None, *, layers: str | None, **only_of_elements: str | Sequence[str] | None) -> None:
    """Arguments that are for elements, or for items, alone.

    Raises:
        ConfigError: one of the other kind is given.
    """
    if level is not None and layers:
        raise ConfigError(f"layers={layers!r} is for labels of items, not of level {level}", hint="leave layers out")
    for name, value in only_of_elements.items():
        if value and level is None:
            raise ConfigError(f"{name}={value!r} is for labels of elements", hint='level="voxel"')
