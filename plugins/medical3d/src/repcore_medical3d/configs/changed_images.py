"""Settings of the random views of films and volumes for objectives of any kind."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from repcore.config.schema import setting

Direction = Literal["left-right", "front-back", "head-feet"]


@dataclass(frozen=True, kw_only=True)
class ImageChange:
    """What a view changes in a film or a volume with values from 0 to 1."""

    kept_share: tuple[float, float] = setting(
        (0.6, 1.0),
        "smallest and largest share of each edge that the view shows, at the full number of voxels",
        above=0,
        max=1,
    )
    flip: tuple[Direction, ...] = setting(
        (), "directions that are mirrored, each with probability 1/2; none by default, since anatomy has sides"
    )
    brightness: float = setting(0.1, "largest shift of all values either way", min=0)
    contrast: float = setting(0.2, "largest relative change of the distance from the mean", min=0)
    gamma: float = setting(0.2, "values are raised to a power between 1 / (1 + gamma) and 1 + gamma", min=0)
    noise: float = setting(0.02, "largest standard deviation of added noise", min=0)

    def __post_init__(self) -> None:
        low, high = self.kept_share
        if not 0.0 < low <= high <= 1.0:
            raise ValueError(f"kept_share={self.kept_share} is not 0 < low <= high <= 1")
        for name in ("brightness", "contrast", "gamma", "noise"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} is negative")


@dataclass(frozen=True, kw_only=True)
class ImagePairConfig:
    """Two views alike."""

    change: ImageChange = field(default=ImageChange(), metadata={"help": "what each view changes"})


@dataclass(frozen=True, kw_only=True)
class ImageWeakStrongConfig:
    """A view that is hardly moved, and a smaller cut with other intensities."""

    weak: ImageChange = field(
        default=ImageChange(kept_share=(0.95, 1.0), brightness=0.02, contrast=0.05, gamma=0.0, noise=0.0),
        metadata={"help": "changes of the weak view"},
    )
    strong: ImageChange = field(
        default=ImageChange(kept_share=(0.4, 0.8), brightness=0.2, contrast=0.4, gamma=0.4, noise=0.05),
        metadata={"help": "changes of the strong view"},
    )
