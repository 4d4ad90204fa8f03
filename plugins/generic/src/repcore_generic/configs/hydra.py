"""Settings of Hydra (SimLAP)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from repcore.config.schema import setting


@dataclass(frozen=True, kw_only=True)
class HydraConfig:
    """Any two classes may be positives, in the features that a gate of the two selects."""

    pairs: Literal["arbitrary", "distinct", "identical"] = setting(
        "arbitrary", "partner class of an item: that of another item, another class (maybe absent), or its own"
    )
    gate: Literal["mean-embedding", "product"] = setting(
        "mean-embedding", "gate of the mean of two class embeddings, or the product of two gates"
    )
    normalise: Literal["after-gate", "before-gate"] = setting(
        "after-gate", "cosine of gated vectors, or gated products of unit vectors as in the published code since 2026"
    )
    reduction: Literal["pairs", "anchors"] = setting("pairs", "mean over pairs, or over items of the mean of theirs")
    self_pairs: bool = setting(
        False, "an item counts as its own positive, and rows without negatives count, as published"
    )
    temperature: float = setting(0.1, "softmax temperature", above=0)
    hidden: int | None = setting(None, "hidden width of the projector; null = 4 x the encoder's", min=1)
    projection: int | None = setting(None, "width of gate and projection; null = 2 x the encoder's, 256 at most", min=1)
    embedding: int = setting(512, "width of class embeddings", min=1)
    gate_hidden: int = setting(1024, "hidden width of the gate", min=1)
    supervised: bool = setting(
        True, "the classification reaches the encoder; false = the head only watches, as published"
    )
