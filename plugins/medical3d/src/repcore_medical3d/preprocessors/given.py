"""Scans and images that people hold in Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from repcore.data.given_inputs import shape_of
from repcore.errors import ItemError
from repcore_medical3d.formats.images import Radiograph, read_radiograph
from repcore_medical3d.formats.volume_files import is_volume, read_volume
from repcore_medical3d.formats.volumes import Volume


def volume_from(value: Any) -> Any:
    """A scan of a nibabel image, of an array (I, J, K) with its affine (4, 4), or of one file; None for other kinds.

    A tensor with an ``affine`` (MONAI) may have one leading channel.

    Raises:
        ItemError: other than three axes, or an affine that cannot be inverted.
    """
    if isinstance(value, Volume):
        return value
    if isinstance(value, str | Path):
        return read_volume(Path(value).expanduser()) if is_volume(Path(value)) and _is_file(value) else None
    if hasattr(value, "dataobj") and hasattr(value, "affine"):
        return _volume(np.asanyarray(value.dataobj), value.affine)
    if hasattr(value, "detach") and getattr(value, "affine", None) is not None:
        values = _array(value)
        return _volume(values[0] if values.ndim == 4 and len(values) == 1 else values, value.affine)
    if isinstance(value, tuple) and len(value) == 2 and shape_of(value[1]) == (4, 4):
        return _volume(_array(value[0]), value[1])
    return None


def radiograph_from(value: Any) -> Any:
    """An image of an array (H, W) or (H, W, 3), of a Pillow image, or of one file; None for other kinds."""
    if isinstance(value, Radiograph):
        return value
    if isinstance(value, str | Path):
        return read_radiograph(Path(value).expanduser()) if _is_file(value) else None
    if (
        isinstance(value, list | tuple | dict)
        or hasattr(value, "columns")
        or not (hasattr(value, "__array__") or hasattr(value, "__array_interface__"))
    ):
        return None
    pixels = _array(value)
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3) or pixels.dtype.kind not in "fiub":
        return None
    if pixels.dtype not in (np.uint8, np.uint16):
        pixels = pixels.astype(np.float32)
    return Radiograph(pixels)


def _volume(values: np.ndarray, affine: Any) -> Volume:
    matrix = _array(affine).astype(np.float64)
    if matrix.shape != (4, 4):
        raise ItemError("bad_affine", f"an affine of shape {matrix.shape}; expected (4, 4)")
    return Volume(values, matrix)


def _array(value: Any) -> np.ndarray:
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def _is_file(value: str | Path) -> bool:
    try:
        return Path(value).expanduser().is_file()
    except (OSError, ValueError):
        return False
