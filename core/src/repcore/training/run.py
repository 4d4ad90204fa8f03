"""A whole pre-training run: start or resume, train, export the model, write the report."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from repcore import stopping
from repcore.config.resolve import ResolvedRun
from repcore.data.differences import data_stamps, difference
from repcore.data.stream import EndlessBatches
from repcore.data.workers import WorkerLostError
from repcore.diagnostics.capture import capture_failure
from repcore.errors import RunError
from repcore.interfaces import Batch, Draws
from repcore.launching import is_first_process, place
from repcore.ops import chosen_implementations
from repcore.outputs import sole_writer
from repcore.registry import Registry
from repcore.reporting import Reporter
from repcore.stopping import Stopped
from repcore.training.assembly import RunParts, made_whole, teachers
from repcore.training.checkpointing import STATE, Checkpoints, has_checkpoint, newest_sound, remove_leftovers
from repcore.training.compiling import compile_objective, not_compiled
from repcore.training.data_record import begun_by, data_facts, note_data, with_data
from repcore.training.export import export_model, held_out_diagnosis
from repcore.training.listeners import (
    FreedMemory,
    Interruption,
    Listener,
    MetricsWriter,
    Patience,
    ProgressShow,
    SilentTerms,
    StepEvents,
    Validation,
)
from repcore.training.loaders import FixedBatches, HeldBatches, build_loader
from repcore.training.loggers import Trackers, check_loggers
from repcore.training.module import ObjectiveModule
from repcore.training.movement import Movement
from repcore.training.optimisers import DecayRule, matrices_decay
from repcore.training.pictures import write_pictures
from repcore.training.plan import MOST_VALIDATIONS, stream_order, total_steps, validation_interval
from repcore.training.processes import (
    Watch,
    explained,
    leave_group_at_exit,
    process_grid,
    requeue,
    shared_step,
    slurm_job,
)
from repcore.training.run_folder import RunFolder, environment, run_name
from repcore.training.same_run import IDENTITY, carried, check_same_run, check_same_settings, new_identity, other_order
from repcore.training.sharding import check_sharing
from repcore.training.state import RunResult, RunState
from repcore.training.trainers import check_precision, lightning_trainer
from repcore.training.way_on import (
    kept_of,
    making_room,
    report_command,
    resume_command,
    way_on,
    without_worker,
)

STAMPS = "data.json"  # hashes of rows or files, to say what has changed


def start_run(
    registry: Registry,
    parts: RunParts,
    reporter: Reporter,
    *,
    root: Path,
    name: str | None = None,
    device: str = "auto",
) -> RunResult:
    """Train from the beginning.

    Args:
        parts: as :func:`repcore.training.assembly.assemble` makes them.
        root: folder that holds runs.
        name: of the run folder; None = domain, recipe and time.

    Raises:
        RepcoreError: the run cannot go on; says why and what was saved.
    """
    check_precision(parts.resolved.trainer.precision, device)
    check_loggers(parts.resolved.trainer.loggers)
    folder = RunFolder.create(root, run_name(parts.resolved.recipe, name))
    with making_room(folder, lambda: has_checkpoint(folder), lambda: resume_command(parts, folder)):
        if is_first_process():
            folder.preprocessing.mkdir()
            parts.preprocessor.save(folder.preprocessing)
            folder.write_json("origin.json", dict(parts.resolved.origin))
            rejected = getattr(parts.reader, "rejected", ())
            folder.append_lines("rejected.jsonl", (dataclasses.asdict(row) for row in rejected))
        return execute(registry, parts, folder, reporter, device=device, resume=False)


def resume_run(
    registry: Registry,
    parts: RunParts,
    folder: RunFolder,
    reporter: Reporter,
    *,
    device: str = "auto",
    changed_data: bool = False,
) -> RunResult:
    """Go on with an interrupted run exactly where its last checkpoint was written.

    Args:
        parts: assembled from the run's own settings and fitted preprocessor.
        changed_data: go on although the data are not those that the run began with; what differs is said.

    Raises:
        RunError: the run has no checkpoint or is finished.
    """
    check_loggers(parts.resolved.trainer.loggers)
    if folder.last_checkpoint.is_dir():
        raise RunError(f"{folder.last_checkpoint} is a folder, no checkpoint", hint="move it away, then --resume again")
    if not has_checkpoint(folder):
        raise RunError(f"{folder.path} has no checkpoint to resume from", hint="start it again without --resume")
    folder.point_latest_again()
    return execute(registry, parts, folder, reporter, device=device, resume=True, changed_data=changed_data)


def decay_rule(resolved: ResolvedRun) -> DecayRule:
    """The objective's own rule, or the default."""
    entry = resolved.objective.entry
    if not getattr(entry.spec, "decay_rule", ""):  # a fine-tuning task has none
        return matrices_decay
    rule: DecayRule = entry.load("decay_rule")
    return rule


