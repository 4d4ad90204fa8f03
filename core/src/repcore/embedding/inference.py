"""Batched inference over any number of rows: order, ids and row count are kept, memory is bounded.

Rows are read and prepared in windows (:mod:`repcore.embedding.windows`), items of a window are sorted by cost and
batched up to a cost budget, results go back to their rows. A row that cannot be read or prepared, and one whose
result is not finite, becomes a NaN vector with its status and reason. Several items of one row (windows of a long
recording) are averaged by weight.
Batch mates never change a result beyond rounding, so windows and budgets are free choices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from repcore.data.batching import plain_batch
from repcore.data.guard import concerns_item, is_strict, item_guard, row_id
from repcore.data.spent import ENCODER, spent_on
from repcore.devices import not_on_device
from repcore.embedding.blocks import Work, decided, in_blocks, shares_all
from repcore.embedding.columns import columns_read
from repcore.embedding.layers import features_at
from repcore.embedding.options import InferenceOptions
from repcore.embedding.pooling import pool
from repcore.embedding.windows import (
    WINDOW_ROWS,
    PreparedRow,
    prepare_row,
    prepare_rows,
    prepared_windows,
)
from repcore.embedding.windows_apart import windows_apart
from repcore.errors import ConfigError, ItemError
from repcore.interfaces import Batch, DatasetReader, EmbeddingRows, Features, Preprocessor, Sample

__all__ = [
    "InferenceOptions", "PreparedRow", "batches_by_cost", "embed_prepared", "embed_rows", "encoder_width", "join_rows",
    "map_prepared", "mapped", "prepare_row", "prepare_rows", "row_id", "run_windows", "windows_of",
]  # fmt: skip

Result = TypeVar("Result")


def run_windows(
    encoder: nn.Module,
    preprocessor: Preprocessor,
    reader: DatasetReader,
    options: InferenceOptions,
    *,
    rows: Sequence[int] | np.ndarray | None = None,
    poolings: tuple[str, ...] = ("mean",),
    domain: str = "",
    width: Callable[[], int] | None = None,
) -> Iterator[EmbeddingRows]:
    """Vectors of all rows, one :class:`EmbeddingRows` a window, in order.

    Args:
        rows: which rows; None = all.
        poolings: names that the encoder's spec gives.
        width: how wide vectors are, asked for where no row has one; the encoder's own width if None.
    """
    was_training = encoder.training
    encoder.eval()
    options = replace(options, columns=columns_read([encoder], reader.targets))

    embed = embedding(encoder, preprocessor, poolings, domain)
    try:
        windows = mapped(embed, preprocessor, reader, options, rows)
        is_own = options.pooling is None and options.level is None and options.layer is None
        yield from windows if is_own else _of_one_width(windows, width)
    finally:
        encoder.train(was_training)


def embedding(
    encoder: nn.Module, preprocessor: Preprocessor, poolings: tuple[str, ...], domain: str
) -> Callable[[list[PreparedRow], InferenceOptions], EmbeddingRows]:
    """The function from prepared rows to their vectors, for :func:`mapped`."""
    return partial(_embed_window, encoder, preprocessor, poolings, domain)


def _embed_window(
    encoder: nn.Module,
    preprocessor: Preprocessor,
    poolings: tuple[str, ...],
    domain: str,
    rows: list[PreparedRow],
    options: InferenceOptions,
) -> EmbeddingRows:
    if not options.apart:
        return embed_prepared(encoder, preprocessor, rows, options, poolings, domain)
    pieces, columns = windows_apart(rows)
    return replace(embed_prepared(encoder, preprocessor, pieces, options, poolings, domain), columns=columns)


def mapped(
    function: Callable[[list[PreparedRow], InferenceOptions], Result],
    preprocessor: Preprocessor,
    reader: DatasetReader,
    options: InferenceOptions,
    rows: Sequence[int] | np.ndarray | None = None,
    *,
    whole: bool = False,
) -> Iterator[Result]:
    """A function of prepared windows of the rows (None = all), in order; the processes of the options share the work.

    On a CPU each process reads, prepares and computes. Another device belongs to this process, and items with a time
    limit have processes of their own: there they only read and prepare.

    Args:
        function: of prepared rows, and the options with which to compute; pickled where processes are not forked.
        whole: keep the inputs of each sample.
    """
    numbers = np.arange(len(reader)) if rows is None else np.asarray(rows, np.int64)
    options, held = decided(function, preprocessor, reader, options, len(numbers))
    if shares_all(options):
        yield from in_blocks(Work(function, preprocessor, reader, options, whole, {} if whole else held), numbers)
        return
    for window in windows_of(preprocessor, reader, options, numbers, whole=whole):
        yield function(window, options)


def _of_one_width(windows: Iterator[EmbeddingRows], known: Callable[[], int] | None = None) -> Iterator[EmbeddingRows]:
    """Windows as wide as those that hold a vector: one without any knows only the encoder's own width, not that of a
    pooling or layer. Windows before the first vector wait for it, without their numbers."""
    waiting: list[EmbeddingRows] = []
    width, own = None, 0
    for found in windows:
        if width is None and not np.isfinite(found.vectors).any():
            own = found.vectors.shape[1]
            waiting.append(replace(found, vectors=found.vectors[:, :0]))
            continue
        if width is None:
            width = found.vectors.shape[1]
            yield from (_as_wide(one, width) for one in waiting)
            waiting = []
        yield found if found.vectors.shape[1] == width else _as_wide(found, width)
    if waiting and known is not None:
        own = known()
    yield from (_as_wide(one, own) for one in waiting)


def _as_wide(rows: EmbeddingRows, width: int) -> EmbeddingRows:
    """Rows without a vector, as wide as others."""
    return replace(rows, vectors=np.full((len(rows.vectors), width), np.nan, np.float32))


def windows_of(
    preprocessor: Preprocessor,
    reader: DatasetReader,
    options: InferenceOptions,
    rows: Sequence[int] | np.ndarray | None = None,
    *,
    whole: bool = False,
) -> Iterator[list[PreparedRow]]:
    """Prepared windows of the rows (None = all) within the bounds of the options."""
    return prepared_windows(
        reader,
        preprocessor,
        np.arange(len(reader)) if rows is None else rows,
        most_rows=options.window or WINDOW_ROWS,
        most_bytes=options.window_bytes,
        workers=options.workers or 0,
        whole=whole,
        item_timeout=options.item_timeout,
    )


def embed_prepared(
    encoder: nn.Module,
    preprocessor: Preprocessor,
    rows: list[PreparedRow],
    options: InferenceOptions,
    poolings: tuple[str, ...] = ("mean",),
    domain: str = "",
) -> EmbeddingRows:
    """Vectors of prepared rows; the encoder is used in the mode it is in."""

    def vectors(batch: Batch) -> torch.Tensor:
        return _vectors(encoder, batch, options, poolings).float()

    width = encoder_width(encoder) if options.dim is None else options.dim
    return map_prepared(vectors, preprocessor, rows, options, width=width, domain=domain)


@spent_on(ENCODER)
@torch.inference_mode()
def map_prepared(
    function: Callable[[Batch], torch.Tensor],
    preprocessor: Preprocessor,
    rows: list[PreparedRow],
    options: InferenceOptions,
    *,
    width: int,
    domain: str = "",
) -> EmbeddingRows:
    """Apply a function of batches to prepared rows, one vector a row.

    Args:
        function: batch -> float (B, width), on ``options.device``; what is float64 stays it, all else becomes float32.
        width: used for the NaN vectors of rows without items when no row has any.
    """
    flat = [(number, item) for number, row in enumerate(rows) for item in row.items]
    costs = [preprocessor.cost(item.meta) for _, item in flat]
    vectors: np.ndarray | None = None
    is_wide = False
    weights = np.zeros(len(rows))

    def values_of(chosen: Sequence[int]) -> np.ndarray:
        items = [flat[i][1] for i in chosen]
        samples = [_sample_of(rows[flat[i][0]]) for i in chosen]
        batch = plain_batch(preprocessor, items, samples, options.columns, domain).to(options.device)
        found = function(batch)
        values: np.ndarray = (found if found.dtype == torch.float64 else found.float()).cpu().numpy()
        return values

    failed: dict[int, ItemError] = {}
    for chosen in batches_by_cost(costs, options.batch_size, options.cost_budget):
        for i, value in _one_by_one(values_of, chosen, preprocessor):
            number, item = flat[i]
            if isinstance(value, ItemError):
                failed.setdefault(number, value)
                continue
            if vectors is None:
                vectors, is_wide = np.zeros((len(rows), len(value))), value.dtype == np.float64
            vectors[number] += item.weight * value
            weights[number] += item.weight
    if vectors is None:
        vectors = np.zeros((len(rows), width))
    weights[list(failed)] = 0.0  # a row of which one window failed has no vector
    empty = weights == 0
    vectors[~empty] /= weights[~empty, None]
    vectors[empty] = np.nan
    if options.normalise:
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    status, reason = _judged(rows, vectors, empty)
    for number, error in failed.items():
        status[number], reason[number] = error.status, error.reason
    return EmbeddingRows(
        [row.id for row in rows], vectors.astype(np.float64 if is_wide else np.float32), status, reason
    )


def _one_by_one(
    values_of: Callable[[Sequence[int]], np.ndarray], chosen: Sequence[int], preprocessor: Preprocessor
) -> Iterator[tuple[int, np.ndarray | ItemError]]:
    """Values of a batch, item by item; where the batch fails as a whole each item is tried alone, and the one to
    blame gets its reason.

    Raises:
        RepcoreError: what concerns every item alike (a setting, a missing part).
    """
    try:
        values = values_of(chosen)
    except Exception as error:
        lacking = not_on_device(error)
        if lacking is not None:
            raise lacking from error
        if is_strict() or not concerns_item(error):
            raise
        for i in chosen:
            try:
                with item_guard(preprocessor, "batching and running the network"):
                    alone = values_of([i])[0]
            except ItemError as own:
                yield i, own
            else:
                yield i, alone
        return
    yield from zip(chosen, values, strict=True)


def _judged(rows: list[PreparedRow], vectors: np.ndarray, empty: np.ndarray) -> tuple[list[str], list[str]]:
    """Status and reason after the encoder; rows that are not finite become NaN as a whole (changed in place)."""
    bad = ~np.isfinite(vectors).all(1)
    vectors[bad] = np.nan
    status, reason = [row.status for row in rows], [row.reason for row in rows]
    for number in np.flatnonzero(bad):
        if not rows[number].items:
            continue  # failed before the encoder, and says so already
        if empty[number]:
            status[number], reason[number] = "empty", "none of its windows has any weight"
        else:
            status[number], reason[number] = "not_finite", "the network gave NaN or Inf for this row"
    return status, reason


def encoder_width(encoder: nn.Module) -> int:
    """``encoder.dim``."""
    return int(encoder.dim)  # type: ignore[arg-type]


def _sample_of(row: PreparedRow) -> Sample:
    assert row.sample is not None
    return row.sample


def _vectors(encoder: nn.Module, batch: Batch, options: InferenceOptions, poolings: tuple[str, ...]) -> torch.Tensor:
    whole = _whole_vectors(encoder, batch, options, poolings)
    if options.dim is None:
        return whole
    if not 1 <= options.dim <= whole.shape[1]:
        raise ConfigError(
            f"--dim {options.dim} of embeddings of width {whole.shape[1]}", expected=f"1 to {whole.shape[1]}"
        )
    return whole[:, : options.dim]


def _whole_vectors(
    encoder: nn.Module, batch: Batch, options: InferenceOptions, poolings: tuple[str, ...]
) -> torch.Tensor:
    device = torch.device(options.device).type
    with torch.autocast(device, options.dtype, enabled=options.dtype != torch.float32):
        features = features_at(encoder, batch, options.layer)
    if options.layer is not None:
        if options.layer not in features.layers:
            raise ConfigError(
                f"the encoder has no layer {options.layer}",
                layers=", ".join(map(str, features.layers)) or "none came back for it",
                hint="layers are counted from 0, the embedding",
            )
        level = next(iter(features.tokens), "tokens")
        features = Features(features.pooled, {level: features.layers[options.layer]}, features.layers, features.extras)
        return pool(encoder, features, options.pooling or "mean", level, poolings)
    return pool(encoder, features, options.pooling, options.level, poolings)


def batches_by_cost(costs: Sequence[int], batch_size: int, budget: int | None) -> Iterator[list[int]]:
    """Groups of similar cost, dearest first (so that running out of memory happens at once, not at the end)."""
    order = sorted(range(len(costs)), key=lambda i: (-costs[i], i))
    group: list[int] = []
    for i in order:
        too_dear = budget is not None and group and (len(group) + 1) * costs[group[0]] > budget
        if group and (len(group) == batch_size or too_dear):
            yield group
            group = []
        group.append(i)
    if group:
        yield group


def embed_rows(
    encoder: nn.Module,
    preprocessor: Preprocessor,
    reader: DatasetReader,
    options: InferenceOptions,
    *,
    rows: Sequence[int] | np.ndarray | None = None,
    poolings: tuple[str, ...] = ("mean",),
    domain: str = "",
) -> EmbeddingRows:
    """All rows at once in memory: :func:`run_windows` joined."""
    parts = list(run_windows(encoder, preprocessor, reader, options, rows=rows, poolings=poolings, domain=domain))
    return join_rows(parts)


def join_rows(parts: Sequence[EmbeddingRows]) -> EmbeddingRows:
    """Consecutive runs of rows as one."""
    names = parts[0].columns if parts else ()
    return EmbeddingRows(
        ids=[one for part in parts for one in part.ids],
        vectors=np.concatenate([part.vectors for part in parts]) if parts else np.zeros((0, 0), np.float32),
        status=[one for part in parts for one in part.status],
        reason=[one for part in parts for one in part.reason],
        columns={name: [one for part in parts for one in part.columns[name]] for name in names},
    )
