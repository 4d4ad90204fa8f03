"""How long a run will take, from trial steps on a copy: training, validations, and what is written at the end."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from repcore.config.resolve import ResolvedRun
from repcore.data.batching import TrainingCollator, TrainingItems
from repcore.data.guard import draw_sample, error_in_words, is_strict, read_sample
from repcore.data.seeds import generator
from repcore.data.stream import EndlessBatches, StreamOrder
from repcore.diagnostics.metrics import diagnose
from repcore.embedding.inference import InferenceOptions, PreparedRow, embed_prepared
from repcore.embedding.windows import prepared_windows, size_of
from repcore.errors import RepcoreError, RunError
from repcore.interfaces import Batch, Progress
from repcore.memory import is_out_of_memory
from repcore.training.assembly import RunParts
from repcore.training.loaders import HELD_BYTES
from repcore.training.objective_rules import exported_encoder
from repcore.training.plan import MOST_VALIDATIONS, diagnosed_rows, validations

LARGEST_COPY = 200_000_000  # parameters; beyond that a copy may not fit
TRIED_ROWS = 16  # of raw inputs
REPORTED_ROWS = 1000  # held-out rows that the report embeds at most
PICTURE_SECONDS = 6.0  # after which the report begins no further picture
SAVED_COPIES = 3  # parameters and two moments in a checkpoint
PAGE_SECONDS = 1.2  # of a report without its maps and pictures, where the piece of work takes PIECE_SECONDS
MAP_SECONDS = 0.0035  # a row of a map of neighbours, on the same machine
PIECE_SECONDS, PIECES = 0.016, 3
DRAWN_PICTURES = 2
STEP_SECONDS, MOST_STEPS = 1.0, 5  # of trial steps after the first: until they say enough
WRITTEN_BYTES = 100e6  # of a checkpoint a second, synced


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds on this device.

    Args:
        step_seconds: of one optimiser step, loading included.
        training_seconds: of all steps and checkpoints.
        validation_seconds: of all validations, with the figures of held-out vectors.
        report_seconds: of what is embedded and drawn at the end.
        validations: how many, the one before the first step included.
    """

    step_seconds: float
    training_seconds: float
    validation_seconds: float
    report_seconds: float
    parameters: int
    rows: tuple[int, int]
    steps: int
    validations: int
    items_per_step: int

    @property
    def total_seconds(self) -> float:
        """From the first step to the finished report."""
        return self.training_seconds + self.validation_seconds + self.report_seconds


def estimate_run(parts: RunParts, device: str, steps: int, order: StreamOrder) -> Estimate | None:
    """Time a few steps (the first warms up) and a look at held-out rows, on a copy; None if it is too large to copy.

    Args:
        device: torch device name.
        steps: optimiser steps of the run.
        order: the training stream.

    Raises:
        RunError: the step cannot be made with these settings and data.
    """
    parameters = sum(parameter.numel() for parameter in parts.objective.parameters())
    if parameters > LARGEST_COPY:
        return None
    config = parts.resolved
    accumulate = config.trainer.accumulate
    items = parts.items(parts.train)
    collate = TrainingCollator(parts.preprocessor, parts.reader.targets, config.domain)
    batches = EndlessBatches(order, start=0, accumulate=accumulate, total_steps=steps)
    state = torch.get_rng_state()
    twin = dataclasses.replace(parts, objective=copy.deepcopy(parts.objective).to(device))
    timed: list[float] = []
    stream = iter(batches)
    while len(timed) < 2 or (sum(timed[1:]) < STEP_SECONDS and len(timed) <= MOST_STEPS):
        started = time.perf_counter()
        with in_words(config):
            keys = next(stream)
            batch = collate([items[key] for key in keys]).batch.to(device)
            trial_step(twin, batch, device, batches.progress(0))
        timed.append(time.perf_counter() - started)
    held = len(parts.validation)
    drawn = min(REPORTED_ROWS, held or len(parts.train))
    diagnosed = len(diagnosed_rows(config, steps, parts.validation)) if held > 1 else 0
    look = _look(twin, items, keys, device, collate, batches.progress(0), diagnosed)
    torch.set_rng_state(state)
    step_seconds = sum(timed[1:]) / len(timed[1:]) * accumulate
    times = validations(config, steps, held)
    checkpoints = min(steps, MOST_VALIDATIONS) * SAVED_COPIES * 4 * parameters / WRITTEN_BYTES
    return Estimate(
        step_seconds=step_seconds,
        training_seconds=step_seconds * steps + checkpoints,
        validation_seconds=times * (held * look.loss + diagnosed * look.vector + look.figures)
        + look.makings(held, times) * held * look.making
        + diagnosed * look.reading,
        report_seconds=look.page + drawn * (look.reading + look.vector + look.raw + look.map) + look.pictures(drawn),
        parameters=parameters,
        rows=(len(parts.train), held),
        steps=steps,
        validations=times,
        items_per_step=config.items_per_step,
    )


@dataclass(frozen=True, slots=True)
class _Look:
    """Seconds a row: making it part of a batch, its loss without gradients, reading and preparing it whole, its vector,
    its raw features, its place on the maps, its picture; seconds of one diagnosis, and of what a page takes however few
    its rows are; bytes of a row of a batch."""

    making: float
    loss: float
    reading: float
    vector: float
    raw: float
    map: float
    picture: float
    figures: float
    page: float
    size: float

    def makings(self, rows: int, validations: int) -> int:
        """How often validation batches are made: once if they are kept."""
        return 1 if rows * self.size <= HELD_BYTES else validations

    def pictures(self, rows: int) -> float:
        """Pictures of so many rows, of which the report draws no more when its time for them is over."""
        return min(PICTURE_SECONDS, rows * self.picture)


