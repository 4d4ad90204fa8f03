"""Settings of TS2Vec."""

from __future__ import annotations

from dataclasses import dataclass

from repcore.config.bounds import check_bounds
from repcore.config.schema import setting


@dataclass(frozen=True, kw_only=True)
class TS2VecConfig:
    """Hierarchical contrast between two overlapping crops."""

    alpha: float = setting(0.5, "share of the contrast between series; the rest is between steps", min=0, max=1)
    temporal_unit: int = setting(
        0, "first level of max pooling by two at which steps are contrasted; more saves memory", min=0, max=24
    )
    visible_share: float = setting(0.5, "chance of a step of a crop to stay visible to the encoder", above=0, max=1)

    def __post_init__(self) -> None:
        check_bounds(self)
