"""One scene from one file: NPZ, NPY, PLY, PCD, BIN (KITTI), TXT/XYZ, with whatever labels lie in it.

Symbols: N points.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from repcore.errors import ItemError
from repcore_pointcloud.datasets.scene import Scene

SUFFIXES = (".npz", ".npy", ".ply", ".pcd", ".bin", ".txt", ".xyz")
POSITION_NAMES = ("xyz", "points", "coord", "coords", "pcd", "pos")
COLOUR_NAMES = ("rgb", "color", "colour", "colors", "colours")
NORMAL_NAMES = ("normal", "normals")
INTENSITY_NAMES = ("intensity", "reflectance", "remission")
PCD_TYPES = {("F", 4): "<f4", ("F", 8): "<f8", ("U", 1): "u1", ("U", 2): "<u2", ("U", 4): "<u4", ("I", 4): "<i4"}
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
    """Point Cloud Library files, ascii or binary."""
    content = path.read_bytes()
    header: dict[str, list[str]] = {}
    place = 0
    while "DATA" not in header:
        end = content.index(b"\n", place)
        words = content[place:end].decode("ascii", "replace").split()
        place = end + 1
        if words and not words[0].startswith("#"):
            header[words[0].upper()] = words[1:]
    fields, points = header["FIELDS"], int(header["POINTS"][0])
    counts = [int(one) for one in header.get("COUNT", ["1"] * len(fields))]
    sizes = zip(header["TYPE"], header["SIZE"], strict=True)
    kinds = [PCD_TYPES.get((kind, int(size)), "V" + size) for kind, size in sizes]
    layout = np.dtype([(name, kind, (count,)) for name, kind, count in zip(fields, kinds, counts, strict=True)])
    how = header["DATA"][0].lower()
    if how == "binary":
        table = np.frombuffer(content, layout, points, place)
        named = {name: table[name][:, 0] for name in fields}
    elif how == "ascii":
        values = np.loadtxt(content[place:].decode("ascii").splitlines(), ndmin=2, dtype=np.float64)
        starts = np.cumsum([0, *counts[:-1]])
        named = {name: values[:, start] for name, start in zip(fields, starts, strict=True)}
    else:
        raise ItemError("compressed", f"{path.name} is {how}; pcl_convert_pcd_ascii_binary writes plain binary")
    if "rgb" in named:
        packed = named.pop("rgb").astype(np.float32).view(np.uint32)
        named |= {"red": packed >> 16 & 255, "green": packed >> 8 & 255, "blue": packed & 255}
    return _named_columns(named)


_COLUMNS = {
    ".npz": _npz, ".npy": _npy, ".ply": _ply, ".pcd": _pcd, ".bin": _kitti, ".txt": _text, ".xyz": _text,
}  # fmt: skip
