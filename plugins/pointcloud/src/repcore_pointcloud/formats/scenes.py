"""One scene from one file: NPZ, NPY, PLY, PCD, BIN (KITTI), TXT/XYZ, with whatever labels lie in it.

Symbols: N points.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from repcore.errors import ItemError
from repcore_pointcloud.formats.pcd import read_pcd
from repcore_pointcloud.formats.scene import Scene

SUFFIXES = (".npz", ".npy", ".ply", ".pcd", ".bin", ".txt", ".xyz")
POSITION_NAMES = ("xyz", "points", "coord", "coords", "pcd", "pos")
COLOUR_NAMES = ("rgb", "color", "colour", "colors", "colours")
NORMAL_NAMES = ("normal", "normals")
INTENSITY_NAMES = ("intensity", "reflectance", "remission")
SIGNED_BYTE = 127.0


@dataclass(frozen=True, slots=True)
class Loaded:
    """A scene and its labels: name -> integers (N,)."""

    scene: Scene
    labels: Mapping[str, np.ndarray] = field(default_factory=dict)


def load_scene(path: Path) -> Loaded:
    """Read one file by its suffix.

    Raises:
        ItemError: the file cannot be read, or holds no coordinates.
    """
    try:
        columns = _COLUMNS[path.suffix.lower()](path)
    except KeyError:
        raise ItemError("unknown_format", f"{path.name}: one of {', '.join(SUFFIXES)} is needed") from None
    except ItemError:
        raise
    except Exception as error:
        raise ItemError("unreadable", f"{path.name}: {type(error).__name__}: {error}") from error
    return from_columns(columns, path)


def from_columns(columns: Mapping[str, np.ndarray], path: Path) -> Loaded:
    """Scene and labels from named arrays of N rows; an integer array that is nothing else is a label.

    Raises:
        ItemError: no coordinates.
    """
    arrays = {name.lower(): np.asarray(value) for name, value in columns.items()}
    points = _first(arrays, POSITION_NAMES)
    if points is None or points.ndim != 2 or points.shape[1] < 3:
        raise ItemError("no_coordinates", f"{path.name} has no coordinates, only {', '.join(arrays) or 'nothing'}")
    colours, normals = _first(arrays, COLOUR_NAMES), _first(arrays, NORMAL_NAMES)
    if normals is not None and normals.dtype == np.int8:
        normals = normals / SIGNED_BYTE
    intensity = _first(arrays, INTENSITY_NAMES)
    if intensity is None and points.shape[1] == 4:
        intensity = points[:, 3]
    used = {*POSITION_NAMES, *COLOUR_NAMES, *NORMAL_NAMES, *INTENSITY_NAMES, "viewpoint"}
    labels = {
        name: value.astype(np.int64)
        for name, value in arrays.items()
        if name not in used and value.ndim == 1 and value.dtype.kind in "iu" and len(value) == len(points)
    }
    scene = Scene(
        points=points[:, :3].astype(np.float32),
        colours=None if colours is None else unit_colours(colours),
        normals=None if normals is None else normals.astype(np.float32),
        intensity=None if intensity is None else intensity.astype(np.float32),
        viewpoint=None if "viewpoint" not in arrays else arrays["viewpoint"].astype(np.float32),
    )
    return Loaded(scene, labels)


def unit_colours(colours: np.ndarray) -> np.ndarray:
    """float32 (N, 3) in [0, 1] from bytes or from numbers that are there already."""
    scaled = colours[:, :3].astype(np.float32)
    is_bytes = colours.dtype.kind in "iu" or (len(scaled) and float(np.nanmax(scaled)) > 1.0)
    return scaled / 255.0 if is_bytes else scaled


def _first(arrays: Mapping[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray | None:
    return next((arrays[name] for name in names if name in arrays), None)


def _npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _npy(path: Path) -> dict[str, np.ndarray]:
    return _table(np.load(path, allow_pickle=False))


def _text(path: Path) -> dict[str, np.ndarray]:
    separator = "," if "," in path.open(encoding="utf-8").readline() else None
    return _table(np.loadtxt(path, delimiter=separator, ndmin=2, dtype=np.float64))


def _table(values: np.ndarray) -> dict[str, np.ndarray]:
    """x y z, then r g b where six columns are there, or one intensity."""
    if values.ndim != 2 or values.shape[1] < 3:
        raise ItemError("no_coordinates", f"an array of shape {values.shape} holds no x y z")
    if values.shape[1] >= 6:
        return {"xyz": values[:, :3], "rgb": values[:, 3:6]}
    return {"xyz": values[:, :4]}


def _kitti(path: Path) -> dict[str, np.ndarray]:
    values = np.fromfile(path, np.float32)
    if len(values) % 4:
        raise ItemError("truncated", f"{path.name} has {len(values)} numbers, not four a point")
    columns: dict[str, np.ndarray] = {"xyz": values.reshape(-1, 4), "viewpoint": np.zeros(3)}
    label = path.parent.parent / "labels" / f"{path.stem}.label"
    if label.is_file():  # SemanticKITTI: lower 16 bits class, upper 16 bits instance
        both = np.fromfile(label, np.uint32)
        if len(both) * 4 != len(values):
            raise ItemError("labels_differ", f"{label.name} has {len(both)} labels for {len(values) // 4} points")
        columns |= {"semantic": (both & 0xFFFF).astype(np.int64), "instance": (both >> 16).astype(np.int64)}
    return columns


def _ply(path: Path) -> dict[str, np.ndarray]:
    from plyfile import PlyData

    vertex = PlyData.read(str(path))["vertex"].data
    return _named_columns({name: np.asarray(vertex[name]) for name in vertex.dtype.names})


def _named_columns(named: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Single columns joined to coordinates, colours and normals; the rest as it is."""
    columns = dict(named)
    for joined, parts in (
        ("xyz", ("x", "y", "z")), ("rgb", ("red", "green", "blue")), ("normal", ("nx", "ny", "nz")),
        ("normal", ("normal_x", "normal_y", "normal_z")),
    ):  # fmt: skip
        if all(part in columns for part in parts):
            columns[joined] = np.stack([columns.pop(part) for part in parts], axis=1)
    return columns


def _pcd(path: Path) -> dict[str, np.ndarray]:
    """Point Cloud Library files; ``rgb`` is three bytes in the memory of one number."""
    named = read_pcd(path)
    for name in ("rgb", "rgba"):
        if name in named:
            packed = named.pop(name)
            bits = packed.astype(np.float32).view(np.uint32) if packed.dtype.kind == "f" else packed.astype(np.uint32)
            named |= {"red": bits >> 16 & 255, "green": bits >> 8 & 255, "blue": bits & 255}
    return _named_columns(named)


_COLUMNS = {
    ".npz": _npz, ".npy": _npy, ".ply": _ply, ".pcd": _pcd, ".bin": _kitti, ".txt": _text, ".xyz": _text,
}  # fmt: skip
