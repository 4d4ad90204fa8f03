"""What a fine-tuning refuses, and says, before it has a folder: all that follows from data and settings alone."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch

from repcore.data.samplers import BalancedOrder
from repcore.data.split_plans import SplitPlan
from repcore.data.stream import StreamOrder
from repcore.embedding.columns import column_doubts
from repcore.embedding.model import Model
from repcore.errors import DataError
from repcore.evaluation.probing import LabelledRows
from repcore.interfaces import ProbeSplit
from repcore.reporting import Reporter
from repcore.specs import TargetSpec
from repcore.training.few_rows import for_rows, said_of_few
from repcore.training.finetune import FinetuneSettings, objective_on, resolved_run, task_on
from repcore.training.finetune_labels import fewer_labels, row_labels
from repcore.training.finetune_parts import with_validation
from repcore.training.finetune_plan import MODEL, NO_ROWS, FinetuneRequest, plan_parts, settings_with_data
from repcore.training.methods import method_columns
from repcore.training.plan import order_by_labels, sampler_of, total_steps


def check_start(
    model: Model,
    settings: FinetuneSettings,
    rows: LabelledRows,
    plan: SplitPlan,
    request: FinetuneRequest,
    reporter: Reporter,
) -> None:
    """Refuse what cannot be trained before anything is written, and say how rows are taken where that was not asked.

    Raises:
        DataError: a part has no labelled row, all labels are one class, or no row is as the method needs it.
        ConfigError: the method does not go with the label, the task or the model, or its batches cannot be made.
    """
    _check_classes(rows, settings.target)
    parts = [one for one in plan_parts(plan, request) if one.start == MODEL]
    splits = [with_validation(one.split, rows, settings.target, one.seed) for one in parts]
    settings = settings_with_data(model, settings, rows)
    own_columns = getattr(model.encoder, "columns", ())
    if not set(method_columns(settings.method)) & set(own_columns):  # else new values get a place of their own
        for words in column_doubts([model.encoder], rows.reader):
            reporter.warn(words)
    _check_objective(model, settings, rows, splits[0].train)
    said: dict[str, Callable[[str], None]] = {}
    for part, split in zip(parts, splits, strict=True):
        labelled = len(np.union1d(split.train, NO_ROWS if split.validation is None else split.validation))
        own = for_rows(settings, labelled, part.members)
        said.update(dict.fromkeys(filter(None, [said_of_few(own, labelled)]), reporter.info))
        said.update(dict.fromkeys(_said_of_batches(model, own, rows, split, part.seed), reporter.warn))
    for one, tell in said.items():
        tell(one)


def _check_classes(rows: LabelledRows, target: TargetSpec) -> None:
    if target.level != "item" or target.kind != "class":
        return
    known = rows.labels(target)[rows.labelled(target)].reshape(-1)
    if len(known) and len(np.unique(known)) < 2:
        only = target.names[int(known[0])] if target.names else f"{known[0]:g}"
        raise DataError(
            f"all {len(known):,} labels of {target.name!r} are {only!r}: nothing can be learned from one class",
            hint="fill in labels of a second class, or another --label",
        )


def _check_objective(model: Model, settings: FinetuneSettings, rows: LabelledRows, train: np.ndarray) -> None:
    """Put task and method together as the first training does, and let go of them."""
    with torch.random.fork_rng(devices=[]):
        encoder, task = task_on(settings, copy.deepcopy(model.encoder), rows, train)
        fewer_labels(settings.sections["finetune"], settings.target, rows, train, 0)
        objective_on(model, settings, encoder, task)


def _said_of_batches(
    model: Model, settings: FinetuneSettings, rows: LabelledRows, split: ProbeSplit, seed: int
) -> list[str]:
    """What to say of the batches of one training."""
    resolved, said = resolved_run(model, settings, seed), []
    data = resolved.data
    world = resolved.trainer.processes
    order = StreamOrder(split.train, data.batch_size, seed, world=world)
    if sampler_of(resolved.objective, data) != "uniform":
        free = NO_ROWS if split.unlabelled is None else split.unlabelled
        labels = row_labels(settings.target, rows, split.train, free)
        order = order_by_labels(resolved, split.train, labels, world=world)
    steps, frozen = total_steps(resolved, order), settings.sections["finetune"].frozen_epochs
    an_epoch = max(1, round(order.micro_batches_per_epoch / resolved.trainer.accumulate))
    if frozen and steps <= round(frozen * an_epoch):
        said.append(
            f"finetune.frozen_epochs={frozen:g} lasts for all {steps:,} steps of the run: only the head learns, "
            "the encoder stays as it is (a smaller finetune.frozen_epochs, or more trainer.epochs)"
        )
    if isinstance(order, BalancedOrder) and order.per_class < data.per_class:
        said.append(
            f"batches have {order.per_class} rows a class instead of data.per_class={data.per_class}: "
            f"data.batch_size={data.batch_size} has no room for {order.fewest} classes otherwise"
        )
    return said
