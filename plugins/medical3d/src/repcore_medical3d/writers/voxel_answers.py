"""Answers about voxels on the scan's own grid: NIfTI with its axes and affine, so that viewers lay them over it, and
zarr for programs that read parts of large arrays.

Symbols: (X, Y, Z) voxels as stored, K classes or values.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from repcore.errors import ConfigError, DataError
from repcore.interfaces import DenseAnswer
from repcore_medical3d.formats.nifti import write_nifti

BLOCK = 32  # voxels along an axis of a zarr chunk; all channels of a place lie together
ID_TYPES = (np.uint8, np.int16, np.int32)  # what viewers of masks read


def write_mask(path: Path, answer: DenseAnswer) -> None:
    """The most likely class as the id that label maps of the data have; other answers as they are.

    Voxels without an answer are 0, or where 0 is a class the highest number below 256 that none has.

    Raises:
        DataError: the name does not end in ``.nii`` or ``.nii.gz``, or the sample is no scan.
    """
    if answer.target is None or answer.target.kind != "class":
        write_values(path, answer)
        return
    ids = answer.labels((0, *range(np.iinfo(np.uint8).max, 0, -1), -1))
    kind = next(
        (one for one in ID_TYPES if np.iinfo(one).min <= ids.min() and ids.max() <= np.iinfo(one).max), np.int32
    )
    write_nifti(path, ids.astype(kind), _affine(answer))


def write_values(path: Path, answer: DenseAnswer) -> None:
    """Probabilities, values or features (X, Y, Z, K), NaN without an answer; (X, Y, Z) where K is 1.

    Raises:
        DataError: the sample is no scan.
    """
    values = answer.outputs[..., 0] if answer.outputs.shape[-1] == 1 else answer.outputs
    write_nifti(path, values, _affine(answer))


def write_zarr(path: Path, answer: DenseAnswer) -> None:
    """Values (x, y, z, channel) in one zip of zarr, with ``affine`` and ``axes`` as attributes.

    Raises:
        ConfigError: zarr is not installed. DataError: the sample is no scan.
    """
    try:
        import zarr
    except ImportError as error:
        raise ConfigError(
            "answers as zarr need the package zarr", hint="pip install 'repcore-medical3d[zarr]'"
        ) from error
    affine, values = _affine(answer), answer.outputs
    chunks = (*(min(BLOCK, side) for side in values.shape[:3]), values.shape[3])
    with zarr.storage.ZipStore(path, mode="w") as store:
        array = zarr.create_array(
            store, shape=values.shape, chunks=chunks, dtype=values.dtype,
            attributes={"affine": affine.tolist(), "axes": ["x", "y", "z", "channel"]},
        )  # fmt: skip
        array[...] = values


def _affine(answer: DenseAnswer) -> np.ndarray:
    """Where the scan lies in the world; flat images have no such place."""
    affine: np.ndarray | None = getattr(answer.sample.inputs, "affine", None)
    if affine is None:
        raise DataError(
            f"{answer.sample.id} is no scan with a place in the world, which NIfTI needs", hint="--format npz"
        )
    return affine
