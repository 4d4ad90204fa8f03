"""Feature maps of whole scans on disk: NIfTI for viewers, zarr for programs that read parts of them.

Both hold float32 (x, y, z, channel) and say where the map lies in the world.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from repcore.errors import ConfigError
from repcore_medical3d.formats.nifti import write_nifti
from repcore_medical3d.formats.volumes import Grid

FORMATS = ("nifti", "zarr")
BLOCK = 32  # tokens along an axis of a zarr chunk; all channels of a place lie together


def check_format(name: str) -> None:
    """Whether maps can be written in this format here.

    Raises:
        ConfigError: an unknown format, or zarr is not installed.
    """
    if name not in FORMATS:
        raise ConfigError(f"format {name!r} is unknown", expected=", ".join(FORMATS))
    if name == "zarr":
        try:
            import zarr  # noqa: F401  only whether it is there
        except ImportError as error:
            raise ConfigError(
                "maps as zarr need the package zarr", hint="pip install 'repcore-medical3d[zarr]'"
            ) from error


def file_names(ids: Sequence[str]) -> list[str]:
    """A file name for each id: signs that file systems refuse become ``_``, and ids that would meet get a mark."""
    plain = [re.sub(r"[^A-Za-z0-9._+=@-]+", "_", one).strip("._") or "scan" for one in ids]
    counts = Counter(one.lower() for one in plain)  # some file systems do not tell cases apart
    return [
        one if counts[one.lower()] == 1 else f"{one}-{sha256(whole.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"
        for one, whole in zip(plain, ids, strict=True)
    ]


def write_map(
    folder: Path, name: str, values: Tensor, grid: Grid, *, facts: Mapping[str, Any], kind: str = "nifti"
) -> Path:
    """Write the map (C, d, h, w) of a scan, and what there is to say about it.

    Args:
        folder: made where it is missing.
        name: of the scan; the file is ``name.nii.gz`` with ``name.json`` beside it, or ``name.zarr`` with attributes.
        values: the map.
        grid: its lattice in the world.
        facts: more for the JSON file or the attributes.
        kind: one of ``FORMATS``.
    """
    channels_last = values.permute(1, 2, 3, 0).numpy()  # no copy: a map of a whole scan is large
    known = {
        **facts, "shape": list(values.shape), "spacing_mm": list(grid.spacing_mm), "affine": grid.affine.tolist(),
        "mean": values.mean(dim=(1, 2, 3)).tolist(),
    }  # fmt: skip
    if kind == "zarr":
        return _write_zarr(folder / f"{name}.zarr", channels_last, known)
    target = write_nifti(folder / f"{name}.nii.gz", channels_last, grid.affine)
    (folder / f"{name}.json").write_text(json.dumps(known), encoding="utf-8")
    return target


def _write_zarr(target: Path, values: np.ndarray, attributes: Mapping[str, Any]) -> Path:
    import zarr

    chunks = (*(min(BLOCK, side) for side in values.shape[:3]), values.shape[3])
    array = zarr.open_array(str(target), mode="w", shape=values.shape, chunks=chunks, dtype="float32")
    array[...] = values
    array.attrs.update({**attributes, "axes": ["x", "y", "z", "channel"]})
    return target
