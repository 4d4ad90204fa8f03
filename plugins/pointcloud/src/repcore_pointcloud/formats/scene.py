"""A scene: the points of one scan or room with what the sensor told, near enough to 0 for float32.

Symbols: N points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from repcore_pointcloud.formats.table import PointTable, far_offset, stored_coarsely, usable


@dataclass(frozen=True, slots=True)
class Scene:
    """One scan or room.

    Args:
        points: float32 (N, 3) in the unit of the file, ``offset`` subtracted.
        colours: float32 (N, 3) in [0, 1], or None.
        normals: float32 (N, 3), or None.
        intensity: float32 (N,), or None.
        viewpoint: float32 (3,), where the sensor stood, ``offset`` subtracted, or None for fused scenes.
        offset: float64 (3,), what leads back to the file's coordinates: ``points + offset``; None = nothing subtracted.
        remark: status and reason of something that a user should know about the file.
        left_out: bool (N,), points that the file marks as no part of the scene; None = none.
    """

    points: np.ndarray
    colours: np.ndarray | None = None
    normals: np.ndarray | None = None
    intensity: np.ndarray | None = None
    viewpoint: np.ndarray | None = None
    offset: np.ndarray | None = None
    remark: tuple[str, str] | None = None
    left_out: np.ndarray | None = None

    @property
    def usable(self) -> np.ndarray:
        """Points that count, bool (N,): with coordinates, and not left out."""
        found = usable(self.points)
        return found if self.left_out is None else found & ~self.left_out

    @property
    def world(self) -> np.ndarray:
        """Coordinates as the file has them, float64 (N, 3)."""
        points = self.points.astype(np.float64)
        return points if self.offset is None else points + self.offset

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The coordinates: what tells two scenes apart."""
        return np.array(self.world, dtype=dtype)


def scene_of(table: PointTable) -> Scene:
    """A scene from the table of a file; centred in float64 first where float32 would lose detail."""
    kept = usable(table.xyz)
    offset = far_offset(table.xyz[kept if table.left_out is None else kept & ~table.left_out])
    coarse = stored_coarsely(table.xyz, offset)
    remark = table.remark or (("coarse_coordinates", coarse) if coarse else None)
    return Scene(
        points=local(table.xyz, offset),
        colours=table.colours,
        normals=table.normals,
        intensity=table.intensity,
        viewpoint=None if table.viewpoint is None else local(table.viewpoint[None], offset)[0],
        offset=offset,
        remark=remark,
        left_out=table.left_out,
    )


def local(points: np.ndarray, offset: np.ndarray | None) -> np.ndarray:
    """float32 (n, 3) of world coordinates, ``offset`` subtracted in float64; beyond float32 becomes infinite."""
    if offset is None and points.dtype == np.float32:
        return points
    with np.errstate(over="ignore", invalid="ignore"):
        exact = points.astype(np.float64) if offset is None else points.astype(np.float64) - offset
        return exact.astype(np.float32)
