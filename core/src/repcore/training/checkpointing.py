"""Checkpoints of a run: whole or absent, never of broken numbers, two generations of the last one.

    checkpoints/last.ckpt      newest; tensors and plain values only
    checkpoints/previous.ckpt  the one before, for when ``last.ckpt`` turns out to be damaged
    checkpoints/best.ckpt      of the best validation loss so far

A file is written beside its target, synced to the disk, and renamed. What a run needs to go on beside Lightning's own
state (best loss, last validation, counts) lies under ``repcore`` in the file.
"""

from __future__ import annotations

import contextlib
import math
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from torch import nn

from repcore.errors import CheckpointError, RunError
from repcore.files import sync_file, sync_folder
from repcore.reporting import Reporter
from repcore.training.module import ObjectiveModule, StepRecord
from repcore.training.run_folder import RunFolder
from repcore.training.sharding import own_part
from repcore.training.soundness import check_content, check_fits
from repcore.training.state import RunState

PARTIAL = ".partial"
STATE = "repcore"


class BesideTarget(TorchCheckpointIO):
    """Writes straight to the path: Lightning's own goes through memory and the folder for temporary files."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            torch.save(checkpoint, file)


class Checkpoints:
    """``last.ckpt`` every so often and at the end, ``best.ckpt`` whenever validation has improved.

    Args:
        every: steps between checkpoints.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self.saved_step = 0
        self._meant: frozenset[str] = frozenset()  # buffers that hold infinities by design, such as masks

    def start(self, state: RunState) -> None:
        """A kill may have come between the checkpoint of the best step and its second name."""
        self.saved_step = state.step
        self._meant = frozenset(nonfinite(state.module.named_buffers()))
        begun_from = state.trainer.ckpt_path
        is_best = state.validated_at == state.step and state.last_validation.get("loss") == state.best
        if begun_from is not None and is_best and state.is_writer:
            link_or_copy(Path(begun_from), state.folder.best_checkpoint)

    def step(self, state: RunState, record: StepRecord) -> None:
        if state.step % self.every == 0 or state.step == state.total_steps:
            self.save(state)
        elif self._improved(state):
            self._write(state, state.folder.best_checkpoint)

    def end(self, state: RunState) -> None:
        return None

    def save(self, state: RunState) -> None:
        """Write the last checkpoint unless it is of this step, and the best one if validation has just improved."""
        if self.saved_step == state.step:
            return
        improved = self._improved(state)
        self._write(state, state.folder.last_checkpoint)
        if improved and state.is_writer:
            link_or_copy(state.folder.last_checkpoint, state.folder.best_checkpoint)
        self.saved_step = state.step

    def _improved(self, state: RunState) -> bool:
        """Only a loss of this very step says anything about these parameters."""
        loss = state.last_validation.get("loss", math.nan) if state.validated_at == state.step else math.nan
        if not loss < state.best:
            return False
        state.best = loss
        return True

    def _write(self, state: RunState, target: Path) -> None:
        for what, named in numbers_of(state.module, state.trainer.optimizers):
            broken = {name: count for name, count in nonfinite(named).items() if name not in self._meant}
            if broken:
                raise RunError(
                    f"no checkpoint of step {state.step} is written: its {what} are not finite",
                    found=", ".join(f"{name} ({count} values)" for name, count in list(broken.items())[:3]),
                    kept=f"the checkpoint of step {self.saved_step}" if self.saved_step else "none was written yet",
                    hint="a lower optimiser.lr, a longer schedule.warmup_steps, or trainer.precision=32-true",
                )
        try:
            save_atomically(state.trainer, target)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            raise _unwritable(error, target, self.saved_step) from error


def _unwritable(error: Exception, target: Path, saved_step: int) -> RunError:
    reason = str(error).splitlines()[0]
    if isinstance(error, RuntimeError) and "unexpected pos" in reason:  # torch's writer has met the end of the disk
        reason = "the disk took only a part of it"
    return RunError(
        f"the checkpoint {target} cannot be written: {reason}",
        free=f"{free_space(target.parent) / 1e6:,.0f} MB on that disk",
        kept=f"the checkpoint of step {saved_step}" if saved_step else "none was written yet",
        hint="free some space (or choose another --out), then "
        + ("go on with --resume" if saved_step else "the same command again"),
    )


def numbers_of(
    module: nn.Module, optimisers: Iterable[torch.optim.Optimizer]
) -> Iterator[tuple[str, Iterable[tuple[str, torch.Tensor]]]]:
    """Everything that a checkpoint keeps and later steps build on, by kind and name: also a teacher's running means
    and the moments of the optimiser, whose damage shows up in the parameters only later."""
    yield "parameters", module.named_parameters()
    yield "buffers", module.named_buffers()
    names: dict[torch.Tensor, str] = {parameter: name for name, parameter in module.named_parameters()}
    yield (
        "moments of the optimiser",
        (
            (f"{key} of {names.get(parameter, 'a parameter')}", value)
            for optimiser in optimisers
            for parameter, kept in optimiser.state.items()
            for key, value in kept.items()
            if isinstance(value, torch.Tensor)
        ),
    )


