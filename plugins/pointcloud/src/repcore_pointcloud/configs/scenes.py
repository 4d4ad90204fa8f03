"""Settings of scene readers, generated rooms, voxelisation with regions, and training views."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Channel = Literal["constant", "height", "slope", "normal", "shape", "colour", "intensity"]


@dataclass(frozen=True, kw_only=True)
class ScenesConfig:
    """Which files to read."""

    path: str = field(default="", metadata={"help": "a scene file, or a folder of them"})
    ignored_label: int | None = field(
        default=None, metadata={"help": "label that means unlabelled; null = negative numbers only"}
    )
    labels: tuple[str, ...] = field(default=(), metadata={"help": "labels to use; all that are found when left out"})
    columns: tuple[str, ...] = field(
        default=(),
        metadata={"help": "x, y, z of files with columns: names from the header, or numbers from 0; found by name"},
    )
    decimal: Literal["auto", "point", "comma"] = field(
        default="auto", metadata={"help": "sign of decimals in text files; found in their cells by default"}
    )
    bin_columns: int = field(
        default=0, metadata={"help": "float32 numbers a point in .bin files; 0 = by name and content", "min": 0}
    )
    flags_left_out: tuple[Literal["withheld", "synthetic", "overlap"], ...] = field(
        default=("withheld",),
        metadata={"help": "points that LAS or a column of this name marks so and that are no part of the cloud"},
    )
    cache_mib: int = field(
        default=512,
        metadata={"help": "scenes kept in memory, so that a small set is read once", "unit": "MiB", "min": 0},
    )


@dataclass(frozen=True, kw_only=True)
class RoomsConfig:
    """Generated indoor scenes."""

    scenes: int = field(default=40, metadata={"help": "number of rooms", "min": 1})
    points: int = field(default=9000, metadata={"help": "points of a room", "unit": "points", "min": 1})
    noise_m: float = field(
        default=0.004, metadata={"help": "standard deviation of the measurement noise", "unit": "m", "min": 0}
    )
    seed: int = field(default=0, metadata={"help": "seed of everything random", "min": 0})


@dataclass(frozen=True, kw_only=True)
class SceneConfig:
    """From points to voxels with features and regions."""

    voxel_size_m: float = field(default=0.05, metadata={"help": "side of a voxel", "unit": "m", "above": 0})
    unit_m: float = field(default=1.0, metadata={"help": "length of one unit of the files", "unit": "m", "above": 0})
    up: Literal["z", "y", "-y"] = field(default="z", metadata={"help": "axis that points up; -y for camera frames"})
    sensor_at_origin: bool = field(
        default=False, metadata={"help": "scenes without a viewpoint were seen from 0, 0, 0; true for single scans"}
    )
    grid_m: float | None = field(
        default=None,
        metadata={
            "help": "points are thinned to one a cell of this side before regions; null = voxel",
            "unit": "m",
            "above": 0,
        },
    )
    channels: tuple[Channel, ...] = field(
        default=("constant", "height", "slope", "shape"), metadata={"help": "features of a voxel"}
    )
    colour_scale: float = field(
        default=1.0,
        metadata={"help": "factor on colours - 0.5: 1 as in MinkowskiEngine networks, 2 as in Pointcept", "above": 0},
    )
    height_scale_m: float = field(default=1.0, metadata={"help": "height that counts as 1", "unit": "m", "above": 0})
    normal_neighbours: int = field(default=16, metadata={"help": "neighbours of a normal", "min": 1})
    edge_neighbours: int = field(default=12, metadata={"help": "neighbours that a point may join", "min": 1})
    merge_constant: float = field(default=0.03, metadata={"help": "larger values make larger regions", "above": 0})
    minimum_region_size: int = field(default=30, metadata={"help": "smallest region", "unit": "points", "min": 1})
    convexity: bool = field(default=True, metadata={"help": "convex edges join more easily; needs a viewpoint"})
    background_share_above: float = field(
        default=0.12, metadata={"help": "share of points of a background region", "min": 0, "max": 1}
    )
    background_thickness_below: float = field(default=0.02, metadata={"help": "its thickness", "unit": "m", "min": 0})
    background_extent_above: float = field(default=0.25, metadata={"help": "its extent", "unit": "m", "min": 0})


LIDAR_SCENE = SceneConfig(
    voxel_size_m=0.2,
    sensor_at_origin=True,
    grid_m=0.15,
    edge_neighbours=10,
    merge_constant=0.08,
    minimum_region_size=25,
    height_scale_m=2.0,
    background_share_above=0.03,
    background_thickness_below=0.35,
    background_extent_above=2.0,
)
"""Street scans of a rotating LiDAR."""


@dataclass(frozen=True, kw_only=True)
class ScenePairConfig:
    """Two independent random views of a scene; ranges of DepthContrast."""

    window_points: int = field(
        default=20_000, metadata={"help": "points of the part that both views are cut from", "unit": "points", "min": 1}
    )
    view_points: int = field(default=20_000, metadata={"help": "most points of a view", "unit": "points", "min": 1})
    crop_share: tuple[float, float] = field(
        default=(0.5, 1.0), metadata={"help": "kept share of the extent per axis", "above": 0, "max": 1}
    )
    minimum_share: float = field(
        default=0.3, metadata={"help": "smallest share of the window's points in a view", "min": 0, "max": 1}
    )
    rotation_deg: float = field(
        default=180.0, metadata={"help": "largest turn about the vertical", "unit": "degree", "min": 0}
    )
    tilt_deg: float = field(
        default=2.8, metadata={"help": "largest tilt about each other axis", "unit": "degree", "min": 0}
    )
    flip: bool = field(default=True, metadata={"help": "mirror x and y, each with probability 1/2"})
    scale: tuple[float, float] = field(
        default=(0.8, 1.2), metadata={"help": "range of the factor on lengths", "above": 0}
    )
    drop_share: float = field(
        default=0.2, metadata={"help": "extent of a cuboid that is left out; 0 = none", "min": 0, "max": 1}
    )
    colour_jitter: float = field(default=0.4, metadata={"help": "largest relative change of brightness", "min": 0})
    colour_drop: float = field(
        default=0.3, metadata={"help": "probability that all colours are left out", "min": 0, "max": 1}
    )
    colour_grey: float = field(
        default=0.2, metadata={"help": "probability that colours become grey", "min": 0, "max": 1}
    )


LIDAR_PAIR = ScenePairConfig(window_points=16_384, view_points=16_384, rotation_deg=45.0, scale=(0.95, 1.05))
"""Street scans: smaller turns and scales."""


WEAK_LOOK = ScenePairConfig(
    crop_share=(0.9, 1.0),
    rotation_deg=15.0,
    tilt_deg=0.0,
    flip=False,
    scale=(0.95, 1.05),
    drop_share=0.0,
    colour_jitter=0.1,
    colour_drop=0.0,
    colour_grey=0.0,
)
"""Nearly all of a window, turned a little."""


@dataclass(frozen=True, kw_only=True)
class SceneWeakStrongConfig:
    """Two views of a window, one nearly as it is."""

    weak: ScenePairConfig = field(default=WEAK_LOOK, metadata={"help": "ranges of the weak view"})
    strong: ScenePairConfig = field(
        default=ScenePairConfig(crop_share=(0.5, 0.9), minimum_share=0.15, drop_share=0.3),
        metadata={"help": "ranges of the strong view"},
    )