def build_module(parts: RunParts, folder: RunFolder) -> tuple[ObjectiveModule, EndlessBatches]:
    """The training module and the stream that tells it where a step is.

    Args:
        folder: of the run, for the capture of a step with NaN or Inf.
    """
    resolved = parts.resolved
    order = stream_order(parts)
    steps = total_steps(resolved, order)
    batches = EndlessBatches(order, start=0, accumulate=resolved.trainer.accumulate, total_steps=steps)

    def on_nonfinite(step: int, reason: str, batch: Batch, draws: Draws) -> RunError:
        return capture_failure(
            folder.path / "failure",
            step=step,
            reason=reason,
            module=parts.objective,
            batch=batch,
            draws=draws,
            seed=resolved.trainer.seed,
            hint="a lower optimiser.lr, a longer schedule.warmup_steps, or trainer.precision=32-true",
        )

    module = ObjectiveModule(
        parts.objective,
        optimiser=resolved.optimiser,
        schedule=resolved.schedule,
        decay_rule=decay_rule(resolved),
        accumulate=resolved.trainer.accumulate,
        seed=resolved.trainer.seed,
        progress_at=batches.progress,
        on_nonfinite=on_nonfinite,
    )
    return module, batches


def execute(
    registry: Registry,
    parts: RunParts,
    folder: RunFolder,
    reporter: Reporter,
    *,
    device: str,
    resume: bool,
    export: bool = True,
    changed_data: bool = False,
) -> RunResult:
    """Train in an existing run folder, whatever the objective, and export the model when the run is finished.

    Args:
        export: write ``model/`` and pictures; fine-tuning writes its own, of the best weights.
        changed_data: as in :func:`resume_run`.

    Raises:
        DataError: another process is training in this folder.
    """
    held = sole_writer(folder.path / "run", reporter.info, folder.path)
    with held if is_first_process() else contextlib.nullcontext():
        return _execute(registry, parts, folder, reporter, device, resume, export, changed_data)


def _execute(
    registry: Registry,
    parts: RunParts,
    folder: RunFolder,
    reporter: Reporter,
    device: str,
    resume: bool,
    export: bool,
    changed_data: bool,
) -> RunResult:
    check_precision(parts.resolved.trainer.precision, device)
    check_sharing(parts.resolved.trainer)
    settings = parts.resolved.plain()
    _follow_launcher(parts, reporter, resume)
    settings = settings if resume else parts.resolved.plain()  # as config.json has them
    module, batches = build_module(parts, folder)
    parts.objective.train()  # a loaded encoder is in eval mode, and Lightning leaves it so until the first validation
    if parts.resolved.trainer.compile:
        compile_objective(parts, device, batches.total_steps, reporter)
    checkpoint, start = None, 0
    if resume:
        newest = newest_sound(
            folder, reporter, module, parts.resolved.trainer.steps, _same(folder, settings, reporter, changed_data)
        )
        checkpoint, start = _checked_start(newest, folder, parts, batches.total_steps, reporter, changed_data)
    if is_first_process():
        remove_leftovers(folder)
        folder.drop_lines_after(start if resume else -1)  # an inner run that was killed early begins again in place
        if resume:
            note_data(parts, folder, start)
            if export:  # a fine-tuning writes down its own
                folder.note_command()
        else:
            _write_records(registry, parts, folder)
    if resume:
        reporter.info(f"resuming {folder.path} at step {start}: weights, optimiser, schedule, data position, seeds")
    reporter.info(_plan_words(parts, batches, folder))
    with stopping.noted(reporter.info) as note:
        trainer, state = _trainer_and_state(parts, module, folder, reporter, device, batches, note)
        state.carried = carried(folder, settings) if is_first_process() else {}
        loader = _training_loader(parts, trainer, start, batches.total_steps)
        started = time.perf_counter()
        if trainer.world_size > 1:
            leave_group_at_exit()
        with stopping.going_on_with(lambda: way_on(parts, folder) if export else None, lambda: kept_of(folder)):
            _fit(state, loader, checkpoint, resume_command(parts, folder), parts.resolved.data.workers if export else 0)
            seconds = time.perf_counter() - started
            if export:  # a fine-tuning builds its own again
                made_whole(parts)
            if export and state.is_writer and not state.stop_reason:
                _export(registry, parts, folder, reporter, state, batches)
    if state.stop_signal == signal.SIGUSR1 and parts.resolved.trainer.on_preempt == "requeue" and state.is_writer:
        requeue(reporter)
    if note.asked and not state.stop_reason:  # too late to stop: all that is left to do is the report
        saved = f"the run is finished and all its {state.step} steps are saved"
        raise Stopped(note.number, saved, report_command(folder.path) if export else None)
    status = state.stop_reason or "finished"
    return RunResult(folder.path, status, state.step, seconds, state.last_validation, state.stop_signal, parts.data)


