"""What happens beside the optimiser steps: metrics, validation with diagnostics, interruption.

Listeners are called at step boundaries only (never between the micro-batches of a step), in a fixed order, by one
small Lightning callback. Each keeps its own rhythm.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import lightning.pytorch as pl
import torch

from repcore.data.workers import WorkerLostError
from repcore.files import read_figures, read_lines
from repcore.interfaces import Progress
from repcore.memory import return_freed_memory
from repcore.reporting import figures_in_words
from repcore.stopping import StopNote
from repcore.training.checkpointing import STATE, Checkpoints
from repcore.training.loggers import Trackers
from repcore.training.module import ObjectiveModule, StepRecord
from repcore.training.run_folder import RunFolder
from repcore.training.sharding import whole
from repcore.training.state import RunState


class Listener(Protocol):
    """Called before the first step, after each optimiser step, and at the end."""

    def start(self, state: RunState) -> None: ...

    def step(self, state: RunState, record: StepRecord) -> None: ...

    def end(self, state: RunState) -> None: ...


class StepEvents(pl.Callback):
    """Calls the listeners at step boundaries."""

    def __init__(self, state_of: Callable[[pl.Trainer], RunState], listeners: Iterable[Listener]) -> None:
        self._state_of, self._listeners = state_of, list(listeners)
        self._state: RunState | None = None

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        kept = {name: saved(self._state_of(trainer)) for name, saved in self._of_listeners("saved")}
        checkpoint[STATE] = {**self._state_of(trainer).saved(), "listeners": kept}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        kept = checkpoint.get(STATE, {})
        self._state_of(trainer).restore(kept)
        for name, restore in self._of_listeners("restore"):
            restore(kept.get("listeners", {}).get(name, []))

    def _of_listeners(self, method: str) -> list[tuple[str, Callable[[Any], Any]]]:
        """Listeners that keep something of their own between steps, by the name of their class."""
        return [(type(one).__name__, getattr(one, method)) for one in self._listeners if hasattr(one, method)]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._state = self._state_of(trainer)
        if trainer.world_size > 1:  # the first process has made the folder
            self._state.folder.path = Path(trainer.strategy.broadcast(str(self._state.folder.path.resolve())))
        for listener in self._listeners:
            listener.start(self._state)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, ObjectiveModule)
        record, pl_module.last = pl_module.last, None
        if record is not None and self._state is not None:
            for listener in self._listeners:
                listener.step(self._state, record)
            pl_module.restart_clock()
        if pl_module.left and self._state is not None:
            for _, left in self._of_listeners("left"):
                left(self._state)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._state is not None:
            for listener in self._listeners:
                listener.end(self._state)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if self._state is not None:
            if isinstance(exception, WorkerLostError):
                for _, lost in self._of_listeners("lost"):
                    lost(self._state)
            for _, failed in self._of_listeners("failed"):
                failed(self._state)


def due(step: int, every: int, total: int) -> bool:
    """Whether something that happens every so many steps happens after this one; always after the last."""
    return step % every == 0 or step == total


class FreedMemory:
    """Hands freed memory back to the system every so many steps and at the end."""

    def __init__(self, every: int = 50) -> None:
        self.every = every

    def start(self, state: RunState) -> None: ...

    def step(self, state: RunState, record: StepRecord) -> None:
        if due(state.step, self.every, state.total_steps):
            return_freed_memory()

    def end(self, state: RunState) -> None:
        return_freed_memory()


class MetricsWriter:
    """Means over the last ``every`` steps into ``metrics.jsonl`` and to the loggers; rejected rows into their own file.

    Steps since the last line are part of a checkpoint, so that the next line of a resumed run is that of a whole one.
    """

    def __init__(self, every: int, trackers: Trackers | None = None) -> None:
        self.every = every
        self._records: list[StepRecord] = []
        self._since = time.perf_counter()
        self._trackers = trackers or Trackers(())
        self._rejected: set[int] = set()
        self._rejected_before: set[tuple[Any, ...]] = set()  # what the run had noted when it was stopped

    def start(self, state: RunState) -> None:
        if not state.is_writer:
            return
        self._trackers.start(state)
        self._rejected_before = {_reason(line) for line in read_lines(state.folder.path / "rejected.jsonl")}
        self._since = time.perf_counter()

    def step(self, state: RunState, record: StepRecord) -> None:
        self._records.append(record)
        self._note_rejected(state, record)
        if not due(state.step, self.every, state.total_steps):
            return
        line = self._summary(state)
        self._records, self._since = [], time.perf_counter()
        if state.is_writer:
            self.write(state, line)

    def saved(self, state: RunState) -> list[dict[str, Any]]:
        """The steps since the last line as plain values; means over all processes."""
        return [one.plain(lambda values: _mean_over_devices(values, state)) for one in self._records]

    def restore(self, saved: Iterable[dict[str, Any]]) -> None:
        """Go on with steps that a checkpoint kept."""
        self._records = [StepRecord.of_plain(values) for values in saved]

    def write(self, state: RunState, line: dict[str, Any]) -> None:
        """Append one line and tell the loggers."""
        state.folder.append_lines("metrics.jsonl", [line])
        self._trackers.write(state, line)

    def _summary(self, state: RunState) -> dict[str, Any]:
        records = self._records
        seconds = max(1e-9, time.perf_counter() - self._since)
        line: dict[str, Any] = {
            "step": state.step,
            "epoch": round(state.step / _steps_per_epoch(records[-1].progress), 4),
            "split": "train",
        }
        values = {"loss": _mean(record.total for record in records)}
        for name in records[-1].terms:
            values[name] = _mean(record.terms.get(name) for record in records)
        for name in records[-1].metrics:
            values[name] = _mean(record.metrics.get(name) for record in records)
        line.update(_mean_over_devices(values, state))
        line["lr"] = records[-1].lr
        line["grad_norm"] = _mean(record.grad_norm for record in records if not record.skipped)
        skipped = sum(record.skipped for record in records)
        if skipped:
            line["skipped_steps"] = skipped
        line["items_per_second"] = sum(record.items for record in records) * state.trainer.world_size / seconds
        line["data_wait_share"] = min(1.0, sum(record.waited for record in records) / seconds)
        return line

    def _note_rejected(self, state: RunState, record: StepRecord) -> None:
        fresh = [row for row in record.rejected if row.row not in self._rejected]
        if not fresh:
            return
        if not self._rejected:
            state.reporter.warn(f"row {fresh[0].row} cannot be used ({fresh[0].reason}); all such: rejected.jsonl")
        distinct = {row.row: dataclasses.asdict(row) for row in fresh}
        self._rejected.update(distinct)
        new = [line for line in distinct.values() if _reason(line) not in self._rejected_before]
        state.folder.append_lines("rejected.jsonl", new)

    def end(self, state: RunState) -> None:
        self._trackers.end(state)

    def failed(self, state: RunState) -> None:
        """Close the loggers, which would leave files and threads open otherwise."""
        self._trackers.end(state, "failed")


class SilentTerms:
    """Says at the end which terms of the loss were exactly 0 in every step: nothing was learned from them.

    What was seen is part of a checkpoint, so that a resumed run says what a whole one does. Kept on the device until
    then: no step waits for it.
    """

    def __init__(self) -> None:
        self._seen: dict[str, torch.Tensor] = {}

    def start(self, state: RunState) -> None:
        return None

    def step(self, state: RunState, record: StepRecord) -> None:
        for name, value in record.terms.items():
            found = torch.as_tensor(value).detach() != 0.0
            self._seen[name] = found | self._seen[name].to(found.device) if name in self._seen else found

    def saved(self, state: RunState) -> dict[str, float]:
        """Above 0 for terms that were not 0 in some step of some process."""
        return _mean_over_devices({name: float(value) for name, value in self._seen.items()}, state)

    def restore(self, saved: Mapping[str, float] | Iterable[tuple[str, float]]) -> None:
        """Go on with what a checkpoint kept."""
        self._seen = {name: torch.tensor(value > 0.0) for name, value in dict(saved).items()}

    def end(self, state: RunState) -> None:
        silent = [name for name, value in self.saved(state).items() if value == 0.0]
        if silent and state.is_writer and not state.stop_reason:
            which = f"term {silent[0]} of the loss was" if len(silent) == 1 else f"terms {', '.join(silent)} were"
            state.reporter.warn(f"{which} exactly 0 in all {state.step:,} steps: nothing was learned from it")


class ProgressShow:
    """Tells the reporter how far the run is, with throughput and the share of time spent waiting for data."""

    def __init__(self) -> None:
        self._last_shown = 0.0
        self._items = 0
        self._waited = 0.0
        self._since = time.perf_counter()

    def start(self, state: RunState) -> None:
        self._since = time.perf_counter()

    def step(self, state: RunState, record: StepRecord) -> None:
        self._items += record.items
        self._waited += record.waited
        now = time.perf_counter()
        if now - self._last_shown < 0.5 and state.step < state.total_steps:
            return
        seconds = max(1e-9, now - self._since)
        loss = float(record.total) if record.total is not None else math.nan
        detail = f"loss {loss:.4g}  {self._items / seconds:.0f} items/s  data wait {self._waited / seconds:.0%}"
        if state.is_writer:
            state.reporter.progress("training", state.step, state.total_steps, detail)
        self._last_shown, self._since, self._items, self._waited = now, now, 0, 0.0

    def end(self, state: RunState) -> None:
        return None


class Validation:
    """Validation loss and representation diagnostics before the first step, every so often, and at the end.

    Args:
        batches: gives the validation batches, asked once; None = no validation split.
        diagnose: features of held-out items -> figures and a verdict line; None = switched off.
    """

    def __init__(
        self,
        every: int,
        batches: Callable[[], Iterable[Any]] | None,
        diagnose: Callable[[RunState], tuple[dict[str, Any], str]] | None,
        writer: MetricsWriter,
    ) -> None:
        self.every, self.diagnose, self.writer = every, diagnose, writer
        self.batches = None if batches is None else cache(batches)

    def start(self, state: RunState) -> None:
        if state.step == 0:
            self._run(state)

    def step(self, state: RunState, record: StepRecord) -> None:
        if due(state.step, self.every, state.total_steps):
            self._run(state)

    def end(self, state: RunState) -> None:
        return None

    def _run(self, state: RunState) -> None:
        with whole(state.module.objective):
            self._look(state)

    def _look(self, state: RunState) -> None:
        words = []
        if self.batches is not None:
            values = state.module.evaluate(self.batches())
            state.last_validation, state.validated_at = values, state.step
            if state.is_writer:
                self.writer.write(state, {"step": state.step, "split": "validation", **values})
            words.append("validation " + (figures_in_words(values) or NOTHING_MEASURED))
            loss = values.get("loss", 0.0)
            if state.is_writer and not math.isfinite(loss):
                state.reporter.warn(f"step {state.step}: the validation loss is {loss}; it is never taken for the best")
        if self.diagnose is not None and state.is_writer:
            figures, verdict = self.diagnose(state)
            state.folder.append_lines("diagnostics.jsonl", [{"step": state.step, **figures}])
            words.append(verdict)
        if words and state.is_writer:
            state.reporter.info(f"step {state.step}: " + " | ".join(words))


NOTHING_MEASURED = "has no loss: nothing that it counts came up in the held-out rows (too few, or too small)"


class Patience:
    """Ends the run when the validation loss has not become smaller for so many validations.

    The network before the first step does not count, as it is never the one that is kept. Counts in ``metrics.jsonl``,
    so that a resumed run ends where an undisturbed one does.
    """

    def __init__(self, validations: int) -> None:
        self.validations = validations

    def start(self, state: RunState) -> None:
        return None

    def step(self, state: RunState, record: StepRecord) -> None:
        losses = [one for one in validation_losses(state.folder) if one[0] > 0]
        if not losses or losses[-1][0] != state.step:
            return
        best = min(range(len(losses)), key=lambda number: _or_infinite(losses[number][1]))
        if len(losses) - 1 - best >= self.validations and state.step < state.total_steps:
            words = f"no smaller validation loss than {losses[best][1]:.4g} for {self.validations} validations"
            state.reporter.info(f"step {state.step}: {words}; the run ends here")
            state.trainer.should_stop = True

    def end(self, state: RunState) -> None:
        return None


def validation_losses(folder: RunFolder) -> list[tuple[int, float]]:
    """(step, loss) of every validation so far."""
    lines = read_figures(folder.path / "metrics.jsonl")
    return [
        (int(one["step"]), float(one["loss"])) for one in lines if one.get("split") == "validation" and "loss" in one
    ]


def validation_at(folder: RunFolder, step: int) -> dict[str, float]:
    """Figures of the validation after a step; empty if there was none."""
    lines = read_figures(folder.path / "metrics.jsonl")
    found = [one for one in lines if one.get("split") == "validation" and one.get("step") == step]
    return {name: value for name, value in found[-1].items() if name not in ("step", "split")} if found else {}


class Interruption:
    """A request to stop finishes the step (with accumulation: the micro-batch, the rest of the step is given up), saves
    and ends the run, in all processes of it at the same place."""

    def __init__(self, checkpoints: Checkpoints, note: StopNote) -> None:
        self.checkpoints, self.note = checkpoints, note
        self._number = 0  # of the signal, whichever process it came to

    def start(self, state: RunState) -> None:
        self.note.claim()  # Lightning answers SIGTERM by leaving without a checkpoint
        state.module.is_stop_asked = lambda: self._is_asked(state)

    def step(self, state: RunState, record: StepRecord) -> None:
        if self._is_asked(state) and state.step < state.total_steps:
            self.left(state)

    def left(self, state: RunState) -> None:
        """The last finished step is what stands in the module now."""
        self.checkpoints.save(state)
        state.stop_reason, state.stop_signal = "interrupted", self._number
        state.trainer.should_stop = True

    def lost(self, state: RunState) -> None:
        """A worker has died, and no further batch comes: as :meth:`left`. With several processes the others are in the
        middle of their step."""
        if state.trainer.world_size > 1:
            return
        self.checkpoints.save(state)
        if self.note.asked:  # it, too, was meant
            state.stop_reason, state.stop_signal = "interrupted", self.note.number

    def end(self, state: RunState) -> None:
        return None

    def _is_asked(self, state: RunState) -> bool:
        self._number = self.note.number
        if state.trainer.world_size > 1:
            asked = torch.tensor(self._number, device=state.module.device)
            self._number = int(torch.as_tensor(state.trainer.strategy.reduce(asked, reduce_op="max")))
        return self._number != 0


def _mean_over_devices(values: dict[str, float], state: RunState) -> dict[str, float]:
    """Each process has weighted its items so that the mean over processes is the mean over all items."""
    if state.trainer.world_size == 1:
        return values
    table = torch.tensor(list(values.values()), dtype=torch.float64, device=state.module.device)
    table = torch.as_tensor(state.trainer.strategy.reduce(table, reduce_op="mean"))
    return dict(zip(values, table.tolist(), strict=True))


def _or_infinite(loss: float) -> float:
    """NaN compares with nothing; as a loss it is no better than any."""
    return loss if math.isfinite(loss) else math.inf


def _reason(line: Mapping[str, Any]) -> tuple[Any, ...]:
    """What makes two lines about a rejected row the same."""
    return (line.get("row"), line.get("status"), line.get("reason"))


def _steps_per_epoch(progress: Progress) -> float:
    """Exactly, where a step is of this process; a step that a checkpoint kept knows whole numbers only."""
    if progress.total_steps and progress.total_epochs:
        return progress.total_steps / progress.total_epochs
    return progress.steps_per_epoch


def _mean(values: Iterable[Any]) -> float:
    numbers = [float(torch.as_tensor(value)) for value in values if value is not None]
    return sum(numbers) / len(numbers) if numbers else math.nan
