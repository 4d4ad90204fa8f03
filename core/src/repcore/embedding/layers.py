"""Features of one layer, without the work of later layers where the encoder can stop there (capability ``until``)."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from torch import nn

from repcore.errors import ConfigError
from repcore.interfaces import Batch, Features

if TYPE_CHECKING:
    from repcore.embedding.model import Model


def layers_of(model: Model, option: str) -> tuple[int, ...]:
    """Numbers of the layers that the encoder gives, from its first to ``depth``.

    Args:
        option: what asks for them, for the error.

    Raises:
        ConfigError: the encoder gives no layers.
    """
    capabilities = model.registry.encoder(model.folder.encoder_name).spec.capabilities
    if "layers" not in capabilities:
        raise ConfigError(
            f"{option}: encoder {model.folder.encoder_name} gives no layers",
            it_offers=", ".join(capabilities) or "nothing beyond a vector an item",
            hint=f"leave {option} out",
        )
    last = int(model.encoder.depth)  # type: ignore[arg-type]  # capability "layers"
    return tuple(range(int(getattr(model.encoder, "first_layer", 0)), last + 1))


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
