"""Settings of SHERL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from repcore.config.schema import setting


@dataclass(frozen=True, kw_only=True)
class SherlConfig:
    """The encoder stays as it is; a small block beside it makes new input for its last layer from all layers."""

    form: Literal["gated", "normed", "plain", "pooled"] = setting(
        "gated", "projections beside the layers; pooled = added to the vector instead, where no layer can be run alone"
    )
    reduction: float | None = setting(
        None, "width of the encoder's tokens over that of the block; null = 2, from 512 numbers on 4", min=1
    )
    theta: float = setting(
        0.0549, "start of the gate on the pre-trained path: share tanh(10 theta); published: 0", min=-1, max=1
    )
    dropout: float = setting(0.1, "after the block's output (form=normed)", min=0, max=1)
    train_last: Literal["none", "norms", "all"] = setting("none", "parameters of the last layer that learn, too")
    redundancy: Literal["exact", "reference"] = setting(
        "exact", "own similarity of a layer is 1, or computed as published (NaN for a token of zeros)"
    )
