"""Settings of MLCD."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from repcore.config.schema import setting


@dataclass(frozen=True, kw_only=True)
class MlcdConfig:
    """Each item has its nearest cluster centres as labels."""

    clusters: str = setting("", "folder of `repcore fit clusters`; empty = cluster when the run starts")
    count: int | None = setting(
        None, "clusters that a run makes itself; null = one for 400 items, 64 at least, a quarter of the items at most",
        min=2,
    )  # fmt: skip
    iterations: int = setting(25, "most iterations of the clustering", min=1)
    labels: int | None = setting(None, "nearest centres that are an item's labels; null = 8, fewer of few", min=1)
    rate: float | None = setting(
        None, "share of the other centres that are negatives of a step; null = all up to 1000 centres, else 0.1",
        above=0, max=1,
    )  # fmt: skip
    scale: float = setting(16.0, "factor on cosines; the paper's 1 makes both terms nearly linear", above=0)
    margin: float = setting(0.2, "what is taken off the cosine (added to the angle) of positives", min=0)
    margin_kind: Literal["none", "cosine", "angle"] = setting("cosine", "where the margin is applied")
    margin_gradient: Literal["exact", "straight-through"] = setting(
        "exact", "gradient through an angle margin, or as if the margin were a constant (UNICOM)"
    )
    offset: float = setting(0.0, "cosine at which the decision boundary lies", min=-1, max=1)
    seed: int = setting(0, "seed of the first centres", min=0)