def _fit(state: RunState, loader: Any, checkpoint: Path | None, resume: str, workers: int) -> None:
    """Make the steps.

    Args:
        resume: what to type to go on.
        workers: of the loader; 0 = going on takes no other number.
    """
    try:
        state.trainer.fit(
            state.module,
            train_dataloaders=loader,
            ckpt_path=None if checkpoint is None else str(checkpoint),
            weights_only=None if checkpoint is None else True,
        )
    except WorkerLostError as error:
        if not state.stop_reason:
            raise without_worker(error, state.folder, resume, workers) from error
    except (RuntimeError, OSError) as error:
        words = not_compiled(explained(state.trainer, error, resume), resume)
        if words is error:
            raise
        raise words from error


def _follow_launcher(parts: RunParts, reporter: Reporter, resume: bool) -> None:
    """As many devices and machines as processes were started; a resumed run may have others than before."""
    config, here = parts.resolved.trainer, place()
    asked = dataclasses.replace(config, devices=1, num_nodes=1) if resume and here.started_together else config
    devices, machines = process_grid(asked, here)
    if (devices, machines) != (config.devices, config.num_nodes):
        trainer, data = dataclasses.replace(config, devices=devices, num_nodes=machines), parts.resolved.data
        if resume:  # the same items a step, so that the stream goes on where it stood
            size, accumulate = shared_step(data.batch_size, config.accumulate, config.processes, here.world, reporter)
            data, trainer = (
                dataclasses.replace(data, batch_size=size),
                dataclasses.replace(trainer, accumulate=accumulate),
            )
        parts.resolved = dataclasses.replace(parts.resolved, trainer=trainer, data=data)
        reporter.info(f"{here.world} processes started by {here.launcher}: trainer.devices={devices}")


def _export(
    registry: Registry,
    parts: RunParts,
    folder: RunFolder,
    reporter: Reporter,
    state: RunState,
    batches: EndlessBatches,
) -> None:
    problem = write_pictures(parts, folder, batches.progress(batches.total_steps - 1))
    if problem:
        reporter.warn(f"pictures of the objective: {problem}")
    export_model(registry, parts, folder, state.last_validation, state.step)  # last: with it the run is finished


