"""Settings of the readers of shapes, of the generated shapes, and of the preprocessor."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class ShapeFilesConfig:
    """What every reader of shapes on disk needs."""

    path: str = field(default="", metadata={"help": "folder or file; set by --data"})
    labels: tuple[str, ...] = field(default=(), metadata={"help": "labels to use; all that are found when left out"})
    cache_mib: int = field(
        default=512,
        metadata={"help": "clouds kept in memory, so that a small set is read once", "unit": "MiB", "min": 0},
    )


@dataclass(frozen=True, kw_only=True)
class ShapeFolderConfig(ShapeFilesConfig):
    """A tree of clouds and meshes; subfolders or a table give labels."""

    label_table: str = field(
        default="",
        metadata={"help": "CSV or TSV with a column of file names; labels.csv in the folder is used when left out"},
    )
    file_column: str | None = field(
        default=None, metadata={"help": "column of file names in the table; found by name when left out"}
    )
    columns: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "x, y, z of text files and arrays: names from the header, or numbers from 0; the first three"
        },
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
    mesh_points: int = field(
        default=8192, metadata={"help": "points drawn from the surface of a mesh, even by area", "min": 1}
    )
    sampling_seed: int = field(default=0, metadata={"help": "of the points on meshes", "min": 0})


@dataclass(frozen=True, kw_only=True)
class ShapeHdf5Config(ShapeFilesConfig):
    """HDF5 files of clouds, as ModelNet40 and ScanObjectNN come."""

    variant: str = field(
        default="",
        metadata={
            "help": "data set of a folder that holds several: file name without train or test, for example "
            "objectdataset_augmentedrot_scale75 (PB-T50-RS); the plain one when left out"
        },
    )


@dataclass(frozen=True, kw_only=True)
class GeneratedShapesConfig:
    """Parametric objects with random proportions, pose, occlusion and noise."""

    shapes: int = field(default=600, metadata={"help": "number of objects", "min": 1})
    points: int = field(default=2048, metadata={"help": "points of an object", "min": 1})
    seed: int = field(default=0, metadata={"help": "objects are a pure function of seed and index", "min": 0})
    tilt_degrees: float = field(
        default=20.0, metadata={"help": "largest lean away from upright", "unit": "degrees", "min": 0}
    )
    noise: float = field(
        default=0.02,
        metadata={"help": "standard deviation of a point from the surface", "unit": "cloud radii", "min": 0},
    )
    occlusion: float = field(
        default=0.3, metadata={"help": "largest share of an object that is cut away", "min": 0, "max": 1}
    )


@dataclass(frozen=True, kw_only=True)
class PointSetConfig:
    """From a cloud of any number of points to a fixed number, centred, with largest radius 1."""

    points: int = field(default=2048, metadata={"help": "points that the encoder gets of each cloud", "min": 1})
    resampling: Literal["random", "farthest", "first"] = field(
        default="random",
        metadata={
            "help": "larger clouds. random: an even choice, the same each time; farthest: farthest point sampling, "
            "even in space and slower; first: the first ones (the published ModelNet40 protocol)"
        },
    )
    normalise: bool = field(
        default=True, metadata={"help": "centre on the mean and divide by the largest distance from it"}
    )
    few_points: int = field(
        default=64, metadata={"help": "clouds with fewer distinct points are marked: their tokens repeat", "min": 0}
    )
    nonfinite: Literal["reject", "drop"] = field(
        default="drop",
        metadata={
            "help": "points with NaN, infinite or absurd coordinates (beyond 1e12): drop them and mark the row, or "
            "reject the cloud"
        },
    )
