"""Clouds and meshes on disk: one file in, points out.

Text (.xyz, .txt, .pts, .csv, .tsv), arrays (.npy, .npz), .pcd, KITTI .bin, and meshes and clouds that trimesh reads
(.ply, .obj, .off, .stl, .glb, .gltf). Meshes are sampled evenly by area. Arrays are never unpickled.

Symbols: n points, C columns, F faces.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from repcore.data.headers import head
from repcore.errors import ItemError
from repcore_pointcloud.formats.pcd import read_pcd

TEXT_SUFFIXES = (".xyz", ".txt", ".pts", ".csv", ".tsv")
LOOKED_AT = 4096  # characters of a text file that tell whether it holds points
MESH_SUFFIXES = (".ply", ".obj", ".off", ".stl", ".glb", ".gltf")
SUFFIXES = (".npy", ".npz", ".pcd", ".bin", *TEXT_SUFFIXES, *MESH_SUFFIXES)
POINT_KEYS = ("points", "xyz", "pos", "positions", "coords", "data", "pc", "arr_0")
AXIS_NAMES = ("x", "y", "z")
FARTHEST = 1e4  # metres
KITTI_COLUMNS = 4  # x, y, z, reflectance


@dataclass(frozen=True, slots=True)
class PointCloud:
    """A cloud as a file gives it.

    Args:
        points: float32 or float64 (n, 3), as exact as the file.
        labels: int64 (n,), a label of each point, where the data set has one.
        remark: status and reason of something that a user should know, such as a mesh without faces.
    """

    points: np.ndarray
    labels: np.ndarray | None = None
    remark: tuple[str, str] | None = field(default=None)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The points: what tells two clouds apart."""
        return np.array(self.points, dtype=dtype, copy=copy)


