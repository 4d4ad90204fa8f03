"""Features of a data set as estimators see them: a window of rows at a time, pooled or token by token.

Symbols: n rows of a window, D width, S tokens of all rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from repcore.data.batching import label_array, plain_batch
from repcore.embedding.inference import InferenceOptions, batches_by_cost, embed_prepared, windows_of
from repcore.embedding.layers import features_at
from repcore.embedding.model import Model
from repcore.embedding.windows import PreparedRow
from repcore.errors import ConfigError
from repcore.interfaces import Batch, DatasetReader, FeatureBatch, Tokens


@dataclass(frozen=True, slots=True)
class FeatureWindow:
    """Features of a run of rows.

    Args:
        features: one row of values a row of data, or a run of tokens; rows that failed have NaN, or no token.
        status / reason: of each row of data.
    """

    features: FeatureBatch
    status: Sequence[str]
    reason: Sequence[str]


def feature_windows(
    model: Model, reader: DatasetReader, level: str, options: InferenceOptions, rows: np.ndarray | None = None
) -> Iterator[FeatureWindow]:
    """All rows in order, within the bounds of the options.

    Args:
        level: ``item`` for pooled vectors, ``token`` for those of the token level (or layer) that the options name, the
            encoder's first where they name none.
        rows: which rows; None = all.

    Raises:
        ConfigError: the encoder gives no tokens.
    """
    was_training = model.encoder.training
    model.encoder.eval()
    try:
        for prepared in windows_of(model.preprocessor, reader, options, rows):
            targets = _targets(reader, prepared)
            if level == "item":
                found = embed_prepared(
                    model.encoder, model.preprocessor, prepared, options, model.poolings, model.domain
                )
                features = FeatureBatch(found.ids, found.vectors, None, targets)
                yield FeatureWindow(features, found.status, found.reason)
            else:
                yield _token_window(model, prepared, options, targets)
    finally:
        model.encoder.train(was_training)


def finite(window: FeatureWindow) -> FeatureBatch:
    """The features without rows that failed: what an estimator is fitted on."""
    batch = window.features
    if batch.owner is not None:
        return batch
    kept = np.isfinite(batch.values).all(1)
    return FeatureBatch(
        [one for one, good in zip(batch.ids, kept, strict=True) if good],
        batch.values[kept],
        None,
        {name: values[kept] for name, values in batch.targets.items()},
    )


def _targets(reader: DatasetReader, rows: Sequence[PreparedRow]) -> Mapping[str, np.ndarray]:
    """Labels of the rows at item level, NaN where missing."""
    known = [None if row.sample is None else row.sample.targets for row in rows]
    return {
        spec.name: label_array([None if one is None else one.get(spec.name) for one in known], spec)
        for spec in reader.targets
        if spec.level == "item"
    }


@torch.inference_mode()
def _token_window(
    model: Model, rows: Sequence[PreparedRow], options: InferenceOptions, targets: Mapping[str, np.ndarray]
) -> FeatureWindow:
    flat = [(number, item) for number, row in enumerate(rows) for item in row.items]
    costs = [model.preprocessor.cost(item.meta) for _, item in flat]
    pieces: dict[int, np.ndarray] = {}
    for chosen in batches_by_cost(costs, options.batch_size, options.cost_budget):
        samples = [sample for i in chosen if (sample := rows[flat[i][0]].sample) is not None]
        batch = plain_batch(model.preprocessor, [flat[i][1] for i in chosen], samples, (), model.domain)
        for i, values in zip(chosen, tokens_of_items(model, batch.to(options.device), options), strict=True):
            pieces[i] = values
    parts: list[list[np.ndarray]] = [[] for _ in rows]
    for i, (number, _) in enumerate(flat):
        parts[number].append(pieces[i])
    status, reason = [row.status for row in rows], [row.reason for row in rows]
    joined_rows: list[np.ndarray] = []
    owner: list[np.ndarray] = []
    for number, found in enumerate(parts):
        joined = np.concatenate(found) if found else np.zeros((0, 0), np.float32)
        if joined.size and not np.isfinite(joined).all():
            status[number], reason[number] = "not_finite", "the network gave NaN or Inf for this row"
            continue
        if joined.size:
            joined_rows.append(joined)
            owner.append(np.full(len(joined), number))
    width = joined_rows[0].shape[1] if joined_rows else 0
    features = FeatureBatch(
        [row.id for row in rows],
        np.concatenate(joined_rows) if joined_rows else np.zeros((0, width), np.float32),
        np.concatenate(owner) if owner else np.zeros(0, np.int64),
        targets,
    )
    return FeatureWindow(features, status, reason)


def tokens_of_items(model: Model, batch: Batch, options: InferenceOptions) -> list[np.ndarray]:
    """Real tokens of each item of a batch, float32 (T, D).

    Raises:
        ConfigError: the encoder gives no tokens at this level or layer.
    """
    features = features_at(model.encoder, batch, options.layer)
    if options.layer is not None:
        tokens = features.layers.get(options.layer)
    else:
        tokens = features.tokens.get(options.level or next(iter(features.tokens), ""))
    if tokens is None:
        raise ConfigError(
            f"encoder {model.folder.encoder_name} gives no tokens "
            + (f"of layer {options.layer}" if options.layer is not None else f"of level {options.level or 'any'!r}"),
            levels=", ".join(features.tokens) or "none",
        )
    return _split(tokens, batch.size)


def _split(tokens: Tokens, items: int) -> list[np.ndarray]:
    values = tokens.values.float().cpu()
    if values.ndim == 3:
        valid = torch.ones(values.shape[:2], dtype=torch.bool) if tokens.valid is None else tokens.valid.cpu()
        return [values[number][valid[number]].numpy() for number in range(items)]
    assert tokens.owner is not None  # ragged tokens always have owners
    owner = tokens.owner.cpu()
    return [values[owner == number].numpy() for number in range(items)]


@torch.inference_mode()
def token_places(model: Model, reader: DatasetReader, row: int, options: InferenceOptions) -> np.ndarray | None:
    """What the encoder says of the places of a row's tokens, float (T, P), in the order of their features.

    None where it says nothing, or where the row has several items, whose places would be mixed up.
    """
    (prepared,) = (one for window in windows_of(model.preprocessor, reader, options, [row]) for one in window)
    if len(prepared.items) != 1 or prepared.sample is None:
        return None
    batch = plain_batch(model.preprocessor, prepared.items, [prepared.sample], (), model.domain)
    features = features_at(model.encoder.eval(), batch.to(options.device), options.layer)
    if options.layer is not None:
        tokens = features.layers.get(options.layer)
    else:
        tokens = features.tokens.get(options.level or next(iter(features.tokens), ""))
    if tokens is None or tokens.position is None:
        return None
    places = tokens.position.float().cpu()
    return _split(Tokens(places, tokens.valid, tokens.owner), batch.size)[0]
