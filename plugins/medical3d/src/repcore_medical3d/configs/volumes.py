"""Settings of volume readers, of generated phantoms and of the volume preprocessor."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class VolumeFilesConfig:
    """What every reader of volumes on disk needs."""

    path: str = field(default="", metadata={"help": "folder, list file or volume; set by --data"})
    pseudonymise: str = field(
        default="",
        metadata={"help": "key file that is written: ids, patients and names in messages become pseudonyms"},
    )
    cache_mib: int = field(
        default=1024,
        metadata={"help": "decoded volumes kept in memory, so that a small set is read once", "unit": "MiB", "min": 0},
    )
    missing_affine: Literal["error", "assume-ras"] = field(
        default="error",
        metadata={
            "help": "a NIfTI file whose header places it nowhere: report the row, or take its axes as right, anterior, "
            "superior from the origin"
        },
    )
    unit: Literal["header", "mm", "m", "um"] = field(
        default="header", metadata={"help": "unit of lengths in NIfTI headers: the header's word, or this one"}
    )
    spacing_mm: tuple[float, float, float] | None = field(
        default=None,
        metadata={
            "help": "voxel edges of arrays (.npy, .npz) that tell none, in their order of axes",
            "unit": "mm",
            "above": 0,
        },
    )
    channel: str = field(
        default="all",
        metadata={"help": "of scans with several channels (sequences, a fourth axis, colours): all, a name or number"},
    )
    sequences: Literal["together", "apart"] = field(
        default="together",
        metadata={
            "help": "files of one scan that differ in their last word (_0000 and _0001, _t1 and _flair): one item, or "
            "an item each"
        },
    )
    label_maps: Literal["content", "names"] = field(
        default="content",
        metadata={"help": "how label maps are told from scans: by their names only, or by their content, too"},
    )
    label_kind: Literal["auto", "class", "regression", "multilabel"] = field(
        default="auto", metadata={"help": "what columns of the table beside the scans are; judged by their cells"}
    )
    largest_mib: int = field(
        default=8192,
        metadata={"help": "decoded size from which on a file is reported instead of read", "unit": "MiB", "min": 1},
    )
    label_grid: Literal["world", "image"] = field(
        default="world",
        metadata={
            "help": "where a label map lies: by its own affine (resampled where it differs from the image's), or voxel "
            "by voxel on its image"
        },
    )
    label_overlap: Literal["error", "smaller"] = field(
        default="error",
        metadata={
            "help": "voxels that several masks of one scan claim: the label map is left out, or they go to the class "
            "with fewer voxels (a tumour inside its organ)"
        },
    )
    label_cover: float = field(
        default=0.5,
        metadata={"help": "share of its image that a label map has to cover in the world", "min": 0, "max": 1},
    )
    soft_labels: float | None = field(
        default=None,
        metadata={"help": "label maps of probabilities: 1 from here on; reported when left out", "min": 0, "max": 1},
    )


@dataclass(frozen=True, kw_only=True)
class PhantomsConfig:
    """Generated torsos with organs in Hounsfield units."""

    volumes: int = field(default=24, metadata={"help": "number of generated people", "min": 1})
    edge: int = field(default=48, metadata={"help": "voxels along the longest axis", "min": 1})
    spacing_mm: float = field(
        default=8.0, metadata={"help": "voxel edge of the generated scans", "unit": "mm", "above": 0}
    )
    noise_hu: float = field(default=25.0, metadata={"help": "standard deviation of the noise", "unit": "HU", "min": 0})
    seed: int = field(default=0, metadata={"help": "a volume is a pure function of seed and index", "min": 0})


@dataclass(frozen=True, kw_only=True)
class VolumeConfig:
    """From scans of any orientation, spacing and intensity to one grid and one scale.

    What the training split decides (spacing, kind of scaling) is kept with the model.
    """

    orientation: str = field(
        default="RAS", metadata={"help": "anatomical direction in which each of the three array axes rises"}
    )
    spacing: Literal["median", "fixed", "native"] = field(
        default="median",
        metadata={
            "help": "median: one spacing, the median of the training scans along each axis; fixed: spacing_mm; native: "
            "every scan keeps its own (as the published loader)"
        },
    )
    spacing_mm: tuple[float, float, float] | None = field(
        default=None, metadata={"help": "spacing along the three axes for spacing=fixed", "unit": "mm", "above": 0}
    )
    intensity: Literal["auto", "hu-window", "percentile"] = field(
        default="auto",
        metadata={
            "help": "hu-window: one window for all (CT); percentile: each scan between two of its own (MR); auto: by "
            "whether the training scans reach below -500"
        },
    )
    window_hu: tuple[float, float] = field(
        default=(-125.0, 225.0), metadata={"help": "window that becomes 0 to 1 for CT", "unit": "HU"}
    )
    percentiles: tuple[float, float] = field(
        default=(0.5, 99.5),
        metadata={"help": "percentiles that become 0 and 1 for MR", "unit": "%", "min": 0, "max": 100},
    )
    not_finite: Literal["error", "fill"] = field(
        default="error", metadata={"help": "voxels that are NaN or infinite: report the row, or set them to the lowest"}
    )
    crop_edge: int = field(
        default=64, metadata={"help": "edge of the cubes that the encoder gets", "unit": "voxels", "min": 1}
    )
    coverage: Literal["sliding", "centre", "whole"] = field(
        default="sliding",
        metadata={
            "help": "cubes that cover the scan, one cube at its centre (answers about voxels cover all of it), or "
            "the scan as it is"
        },
    )
    overlap: float = field(
        default=0.5, metadata={"help": "share of its edge that a sliding cube has in common", "min": 0, "below": 1}
    )
    cache_mib: int = field(
        default=1024, metadata={"help": "prepared scans kept in memory while training", "unit": "MiB", "min": 0}
    )
