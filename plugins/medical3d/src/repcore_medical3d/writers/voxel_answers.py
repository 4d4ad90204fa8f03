"""Answers about voxels as NIfTI, on the scan's own grid: same axes, same affine, so that viewers lay them over it.

Symbols: (X, Y, Z) voxels as stored, K classes or values.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from repcore.errors import DataError
from repcore.interfaces import DenseAnswer
from repcore_medical3d.formats.nifti import write_nifti

ID_TYPES = (np.uint8, np.int16, np.int32)  # what viewers of masks read


def write_mask(path: Path, answer: DenseAnswer) -> None:
    """The most likely class as the id that label maps of the data have, 0 without an answer; other answers as they are.

    Raises:
        DataError: the name does not end in ``.nii`` or ``.nii.gz``, or the sample is no scan.
    """
    if answer.target is None or answer.target.kind != "class":
        write_values(path, answer)
        return
    ids = answer.labels(missing=0)
    kind = next(
        (one for one in ID_TYPES if np.iinfo(one).min <= ids.min() and ids.max() <= np.iinfo(one).max), np.int32
    )
    write_nifti(path, ids.astype(kind), _affine(answer))


def write_values(path: Path, answer: DenseAnswer) -> None:
    """Probabilities, values or features float32 (X, Y, Z, K), NaN without an answer; (X, Y, Z) where K is 1.

    Raises:
        DataError: the sample is no scan.
    """
    values = answer.outputs[..., 0] if answer.outputs.shape[-1] == 1 else answer.outputs
    write_nifti(path, np.asarray(values, np.float32), _affine(answer))


def _affine(answer: DenseAnswer) -> np.ndarray:
    """Where the scan lies in the world; flat images have no such place."""
    affine: np.ndarray | None = getattr(answer.sample.inputs, "affine", None)
    if affine is None:
        raise DataError(
            f"{answer.sample.id} is no scan with a place in the world, which NIfTI needs", hint="--format npz"
        )
    return affine
