"""Settings of Core-tuning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from repcore.config.schema import setting


@dataclass(frozen=True, kw_only=True)
class CoreTuningConfig:
    """Classification of mixed vectors, with a focal contrast over the same rows."""

    eta: float = setting(1.0, "weight of the contrast; published 0.1 with norm=columns", min=0)
    temperature: float = setting(0.07, "softmax temperature of the contrast", above=0)
    alpha: float = setting(1.0, "both parameters of the Beta distribution of shares", above=0)
    floor: float = setting(0.8, "least share of the partner in a hard negative", min=0, max=1)
    projection: int = setting(256, "width in which rows are contrasted", min=1)
    norm: Literal["positives", "columns"] = setting(
        "positives", "a row's sum is divided by its positives, or by all rows as published"
    )
    mining: Literal["masked", "reference"] = setting(
        "masked", "hard positives and negatives among those that are some, or as the published code finds them"
    )
    labels: Literal["exact", "hash"] = setting("exact", "equal mixed labels by comparison, or by the published hash")
    detach_originals: bool = setting(False, "the encoder learns through mixed rows only, as published")
