"""One supervised fine-tuning of a model's encoder, on the same training machinery as pre-training.

The weights of the best validation loss are kept. Rows are streamed: nothing but labels and ids is held of the data.
What trains, and where each run lies, is the business of :mod:`repcore.training.finetune_plan`.
"""

from __future__ import annotations

import copy
import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from repcore.checkpoints.encoder_changes import changed, changes_encoder, preprocessor_of, with_change
from repcore.config import DataConfig, OptimiserConfig, ScheduleConfig, TrainerConfig
from repcore.config.plain import to_plain
from repcore.config.resolve import ResolvedPart, ResolvedRun
from repcore.data.bags import Bags
from repcore.data.batching import LabelledDraws
from repcore.data.preparation import prepared
from repcore.data.seeds import mix
from repcore.embedding.columns import tell
from repcore.embedding.dense import covering
from repcore.embedding.model import Model
from repcore.errors import ConfigError, RunError
from repcore.evaluation.dense_probing import calibrated
from repcore.evaluation.probing import LabelledRows
from repcore.interfaces import DatasetReader, ProbeSplit, Task
from repcore.launching import is_first_process
from repcore.reporting import Reporter
from repcore.specs import TargetSpec
from repcore.training.assembly import RunParts, build
from repcore.training.bag_vectors import BagReader, with_vectors
from repcore.training.checkpointing import STATE, has_checkpoint, newest_sound
from repcore.training.finetune_config import FinetuneConfig
from repcore.training.finetune_labels import OneTarget, fewer_labels, row_labels
from repcore.training.head_start import last_layer, start_head
from repcore.training.kept_start import Gain, gain_of_training
from repcore.training.listeners import validation_at, validation_losses
from repcore.training.methods import MethodStart, WithMethod, method_views
from repcore.training.plan import stream_order, total_steps
from repcore.training.recomputing import recompute_where_asked
from repcore.training.run import execute
from repcore.training.run_folder import RunFolder
from repcore.training.same_run import carried, check_same_run
from repcore.training.sharding import is_shared_out
from repcore.training.state import RunResult
from repcore.training.supervised import Supervised

DEFAULTS: Mapping[str, Any] = {
    "data": DataConfig(batch_size=16),
    "optimiser": OptimiserConfig(lr=1e-4, weight_decay=0.0),
    "schedule": ScheduleConfig(name="linear"),
    "trainer": TrainerConfig(epochs=25),
    "finetune": FinetuneConfig(),
}
"""Sections of a fine-tuning run unless told otherwise (25 epochs and batches of 16, as is custom for small sets)."""

MOST_FITTED = 1_000_000
"""Labels of elements that a task without ``fit_counts`` gets to see at once, in their true shares."""


@dataclass(frozen=True, slots=True)
class FinetuneSettings:
    """What to train: the task part, its target, the data, the sections of the run, and the method; None = the task's
    plain loss. ``further`` labels are what the method reads beside the target. ``given`` are the dotted names of the
    settings that the user gave, which no rule changes."""

    task: ResolvedPart
    target: TargetSpec
    dataset: ResolvedPart
    sections: Mapping[str, Any]
    method: ResolvedPart | None = None
    further: tuple[TargetSpec, ...] = ()
    given: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class TrainedTask:
    """A finished fine-tuning with its best weights.

    Args:
        task: on the CPU, in eval mode; ``task.encoder`` is the encoder.
        parts: of the run, for exporting.
        run: how it ended; its ``validation`` is that of the step whose weights are kept.
        kept: that step; 0 = the start, a linear probe.
    """

    task: nn.Module
    parts: RunParts
    run: RunResult
    kept: int


