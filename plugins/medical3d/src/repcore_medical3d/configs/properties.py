"""Settings of the zero-shot property evaluations of anatomy encoders."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class PropertiesConfig:
    """What fixes the evaluations besides their version."""

    most_images: int = field(default=200, metadata={"help": "images that are looked at, from the first on", "min": 1})
    exponent: int = field(default=1, metadata={"help": "patches have edges / 2**exponent of the image", "min": 0})
    patches: int = field(default=4, metadata={"help": "random wholes an image, for part-whole and lines", "min": 1})
    grid: int = field(default=3, metadata={"help": "places along each axis, for localizability", "min": 1})
    clusters: int = field(default=6, metadata={"help": "groups of places in co-segmentation", "min": 1})
    pairs: int = field(default=64, metadata={"help": "pairs of images that are matched", "unit": "pairs", "min": 1})
    mix_shares: tuple[float, ...] = field(
        default=(0.25, 0.5, 0.75), metadata={"help": "places between two patches", "above": 0, "below": 1}
    )
    reach_shares: tuple[float, ...] = field(
        default=(1.25, 1.5, 2.0), metadata={"help": "places beyond two patches", "above": 1}
    )
