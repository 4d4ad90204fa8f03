"""Settings of ShrinkMatch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from repcore.config.schema import setting


@dataclass(frozen=True, kw_only=True)
class ShrinkMatchConfig:
    """Unlabelled items teach: certain ones their class, uncertain ones the best class among those far behind it."""

    threshold: float = setting(0.95, "probability from which an item counts as certain", above=0, max=1)
    alignment: bool = setting(True, "divide predicted classes by their running mean, so that all occur alike")
    alignment_length: int = setting(32, "batch means that are kept for it", min=1)
    ratio: Literal["kept", "reset_each_epoch"] = setting(
        "kept", "running share of certain items, the weight of the uncertain ones; reset_each_epoch as published"
    )
    ratio_decay: float | None = setting(
        None, "how much of the running share stays a step; null = 1 - 1 / max(20, steps / 50)", min=0, max=1
    )
    certain_weight: float = setting(1.0, "weight of the loss of certain items", min=0)
    shrunk_weight: float = setting(
        1.0, "weight of the loss of uncertain items, beside the share of certain ones", min=0
    )
    strong: Literal["views", "features"] = setting(
        "views", "strong view: the domain's own, or dropout and noise on the pooled vectors of the weak one"
    )
    feature_dropout: float = setting(0.35, "share of values dropped by strong=features", min=0, max=0.95)
    feature_noise: float = setting(0.3, "noise by strong=features, in standard deviations of a value", min=0)
    ema_decay: float | None = setting(
        0.999, "of the averaged weights that become the model; null = the weights as they are", min=0, max=1
    )

    @property
    def needs_views(self) -> bool:
        """Whether the domain's views are built."""
        return self.strong == "views"