def train_task(
    model: Model,
    settings: FinetuneSettings,
    rows: LabelledRows,
    split: ProbeSplit,
    folder: RunFolder,
    reporter: Reporter,
    *,
    seed: int,
    start: str,
    device: str,
    tells: bool = True,
) -> TrainedTask:
    """Train in a folder from the model's weights, or from random ones; goes on where the folder was left.

    Args:
        rows: all rows, read once.
        split: of :func:`repcore.training.finetune_parts.with_validation`.
        start: ``"model"`` or ``"random"``.
        seed: of the head, of dropout and of the order of rows.
        tells: which step is kept.

    Raises:
        Stopped: by a signal; given again, it goes on.
    """
    begin = partial(_assemble, model, settings, rows, split, reporter, seed=seed, start=start, device=device)
    started = partial(_started, model, settings, rows, split.train, seed=seed, device=device)
    parts, finished = begin(), folder.read_json("trained.json")
    if finished is None:
        if not folder.last_checkpoint.is_file():
            started(parts)
        if is_first_process():
            folder.preprocessing.mkdir(exist_ok=True)
            parts.preprocessor.save(folder.preprocessing)
        run = _finished(parts, folder, reporter) or execute(
            model.registry,
            parts,
            folder,
            reporter,
            device=device,
            resume=has_checkpoint(folder),
            export=False,
        )
        if run.status != "finished":
            raise run.left(None)
        parts = begin() if is_shared_out(parts.objective) else parts  # all processes go on with whole parameters
        kept = _load_best(parts, folder)
        figures, gain = validation_at(folder, kept), None
        if _may_keep_start(settings, folder, kept) and started(fresh := begin()):
            sides = _task(fresh), cast(Supervised, parts.objective).answering
            gain = gain_of_training(*sides, fresh, model, settings.target, rows, device)
            if gain.keeps_start(settings.sections["finetune"].keep_start):
                parts, kept, figures = fresh, 0, validation_at(folder, 0)
        record = {"steps": run.steps, "seconds": run.seconds, "kept_step": kept, "validation": figures}
        record |= {"last_validation": dict(run.validation), "finetune": to_plain(settings.sections["finetune"])}
        folder.write_json("trained.json", record)
        if start == "model" and tells:
            _say_kept(parts, settings, model, reporter, run, kept, gain)
    else:
        run, kept = RunResult(folder.path, "finished", finished["steps"], finished["seconds"], {}), 0
        if finished["kept_step"] == 0:
            started(parts)
        else:
            kept = _load_best(parts, folder)
    run = dataclasses.replace(run, validation=validation_at(folder, kept))
    task = cast(Supervised, parts.objective).answering if kept else _task(parts)
    return TrainedTask(task.eval().cpu(), parts, run, kept)


def _task(parts: RunParts) -> nn.Module:
    return cast(Supervised, parts.objective).task


def _started(
    model: Model,
    settings: FinetuneSettings,
    rows: LabelledRows,
    train: np.ndarray,
    parts: RunParts,
    *,
    seed: int,
    device: str,
) -> bool:
    """Fit the last layer of the head to training rows, where that is asked for and can be done."""
    is_new = isinstance(parts.preprocessor, Bags) and parts.preprocessor is not model.preprocessor
    how = settings.sections["finetune"].head_start
    if how == "random" or is_new:  # a head fitted to a random aggregator's vectors is wrong after its first step
        return False
    return start_head(_task(parts), model, settings.target, parts, rows, train, seed=seed, device=device, how=how)


def _may_keep_start(settings: FinetuneSettings, folder: RunFolder, kept: int) -> bool:
    """Whether the start has to be compared with the trained step at all."""
    rule = settings.sections["finetune"].keep_start
    if settings.target.level != "item" or rule == "never":
        return False
    losses = [validation_at(folder, step).get("loss") for step in (0, kept)]
    return rule == "unless-surely-worse" or losses[0] is None or losses[1] is None or losses[0] <= losses[1]


def fitted_to_all(
    trained: TrainedTask,
    model: Model,
    settings: FinetuneSettings,
    rows: LabelledRows,
    split: ProbeSplit,
    folder: RunFolder,
    reporter: Reporter,
    *,
    seed: int,
    start: str,
    device: str,
) -> TrainedTask:
    """The same start, or as many steps from it, with all labelled rows that are not for testing: of few rows none is
    spared for the choice of weights alone.

    Call it after calibration: temperature and conformal scores stay those of rows that the first fit had not seen,
    which are rather too careful for a fit to more rows.

    Args:
        split: its training part are all these rows.
        folder: of the further steps; goes on where it was left.
    """
    if trained.kept == 0:
        _fit_targets(trained.task, settings.target, rows, split.train)
        _started(model, settings, rows, split.train, trained.parts, seed=seed, device=device)
        return trained
    sections = dict(settings.sections)
    sections["trainer"] = dataclasses.replace(
        sections["trainer"], steps=trained.kept, epochs=None, validate_every=trained.kept, patience=None
    )
    sections["finetune"] = dataclasses.replace(sections["finetune"], keep_start="never")
    settings = dataclasses.replace(settings, sections=sections)
    reporter.info(f"the same {trained.kept:,} steps again, with all {len(split.train):,} labelled rows")
    split = dataclasses.replace(split, validation=split.train)  # nothing is chosen
    again = train_task(
        model, settings, rows, split, folder, reporter, seed=seed, start=start, device=device, tells=False
    )
    return dataclasses.replace(trained, task=again.task, parts=again.parts)


