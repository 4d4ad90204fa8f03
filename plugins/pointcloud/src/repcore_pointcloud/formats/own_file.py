"""The user's own file behind a sample, for answers that stand beside what it says: its columns in its order and types.

Whatever the format, a file counts as the sample's own where three of its columns hold the sample's coordinates.

Symbols: n points.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from repcore.errors import ItemError
from repcore_pointcloud.formats import binary
from repcore_pointcloud.formats.column_names import plain
from repcore_pointcloud.formats.pcd import PcdFile, read_pcd_file
from repcore_pointcloud.formats.ply import Lists, PlyFile, read_ply_file
from repcore_pointcloud.formats.reading import DAMAGE, READERS
from repcore_pointcloud.formats.surveys import survey_columns

FACT = "file"  # in Sample.meta
SAME_PLACE = 1e-6  # share of the cloud's extent by which coordinates may differ that went through float32
TRIPLES = {"xyz": ("x", "y", "z"), "rgb": ("red", "green", "blue"), "normals": ("nx", "ny", "nz")}


def own_file_fact(files: Sequence[Path]) -> dict[str, Path]:
    """The file that a row's points lie in, for ``Sample.meta``: answers are written beside its columns."""
    return {FACT: files[0]} if files else {}


@dataclass(frozen=True, slots=True)
class OwnFile:
    """What a file says about the points of a sample.

    Args:
        columns: name -> (n,), or (n, c) of a field with several numbers, in the file's own types; coordinates too.
        xyz: names of the columns of coordinates.
        ply / pcd: the whole file, where it is of this format.
        beside: in words, what the file says that is no number of a point; only its own format holds it.
    """

    columns: Mapping[str, np.ndarray]
    xyz: tuple[str, str, str]
    ply: PlyFile | None = None
    pcd: PcdFile | None = None
    beside: tuple[str, ...] = ()

    def in_place(self) -> dict[str, np.ndarray]:
        """All columns, coordinates first as ``x y z``, names in the form that every format can hold; several numbers a
        point as so many columns."""
        axes = {axis: self.columns[name] for axis, name in zip("xyz", self.xyz, strict=True)}
        rest = {name: values for name, values in _single(self.columns).items() if name not in self.xyz}
        new = free_names((re.sub(r"\W+", "_", name).strip("_") or "column" for name in rest), axes, "own_")
        return {**axes, **dict(zip(new, rest.values(), strict=True))}


def own_file(path: Path | None, xyz: np.ndarray) -> OwnFile | None:
    """The file's columns, None where it is gone, cannot be read any more, or holds other points.

    Args:
        xyz: float64 (n, 3), the points that are answered about, NaN = not usable.
    """
    if path is None or not path.is_file():
        return None
    ply, pcd, suffix = None, None, path.suffix.lower()
    beside: tuple[str, ...] = ()
    try:
        if suffix == ".ply":
            ply = read_ply_file(path)
            vertex = ply.columns.get("vertex", {})
            raw = {name: one for name, one in vertex.items() if isinstance(one, np.ndarray)}
            beside = _beside_vertices(ply)
        elif suffix == ".pcd":
            pcd = read_pcd_file(path)
            raw = {name: one[:, 0] if one.shape[1] == 1 else one for name, one in pcd.typed().items()}
        elif suffix in (".las", ".laz"):
            raw, beside = survey_columns(path)
        else:
            read = binary.read_bin(path, 0, len(xyz)) if suffix == ".bin" else READERS[suffix](path)
            raw = _single(read.columns)
            beside = ("faces",) if read.faces is not None and len(read.faces) else ()
    except (ItemError, MemoryError, *DAMAGE):
        return None
    columns = {name: one for name, one in raw.items() if len(one) == len(xyz) and one.dtype.kind in "biuf"}
    found = _coordinates(columns, xyz)
    words = [f"column {name!r}, which holds words" for name, one in raw.items() if one.dtype.kind not in "biuf"]
    return None if found is None else OwnFile(columns, found, ply, pcd, (*beside, *words))


def _beside_vertices(file: PlyFile) -> tuple[str, ...]:
    """Elements, lists and remarks of a PLY file that are no numbers of its vertices."""
    elements = [f"element {one.name!r}" for one in file.elements if one.name != "vertex" and one.rows]
    lists = [f"list {name!r}" for name, one in file.columns.get("vertex", {}).items() if isinstance(one, Lists)]
    return (*elements, *lists, *(["its remarks"] if file.remarks else []))


def free_names(names: Iterable[str], taken: Iterable[str], prefix: str) -> list[str]:
    """Each name, or, where a column of this name is there, the name with a prefix and, if need be, a number behind."""
    known = {plain(one) for one in taken}
    found = []
    for name in names:
        new, number = name, 2
        if plain(new) in known:
            new = f"{prefix}{name}"
        while plain(new) in known:
            new, number = f"{prefix}{name}_{number}", number + 1
        known.add(plain(new))
        found.append(new)
    return found


def _single(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays of several numbers a point taken apart."""
    found: dict[str, np.ndarray] = {}
    for name, given in columns.items():
        values = np.asarray(given)
        if values.ndim == 2:
            parts = TRIPLES.get(plain(name), ())
            words = parts if len(parts) == values.shape[1] else [f"{name}_{k}" for k in range(values.shape[1])]
            found.update(zip(words, values.T, strict=True))
        elif values.ndim == 1:
            found[name] = values
    return found


def _coordinates(columns: Mapping[str, np.ndarray], xyz: np.ndarray) -> tuple[str, str, str] | None:
    """Which columns hold the coordinates: one called like the axis first."""
    usable = np.isfinite(xyz).all(1)
    if not usable.any():
        return None
    close = SAME_PLACE * float(np.ptp(xyz[usable], axis=0).max())
    found: list[str] = []
    for axis, name in enumerate("xyz"):
        called = [one for one in columns if plain(one) == name]
        order = [*called, *(one for one in columns if one not in called)]
        same = (
            one
            for one in order
            if one not in found
            and columns[one].ndim == 1
            and np.allclose(columns[one][usable].astype(np.float64), xyz[usable, axis], rtol=0, atol=close)
        )
        match = next(same, None)
        if match is None:
            return None
        found.append(match)
    return found[0], found[1], found[2]
