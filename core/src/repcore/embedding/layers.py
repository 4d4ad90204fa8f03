"""Features of one layer, without the work of later layers where the encoder can stop there (capability ``until``)."""

from __future__ import annotations

import inspect

from torch import nn

from repcore.interfaces import Batch, Features


def can_stop(encoder: nn.Module) -> bool:
    """Whether ``forward`` takes ``until``, the last layer to compute."""
    return "until" in inspect.signature(encoder.forward).parameters


def features_at(encoder: nn.Module, batch: Batch, layer: int | None) -> Features:
    """The encoder's features, those of a layer in ``layers``; None = its output alone.

    An encoder that can stop computes no layer after this one, so that half the depth costs about half the time.
    """
    if layer is None:
        features: Features = encoder(batch)
    elif can_stop(encoder):
        features = encoder(batch, (layer,), until=layer)
    else:
        features = encoder(batch, (layer,))
    return features
