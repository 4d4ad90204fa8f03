"""How surely a path is one of the scene layouts; names, headers and sizes only."""

from __future__ import annotations

import itertools
import re
import zipfile
from pathlib import Path

import numpy as np

from repcore.data.first_files import files_below
from repcore.data.misfits import HARDLY
from repcore_pointcloud.formats.headerless import holds_lengths
from repcore_pointcloud.formats.plausible import array_may_be_points
from repcore_pointcloud.formats.reading import SURVEY_SUFFIXES, TEXT_SUFFIXES, UNMISTAKABLE
from repcore_pointcloud.formats.scenes import SUFFIXES
from repcore_pointcloud.formats.text import looks_like_points

LOOKED_AT = 400
OPENED = 8
SCENE_POINTS = 5_000  # from here on a file of an NPZ is rather a scene than a single shape
LARGE_POINTS = 12_000  # and any other file; single shapes of public sets have up to 10,000
SURE, RATHER, MAYBE = 0.9, 0.65, 0.3
BOXES = ("labels", "label_2", "calib", "ImageSets", "semantic_mask", "instance_mask")


def _some(path: Path, pattern: str) -> list[Path]:
    return list(itertools.islice((one for one in files_below(path) if one.match(pattern)), LOOKED_AT))


def scannet(path: Path) -> float:
    """Meshes named as ScanNet names them."""
    return 0.98 if _some(path, "*_vh_clean_2.ply") else 0.0


def s3dis(path: Path) -> float:
    """Rooms with an Annotations folder."""
    return 0.98 if _some(path, "Annotations/*.txt") else 0.0


def kitti(path: Path) -> float:
    """BIN files below a velodyne folder."""
    return 0.97 if any(one.parent.name.lower().startswith("velodyne") for one in _some(path, "*.bin")) else 0.0


def pointcept(path: Path) -> float:
    """Folders with coord.npy and another array of Pointcept."""
    found = _some(path, "coord.npy")
    others = ("color.npy", "normal.npy", "strength.npy", "segment.npy", "segment20.npy", "instance.npy")
    return 0.98 if any((one.parent / other).is_file() for one in found for other in others) else 0.0


def scenes(path: Path) -> float:
    """A file of a known suffix, or a folder of such; surer the more points the files have."""
    files = [path] if path.is_file() else _some(path, "*")
    known = [one for one in files if one.suffix.lower() in SUFFIXES and not _beside(one)]
    texts = [one for one in known if one.suffix.lower() in TEXT_SUFFIXES and one.suffix.lower() not in UNMISTAKABLE]
    if texts and not any(looks_like_points(one) for one in texts[:OPENED]):
        known = [one for one in known if one not in texts]
    known = [one for one in known if one.suffix.lower() != ".bin" or holds_lengths(one)]
    known = [one for one in known if one.suffix.lower() not in (".npy", ".npz") or array_may_be_points(one)]
    if not known:
        return 0.0
    sweeps = [one for one in known if one.suffix.lower() == ".bin"]
    surveys = [one for one in known if one.suffix.lower() in SURVEY_SUFFIXES]
    if 2 * (len(sweeps) + len(surveys)) > len(known):
        return 0.8
    clouds = [one for one in known if one.suffix.lower() == ".npz"]
    if clouds:
        most = max(quick_count(one) for one in clouds[:OPENED])
        return (
            SURE if most >= SCENE_POINTS else HARDLY if most else 0.0
        )  # few points: a single shape, unless scenes are wanted
    counts = sorted(quick_count(one) for one in known[:OPENED])
    return RATHER if counts[len(counts) // 2] >= LARGE_POINTS else MAYBE


def _beside(path: Path) -> bool:
    return path.suffix.lower() in (".txt", ".bin") and path.parent.name in BOXES


def quick_count(path: Path) -> int:
    """About how many points a file has, from its header or its size; 0 where that does not tell."""
    suffix = path.suffix.lower()
    try:
        if suffix in (".npz", ".npy"):
            return _array_points(path)
        if suffix in (".ply", ".pcd"):
            with path.open("rb") as file:
                head = file.read(4096)
            found = re.search(rb"element\s+vertex\s+(\d+)" if suffix == ".ply" else rb"POINTS\s+(\d+)", head)
            return int(found[1]) if found and not (suffix == ".ply" and _has_faces(head)) else 0
        return _text_points(path) if suffix in TEXT_SUFFIXES else 0
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return 0


def _text_points(path: Path) -> int:
    """Lines of a text file, from its size and its first ones."""
    with path.open("rb") as file:
        head = file.read(8192)
    lines = head.count(b"\n")
    return path.stat().st_size * lines // len(head) if lines else 0


def _has_faces(head: bytes) -> bool:
    found = re.search(rb"element\s+face\s+(\d+)", head)
    return found is not None and int(found[1]) > 0


def _array_points(path: Path) -> int:
    """Rows of the array of coordinates, from its header; 0 if it is none."""
    if path.suffix.lower() == ".npy":
        shape = np.load(path, mmap_mode="r", allow_pickle=False).shape
        return int(shape[0]) if len(shape) == 2 and 3 <= shape[1] < shape[0] else 0
    with np.load(path, allow_pickle=False) as file:
        names = ("xyz", "points", "coord", "coords", "pcd", "vertices", "pos")
        name = next((one for one in names if one in file.files), None)
        if name is None:
            return 0
        with file.zip.open(f"{name}.npy") as array:
            version = np.lib.format.read_magic(array)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape = read(array)[0]
    return int(shape[0]) if len(shape) == 2 and shape[1] >= 3 else 0