def _finished(parts: RunParts, folder: RunFolder, reporter: Reporter) -> RunResult | None:
    """The result of a run that was killed between its last step and its record."""
    if not has_checkpoint(folder):
        return None
    _, saved = newest_sound(folder, reporter)
    steps = int(saved["global_step"])
    if steps < total_steps(parts.resolved, stream_order(parts)):
        return None
    losses = dict(validation_losses(folder))
    return RunResult(folder.path, "finished", steps, 0.0, {"loss": losses[steps]} if steps in losses else {})


def _assemble(
    model: Model,
    settings: FinetuneSettings,
    rows: LabelledRows,
    split: ProbeSplit,
    reporter: Reporter,
    *,
    seed: int,
    start: str,
    device: str,
) -> RunParts:
    assert split.validation is not None
    is_dense = settings.target.level != "item"
    encoder = copy.deepcopy(model.encoder) if start == "model" else model.random_twin(seed)
    if is_dense and start != "model":
        encoder = calibrated(encoder, model, rows, settings.target).train()
    torch.manual_seed(mix(seed, "finetune-head"))
    encoder, task = task_on(settings, encoder, rows, split.train)
    resolved = resolved_run(model, settings, seed)
    free = np.zeros(0, np.int64) if split.unlabelled is None else split.unlabelled
    thin = fewer_labels(settings.sections["finetune"], settings.target, rows, split.train, seed)
    preprocessor = preprocessor_of(model.preprocessor, [settings.method] if settings.method is not None else [])
    source = rows.reader
    if isinstance(preprocessor, Bags):
        encoded = _encoded(model, settings, rows, split.train, encoder, preprocessor, reporter, device)
        if start != "model" or preprocessor is not model.preprocessor:  # an aggregator that has not learned yet
            cast(Any, encoder).sees_instances(*encoded.statistics(split.train))
        source = cast(DatasetReader, encoded)
    reader: DatasetReader = OneTarget(source, settings.target, thin, frozenset(free.tolist()), further=settings.further)
    tell(encoder, reader.targets)
    if is_dense:  # large samples, whose slow preparation is done once
        reader = prepared(reader, model.preprocessor)
    objective = objective_on(model, settings, encoder, task).train()  # a loaded encoder is in eval mode
    entry = model.registry.preprocessor(model.folder.preprocessor_name)
    in_parts = is_dense and settings.sections["finetune"].draw == "parts" and entry.spec.labelled_item
    views: Any = LabelledDraws(entry.load("labelled_item"), model.preprocessor) if in_parts else None
    if resolved.views is not None:
        views = build(resolved.views, model.preprocessor)
    begun = model.folder.as_origin() if start == "model" else {}
    labels = row_labels(settings.target, rows, split.train, free)
    preprocessor = covering(preprocessor) if is_dense else preprocessor
    recompute_where_asked(resolved, objective, reporter)
    return RunParts(
        resolved, reader, preprocessor, split.train, split.validation, views, encoder, objective, begun, labels
    )


def _encoded(
    model: Model,
    settings: FinetuneSettings,
    rows: LabelledRows,
    train: np.ndarray,
    encoder: nn.Module,
    preprocessor: Bags,
    reporter: Reporter,
    device: str,
) -> BagReader:
    """The rows as bags of vectors.

    Raises:
        ConfigError: the label is of elements, which a bag's one vector does not tell.
    """
    if settings.target.level != "item":
        raise ConfigError(
            f"'{settings.target.name}' is a label of elements; an encoder of bags gives one vector an item",
            hint="fine-tune the encoder without a method that reads bags",
        )
    facts, target = [model.folder.config["preprocessor"], dict(model.folder.preprocessing)], settings.target
    return with_vectors(
        encoder, preprocessor, rows, target, facts, reporter, train=train, domain=model.domain, device=device
    )


def changes_after(model: Model, settings: FinetuneSettings) -> list[Mapping[str, Any]]:
    """What methods made of the encoder, this fine-tuning's included."""
    method = settings.method
    if method is None or not changes_encoder(method.entry):
        return model.folder.changes
    return with_change(model.folder.changes, method)


def task_on(
    settings: FinetuneSettings, encoder: nn.Module, rows: LabelledRows, train: np.ndarray
) -> tuple[nn.Module, nn.Module]:
    """The encoder as the method changes it, and the task around it with what it learns from the training labels."""
    if settings.method is not None and changes_encoder(settings.method.entry):
        encoder = changed(settings.method, encoder).train()
    task: nn.Module = build(settings.task, encoder, settings.target)
    _fit_targets(task, settings.target, rows, train)
    return encoder, task