def holds_lengths(path: Path) -> bool:
    """Whether a file without a header reads as float32 numbers of the size of lengths, as laser scanners write them."""
    first = head(path)
    values = np.frombuffer(first[: len(first) // 4 * 4], "<f4")
    return len(values) > 0 and bool((np.abs(values) < FARTHEST).all())  # NaN is not below


def read_cloud(path: Path, *, columns: Sequence[str] = (), mesh_points: int = 8192, seed: int = 0) -> PointCloud:
    """Points of a file.

    Args:
        path: any of :data:`SUFFIXES`.
        columns: x, y and z of text files and arrays, by header name or by number from 0; the first three when empty,
            or those that a header calls x, y, z.
        mesh_points: points drawn from a mesh.
        seed: of that draw, together with the mesh itself.

    Raises:
        ItemError: ``missing_file``, ``empty``, ``corrupt``, ``unknown_format`` or ``wrong_columns``.
    """
    if not path.is_file():
        raise ItemError("missing_file", f"{path} does not exist" if not path.exists() else f"{path} is not a file")
    if path.stat().st_size == 0:
        raise ItemError("empty", f"{path.name} has 0 bytes")
    suffix = path.suffix.lower()
    try:
        if suffix in MESH_SUFFIXES:
            return _mesh(path, mesh_points, seed)
        readers: dict[str, Callable[[Path], tuple[np.ndarray, list[str]]]] = {
            ".npy": _array, ".npz": _archive, ".pcd": _pcd, ".bin": _kitti, **dict.fromkeys(TEXT_SUFFIXES, _text),
        }  # fmt: skip
        if suffix not in readers:
            raise ItemError("unknown_format", f"{path.name}: known are {', '.join(SUFFIXES)}")
        table, names = readers[suffix](path)
    except ItemError:
        raise
    except (ValueError, OSError, KeyError, IndexError, TypeError, EOFError, zlib.error, NotImplementedError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ItemError("corrupt", f"{path.name} cannot be read: {reason}") from error
    return PointCloud(chosen_columns(table, names, columns, path.name))


def chosen_columns(table: np.ndarray, names: Sequence[str], columns: Sequence[str], source: str) -> np.ndarray:
    """x, y and z of a table (n, C), floating (n, 3).

    Raises:
        ItemError: ``wrong_columns``: not a table of three columns or more, no such column, a table on its side, or
            numbers of rows where coordinates should be; ``empty``.
    """
    if table.ndim != 2 or 0 in table.shape:
        raise ItemError("empty" if table.size == 0 else "wrong_columns", f"{source} holds an array of {table.shape}")
    rows, width = table.shape
    if rows == 3 < width or (width > 12 and rows <= 12):
        raise ItemError("wrong_columns", f"{source} is {rows} x {width}, on its side; expected a row a point")
    if width < 3:
        raise ItemError("wrong_columns", f"{source} has {width} columns; expected x, y, z")
    if columns:
        return _float(table[:, [_place(one, names, width, source) for one in columns]], source)
    lower = [name.lower() for name in names]
    if all(axis in lower for axis in AXIS_NAMES):
        return _float(table[:, [lower.index(axis) for axis in AXIS_NAMES]], source)
    found = _float(table[:, :3], source)
    if width > 3 and rows > 3 and np.array_equal(found[:, 0], np.arange(rows) + found[0, 0]):
        raise ItemError(
            "wrong_columns",
            f"the first column of {source} counts the rows; dataset.columns=[1,2,3] names x, y, z",
        )
    return found


def _place(column: str, names: Sequence[str], width: int, source: str) -> int:
    if column in names:
        return list(names).index(column)
    if column.isdigit() and int(column) < width:
        return int(column)
    known = ", ".join(names) if names else f"0 to {width - 1}"
    raise ItemError("wrong_columns", f"{source} has no column {column!r}; it has {known}")


def _float(table: np.ndarray, source: str) -> np.ndarray:
    if table.shape[1] != 3:
        raise ItemError("wrong_columns", f"{table.shape[1]} columns named for {source}; expected three")
    # large coordinates (metres of a map grid) need float64 until they are centred
    return np.ascontiguousarray(table, dtype=np.float32 if table.dtype == np.float32 else np.float64)


def _array(path: Path) -> tuple[np.ndarray, list[str]]:
    return np.load(path, allow_pickle=False), []


def _archive(path: Path) -> tuple[np.ndarray, list[str]]:
    with np.load(path, allow_pickle=False) as archive:
        key = next((key for key in POINT_KEYS if key in archive), None)
        if key is None:
            raise ItemError("wrong_columns", f"{path.name} has {', '.join(archive)}; expected one of {POINT_KEYS}")
        return archive[key], []


def _kitti(path: Path) -> tuple[np.ndarray, list[str]]:
    numbers = np.fromfile(path, dtype="<f4")
    if len(numbers) % KITTI_COLUMNS:
        raise ItemError("corrupt", f"{path.name} is no list of x, y, z, reflectance in float32")
    return numbers.reshape(-1, KITTI_COLUMNS), ["x", "y", "z", "reflectance"]


def _text(path: Path) -> tuple[np.ndarray, list[str]]:
    """Numbers in columns, blanks, commas, semicolons or tabs between them; a header of words; a count on line one."""
    lines = [re.split(r"[\s,;]+", line.strip().strip(",;")) for line in _lines(path)]
    if not lines:
        raise ItemError("empty", f"{path.name} has no line with values")
    names: list[str] = []
    if not _is_number(lines[0][0]):
        names, lines = [word.strip('"') for word in lines[0]], lines[1:]
    elif len(lines[0]) == 1 and len(lines) > 1 and len(lines[1]) > 1:
        lines = lines[1:]  # .pts begins with the number of points
    widths = {len(line) for line in lines}
    if len(widths) > 1:
        raise ItemError("corrupt", f"{path.name} has lines of {min(widths)} to {max(widths)} values")
    return np.array(lines, dtype=np.float64).reshape(len(lines), -1), names


def looks_like_points(path: Path) -> bool:
    """Whether the beginning of a text file is columns of numbers: no header, or one that names x, y and z."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        text = file.read(LOOKED_AT)
    lines = text.splitlines()
    begun = _kept(lines[:-1] if len(text) == LOOKED_AT else lines)  # the last one may be cut off
    rows = [re.split(r"[\s,;]+", line.strip().strip(",;")) for line in begun]
    if rows and not _is_number(rows[0][0]):
        named = {word.strip('"').lower() for word in rows.pop(0)}
        if not named.issuperset(AXIS_NAMES):
            return False
    rows = [row for row in rows if len(row) > 1]  # .pts begins with the number of points
    return bool(rows) and all(len(row) >= 3 and all(map(_is_number, row[:3])) for row in rows)


def _lines(path: Path) -> list[str]:
    return _kept(path.read_text(encoding="utf-8-sig", errors="replace").splitlines())


def _kept(lines: Sequence[str]) -> list[str]:
    """Without empty ones and comments."""
    return [line for line in lines if line.strip() and not line.lstrip().startswith(("#", "//"))]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _pcd(path: Path) -> tuple[np.ndarray, list[str]]:
    columns = read_pcd(path)
    numbers = {name: values for name, values in columns.items() if values.dtype.kind in "fiu"}
    return np.column_stack([values.astype(np.float64) for values in numbers.values()]), list(numbers)


def _mesh(path: Path, mesh_points: int, seed: int) -> PointCloud:
    """Points on the surface, or the vertices of a file without faces."""
    import trimesh

    kind = path.suffix.lower().removeprefix(".")
    if kind == "off":
        loaded = trimesh.load(io.BytesIO(_whole_off(path)), file_type="off", process=False)
    else:
        loaded = trimesh.load(path, file_type=kind, process=False)
    if isinstance(loaded, trimesh.Scene):
        loaded = loaded.to_geometry() if loaded.geometry else trimesh.Trimesh()
    vertices = np.asarray(getattr(loaded, "vertices", np.empty((0, 3))), dtype=np.float64)
    faces = np.asarray(getattr(loaded, "faces", np.empty((0, 3))), dtype=np.int64)
    if not len(vertices):
        raise ItemError("empty", f"{path.name} has no vertices")
    if len(faces):
        found = sample_surface(vertices, faces, mesh_points, seed)
        if found is not None:
            return PointCloud(found)
        return PointCloud(vertices, remark=("no_area", f"{path.name}: all faces have no area"))
    remark = None if kind == "ply" else ("no_faces", f"{path.name} is a mesh without faces; its vertices are the cloud")
    return PointCloud(vertices, remark=remark)


def _whole_off(path: Path) -> bytes:
    """Content of an .off file; some of ModelNet's have the counts glued to the first word."""
    content = path.read_bytes()
    return re.sub(rb"^\s*(OFF)[ \t]*(?=\d)", rb"\1\n", content, count=1)


def sample_surface(vertices: np.ndarray, faces: np.ndarray, count: int, seed: int) -> np.ndarray | None:
    """Points on a mesh, even by area.

    Args:
        vertices: (n, 3). faces: int64 (F, 3).
        count: points.
        seed: the same mesh and seed give the same points.

    Returns:
        float64 (count, 3); None if no face has an area.
    """
    corners = vertices[faces]  # (F, 3, 3)
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = np.nan_to_num(np.linalg.norm(np.cross(first, second), axis=1), nan=0.0, posinf=0.0)
    if area.sum() <= 0:
        return None
    rng = np.random.default_rng([seed, zlib.crc32(np.ascontiguousarray(vertices).tobytes())])
    face = rng.choice(len(faces), count, p=area / area.sum())
    u, v = rng.random((2, count, 1))
    beyond = u + v > 1  # fold the square onto the triangle
    u, v = np.where(beyond, 1 - u, u), np.where(beyond, 1 - v, v)
    return np.asarray(corners[face, 0] + u * first[face] + v * second[face])
