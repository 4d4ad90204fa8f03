"""How surely a path is one of the scene layouts; names and headers only."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from repcore_pointcloud.formats.points import holds_lengths
from repcore_pointcloud.formats.scenes import SUFFIXES

LOOKED_AT = 400
SCENE_POINTS = 5_000  # from here on a file is rather a scene than a single shape


def _some(path: Path, pattern: str) -> list[Path]:
    return list(itertools.islice(path.rglob(pattern), LOOKED_AT)) if path.is_dir() else []


def scannet(path: Path) -> float:
    """Meshes named as ScanNet names them."""
    return 0.98 if _some(path, "*_vh_clean_2.ply") else 0.0


def s3dis(path: Path) -> float:
    """Rooms with an Annotations folder."""
    return 0.98 if _some(path, "Annotations/*.txt") else 0.0


def kitti(path: Path) -> float:
    """BIN files below a velodyne folder."""
    return 0.97 if any(one.parent.name.startswith("velodyne") for one in _some(path, "*.bin")) else 0.0


def scenes(path: Path) -> float:
    """A file of a known suffix, or a folder of such; surer for large NPZ clouds and for KITTI's BIN."""
    files = [path] if path.is_file() else [one for one in _some(path, "*") if one.is_file()]
    known = [one for one in files if one.suffix.lower() in SUFFIXES]
    if not known:
        return 0.0
    if all(one.suffix.lower() == ".bin" for one in known):
        return 0.8 if any(holds_lengths(one) for one in known[:3]) else 0.0
    clouds = [one for one in known if one.suffix.lower() == ".npz"]
    if clouds:
        return 0.9 if _npz_points(clouds[0]) >= SCENE_POINTS else 0.0
    return 0.3 if all(one.suffix.lower() in (".ply", ".pcd", ".npy", ".xyz", ".txt") for one in known) else 0.0


def _npz_points(path: Path) -> int:
    """Rows of the array of coordinates, from its header."""
    try:
        with np.load(path, allow_pickle=False) as file:
            name = next((one for one in ("xyz", "points", "coord", "pcd") if one in file.files), None)
            if name is None:
                return 0
            with file.zip.open(f"{name}.npy") as array:
                np.lib.format.read_magic(array)
                shape = np.lib.format.read_array_header_1_0(array)[0]
    except (OSError, ValueError, KeyError):
        return 0
    return int(shape[0]) if len(shape) == 2 and shape[1] >= 3 else 0
