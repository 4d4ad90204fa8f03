"""Headerless ``.bin``: float32 numbers, three to six a point; how many is decided by evidence and said.

KITTI has x y z reflectance, nuScenes a ring number more, indoor sets of mmdetection3d colours. The number of columns
comes from the setting, else from what is known beside the file (a label a point), else from the name (``.pcd.bin`` is
nuScenes), else from the numbers themselves: read with the right width, every column has a distribution of its own;
read with a wrong one, all columns are mixtures of all, and alike. Where two widths fit equally the file is refused.

Symbols: n points, C columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from repcore.errors import ItemError
from repcore_pointcloud.formats import column_names as known
from repcore_pointcloud.formats.table import RawColumns

WIDTHS = (3, 4, 5, 6)
NUSCENES, NUSCENES_WIDTH = ".pcd.bin", 5
KITTI_FOLDER, KITTI_WIDTH = "velodyne", 4
FEWEST = 20  # points below which a distribution says nothing
LOOKED_AT = 60_000  # numbers that are compared
AS_GOOD = 0.85  # share of the best contrast from which on a smaller width fits as well
CLEAR = 0.08  # mean difference of distributions below which columns are alike
CHANCE = 0.87  # mean of the Kolmogorov distribution
SENSIBLE = 1e7  # larger numbers are no float32 coordinates


@dataclass(frozen=True, slots=True)
class Width:
    """Numbers a point, and why."""

    columns: int
    reason: str


def read_bin(path: Path, columns: int = 0, points: int | None = None) -> RawColumns:
    """Columns of a ``.bin`` file.

    Args:
        columns: numbers a point; 0 = by evidence.
        points: number of points where something beside the file tells it.

    Raises:
        ItemError: ``truncated``, ``corrupt`` or ``ambiguous``: says which widths fit and what to set.
    """
    if path.stat().st_size % 4:
        raise ItemError("truncated", f"{path.name} has {path.stat().st_size} bytes, no whole number of float32")
    numbers = np.fromfile(path, dtype="<f4")
    width = width_of(path, numbers, columns, points)
    table = numbers.reshape(-1, width.columns)
    names = _names(table)
    notes = (f"{width.columns} columns ({' '.join(names)}): {width.reason}",)
    sensor = np.zeros(3) if width.columns in (4, 5) else None  # a sweep is seen from its origin
    return RawColumns(dict(zip(names, table.T, strict=True)), viewpoint=sensor, notes=notes)


def width_of(path: Path, numbers: np.ndarray, columns: int = 0, points: int | None = None) -> Width:
    """Numbers a point of a ``.bin`` file, and why.

    Raises:
        ItemError: as :func:`read_bin`.
    """
    count = len(numbers)
    if columns:
        if count % columns:
            raise ItemError("truncated", f"{path.name} has {count:,} numbers, not {columns} a point")
        return Width(columns, "dataset.bin_columns")
    expected = _expected(path)
    if points and expected is None:
        if count % points or count // points < 3:
            raise ItemError("labels_differ", f"{path.name} has {count:,} numbers for {points:,} labels")
        return Width(count // points, f"{points:,} labels lie beside it")
    fitting = [one for one in WIDTHS if count % one == 0]
    if not fitting:
        raise ItemError(
            "truncated",
            f"{path.name} has {count:,} numbers: not 3, 4, 5 or 6 a point; cut off, or dataset.bin_columns=C",
        )
    _check_sensible(path, numbers)
    if expected and expected.columns in fitting:
        contrast = _contrasts(numbers)
        if not contrast or contrast[expected.columns] >= AS_GOOD * max(contrast.values()):
            return expected
    return _by_content(path, numbers, fitting)


def _expected(path: Path) -> Width | None:
    name = path.name.lower()
    if name.endswith(NUSCENES) or "LIDAR_TOP" in path.parts:
        return Width(NUSCENES_WIDTH, "nuScenes sweeps are named .pcd.bin")
    if path.parent.name.lower().startswith(KITTI_FOLDER):
        return Width(KITTI_WIDTH, "KITTI sweeps lie in a folder velodyne")
    return None


def _check_sensible(path: Path, numbers: np.ndarray) -> None:
    some = numbers[:LOOKED_AT]
    with np.errstate(invalid="ignore"):
        odd = ~(np.abs(some) < SENSIBLE) & ~np.isnan(some)
        tiny = (np.abs(some) < 1e-30) & (some != 0)
    if len(some) and (odd | tiny).mean() > 0.02:
        doubles = np.frombuffer(some[: len(some) - len(some) % 2].tobytes(), "<f8")
        with np.errstate(invalid="ignore"):
            fits = len(doubles) and (np.abs(doubles) < SENSIBLE).mean() > 0.99
        said = "they look like float64" if fits else "they are no coordinates"
        raise ItemError("corrupt", f"{path.name} does not hold float32 numbers: {said}")


def _by_content(path: Path, numbers: np.ndarray, fitting: list[int]) -> Width:
    contrast = _contrasts(numbers)
    best = max(contrast.values(), default=0.0)
    likely = next((one for one in WIDTHS if best > CLEAR and contrast[one] >= AS_GOOD * best), 0)
    if likely and likely not in fitting and all(one % likely for one in fitting):
        raise ItemError(
            "truncated",
            f"{path.name} looks like {likely} numbers a point, but has {len(numbers):,}: cut off, or "
            "dataset.bin_columns=C",
        )
    if len(fitting) == 1:
        return Width(fitting[0], f"{len(numbers):,} numbers are divisible by no other width")
    if not likely or any(one % likely for one in fitting if contrast[one] >= AS_GOOD * best):
        choices = " or ".join(f"{one} ({len(numbers) // one:,} points)" for one in fitting)
        raise ItemError(
            "ambiguous", f"{path.name} may have {choices} columns a point; dataset.bin_columns=C says which"
        )
    others = ", ".join(str(one) for one in fitting if one != likely)
    return Width(likely, f"columns differ most when read so; {others} would divide the file too")


def _contrasts(numbers: np.ndarray) -> dict[int, float]:
    """How unlike the columns are for every width: mean distance of a column's distribution from that of all numbers.

    Empty when there are too few numbers to say.
    """
    some = numbers[:LOOKED_AT]
    if len(some) < FEWEST * max(WIDTHS):
        return {}
    some = np.nan_to_num(some.astype(np.float64), posinf=SENSIBLE, neginf=-SENSIBLE)
    edges = np.unique(np.quantile(some, np.linspace(0, 1, 65)[1:-1]))
    place = np.searchsorted(edges, some, side="right")
    return {width: _contrast(place[: len(place) // width * width].reshape(-1, width), len(edges)) for width in WIDTHS}


def _contrast(place: np.ndarray, bins: int) -> float:
    everything = np.bincount(place.reshape(-1), minlength=bins + 1).cumsum() / place.size
    distances = [
        np.abs(np.bincount(column, minlength=bins + 1).cumsum() / len(column) - everything).max() for column in place.T
    ]
    chance = CHANCE / np.sqrt(len(place))  # what so few draws from one distribution differ by
    return float(max(0.0, np.mean(distances) - chance))


def _names(table: np.ndarray) -> list[str]:
    if table.shape[1] == 4:
        return ["x", "y", "z", "intensity"]
    names, _ = known.conventional_names(table)
    return names