def _trainer_and_state(
    parts: RunParts,
    module: ObjectiveModule,
    folder: RunFolder,
    reporter: Reporter,
    device: str,
    batches: EndlessBatches,
    note: stopping.StopNote,
) -> tuple[pl.Trainer, RunState]:
    config, steps = parts.resolved.trainer, batches.total_steps
    every = validation_interval(parts.resolved, steps, len(parts.validation))
    functions = [one for one in parts.callbacks if not isinstance(one, pl.Callback)]
    writer = MetricsWriter(config.log_every, Trackers(config.loggers, functions))
    checkpoints = Checkpoints(config.checkpoint_every or config.validate_every or max(1, steps // MOST_VALIDATIONS))
    holder: list[RunState] = []
    movement = Movement(speaks=len(parts.validation) < 2)
    validation = Validation(
        every,
        (lambda: _validation_batches(parts, holder[0].trainer)) if len(parts.validation) else None,
        held_out_diagnosis(parts, movement, steps) if len(parts.validation) > 1 else None,
        writer,
    )
    listeners: list[Listener] = [
        movement,  # before a validation calls the objective
        ProgressShow(),
        writer,
        validation,
        checkpoints,
        FreedMemory(),
        SilentTerms(),
        Interruption(checkpoints, note),
        Watch(reporter.warn, resume_command(parts, folder)),
    ]
    if config.patience is not None:
        listeners.append(Patience(config.patience))
    trainer = lightning_trainer(
        config,
        folder,
        steps,
        device,
        note,
        [
            StepEvents(lambda _: holder[0], listeners),
            *(one for one in parts.callbacks if isinstance(one, pl.Callback)),
        ],
    )
    state = RunState(folder, module, trainer, reporter, steps, parts.resolved.plain())
    holder.append(state)
    return trainer, state


def _training_loader(parts: RunParts, trainer: pl.Trainer, start: int, steps: int) -> Any:
    resolved = parts.resolved
    order = stream_order(parts, world=trainer.world_size, rank=trainer.global_rank)
    accumulate = resolved.trainer.accumulate
    batches = EndlessBatches(order, start=start * accumulate, accumulate=accumulate, total_steps=steps)
    return build_loader(
        parts.items(parts.train),
        batches,
        parts.reader.targets,
        domain=resolved.domain,
        workers=resolved.data.workers,
        pin_memory=trainer.strategy.root_device.type == "cuda",
    )


def _validation_batches(parts: RunParts, trainer: pl.Trainer) -> HeldBatches:
    resolved = parts.resolved
    share = len(parts.validation) >= trainer.world_size * resolved.data.batch_size  # else every process looks at all
    batches = FixedBatches(
        parts.validation,
        resolved.data.batch_size,
        resolved.trainer.seed,
        costs=parts.costs(parts.validation),
        world=trainer.world_size if share else 1,
        rank=trainer.global_rank if share else 0,
    )
    load = partial(
        build_loader,
        parts.items(parts.validation),
        targets=parts.reader.targets,
        domain=resolved.domain,
        workers=0,
        pin_memory=False,
    )
    return HeldBatches(batches, load)


def _same(
    folder: RunFolder, settings: Mapping[str, Any], reporter: Reporter, changed_data: bool
) -> Callable[[Path, Mapping[str, Any]], None]:
    """A check that a checkpoint is of this run and its settings; the first process speaks for all."""
    own = carried(folder, settings)

    def check(path: Path, content: Mapping[str, Any]) -> None:
        found = content.get(STATE, {}).get("of")
        check_same_run(path, found, own, folder)
        free = check_same_settings(path, found, own, folder, changed_data)
        if otherwise := other_order(found, settings):
            reporter.warn(f"{path.name}: {otherwise}")
        if free:
            reporter.info(f"going on with other settings, which change nothing of what is learned: {free}")

    return check


def _checked_start(
    newest: tuple[Path, Mapping[str, Any]],
    folder: RunFolder,
    parts: RunParts,
    steps: int,
    reporter: Reporter,
    changed_data: bool,
) -> tuple[Path, int]:
    """The checkpoint to go on from, and the optimiser steps behind it; data and teachers must be the same ones."""
    path, saved = newest
    start = int(saved["global_step"])
    if start >= steps and (folder.model / "config.json").is_file():
        hint = "trainer.steps=... with --init-from goes on"
        if not (folder.path / "report.html").is_file():  # killed while the report was drawn
            hint = f"{report_command(folder.path)} draws its report"
        raise RunError(f"{folder.path} has made all its {steps} steps, and its model is written", hint=hint)
    recorded = folder.read_json("environment.json") or {}
    if recorded.get("data_fingerprint") not in (None, parts.reader.fingerprint):
        differs = difference(folder.read_json(STAMPS), data_stamps(parts.reader))
        if not changed_data:
            raise RunError(
                f"the data of {folder.path} have changed since the run began",
                differs=differs,
                was=recorded["data_fingerprint"][:16],
                is_now=parts.reader.fingerprint[:16],
                hint="--data PATH where the same data lie now, or --allow-changed-data",
            )
        reporter.warn(f"going on with other data than the run began with: {differs}")
    was, now = recorded.get("teachers", []), teachers(parts.objective)
    if [one.get("sha256") for one in was] != [one["sha256"] for one in now]:  # names may be those of files
        raise RunError("the run was trained with another teacher", was=was, is_now=now)
    return path, start


def _write_records(registry: Registry, parts: RunParts, folder: RunFolder) -> None:
    stamps = data_stamps(parts.reader)
    if stamps is not None:
        folder.write_json(STAMPS, stamps)
    folder.write_json("config.json", parts.resolved.plain())
    folder.write_json(
        "environment.json",
        environment(
            registry,
            {
                IDENTITY: new_identity(),
                "data_fingerprint": parts.reader.fingerprint,
                "rows": {"all": len(parts.reader), "train": len(parts.train), "validation": len(parts.validation)},
                "data": with_data([], data_facts(parts), 0),
                "began_with": dict(parts.began_with),
                "ops": chosen_implementations(),
                "teachers": teachers(parts.objective),
                "slurm_job": slurm_job(),
                **begun_by(folder),
            },
        ),
    )


def _plan_words(parts: RunParts, batches: EndlessBatches, folder: RunFolder) -> str:
    resolved = parts.resolved
    parameters = sum(parameter.numel() for parameter in parts.objective.parameters() if parameter.requires_grad)
    named = "; ".join(f"teacher {one['name']}" for one in teachers(parts.objective))
    return (
        f"{resolved.recipe} ({resolved.preset}): {parameters:,} parameters, {len(parts.train):,} training and "
        f"{len(parts.validation):,} validation rows, {batches.total_steps:,} steps of {resolved.items_per_step} items "
        f"({batches.progress(0).total_epochs:.2g} epochs){'; ' + named if named else ''} -> {folder.path}"
    )
