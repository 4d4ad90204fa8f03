"""Settings of restoring hidden cells and saying the place of every voxel."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class RestoreConfig:
    """Hidden cells of a cube restored, and where in its scan every voxel lies."""

    mask_patch: int = field(default=8, metadata={"help": "edge of a hidden cell", "unit": "voxels", "min": 1})
    mask_ratio: float = field(default=0.5, metadata={"help": "share of cells that are hidden", "above": 0, "below": 1})
    restore_weight: float = field(default=1.0, metadata={"help": "factor of the error of restored voxels", "min": 0})
    place_weight: float = field(default=5.0, metadata={"help": "factor of the error of places", "min": 0})
    decoder_width: int = field(
        default=16, metadata={"help": "channels of the decoder on stages of convnext and resnet", "min": 1}
    )
    intensity: float = field(
        default=0.1,
        metadata={
            "help": "largest relative change of brightness and of contrast; of the logarithm of gamma, twice as much",
            "min": 0,
            "max": 1,
        },
    )


@dataclass(frozen=True, kw_only=True)
class PlacedCubeConfig:
    """A cube at a random place of its scan; ``preprocessor.crop_edge`` is its edge."""