def objective_on(model: Model, settings: FinetuneSettings, encoder: nn.Module, task: nn.Module) -> Supervised:
    """The task's plain loss, or the method around it.

    Raises:
        ConfigError: the method does not go with the task, the label or the model.
    """
    config: FinetuneConfig = settings.sections["finetune"]
    is_open = config.head_lr_factor is None and config.head_start == "probe"
    started = last_layer(task) if is_open else None
    config = dataclasses.replace(config, head_lr_factor=config.head_factor(settings.sections["optimiser"].lr))
    if settings.method is None:
        return Supervised(task, settings.target.name, config, started)
    method = build(settings.method, encoder, task)
    begin = getattr(method, "begin", None)
    if begin is not None:
        begin(MethodStart(model.preprocessor, model.folder))
    return WithMethod(task, settings.target, config, method, started)


def _fit_targets(task: nn.Module, target: TargetSpec, rows: LabelledRows, train: np.ndarray) -> None:
    """What the task learns from the training labels; of elements their numbers by value, without holding them."""
    if target.level == "item":
        cast(Task, task).fit_targets(rows.labels(target)[train].astype(np.float64))
        return
    total: Counter[int] = Counter()
    for row in train:
        total.update(rows.dense[target.name][row])
    fit_counts = getattr(task, "fit_counts", None)
    if fit_counts is not None:
        fit_counts(total)
        return
    values = np.asarray(list(total), np.float64)
    number = np.asarray(list(total.values()), np.int64)
    cast(Task, task).fit_targets(
        np.repeat(values, np.maximum(1, number * MOST_FITTED // max(MOST_FITTED, number.sum())))
    )


def resolved_run(model: Model, settings: FinetuneSettings, seed: int) -> ResolvedRun:
    """All settings of one training.

    Raises:
        ConfigError: the domain has no views such as the method asks for.
    """
    sections = {name: one for name, one in settings.sections.items() if name != "finetune"}
    sections["trainer"] = dataclasses.replace(sections["trainer"], seed=seed)
    known = model.registry
    preprocessor, method = model.folder.part("preprocessor", known), settings.method
    return ResolvedRun(
        recipe=f"{model.domain}/finetune",
        preset=settings.task.name,
        encoder=model.folder.part("encoder", known),
        objective=method or settings.task,
        dataset=settings.dataset,
        preprocessor=preprocessor,
        views=None if method is None else method_views(method, preprocessor.entry, known, model.domain),
        origin={},
        **sections,
    )


def _say_kept(
    parts: RunParts,
    settings: FinetuneSettings,
    model: Model,
    reporter: Reporter,
    run: RunResult,
    kept: int,
    gain: Gain | None,
) -> None:
    """Which step's weights are kept, and whether anything had been learned by then."""
    if kept == 0:
        reporter.info(f"the start, a linear probe, is kept and fitted again to all labelled rows: {gain}")
        return
    loss, begun = (validation_at(RunFolder(run.folder), step).get("loss") for step in (kept, 0))
    figure = "" if loss is None else f", the smallest validation loss of the trained steps ({loss:.4g})"
    reporter.info(f"weights of step {kept:,} of {run.steps:,} are kept{figure}")
    if loss is not None and begun is not None and loss > begun:
        reporter.warn(f"the start had a smaller one ({begun:.4g}): a lower optimiser.lr, more labels, or repcore probe")
    if settings.method is not None or not settings.sections["finetune"].frozen_epochs:
        return
    before, after = dict(model.encoder.named_parameters()), dict(parts.encoder.named_parameters())
    if all(torch.equal(after[name].detach().cpu(), value.detach().cpu()) for name, value in before.items()):
        reporter.warn(f"step {kept:,} lies before the encoder was unfrozen: its parameters are the pre-trained ones")


def _load_best(parts: RunParts, folder: RunFolder) -> int:
    """Load the weights of the smallest validation loss; returns their step."""
    if not folder.best_checkpoint.is_file():
        raise RunError(
            f"{folder.path} has no best weights: no validation loss was a finite number",
            hint="a lower optimiser.lr, or look at its metrics.jsonl and rejected.jsonl",
        )
    saved = torch.load(folder.best_checkpoint, map_location="cpu", weights_only=True)
    check_same_run(folder.best_checkpoint, saved.get(STATE, {}).get("of"), carried(folder, {}), folder)
    prefix = "objective."
    state = {key.removeprefix(prefix): value for key, value in saved["state_dict"].items() if key.startswith(prefix)}
    parts.objective.load_state_dict(state)
    return int(saved["global_step"])
