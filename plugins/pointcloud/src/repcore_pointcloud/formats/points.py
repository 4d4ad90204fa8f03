"""A shape from a file: the points of a cloud, or points spread over the surface of a mesh, evenly by area.

Symbols: n points, F faces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from repcore.data.cells import DecimalWord
from repcore_pointcloud.formats.flags import LEFT_OUT
from repcore_pointcloud.formats.meshes import sample_surface
from repcore_pointcloud.formats.reading import read_points
from repcore_pointcloud.formats.table import PointTable

POINT_KEYS = ("points", "xyz", "pos", "positions", "coord", "coords", "vertices", "data", "pc", "arr_0")
"""Names of the array of many clouds side by side."""


@dataclass(frozen=True, slots=True)
class PointCloud:
    """A cloud as a file gives it.

    Args:
        points: float32 or float64 (n, 3), as exact as the file.
        labels: int64 (n,), a label of each point, where the data set has one.
        remark: status and reason of something that a user should know, such as a mesh without faces.
        notes: guesses that were made when the file was read, with their reasons.
        columns: names of the columns of the file.
        left_out: bool (n,), points that the file marks as no part of the shape; None = none.
    """

    points: np.ndarray
    labels: np.ndarray | None = None
    remark: tuple[str, str] | None = field(default=None)
    notes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    left_out: np.ndarray | None = None

    @property
    def counted(self) -> np.ndarray:
        """Points that are not left out, bool (n,)."""
        return np.ones(len(self.points), bool) if self.left_out is None else ~self.left_out

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The points: what tells two clouds apart."""
        return np.array(self.points, dtype=dtype, copy=copy)


def read_cloud(
    path: Path,
    *,
    columns: Sequence[str] = (),
    mesh_points: int = 8192,
    seed: int = 0,
    bin_columns: int = 0,
    flags_left_out: Sequence[str] = LEFT_OUT,
    decimal: DecimalWord = "auto",
) -> PointCloud:
    """A shape from a file.

    Args:
        path: any of :data:`repcore_pointcloud.formats.reading.SUFFIXES`.
        columns: x, y and z of files with columns, by name or by number from 0; recognised when empty.
        mesh_points: points drawn from a mesh.
        seed: of that draw, together with the mesh itself.
        bin_columns: numbers a point in a ``.bin`` file; 0 = by evidence.
        flags_left_out: flags whose points are no part of the shape (:mod:`repcore_pointcloud.formats.flags`).
        decimal: sign of decimals in text; by its cells when ``auto``.

    Raises:
        ItemError: as :func:`repcore_pointcloud.formats.reading.read_points`.
    """
    table = read_points(path, columns=columns, bin_columns=bin_columns, flags_left_out=flags_left_out, decimal=decimal)
    if table.faces is not None:
        return _sampled(table, path.name, mesh_points, seed)
    return PointCloud(table.xyz, remark=table.remark, notes=table.notes, columns=table.columns, left_out=table.left_out)


def _sampled(table: PointTable, source: str, mesh_points: int, seed: int) -> PointCloud:
    """Points on the surface, or the vertices of a mesh without area."""
    vertices, faces = table.xyz.astype(np.float64), table.faces
    assert faces is not None
    if len(faces) and (faces.min() < 0 or faces.max() >= len(vertices)):
        remark = ("no_area", f"{source}: a face names vertex {int(faces.max())} of {len(vertices)}")
        return PointCloud(vertices, remark=remark, columns=table.columns)
    found = sample_surface(vertices, faces, mesh_points, seed)
    if found is None:
        return PointCloud(vertices, remark=("no_area", f"{source}: all faces have no area"), columns=table.columns)
    note = f"a mesh of {len(faces):,} triangles: {mesh_points:,} points are drawn from its surface"
    return PointCloud(found, remark=table.remark, notes=(*table.notes, note), columns=table.columns)