def nonfinite(named: Iterable[tuple[str, torch.Tensor]]) -> dict[str, int]:
    """Number of NaN and Inf values of each tensor that has some; one look at the device for all."""
    by_device: dict[torch.device, list[tuple[str, torch.Tensor]]] = {}
    for name, value in named:
        if value.is_floating_point():
            by_device.setdefault(value.device, []).append((name, own_part(value.detach())))
    found = {}
    for tensors in by_device.values():
        bad = torch.stack([(~torch.isfinite(value)).any() for _, value in tensors]).tolist()
        found.update(
            {
                name: int((~torch.isfinite(value)).sum())
                for (name, value), is_bad in zip(tensors, bad, strict=True)
                if is_bad
            }
        )
    return found


def save_atomically(trainer: pl.Trainer, path: Path) -> None:
    """Save a Lightning checkpoint beside its place, sync it, and rename it; an earlier ``last`` becomes ``previous``.

    Raises:
        OSError, RuntimeError: it cannot be written; nothing half-written is left, and what was there stays.
    """
    temporary = partial_of(path)
    try:
        try:
            trainer.save_checkpoint(temporary)
        except (OSError, RuntimeError):
            spare = previous_of(path)
            if not (trainer.is_global_zero and trainer.world_size == 1 and path.is_file() and spare.is_file()):
                raise
            spare.unlink()  # the older generation makes room for the new one
            trainer.save_checkpoint(temporary)
        if trainer.is_global_zero:
            sync_file(temporary)
            if path.name == "last.ckpt" and path.is_file():
                path.replace(previous_of(path))
            temporary.replace(path)
            sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    trainer.strategy.barrier()


def partial_of(path: Path) -> Path:
    """Where a file is written before it gets its name."""
    return path.with_name(f".{path.name}{PARTIAL}")


def previous_of(path: Path) -> Path:
    """The generation before ``last.ckpt``."""
    return path.with_name("previous.ckpt")


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for a file; a copy where the file system has no hard links."""
    temporary = partial_of(target)
    temporary.unlink(missing_ok=True)
    try:
        temporary.hardlink_to(source)
    except OSError:
        temporary.write_bytes(source.read_bytes())
        sync_file(temporary)
    temporary.replace(target)


def free_space(folder: Path) -> int:
    """Bytes that this user may still write on the disk of a folder."""
    facts = os.statvfs(folder)
    return facts.f_bavail * facts.f_frsize


def has_checkpoint(folder: RunFolder) -> bool:
    """Whether there is something to go on from: a kill between two renames leaves only the older generation."""
    return folder.last_checkpoint.is_file() or previous_of(folder.last_checkpoint).is_file()


def remove_leftovers(folder: RunFolder) -> None:
    """Half-written files of a process that was killed."""
    for path in (*folder.last_checkpoint.parent.glob(f".*{PARTIAL}"), *folder.path.glob(".*.json*.*")):
        with contextlib.suppress(OSError):
            path.unlink()


def newest_sound(
    folder: RunFolder,
    reporter: Reporter,
    module: ObjectiveModule | None = None,
    most_steps: int | None = None,
    check: Callable[[Path, Mapping[str, Any]], None] | None = None,
) -> tuple[Path, Mapping[str, Any]]:
    """The checkpoint to go on from, with its content; the generation before if the last one is missing or damaged.

    Args:
        module: of the run; what does not fit it or its optimiser counts as damaged.
        most_steps: that the run makes, where its settings say so.
        check: whether a whole checkpoint is of this run; what it raises is no damage, and ends the search.

    Raises:
        CheckpointError: neither can be read.
    """
    last, reasons, misfits = folder.last_checkpoint, [], 0
    for path in (last, previous_of(last)):
        if not path.is_file():
            continue
        try:
            content = _read(path)
            if check is not None:
                check(path, content)
            if most_steps is not None and content["global_step"] > most_steps:
                raise ValueError(f"its global_step is {content['global_step']}, of {most_steps} steps of the run")
            if module is not None:
                try:
                    check_fits(content, module)
                except ValueError:
                    misfits += 1
                    raise
        except RunError:  # a whole checkpoint, but not of this run
            raise
        except Exception as error:  # whatever damage makes torch raise
            reasons.append(f"{path.name}: {str(error).splitlines()[0][:160] if str(error) else type(error).__name__}")
            continue
        if reasons:
            reporter.warn(
                f"{last} is damaged ({reasons[0]}); going on from the checkpoint before it, "
                f"step {int(content['global_step'])}: the steps after that are made again"
            )
        elif path != last:
            reporter.warn(f"{last} is missing; going on from the one before, step {int(content['global_step'])}")
        return path, content
    anew = "start the run again without --resume, or from its best.ckpt with --init-from if a model was exported"
    if misfits == len(reasons) > 0:  # whole files, of another network: the settings are what was changed
        raise CheckpointError(
            f"{last} does not fit the network of {folder.path / 'config.json'}",
            reason="; ".join(reasons),
            hint=f"if config.json was changed, put it back; else {anew}",
        )
    raise CheckpointError(
        f"{last} is damaged, and there is no sound one before it",
        reason="; ".join(reasons),
        hint=f"{anew}; if config.json was changed, put it back",
    )


def _read(path: Path) -> Mapping[str, Any]:
    """Content after comparing the checksums that torch writes but does not read."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"the checksum of {damaged} is wrong")
    content: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    check_content(content)
    return content
