"""Meshes, and clouds in files of mesh programs: PLY; OBJ, OFF, STL, GLB and GLTF by trimesh.

Symbols: n vertices, F faces.
"""

from __future__ import annotations

import io
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from repcore.errors import ItemError
from repcore_pointcloud.formats.ply import Columns, Lists, read_elements
from repcore_pointcloud.formats.table import RawColumns

SUFFIXES = (".ply", ".obj", ".off", ".stl", ".glb", ".gltf")
STL_HEADER, STL_TRIANGLE, STL_TEXT = 84, 50, 4096  # bytes of the header, of a triangle; and that tell a text file
FACE_LISTS = ("vertex_indices", "vertex_index")


def read_ply(path: Path) -> RawColumns:
    """Columns of the vertices, ascii or binary in either byte order, and triangles where there are faces.

    Lists of numbers at vertices and other elements are read over.

    Raises:
        ItemError: ``corrupt``, ``empty``.
    """
    elements = read_elements(path)
    if "vertex" not in elements:
        raise ItemError("empty", f"{path.name} has no vertices, only {', '.join(elements) or 'a header'}")
    columns = {name: values for name, values in elements["vertex"].items() if isinstance(values, np.ndarray)}
    return RawColumns(columns, faces=_triangles(elements.get("face", {})))


def _triangles(face: Columns) -> np.ndarray | None:
    """Faces of three, four or more corners as triangles (F, 3); None without faces."""
    import trimesh

    corners = next((one for name in FACE_LISTS if isinstance(one := face.get(name), Lists)), None)
    if corners is None or not len(corners.counts):
        return None
    if (corners.counts == 3).all():
        return corners.values.astype(np.int64).reshape(-1, 3)
    return np.asarray(trimesh.geometry.triangulate_quads(corners.each()), dtype=np.int64).reshape(-1, 3)


def read_mesh(path: Path) -> RawColumns:
    """Vertices and triangles of a mesh file.

    Raises:
        ItemError: ``empty``; ``corrupt`` by the caller for what trimesh raises.
    """
    import trimesh

    kind = path.suffix.lower().removeprefix(".")
    if kind == "stl":
        _check_stl(path)
    loaded: Any  # one of trimesh's own kinds
    if kind == "off":
        loaded = trimesh.load(io.BytesIO(plain_off(path.read_bytes())), file_type="off", process=False)
    else:
        loaded = trimesh.load(path, file_type=kind, process=False)
    if isinstance(loaded, trimesh.Scene):
        loaded = loaded.to_geometry() if loaded.geometry else trimesh.Trimesh()
    vertices = np.asarray(getattr(loaded, "vertices", np.empty((0, 3))), dtype=np.float64)
    faces = np.asarray(getattr(loaded, "faces", np.empty((0, 3))), dtype=np.int64)
    if not len(vertices):
        raise ItemError("empty", f"{path.name} has no vertices")
    columns = {"xyz": vertices}
    colours = getattr(loaded, "colors", None) if not len(faces) else None
    if colours is not None and len(colours) == len(vertices):
        columns["rgb"] = np.asarray(colours)[:, :3]
    remark = None if len(faces) else ("no_faces", f"{path.name} is a mesh without faces; its vertices are the cloud")
    return RawColumns(columns, faces=faces if len(faces) else None, remark=remark)


def _check_stl(path: Path) -> None:
    """A binary file holds as many triangles as its header says; text begins with ``solid``.

    Raises:
        ItemError: ``corrupt``: it is neither.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(STL_HEADER)
        words = (head + file.read(STL_TEXT)).lower()
        is_text = words.lstrip().startswith(b"solid") and (b"facet" in words or b"endsolid" in words)
    if is_text:
        return
    if len(head) < STL_HEADER:
        raise ItemError("corrupt", f"{path.name} has {size} bytes; the header of a binary STL file alone has 84")
    promised = int.from_bytes(head[80:84], "little")
    if size < STL_HEADER + promised * STL_TRIANGLE:
        held = (size - STL_HEADER) // STL_TRIANGLE
        raise ItemError("corrupt", f"{path.name} promises {promised:,} triangles and holds {held:,}")


def plain_off(content: bytes) -> bytes:
    """An .off file with its header on two lines: comments left out, ``off`` in capitals, counts glued to it apart."""
    content = re.sub(rb"(?m)^[ \t]*#[^\n]*\n", b"", content)
    content = re.sub(rb"\A\s*([A-Za-z]*off)[ \t]*(?=\d)", rb"\1\n", content, count=1, flags=re.IGNORECASE)
    return re.sub(rb"\A\s*[A-Za-z]*off", lambda found: found[0].strip().upper(), content, count=1, flags=re.IGNORECASE)


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
