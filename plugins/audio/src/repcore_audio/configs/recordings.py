"""Settings of the readers of recordings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class RecordingsConfig:
    """What every reader of files needs."""

    path: str = field(default="", metadata={"help": "folder or file; set by --data"})
    labels: tuple[str, ...] = field(
        default=(), metadata={"help": "labels to use, in manifests columns; all that are found when left out"}
    )
    channels: str = field(
        default="mean",
        metadata={"help": "mean, first, all (each channel on its own, vectors averaged), or a number from 1"},
    )
    cache_mib: int = field(
        default=256,
        metadata={
            "help": "decoded recordings kept in memory, so that a small set is read once",
            "unit": "MiB",
            "min": 0,
        },
    )


@dataclass(frozen=True, kw_only=True)
class ManifestConfig(RecordingsConfig):
    """A table, JSON list, selection table or label track; relative paths start at its folder.

    Columns are found by their names and cells, and what was found is said.
    """

    path_column: str | None = field(
        default=None, metadata={"help": "column of file names; found by its cells when left out"}
    )
    group_column: str | None = field(
        default=None, metadata={"help": "leakage key such as speaker; found by name when left out"}
    )
    split_column: str | None = field(
        default=None, metadata={"help": "split or fold of each row; split, fold, subset or part when left out"}
    )
    id_column: str | None = field(
        default=None, metadata={"help": "unique ids; the file names (with times) when left out"}
    )
    channel_column: str | None = field(
        default=None, metadata={"help": "number of the channel of each row, from 1; beside times found by name"}
    )
    excerpts: Literal["apply", "ignore", "frames"] = field(
        default="apply",
        metadata={
            "help": "apply: columns of times cut the recordings; ignore: whole recordings; frames: a row a recording, "
            "segments are labels of its frames"
        },
    )
    times_unit: Literal["auto", "s", "ms", "us", "min", "samples", "frames"] = field(
        default="auto",
        metadata={"help": "unit of times whose columns name none, or count; samples are those of each row's own file"},
    )
    hop_seconds: float = field(
        default=0.0,
        metadata={
            "help": "seconds from one frame to the next, for times in frames; 0 = a column hop says it",
            "unit": "s",
            "min": 0,
            "max": 3600,
        },
    )
    decimal: Literal["auto", "point", "comma"] = field(
        default="auto", metadata={"help": "sign of decimals; found in the cells of the table by default"}
    )
    elsewhere: Literal["background", "missing"] = field(
        default="background", metadata={"help": "with excerpts=frames: what frames outside of all segments are"}
    )
    label_kind: Literal["auto", "class", "regression", "multilabel"] = field(
        default="auto", metadata={"help": "what the label columns hold; judged from their cells when auto"}
    )
    label_separator: str = field(
        default="", metadata={"help": "between several labels of one cell; found in the cells when left out"}
    )
    label_table: str = field(
        default="", metadata={"help": "CSV with columns mid and display_name that gives label codes their names"}
    )


@dataclass(frozen=True, kw_only=True)
class SoundsConfig:
    """Generated instruments and environmental sounds."""

    clips: int = field(default=500, metadata={"help": "number of recordings", "min": 1})
    seconds: float = field(
        default=1.5, metadata={"help": "longest recording; lengths vary from half of it", "unit": "s", "above": 0}
    )
    sample_rate_hz: int = field(default=16_000, metadata={"help": "sampling rate", "unit": "Hz", "min": 1})
    seed: int = field(default=0, metadata={"help": "recordings are a pure function of seed and index", "min": 0})
    signal_to_noise_db: tuple[float, float] = field(
        default=(-3.0, 15.0),
        metadata={"help": "range of the level over the background", "unit": "dB", "min": -300, "max": 300},
    )


@dataclass(frozen=True, kw_only=True)
class TakesConfig:
    """Generated words and sounds, every recording another one."""

    clips: int = field(default=2000, metadata={"help": "number of recordings", "min": 1})
    words_share: float = field(
        default=0.75,
        metadata={"help": "share of words; the others are instruments and environmental sounds", "min": 0, "max": 1},
    )
    sample_rate_hz: int = field(default=16_000, metadata={"help": "sampling rate", "unit": "Hz", "min": 1})
    seed: int = field(default=0, metadata={"help": "recordings are a pure function of seed and index", "min": 0})