def _look(
    twin: RunParts,
    items: TrainingItems,
    keys: Sequence[Any],
    device: str,
    collate: TrainingCollator,
    at: Progress,
    diagnosed: int,
) -> _Look:
    """Rows as validations and the report look at them; what fails here is met again, in words, where it counts."""
    resolved = twin.resolved
    rows = (twin.validation if len(twin.validation) else twin.train)[: resolved.data.batch_size]
    options = InferenceOptions(batch_size=resolved.data.batch_size, device=device)
    held: list[PreparedRow] = []
    few = keys[: len(twin.validation) or None]  # a batch of two rows takes more than two rows of a large one
    made: list[Batch] = []
    twin.objective.eval()
    try:
        encoder = exported_encoder(twin.objective).eval()
        making = _timed(lambda: made.append(collate([items[key] for key in few]).batch))
        with torch.no_grad():
            loss = _timed(lambda: _validate(twin, made[0], device, at))
        reading = _timed(lambda: held.extend(next(prepared_windows(twin.reader, twin.preprocessor, rows), [])))
        usable = [one for one in held if one.items]
        vector = _timed(lambda: embed_prepared(encoder, twin.preprocessor, usable, options, domain=resolved.domain))
        raw = _raw(twin, rows)
        picture = _picture(twin, rows)
        width = int(getattr(encoder, "dim", 1))
        draw = generator(0, "forecast")
        figures = _timed(lambda: diagnose(draw.normal(size=(diagnosed, width)), generator=draw)) if diagnosed else 0.0
    except Exception:
        return _Look(*(0.0,) * 8, PAGE_SECONDS, 0.0)
    pace = _pace()
    maps = 1 + bool(resolved.preprocessor.entry.spec.baselines)
    return _Look(
        making / max(1, len(few)), loss / max(1, len(few)), reading / max(1, len(held)), vector / max(1, len(usable)),
        raw, pace * maps * MAP_SECONDS, picture, figures, pace * PAGE_SECONDS, size_of(made[0]) / max(1, len(few)),
    )  # fmt: skip


def _pace() -> float:
    """How many times longer than where ``PAGE_SECONDS`` were measured one thread works here now, beside others."""

    def pieces(count: int) -> None:
        for _ in range(count):
            values = np.linspace(0.0, 1.0, 20_000)
            for _ in range(100):
                values = np.sqrt(values * values + 1e-3)
            sum(number * number for number in range(300_000))

    pieces(1)
    return _timed(lambda: pieces(PIECES)) / (PIECES * PIECE_SECONDS)


def _picture(twin: RunParts, rows: np.ndarray) -> float:
    """Seconds of one picture by the data set's renderer; what the first one imports is not counted for every row."""
    entry = twin.resolved.dataset.entry
    if not entry.spec.render:
        return 0.0
    try:
        render, reader = entry.load("render"), twin.own_reader or twin.reader
        first, *others = (int(row) % len(reader) for row in rows[: 1 + DRAWN_PICTURES])  # any rows of it
        draw_sample(render, read_sample(reader, first))
        seconds = _timed(lambda: [draw_sample(render, read_sample(reader, row)) for row in others])
    except Exception:  # the report says why there are no pictures
        return 0.0
    return seconds / max(1, len(others))


def _raw(twin: RunParts, rows: np.ndarray) -> float:
    """Seconds a row of the domain's raw features, beside which the report shows the map."""
    entry = twin.resolved.preprocessor.entry
    samples = [read_sample(twin.reader, int(row)) for row in rows[:TRIED_ROWS]]
    seconds = 0.0
    for name in entry.spec.baselines:
        function = entry.load("baselines", name)
        function(twin.preprocessor, samples[:1])  # what it imports is not counted for every row
        seconds += _timed(partial(function, twin.preprocessor, samples))
    return seconds / max(1, len(samples))


def _validate(twin: RunParts, batch: Batch, device: str, progress: Progress) -> None:
    generator = torch.Generator(device=device).manual_seed(0)
    on_device = batch.to(device)
    twin.rules(on_device, twin.rules.draw(on_device, generator, progress))
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def trial_step(twin: RunParts, batch: Batch, device: str, progress: Progress) -> None:
    """Forward and backward pass of a micro-batch, to its end also on a GPU; leaves no gradient."""
    generator = torch.Generator(device=device).manual_seed(0)
    twin.rules(batch, twin.rules.draw(batch, generator, progress)).total.backward()
    twin.objective.zero_grad(set_to_none=True)
    if torch.cuda.is_available():
        torch.cuda.synchronize()


@contextmanager
def in_words(resolved: ResolvedRun) -> Iterator[None]:
    """What an objective raises on its first batch is mostly a setting that does not fit the data or the others."""
    try:
        yield
    except Exception as error:
        if isinstance(error, RepcoreError | OSError) or is_strict():
            raise
        small = "smaller sizes, or a smaller data.batch_size" if is_out_of_memory(error) else ""
        raise RunError(
            f"{resolved.objective.name} cannot make a first step with these settings",
            reason=error_in_words(error),
            settings=", ".join(_given(resolved)),
            plugin=resolved.objective.entry.plugin.label,
            hint=small or "other values of these settings; the same command with --debug shows the traceback",
        ) from error


def _given(resolved: ResolvedRun) -> Iterator[str]:
    """What the user has set: ``objective.size=9000``."""
    for path, words in resolved.origin.items():
        if words.startswith(("recipe ", "preprocessor", "expected by ")) or path.startswith("dataset."):
            continue
        value: Any = resolved.plain()
        for key in path.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        yield f"{path}={value}"
