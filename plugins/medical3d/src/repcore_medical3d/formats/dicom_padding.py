"""Pixels that a DICOM header declares padding: no tissue was measured there, and their stored number means nothing.

Scanners fill the corners outside a round field of view, and gaps of a stitched scan, with a number of their own
(PixelPaddingValue, or a range up to PixelPaddingRangeLimit; DICOM PS3.3 C.7.5.1.1.2). Rescaled, it may lie far above or
below everything that was measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

AIR = -1000.0  # Hounsfield units


@dataclass(frozen=True, slots=True)
class Padding:
    """Stored numbers that are padding, ``low`` to ``high``; ``empty`` (rescaled) fills a slice of nothing else."""

    low: float
    high: float
    empty: float

    @property
    def words(self) -> str:
        shown = f"{self.low:g}" if self.low == self.high else f"{self.low:g} to {self.high:g}"
        return f"padding (PixelPaddingValue {shown}) is given the lowest value of its slice or picture"


def padding_of(
    number: Callable[[str, float], float], modality: str, intercept: float, *, is_zero_dark: bool = True
) -> Padding | None:
    """The padding that a header declares; None where it declares none, or where it is the darkest number already.

    Args:
        number: value of a header's keyword, or the default.
        intercept: of the rescaling, what a stored 0 becomes.
        is_zero_dark: the lowest stored number is the darkest one (not so with MONOCHROME1 or a falling slope).
    """
    value = number("PixelPaddingValue", float("nan"))
    if not np.isfinite(value):
        return None
    limit = number("PixelPaddingRangeLimit", value)
    is_ct, is_signed = modality == "CT", number("PixelRepresentation", 0) == 1
    if value == 0 and is_zero_dark and not is_ct and not is_signed and limit == 0:
        return None  # black already: an MR's background of zeros keeps its distance to the tissue
    bits = int(number("BitsAllocated", 16))
    ends = sorted(_stored(one, bits, is_signed) for one in (value, limit))
    return Padding(ends[0], ends[1], AIR if is_ct else intercept)


def _stored(value: float, bits: int, is_signed: bool) -> float:
    """The number as pixels hold it: 63536 is -2000 of signed pixels, and some writers mix up the two."""
    whole = int(value) % (1 << bits)
    return float(whole - (1 << bits) if is_signed and whole >= 1 << (bits - 1) else whole)


def without_padding(pixels: np.ndarray, values: np.ndarray, padding: Padding | None) -> np.ndarray:
    """Rescaled values with the lowest of the slice where its stored pixels are padding; ``values`` is written to."""
    if padding is None:
        return values
    is_padding = (pixels >= padding.low) & (pixels <= padding.high)
    if is_padding.any():
        values[is_padding] = padding.empty if is_padding.all() else values[~is_padding].min()
    return values
