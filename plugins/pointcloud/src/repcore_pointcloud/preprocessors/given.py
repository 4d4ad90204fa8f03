"""Points that people hold in Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from repcore_pointcloud.formats.points import PointCloud, read_cloud
from repcore_pointcloud.formats.scene import Scene
from repcore_pointcloud.formats.table import far_offset, usable

AXES = ("x", "y", "z")
COLOURS = {"red": "r", "green": "g", "blue": "b"}


def cloud_from(value: Any) -> Any:
    """A cloud of an array (n, 3 or more), of a data frame with columns x, y, z, of what has ``points``,
    ``vertices`` (open3d, trimesh, PyVista) or ``pos`` (torch-geometric), or of one file; None for other kinds."""
    if isinstance(value, PointCloud):
        return value
    if isinstance(value, str | Path):
        return read_cloud(Path(value).expanduser()) if _is_file(value) else None
    table = _table_of(value)
    return None if table is None else PointCloud(table[:, :3])


def scene_from(value: Any) -> Any:
    """A scene of an array (n, 3), or (n, 6) with colours in [0, 1] or 0 to 255; None for other kinds."""
    if isinstance(value, Scene):
        return value
    table = _table_of(value)
    if table is None:
        return None
    points = table[:, :3].astype(np.float64)
    offset = far_offset(points[usable(points)])
    moved = points if offset is None else points - offset
    colours = table[:, 3:6].astype(np.float32) if table.shape[1] == 6 else None
    if colours is not None and colours.size and np.nanmax(colours) > 1.0:
        colours = colours / 255.0
    return Scene(points=moved.astype(np.float32), colours=colours, offset=offset)


def _table_of(value: Any) -> np.ndarray | None:
    """Numbers (n, 3 or more) of a value, float32 or float64; None where it has no such table."""
    for name in ("points", "vertices", "pos"):
        if not isinstance(value, np.ndarray) and hasattr(value, name):
            value = getattr(value, name)
            break
    if hasattr(value, "columns"):
        value = _of_columns(value)
    if hasattr(value, "detach") and hasattr(value, "numpy"):
        value = value.detach().cpu().numpy()
    if not hasattr(value, "__array__") and not hasattr(value, "__len__"):
        return None
    if isinstance(value, str | bytes | dict | tuple | list):
        return None
    table = np.asarray(value)
    if table.ndim != 2 or table.shape[1] < 3 or table.dtype.kind not in "fiu":
        return None
    return table if table.dtype in (np.float32, np.float64) else table.astype(np.float64)


def _of_columns(frame: Any) -> np.ndarray | None:
    """Numbers (n, 3) of the columns x, y, z of a data frame, (n, 6) with red, green, blue; None for other columns."""
    named = {str(name).lower(): name for name in frame.columns}
    columns = {COLOURS.get(name, name): given for name, given in named.items()}
    wanted = [*AXES, *COLOURS.values()] if set(columns) > set(AXES) else list(AXES)
    if len(columns) != len(frame.columns) or set(columns) != set(wanted):
        return None
    return np.stack([np.asarray(frame[columns[name]], np.float64) for name in wanted], axis=1)


def _is_file(value: str | Path) -> bool:
    try:
        return Path(value).expanduser().is_file()
    except (OSError, ValueError):
        return False
