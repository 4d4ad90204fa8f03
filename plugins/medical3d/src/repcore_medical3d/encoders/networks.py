"""Encoders as plain networks, as MONAI calls its own: a tensor (B, C, D, H, W) or (B, C, H, W) in, vectors out."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from repcore.embedding.model import Model, load
from repcore.embedding.pooling import pool
from repcore.errors import ConfigError
from repcore.interfaces import Batch, Features

INPUTS = {4: "image", 5: "volume"}  # by the number of axes
AXES = {"image": "(B, C, H, W)", "volume": "(B, C, D, H, W)"}


class EncoderNetwork(nn.Module):
    """The encoder of a model, for MONAI's engines, losses and ``nn.Sequential``; gradients flow.

    What the preprocessor does (spacing, orientation, intensities) is then your transforms' business.

    Args:
        model: a model, or its path.
        pooling: the encoder's own if None.

    Call:
        (B, C, D, H, W) of a model of volumes, (B, C, H, W) of one of images -> (B, dim).
    """

    def __init__(self, model: Model | Path | str, pooling: str | None = None) -> None:
        super().__init__()
        opened = model if isinstance(model, Model) else load(model)
        self.encoder, self.poolings, self.pooling = opened.encoder, opened.poolings, pooling
        spec = opened.registry.encoder(opened.folder.encoder_name).spec
        self.known = tuple(one.name for one in spec.inputs)
        self.dim = int(self.encoder.dim)  # type: ignore[arg-type]

    def forward(self, values: Tensor) -> Tensor:
        """Vectors (B, dim).

        Raises:
            ConfigError: another number of axes than the encoder takes.
        """
        name = INPUTS.get(values.ndim, "")
        if name not in self.known:
            axes = " or ".join(
                {"image": "(B, C, H, W)", "volume": "(B, C, D, H, W)"}.get(one, one) for one in self.known
            )
            raise ConfigError(f"a tensor of shape {tuple(values.shape)}", expected=axes)
        features: Features = self.encoder(Batch(inputs={name: values.as_subclass(Tensor)}, size=len(values)))
        return pool(self.encoder, features, self.pooling, None, self.poolings)
