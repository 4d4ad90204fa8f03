"""Answers about voxels on the scan's own grid: NIfTI with its axes and affine, so that viewers lay them over it, and
zarr for programs that read parts of large arrays.

Symbols: (X, Y, Z) voxels as stored, K classes or values.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from repcore.errors import ConfigError
from repcore.interfaces import DenseAnswer
from repcore_medical3d.formats.nifti import write_nifti

BLOCK = 32  # voxels along an axis of a zarr chunk; all channels of a place lie together
ID_TYPES = (np.uint8, np.int16, np.int32)  # what viewers of masks read


def write_mask(path: Path, answer: DenseAnswer) -> None:
    """The most likely class as the id that label maps of the data have, 0 without an answer; other answers as they are.

    Raises:
        DataError: the name does not end in ``.nii`` or ``.nii.gz``.
    """
    if answer.target is None or answer.target.kind != "class":
        write_values(path, answer)
        return
    ids = answer.labels(missing=0)
    kind = next(
        (one for one in ID_TYPES if np.iinfo(one).min <= ids.min() and ids.max() <= np.iinfo(one).max), np.int32
    )
    write_nifti(path, ids.astype(kind), answer.sample.inputs.affine)


def write_values(path: Path, answer: DenseAnswer) -> None:
    """Probabilities, values or features float32 (X, Y, Z, K), NaN without an answer; (X, Y, Z) where K is 1."""
    values = answer.outputs[..., 0] if answer.outputs.shape[-1] == 1 else answer.outputs
    write_nifti(path, np.asarray(values, np.float32), answer.sample.inputs.affine)


def write_zarr(path: Path, answer: DenseAnswer) -> None:
    """Values float32 (x, y, z, channel) in one zip of zarr, with ``affine`` and ``axes`` as attributes.

    Raises:
        ConfigError: zarr is not installed.
    """
    try:
        import zarr
    except ImportError as error:
        raise ConfigError(
            "answers as zarr need the package zarr", hint="pip install 'repcore-medical3d[zarr]'"
        ) from error
    values = answer.outputs
    chunks = (*(min(BLOCK, side) for side in values.shape[:3]), values.shape[3])
    with zarr.storage.ZipStore(path, mode="w") as store:
        array = zarr.create_array(
            store, shape=values.shape, chunks=chunks, dtype="float32",
            attributes={"affine": answer.sample.inputs.affine.tolist(), "axes": ["x", "y", "z", "channel"]},
        )  # fmt: skip
        array[...] = values
