"""Points in NumPy files: plain and structured ``.npy``, and ``.npz`` with named arrays. Nothing is unpickled.

Symbols: n points, C columns.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from repcore.data.allocation import load_array, open_arrays
from repcore.errors import ItemError
from repcore_pointcloud.formats import column_names as known
from repcore_pointcloud.formats.table import RawColumns

OCCUPANCIES = "occupancies"
NEIGHBOURS = 0.6  # of the distance of any two points: closer is a neighbour
MOST_COLUMNS = 500  # of a grid that are looked at


def read_npy(path: Path) -> RawColumns:
    """Columns of an ``.npy`` file.

    Raises:
        ItemError: ``corrupt``: pickled objects; ``wrong_columns``.
    """
    return _columns(load_array(path), path)


def read_npz(path: Path) -> RawColumns:
    """Arrays of an ``.npz`` file by name; one that holds a single table is read as that table.

    Raises:
        ItemError: ``wrong_columns``: no array of points, or query points of an occupancy network.
    """
    with open_arrays(path) as archive:
        if OCCUPANCIES in archive:
            raise ItemError(
                "wrong_columns",
                f"{path.name} holds query points with occupancies, no surface; pointcloud.npz beside it does",
            )
        arrays = {name: archive[name] for name in archive.files if name != "viewpoint"}
        viewpoint = archive["viewpoint"].reshape(-1)[:3].astype(np.float64) if "viewpoint" in archive else None
    plain = [known.plain(name) for name in arrays]
    key = next((one for one in known.POSITION_ARRAYS if one in plain and _is_table(arrays, plain, one)), None)
    if key is not None:
        name = list(arrays)[plain.index(key)]
        table = arrays.pop(name)
        found = _columns(table, path) if table.shape[1] > 4 or table.dtype.names else RawColumns({name: table})
        notes = (*found.notes, *_other_points(name, len(table), arrays))
        return replace(found, columns={**found.columns, **arrays}, viewpoint=viewpoint, notes=notes)
    if len(arrays) == 1:
        return _columns(next(iter(arrays.values())), path)
    return RawColumns(arrays, viewpoint=viewpoint)  # x, y and z may be arrays of their own


def _other_points(name: str, count: int, arrays: dict[str, np.ndarray]) -> list[str]:
    """What to say of arrays that might be the coordinates, too: three fractions a point, no colours or normals."""
    others = [
        repr(one)
        for one, values in arrays.items()
        if values.shape == (count, 3)
        and values.dtype.kind == "f"
        and not any(word in known.plain(one) for word in ("normal", "rgb", "colo", "flow", "velocity"))
    ]
    if not others:
        return []
    return [f"coordinates: array {name!r}, not {', '.join(others)}; to change: a file with that array alone"]


def _is_table(arrays: dict[str, np.ndarray], plain: list[str], name: str) -> bool:
    array = list(arrays.values())[plain.index(name)]
    return (array.ndim == 2 and array.shape[1] >= 3) or bool(array.dtype.names) or array.ndim > 2


def _is_organised(grid: np.ndarray) -> bool:
    """Whether an array (rows, columns, 3) is one cloud as a sensor's picture: points below each other are neighbours.

    Rows of several clouds have nothing to do with each other: a point is as far from that of the next row as from any.
    """
    points = grid[:, :: max(1, grid.shape[1] // MOST_COLUMNS)].astype(np.float64)
    below = np.linalg.norm(points[1:] - points[:-1], axis=-1)
    every = points.reshape(-1, 3)
    apart = np.linalg.norm(every - every[np.random.default_rng(0).permutation(len(every))], axis=-1)
    if not np.isfinite(below).any() or not np.isfinite(apart).any():
        return True  # nothing to tell by: holes are judged elsewhere
    return bool(np.nanmedian(below) <= NEIGHBOURS * np.nanmedian(apart))


def _columns(table: np.ndarray, path: Path) -> RawColumns:
    """Columns of a table (n, C) or of records.

    Raises:
        ItemError: ``empty``; ``wrong_columns``: another shape, on its side, or row numbers for coordinates.
    """
    if table.dtype.names:
        records = table.reshape(-1)
        return RawColumns({name: records[name] for name in table.dtype.names})
    if table.dtype.kind not in "fiub":
        raise ItemError("wrong_columns", f"{path.name} holds {table.dtype}, no numbers")
    if table.ndim == 3 and table.shape[-1] == 3 and min(table.shape[:2]) > 1:  # an organised cloud: rows x columns
        if not _is_organised(table):
            clouds, points = table.shape[:2]
            raise ItemError(
                "several_clouds",
                f"{path.name} is {clouds} x {points} x 3, and neighbouring rows lie apart: {clouds} clouds of {points} "
                f"points, no grid of one; pointed to itself, {path.name} is read as {clouds} shapes",
            )
        return RawColumns({"xyz": table.reshape(-1, 3)}, notes=(f"an organised cloud of {table.shape[:2]} points",))
    if table.ndim != 2 or 0 in table.shape:
        kind = "empty" if table.size == 0 else "wrong_columns"
        raise ItemError(kind, f"{path.name} holds an array of {table.shape}; expected (points, 3 or more)")
    rows, width = table.shape
    if rows == 3 < width or (width > 12 and rows <= 12):
        raise ItemError("wrong_columns", f"{path.name} is {rows} x {width}, on its side; expected a row a point")
    if width < 3:
        raise ItemError("wrong_columns", f"{path.name} has {width} columns; expected x, y, z")
    names, said = known.conventional_names(table)
    return RawColumns(dict(zip(names, table.T, strict=True)), notes=(said,) if said else (), headerless=True)
