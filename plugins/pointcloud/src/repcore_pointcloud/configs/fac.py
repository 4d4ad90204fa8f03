"""Settings of the objectives of FAC: regional and matched contrast, and the repository's scene-level contrast."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class FacConfig:
    """Foreground-aware contrast. Values marked ours are not in the paper's public material."""

    temperature: float = field(
        default=0.1, metadata={"help": "divides similarities; ours, 0.4 is the other candidate", "above": 0}
    )
    geometric_weight: float = field(default=1.0, metadata={"help": "weight of the regional contrast (alpha)", "min": 0})
    feature_weight: float = field(default=1.0, metadata={"help": "weight of the contrast of matches (beta)", "min": 0})
    negatives: Literal["points", "regions"] = field(
        default="points", metadata={"help": "points of other regions (the paper), or means of other regions (ours)"}
    )
    anchors: int = field(
        default=64, metadata={"help": "regions drawn a scene, half of them foreground; ours", "min": 1}
    )
    positives: int = field(default=16, metadata={"help": "points drawn of a region; ours", "min": 1})
    negatives_per_positive: int = field(default=64, metadata={"help": "points drawn elsewhere; ours", "min": 1})
    top_k: int = field(default=8, metadata={"help": "matches of a region in the other view", "min": 0})
    candidates: int = field(default=1024, metadata={"help": "points a scene and flag that may match; ours", "min": 1})
    momentum: float = field(
        default=0.999, metadata={"help": "of the key encoder and its projector", "min": 0, "max": 1}
    )
    matching_radius_m: float | None = field(
        default=None,
        metadata={"help": "spatial filtering of matches: 0.3 indoors, 2 outdoors; null = off", "unit": "m", "above": 0},
    )


@dataclass(frozen=True, kw_only=True)
class SceneMocoConfig:
    """Scene-level momentum contrast of the public repository, voxel format."""

    temperature: float = field(default=0.1, metadata={"help": "divides similarities", "above": 0})
    queue_places: int = field(default=65_536, metadata={"help": "stored keys", "min": 1})
    hidden_width: int = field(default=256, metadata={"help": "of the projection head", "min": 1})
    output_width: int = field(default=128, metadata={"help": "of a scene's vector", "min": 1})
    momentum: float = field(default=0.999, metadata={"help": "of the key encoder", "min": 0, "max": 1})
