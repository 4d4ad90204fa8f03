"""Scans whose values follow from their place in the world, and what readers say of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from repcore_medical3d.configs.volumes import VolumeFilesConfig
from repcore_medical3d.datasets.volume_layouts import VolumeFolderReader

AFFINE = np.array([[1.5, 0, 0, -20], [0, 2.0, 0, 10], [0, 0, 2.5, 40], [0, 0, 0, 1.0]])
SHAPE = (12, 10, 8)
SEED = np.random.default_rng(3)


def world_values(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Whole numbers that depend on the place in the world alone."""
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    places = voxels @ affine[:3, :3].T + affine[:3, 3]
    return np.round(places @ [2, 8, 32]).astype(np.int16)


def world_label(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """1 in an off-centre box of the world, 2 in a corner of it."""
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    x, y, z = np.moveaxis(voxels @ affine[:3, :3].T + affine[:3, 3], -1, 0)
    inside = (x > -15) & (x < -6) & (y > 13) & (y < 25) & (z > 44) & (z < 54)
    return inside.astype(np.uint8) + (inside & (x < -11) & (z < 49)).astype(np.uint8)


def save(path: Path, values: np.ndarray | None = None, affine: np.ndarray = AFFINE, **header: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(world_values(AFFINE, SHAPE) if values is None else values, affine)
    if "unit" in header:
        image.header.set_xyzt_units(header["unit"])
    nibabel.save(image, path)
    return path


def volumes(path: Path, **settings: Any) -> VolumeFolderReader:
    return VolumeFolderReader(VolumeFilesConfig(path=str(path), **settings))


def ids_of(reader: Any) -> list[str]:
    return [reader.id_of(row) for row in range(len(reader))]


# --------------------------------------------------------------------------------- K9: channels, series


def channel_cases(root: Path, pattern: str, names: list[str], missing: str = "") -> None:
    for case in range(2):
        for number, name in enumerate(names):
            file = pattern.format(case=case, name=name)
            if file != missing:
                save(root / f"{file}.nii.gz", world_values(AFFINE, SHAPE) + np.int16(1000 * number + case))
