"""Answers about the pixels of an image: a PNG of the image's own size.

Symbols: (H, W) pixels, K classes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from repcore.errors import DataError
from repcore.interfaces import DenseAnswer
from repcore_medical3d.formats.images import write_png

LARGEST = np.iinfo(np.uint16).max


def write_mask_image(path: Path, answer: DenseAnswer) -> None:
    """The most likely class as the id that label images of the data have: 8-bit grey, 16-bit where an id needs it.

    Pixels without an answer are 0, or where 0 is a class the highest number up to 255, then 65535, that none has.

    Raises:
        DataError: values that are no classes, ids outside 0 to 65535, or a sample that is no image.
    """
    if answer.target is None or answer.target.kind != "class":
        raise DataError("a PNG holds classes, not features or numbers", hint="--format npz")
    ids = answer.labels((0, *range(np.iinfo(np.uint8).max, 0, -1), LARGEST))
    if ids.ndim != 2:
        raise DataError(
            f"{answer.sample.id} is no flat image: {' x '.join(map(str, ids.shape))}", hint="--format nifti"
        )
    if ids.min() < 0 or ids.max() > LARGEST:
        raise DataError(f"ids {int(ids.min())} to {int(ids.max())} do not fit a PNG", hint="--format npz")
    path.write_bytes(write_png(ids.astype(np.uint8 if ids.max() <= np.iinfo(np.uint8).max else np.uint16)))
