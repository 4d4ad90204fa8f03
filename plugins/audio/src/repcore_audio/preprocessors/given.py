"""Sound that people hold in Python."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from repcore.data.given_inputs import shape_of
from repcore.errors import ItemError
from repcore_audio.datasets.recordings import Excerpt, LongRecording, Recording, read_recording

SCALES = "give int16, int32 or uint8 as sound files hold them, or floating numbers from -1 to 1"


def recording_from(value: Any) -> Any:
    """A recording of samples with their rate, or of one sound file; None for other kinds.

    Samples are (n,), (channels, n) or (n, channels): the shorter axis counts channels. They are scaled as
    :func:`in_full_scale` does.

    Raises:
        ItemError: a rate that is none, no samples or none in a known scale, or a file that cannot be read.
    """
    if isinstance(value, Recording | LongRecording):
        return value
    if isinstance(value, str | Path):
        return read_recording(Excerpt(Path(value).expanduser())) if _is_file(value) else None
    if isinstance(value, Mapping) and {"array", "sampling_rate"} <= value.keys():  # as Hugging Face decodes audio
        return _recording(value["array"], value["sampling_rate"])
    if isinstance(value, tuple) and len(value) == 2:
        samples, rate = (value[1], value[0]) if shape_of(value[0]) == () else value  # SciPy gives the rate first
        axes = len(shape_of(samples) or ())
        is_pair = shape_of(rate) == () and axes in (1, 2) and not isinstance(samples, str | Mapping)
        return _recording(samples, rate) if is_pair and _is_rate(rate) else None
    return None


def _recording(samples: Any, rate: Any) -> Recording:
    values = np.asarray(samples.detach().cpu() if hasattr(samples, "detach") else samples)
    if not _is_rate(rate) or int(rate) < 1:
        raise ItemError("bad_rate", f"a sampling rate of {rate!r}; expected Hz, for example 16000")
    if values.size == 0 or values.ndim > 2:
        raise ItemError("empty" if values.size == 0 else "bad_shape", f"samples of shape {values.shape}")
    values = in_full_scale(values)
    table = values.reshape(1, -1) if values.ndim == 1 else values
    if table.shape[0] > table.shape[1]:
        table = table.T
    return Recording(np.ascontiguousarray(table, np.float32), int(rate))


def in_full_scale(samples: np.ndarray) -> np.ndarray:
    """Samples as floating numbers, 1 = full scale: whole numbers of the types that sound files hold by their type (8
    bits are unsigned), floating ones as they are.

    Args:
        samples: of any shape.

    Raises:
        ItemError: ``unknown_scale``, another type, or whole numbers beyond 1 that have become floating ones: nothing
            says what full scale is.
    """
    if samples.dtype in (np.uint8, np.int16, np.int32):
        middle = 128 if samples.dtype == np.uint8 else 0
        return (samples.astype(np.float64) - middle) / (2.0 ** (8 * samples.dtype.itemsize - 1))
    if samples.dtype.kind != "f":
        raise ItemError("unknown_scale", f"samples of type {samples.dtype}, whose full scale is not known; {SCALES}")
    sizes = np.abs(samples[np.isfinite(samples)])
    if sizes.size and sizes.max() > 1 and bool((sizes == np.round(sizes)).all()):
        raise ItemError("unknown_scale", f"{samples.dtype} samples are whole numbers up to {sizes.max():g}; {SCALES}")
    return samples


def _is_rate(rate: Any) -> bool:
    """Whole Hz; a label beside samples is rarely that large."""
    try:
        return float(rate) == int(rate) and int(rate) >= 1000
    except (TypeError, ValueError):
        return False


def _is_file(value: str | Path) -> bool:
    try:
        return Path(value).expanduser().is_file()
    except (OSError, ValueError):
        return False
