"""One-frame DICOM pictures (CR, DX, MG, ultrasound, photographs): stored numbers to values, bright = dense.

In the order of the standard: lookup table or rescaling of the modality, then MONOCHROME1 (bright = thin) turned round.
Padding (formats/dicom_padding.py) is given the lowest value of the picture, after both, and has no part in the turn.
Windows (VOI) are for screens and are not applied: the preprocessor windows by percentiles.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from repcore.errors import ItemError, PluginError
from repcore_medical3d.formats.dicom import INSTALL, number_in, read_dicom, require_pydicom
from repcore_medical3d.formats.dicom_padding import padding_of

RESCALING = (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0))
BYTE = 8  # bits of a colour


def read_dicom_picture(path: Path) -> tuple[np.ndarray, str]:
    """float32 (H, W), or colours uint8 (H, W, 3), and a remark where padding was found.

    Raises:
        ItemError: ``corrupt``, ``several_frames``, ``colour_16_bit``.
        PluginError: pydicom is not installed.
    """
    try:
        require_pydicom()
    except PluginError as error:
        raise PluginError(f"{path.name} is a DICOM file; pydicom is not installed", hint=INSTALL) from error
    try:
        data = read_dicom(path)
        values = np.asarray(data.pixel_array)
        kind = str(getattr(data, "PhotometricInterpretation", "MONOCHROME2"))
        if kind == "PALETTE COLOR" and values.ndim == 2:
            return _looked_up(values, data), ""
        if values.ndim == 2:
            return _measured(values, data, is_turned=kind == "MONOCHROME1")
    except ItemError:
        raise
    except Exception as error:  # pydicom raises many kinds for damaged or compressed files
        raise ItemError("corrupt", f"{path.name} cannot be decoded: {error}") from error
    if values.ndim != 3 or values.shape[-1] != 3 or kind.startswith("MONOCHROME"):
        raise ItemError("several_frames", f"{path.name} has {values.shape}; a radiograph is one frame")
    if values.dtype.itemsize * 8 > BYTE:
        depth = int(number_in(data, "BitsStored", 8 * values.dtype.itemsize))
        if depth > BYTE:
            raise ItemError("colour_16_bit", f"{path.name} holds colours of {depth} bits, which are not read")
    return values.astype(np.uint8), ""


def _looked_up(numbers: np.ndarray, data: Any) -> np.ndarray:  # a pydicom data set
    """Colours uint8 (H, W, 3) of the numbers of a palette."""
    from pydicom.pixels import apply_color_lut

    colours = np.asarray(apply_color_lut(numbers, data))[..., :3]
    return (colours >> BYTE).astype(np.uint8) if colours.dtype.itemsize > 1 else colours.astype(np.uint8)


def _measured(stored: np.ndarray, data: Any, *, is_turned: bool) -> tuple[np.ndarray, str]:  # a pydicom data set
    """Values float32 (H, W) of stored numbers, and the remark about padding."""
    slope, intercept = (number_in(data, name, default) for name, default in RESCALING)
    if data.get("ModalityLUTSequence"):
        from pydicom.pixels import apply_modality_lut

        values = np.asarray(apply_modality_lut(stored, data)).astype(np.float32)
    else:
        values = stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    is_dark = not is_turned and slope > 0  # the lowest stored number is the darkest
    padding = padding_of(partial(number_in, data), str(data.get("Modality") or ""), intercept, is_zero_dark=is_dark)
    kept = np.ones(stored.shape, bool)
    if padding is not None:
        kept = (stored < padding.low) | (stored > padding.high)
    if not kept.any():
        return np.full_like(values, 0.0), f"nothing but {padding.words}" if padding else ""
    low, high = values[kept].min(), values[kept].max()
    if is_turned:
        values = high + low - values
    values[~kept] = low
    return values, padding.words if padding is not None and not kept.all() else ""
