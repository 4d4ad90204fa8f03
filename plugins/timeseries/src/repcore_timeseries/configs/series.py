"""Settings of readers, generated sensors and the way to batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from repcore.config.bounds import check_bounds
from repcore.config.schema import setting


@dataclass(frozen=True, kw_only=True)
class SensorsConfig:
    """Generated sensors."""

    items: int = setting(400, "number of series", "series", min=1, max=2**31)
    channels: int = setting(2, "channels of a series, of which the second follows the first", min=2, max=64)
    shortest: int = setting(64, "steps of the shortest series", "steps", min=16, max=100_000)
    longest: int = setting(128, "steps of the longest series", "steps", min=16, max=100_000)
    missing_share: float = setting(0.05, "share of the values that are missing, in stretches", min=0, below=0.9)
    seed: int = setting(0, "seed of the series", min=0)

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.shortest > self.longest:
            raise ValueError(f"shortest={self.shortest} is above longest={self.longest}")


@dataclass(frozen=True, kw_only=True)
class KindsConfig:
    """Generated series of many kinds."""

    items: int = setting(6000, "number of series", "series", min=1, max=2**31)
    shortest: int = setting(16, "steps of the shortest series", "steps", min=8, max=100_000)
    longest: int = setting(512, "steps of the longest series", "steps", min=8, max=100_000)
    warp: float = setting(0.01, "deviation of how far time runs ahead or behind, a share of the series", min=0, max=0.2)
    missing_share: float = setting(0.1, "share of the series that have a gap", min=0, max=1)
    seed: int = setting(0, "seed of the series", min=0)

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.shortest > self.longest:
            raise ValueError(f"shortest={self.shortest} is above longest={self.longest}")


@dataclass(frozen=True, kw_only=True)
class CasesConfig:
    """Archives of labelled series: a file, or a folder with a file for each part."""

    path: str = setting(
        "", "file or folder of .ts, .arff, .tsf or UCR files (.tsv, .txt, .csv), or of the layout of UCI HAR"
    )
    labels: tuple[str, ...] = setting((), "labels to use; all when empty")


@dataclass(frozen=True, kw_only=True)
class ArraysConfig:
    """Arrays of numpy."""

    path: str = setting("", ".npy file (N, T), (N, T, C) or (N, C, T), or .npz file with X and y")
    axes: Literal["auto", "steps-channels", "channels-steps", "series-steps"] = setting(
        "auto", "order of the last two axes; auto = the longer one is time, and a row of two axes is a series"
    )


@dataclass(frozen=True, kw_only=True)
class SeriesTableConfig:
    """Tables with time stamps, wide (a column a channel) or long (a column of names and one of values)."""

    path: str = setting("", "CSV, TSV or parquet file; for timeseries/recordings a folder of them")
    time: str = setting("", "column of time stamps; empty = found by name and content, none = steps are numbered")
    time_form: str = setting(
        "",
        "form of the times: day-first, month-first, a pattern such as %d/%m/%Y %H:%M, or of numbers s, ms, us, ns, "
        "min, h, d, year, excel, matlab, filetime, compact (YYYYMMDD...); empty = found",
    )
    zone: str = setting("", "time zone of times without an offset, such as Europe/Berlin; empty = UTC")
    series: str = setting(
        "",
        "column that says which series a line belongs to, or several joined by commas; empty = found by name and by "
        "times that come several times, none = one series",
        names_rows=True,
    )
    variable: str = setting(
        "", "column of channel names of a long table; empty = found by name, none = the table is wide"
    )
    value: str = setting("", "column of values of a long table; empty = found by name")
    channels: tuple[str, ...] = setting((), "channels to use, in this order; all when empty")
    labels: tuple[str, ...] = setting((), "columns that are labels of a series, the same in all its lines")
    resample: str = setting(
        "",
        "step of time for irregular data, such as 15min or 1h: the mean of each bin, or where lines are "
        "about a step apart the nearest step; empty ones stay missing",
    )
    duplicates: Literal["error", "mean", "last"] = setting("error", "what to do with two lines of one time")
    window: int = setting(0, "steps of a row; 0 = a whole series is a row", "steps", min=0, max=10_000_000)
    stride: int = setting(0, "steps between the beginnings of rows; 0 = a window", "steps", min=0, max=10_000_000)
    parts: tuple[float, ...] = setting(
        (0.6, 0.2, 0.2),
        "train, validation and test part of the time of a series that is cut into windows: shares, or numbers of steps",
        min=0,
    )
    gap: int = setting(0, "steps that are left out before the validation and the test part", "steps", min=0)
    decimal: Literal["auto", "point", "comma"] = setting(
        "auto", "sign of decimals; found in the cells of the table by default"
    )

    def __post_init__(self) -> None:
        check_bounds(self)
        if len(self.parts) != 3 or self.parts[0] == 0:
            raise ValueError(f"parts={self.parts} are not a train, a validation and a test part")


@dataclass(frozen=True, kw_only=True)
class SeriesPreprocessorConfig:
    """The way from a series to a batch."""

    channels: Literal["trained", "any"] = setting(
        "trained",
        "those of the training rows, or any: each channel of each series then has a mean and deviation of its own",
    )
    standardise: bool = setting(True, "channels to mean 0 and standard deviation 1 of the training rows")
    calendar: bool = setting(
        False, "six channels more, sine and cosine of the hour, the weekday and the day of the year"
    )
    longest: int = setting(4096, "steps of an item; a longer series becomes several items", "steps", min=1, max=2**24)
    shortest: int = setting(4, "steps with a value that a series needs, or its row says that it is too short", min=1)

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.channels == "any" and (self.calendar or not self.standardise):
            raise ValueError("channels=any standardises every series and has no calendar")
