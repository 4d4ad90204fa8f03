"""Settings of the random views of single clouds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from repcore.config.schema import setting


@dataclass(frozen=True, kw_only=True)
class CloudChange:
    """What a view changes in a cloud."""

    kept_share: tuple[float, float] = setting(
        (0.6, 1.0),
        "smallest and largest share of the points, those on one side of a random plane, that the view has",
        above=0,
        max=1,
    )
    rotation_deg: float = setting(180.0, "largest turn about the upright axis", "degree", min=0)
    up: Literal["x", "y", "z"] = setting("z", "upright axis")
    scale: tuple[float, float] = setting((0.8, 1.25), "range of the factor on lengths", above=0)
    jitter: float = setting(
        0.01, "standard deviation of the shift of each point, cut at three times", "cloud radii", min=0
    )

    def __post_init__(self) -> None:
        low, high = self.kept_share
        if not 0.0 < low <= high <= 1.0:
            raise ValueError(f"kept_share={self.kept_share} is not 0 < low <= high <= 1")
        if not 0.0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale={self.scale} is no range of positive numbers")
        for name in ("rotation_deg", "jitter"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} is negative")


@dataclass(frozen=True, kw_only=True)
class CloudPairConfig:
    """Two views alike."""

    change: CloudChange = field(default=CloudChange(), metadata={"help": "what each view changes"})


@dataclass(frozen=True, kw_only=True)
class CloudWeakStrongConfig:
    """A whole cloud turned a little, and a part of it turned at will, rougher."""

    weak: CloudChange = field(
        default=CloudChange(kept_share=(1.0, 1.0), rotation_deg=15.0, scale=(0.95, 1.05), jitter=0.002),
        metadata={"help": "changes of the weak view"},
    )
    strong: CloudChange = field(
        default=CloudChange(kept_share=(0.4, 0.8), jitter=0.02), metadata={"help": "changes of the strong view"}
    )
