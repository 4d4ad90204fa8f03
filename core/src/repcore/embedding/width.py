"""How wide the vectors of a model are, where no row is there to show it.

An encoder says its own width (``encoder.dim``). A pooling, a level or a layer may have another one (segments of a
recording stand side by side, layers of a pyramid have several widths), which only a forward pass tells: one over a
sample of the domain, of the examples and data sets that come with its plugins, else of the model's training data.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

import numpy as np
from torch import nn

from repcore.embedding.inference import InferenceOptions, embed_rows, encoder_width
from repcore.errors import ConfigError, RepcoreError
from repcore.interfaces import DatasetReader, Preprocessor
from repcore.registry import Registry

LOOKED_AT = 2  # rows of a data set, of which one should have a vector


class Looked(Protocol):
    """What of a model is asked for here."""

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
