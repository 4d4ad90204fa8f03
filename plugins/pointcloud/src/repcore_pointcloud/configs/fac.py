"""Settings of the objectives of FAC: regional and matched contrast, and the repository's scene-level contrast."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class FacConfig:
    """Foreground-aware contrast. Values marked ours are not in the paper's public material."""

    temperature: float = field(default=0.1, metadata={"help": "divides similarities; ours, 0.4 is the other candidate"})
    geometric_weight: float = field(default=1.0, metadata={"help": "weight of the regional contrast (alpha)"})
    feature_weight: float = field(default=1.0, metadata={"help": "weight of the contrast of matches (beta)"})
    negatives: Literal["points", "regions"] = field(
        default="points", metadata={"help": "points of other regions (the paper), or means of other regions (ours)"}
    )
    anchors: int = field(default=64, metadata={"help": "regions drawn a scene, half of them foreground; ours"})
    positives: int = field(default=16, metadata={"help": "points drawn of a region; ours"})
    negatives_per_positive: int = field(default=64, metadata={"help": "points drawn elsewhere; ours"})
    top_k: int = field(default=8, metadata={"help": "matches of a region in the other view"})
    candidates: int = field(default=1024, metadata={"help": "points a scene and flag that may match; ours"})
    momentum: float = field(default=0.999, metadata={"help": "of the key encoder and its projector"})
    matching_radius_m: float | None = field(
        default=None,
        metadata={"help": "spatial filtering of matches: 0.3 indoors, 2 outdoors; null = off", "unit": "m"},
    )


@dataclass(frozen=True, kw_only=True)
class SceneMocoConfig:
    """Scene-level momentum contrast of the public repository, voxel format."""

    temperature: float = field(default=0.1, metadata={"help": "divides similarities"})
    queue_places: int = field(default=65_536, metadata={"help": "stored keys"})
    hidden_width: int = field(default=256, metadata={"help": "of the projection head"})
    output_width: int = field(default=128, metadata={"help": "of a scene's vector"})
    momentum: float = field(default=0.999, metadata={"help": "of the key encoder"})
