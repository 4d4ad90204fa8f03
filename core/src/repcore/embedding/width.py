"""How wide the vectors of a model are, where no row is there to show it.

An encoder says its own width (``encoder.dim``). A pooling, a level or a layer may have another one (segments of a
recording stand side by side, layers of a pyramid have several widths), which only a forward pass tells. A run makes one
over a row of its data when it writes its model, and the model folder keeps what it told (:func:`measured_widths`). For
folders without it (imported checkpoints, older ones) one is made over a sample of the domain, of the examples and data
sets that come with its plugins, else of the model's training data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from repcore.checkpoints.model_folder import ModelFolder
from repcore.data.batching import plain_batch
from repcore.embedding.columns import columns_read
from repcore.embedding.inference import InferenceOptions, embed_rows, encoder_width
from repcore.embedding.pooling import GENERIC, check_level, of_tokens, pool
from repcore.embedding.windows import prepared_windows
from repcore.errors import ConfigError, RepcoreError
from repcore.interfaces import DatasetReader, Features, Preprocessor
from repcore.registry import Registry

LOOKED_AT = 2  # rows of a data set, of which one should have a vector


class Looked(Protocol):
    """What of a model is asked for here."""

    folder: ModelFolder
    encoder: nn.Module
    preprocessor: Preprocessor
    registry: Registry

    @property
    def device(self) -> str: ...

    @property
    def domain(self) -> str: ...

    @property
    def poolings(self) -> tuple[str, ...]: ...

    def training_data(self) -> DatasetReader: ...


def vector_width(model: Looked, options: InferenceOptions) -> int:
    """Numbers of a vector with these options; the encoder's own width where no sample can be found.

    Raises:
        ConfigError: no such pooling, level or layer, or fewer numbers than ``options.dim``.
    """
    own = encoder_width(model.encoder)
    if options.dim is not None:
        return options.dim
    if options.pooling is None and options.level is None and options.layer is None:
        return own
    recorded = model.folder.config.get("widths")
    if recorded and (options.layer is None or recorded["layers"]):  # layers may come back without being announced
        return _recorded(recorded, options, model.poolings)
    if options.layer is not None or options.pooling not in model.poolings:
        of_tokens(options.pooling, options.level, model.poolings)
    one = replace(options, workers=0, window=1, item_timeout=None, device=model.device)
    for reader in _samples(model):
        rows = np.arange(min(LOOKED_AT, len(reader)))
        try:
            found = embed_rows(
                model.encoder, model.preprocessor, reader, one, rows=rows, poolings=model.poolings, domain=model.domain
            )
        except ConfigError:
            raise
        except Exception:  # a sample of another kind than the model's is no sample; the next one may be
            continue
        if np.isfinite(found.vectors).any():
            return int(found.vectors.shape[1])
    return own


def _recorded(widths: Mapping[str, Any], options: InferenceOptions, known: tuple[str, ...]) -> int:
    """The width that the model's own run has seen.

    Raises:
        ConfigError: no such pooling, level or layer.
    """
    if options.layer is not None:
        of_tokens(options.pooling, None, GENERIC)
        if str(options.layer) not in widths["layers"]:
            numbers = ", ".join(widths["layers"])
            raise ConfigError(f"the encoder has no layer {options.layer}", layers=numbers or "it gives none")
        return int(widths["layers"][str(options.layer)])
    if options.level is not None:
        check_level(options.level, list(widths["levels"]))
        of_tokens(options.pooling, options.level, known)
        return int(widths["levels"][options.level])
    if options.pooling not in widths["poolings"]:
        of_tokens(options.pooling, None, known)
        raise ConfigError(f"--pool {options.pooling}: this encoder gives no tokens", poolings=", ".join(known))
    return int(widths["poolings"][options.pooling])


@torch.inference_mode()
def measured_widths(
    encoder: nn.Module,
    preprocessor: Preprocessor,
    reader: DatasetReader,
    rows: np.ndarray,
    *,
    poolings: tuple[str, ...],
    has_layers: bool,
    domain: str,
) -> dict[str, dict[str, int]]:
    """Widths of an encoder's vectors by pooling, level and layer, from one forward pass; empty where no row is usable.

    Args:
        rows: of which the first that can be prepared is taken.
        poolings: that the encoder's spec names.
        has_layers: whether it gives layers.
    """
    window = next(prepared_windows(reader, preprocessor, rows[: 4 * LOOKED_AT]), [])
    row = next((one for one in window if one.items), None)
    if row is None or row.sample is None:
        return {}
    numbers = range(int(getattr(encoder, "first_layer", 0)), int(encoder.depth) + 1) if has_layers else range(0)  # type: ignore[arg-type]
    was_training = encoder.training
    encoder.eval()
    try:
        device = next((one.device for one in encoder.parameters()), torch.device("cpu"))
        columns = columns_read([encoder], reader.targets)
        batch = plain_batch(preprocessor, row.items[:1], [row.sample], columns, domain).to(device)
        features: Features = encoder(batch, tuple(numbers)) if numbers else encoder(batch)
        generic = [one for one in GENERIC if one not in poolings] if features.tokens else []
        pooled = {one: pool(encoder, features, one, None, poolings) for one in (*poolings, *generic)}
    finally:
        encoder.train(was_training)
    return {
        "poolings": {name: int(values.shape[-1]) for name, values in pooled.items()},
        "levels": {name: int(tokens.values.shape[-1]) for name, tokens in features.tokens.items()},
        "layers": {str(number): int(tokens.values.shape[-1]) for number, tokens in features.layers.items()},
    }


def _samples(model: Looked) -> Iterator[DatasetReader]:
    """Readers over a few rows of the domain, whatever of them can be opened."""
    for entry in model.registry.entries("dataset", model.domain):
        try:
            if entry.spec.example:
                yield entry.load()(entry.load("example")())
            elif entry.spec.embedded:
                yield entry.load()(entry.load("config")())
        except Exception:  # files that are not there, a package that is missing
            continue
    try:
        yield model.training_data()
    except (RepcoreError, OSError):
        return
