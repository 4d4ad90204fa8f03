"""One file in, one table of points out, whatever the format: what shapes and scenes both read with."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from repcore.data.allocation import check_allocation
from repcore.data.cells import DecimalWord
from repcore.errors import ItemError
from repcore_pointcloud.formats import arrays, binary, meshes, pcd, surveys, text
from repcore_pointcloud.formats.flags import LEFT_OUT
from repcore_pointcloud.formats.table import PointTable, RawColumns, check_one_cloud, point_table

TEXT_SUFFIXES = text.SUFFIXES
MESH_SUFFIXES = meshes.SUFFIXES
SURVEY_SUFFIXES = (".las", ".laz", ".e57", ".ptx")
SUFFIXES = (".npy", ".npz", ".pcd", ".bin", *TEXT_SUFFIXES, *MESH_SUFFIXES, *SURVEY_SUFFIXES)
UNMISTAKABLE = (".ply", ".obj", ".off", ".stl", ".glb", ".gltf", ".pcd", ".xyz", ".pts", ".asc", *SURVEY_SUFFIXES)
"""Suffixes that only files of points and meshes have."""

READERS: dict[str, Callable[[Path], RawColumns]] = {
    ".npy": arrays.read_npy, ".npz": arrays.read_npz, ".pcd": pcd.read_pcd, ".ply": meshes.read_ply,
    ".las": surveys.read_las, ".laz": surveys.read_las, ".e57": surveys.read_e57, ".ptx": surveys.read_ptx,
    **dict.fromkeys(TEXT_SUFFIXES, text.read_text),
    **{one: meshes.read_mesh for one in MESH_SUFFIXES if one != ".ply"},
}  # fmt: skip
DAMAGE = (
    ValueError, OSError, KeyError, IndexError, TypeError, EOFError, AttributeError, UnicodeError, OverflowError,
    NotImplementedError, zlib.error, zipfile.BadZipFile, struct.error,
)  # fmt: skip


def read_points(
    path: Path,
    *,
    columns: Sequence[str] = (),
    bin_columns: int = 0,
    points: int | None = None,
    flags_left_out: Sequence[str] = LEFT_OUT,
    decimal: DecimalWord = "auto",
) -> PointTable:
    """The points of a file with everything that lies beside them.

    Args:
        path: any of :data:`SUFFIXES`.
        columns: x, y and z by header name or by number from 0; recognised when empty.
        bin_columns: numbers a point in a ``.bin`` file; 0 = by evidence.
        points: number of points where labels beside a ``.bin`` file tell it.
        flags_left_out: flags whose points are no part of the cloud (:mod:`repcore_pointcloud.formats.flags`).
        decimal: sign of decimals in text; by its cells when ``auto``.

    Raises:
        ItemError: ``missing_file``, ``empty``, ``unknown_format``, ``corrupt``, ``truncated``, ``wrong_columns``,
            ``ambiguous``, ``labels_differ``, ``missing_library`` or ``too_large``.
    """
    if not path.is_file():
        raise ItemError("missing_file", f"{path} does not exist" if not path.exists() else f"{path} is not a file")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ItemError("unknown_format", f"{path.name}: known are {', '.join(SUFFIXES)}")
    if path.stat().st_size == 0:
        raise ItemError("empty", f"{path.name} has 0 bytes")
    check_allocation(path.stat().st_size, path.name, "its size")
    try:
        with np.errstate(all="ignore"):  # odd numbers are judged afterwards
            if suffix in TEXT_SUFFIXES:
                raw = text.read_text(path, decimal)
                check_one_cloud(raw, path.name, columns)
            else:
                raw = binary.read_bin(path, bin_columns, points) if suffix == ".bin" else READERS[suffix](path)
        return point_table(raw, path.name, columns, flags_left_out)
    except ItemError:
        raise
    except MemoryError as error:
        raise ItemError("too_large", f"{path.name} does not fit into memory") from error
    except DAMAGE as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ItemError("corrupt", f"{path.name} cannot be read: {reason}") from error
