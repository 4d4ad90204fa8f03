"""Settings of the readers of radiographs and photographs, of generated radiographs, and of their preprocessor."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class ImageFilesConfig:
    """What every reader of 2-D images needs."""

    path: str = field(default="", metadata={"help": "folder or list file; set by --data"})
    pseudonymise: str = field(
        default="",
        metadata={"help": "key file that is written: ids, patients and names in messages become pseudonyms"},
    )
    labels: tuple[str, ...] = field(default=(), metadata={"help": "labels to use; all that are found when left out"})
    table: str = field(
        default="",
        metadata={"help": "CSV, TSV or parquet with a column of file names; the tables of the folder when left out"},
    )
    file_column: str | None = field(
        default=None, metadata={"help": "column of file names; found by name when left out"}
    )
    group_column: str | None = field(
        default=None, metadata={"help": "leakage key; patient or patient_id when left out"}
    )
    split_column: str | None = field(default=None, metadata={"help": "split of each row; split when left out"})
    label_kind: Literal["auto", "class", "regression", "multilabel"] = field(
        default="auto", metadata={"help": "what the table's columns are; judged by their cells"}
    )
    label_separator: str = field(
        default="", metadata={"help": "sign between several labels in a cell; found in the cells when left out"}
    )
    uncertain: Literal["auto", "missing", "positive", "negative", "class"] = field(
        default="auto", metadata={"help": "what -1 beside 0 and 1 means (CheXpert, MIMIC-CXR); auto: missing"}
    )
    mask_folder: str = field(
        default="masks", metadata={"help": "folder beside the images with label images of the same names"}
    )
    label_maps: Literal["content", "names"] = field(
        default="content",
        metadata={"help": "how label images are told from images: by their names only, or by their content, too"},
    )
    cache_mib: int = field(
        default=512,
        metadata={"help": "decoded images kept in memory, so that a small set is read once", "unit": "MiB", "min": 0},
    )


@dataclass(frozen=True, kw_only=True)
class RadiographsConfig:
    """Generated chest radiographs: projections of ellipsoids with pathology, landmarks and masks."""

    images: int = field(default=240, metadata={"help": "number of generated people", "min": 1})
    edge: int = field(default=128, metadata={"help": "pixels along the longer edge", "min": 1})
    noise: float = field(
        default=0.02, metadata={"help": "standard deviation of the noise, of the full range", "min": 0}
    )
    seed: int = field(default=0, metadata={"help": "an image is a pure function of seed and index", "min": 0})


@dataclass(frozen=True, kw_only=True)
class ImageConfig:
    """From image files of any size, depth and colour to one grid and the range 0 to 1."""

    edge: int = field(
        default=512,
        metadata={"help": "pixels along each edge of what the encoder and the views see", "unit": "pixels", "min": 1},
    )
    aspect: Literal["squash", "pad", "crop"] = field(
        default="squash",
        metadata={
            "help": "squash: height and width are scaled apart (published); pad: black bars; crop: centre square"
        },
    )
    input_channels: int = field(
        default=1, metadata={"help": "1 = grey, 3 = colour (grey images are repeated)", "choices": (1, 3)}
    )
    window: Literal["auto", "full", "percentile"] = field(
        default="auto",
        metadata={
            "help": "what becomes 0 to 1: the full range of 8-bit images, or two percentiles of each image; auto: the "
            "former for 8 bits, the latter for more"
        },
    )
    percentiles: tuple[float, float] = field(
        default=(0.5, 99.5), metadata={"help": "percentiles that become 0 and 1", "unit": "%", "min": 0, "max": 100}
    )
    smallest_edge: int = field(
        default=28, metadata={"help": "images below this are reported rows", "unit": "pixels", "min": 0}
    )
    normalisation: Literal["fitted", "imagenet", "none"] = field(
        default="fitted",
        metadata={
            "help": "channel mean and standard deviation of the encoder's input: of the training images, of ImageNet "
            "(published), or 0 and 1"
        },
    )
    statistics_images: int = field(
        default=200, metadata={"help": "training images that statistics are taken from", "min": 1}
    )
