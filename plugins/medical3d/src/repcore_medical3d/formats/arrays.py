"""Volumes as NumPy arrays (.npy, .npz): headers are judged before anything is read, nothing is unpickled.

An array says nothing of millimetres: spacing comes from a key of the ``.npz`` (``spacing``, ``affine``) or from the
setting; without either the row is refused. Directions of the axes are taken as right, anterior, superior, and said so.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from repcore.errors import ItemError
from repcore_medical3d.formats.nifti import DEFLATE_RATIO, MOST_CHANNELS, ReadingRules
from repcore_medical3d.formats.volumes import Volume, file_size

ARRAY_SUFFIXES = (".npy", ".npz")
SPACING_KEYS = ("spacing", "spacing_mm", "voxel_spacing", "voxel_size", "voxelsize", "pixdim", "zooms")
AFFINE_KEY = "affine"
IMAGE_KEYS = ("image", "img", "volume", "vol", "scan", "ct", "mr", "mri", "data", "x", "arr_0")
LABEL_KEYS = ("label", "labels", "mask", "seg", "segmentation", "gt", "y")
LEAST_EDGE = 8  # of an array that is taken for a volume: (objects, points, 3) is none
ASSUMED = "an array: its axes are taken as right, anterior, superior"


@dataclass(frozen=True, slots=True)
class Member:
    """What the header of one array promises."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize

    @property
    def is_volume(self) -> bool:
        """Three axes of a scan's length, or four with a short first or last one."""
        sides = self.shape if len(self.shape) == 3 else _spatial(self.shape)
        return len(sides) == 3 and min(sides) >= LEAST_EDGE and self.dtype.kind in "uifb"


def is_array(path: Path) -> bool:
    """By its name."""
    return path.suffix.lower() in ARRAY_SUFFIXES


def members_of(path: Path) -> dict[str, Member]:
    """Headers of the arrays in a file; the one of ``.npy`` is called ``""``.

    Raises:
        ItemError: missing, empty or damaged.
    """
    if not path.is_file():
        raise ItemError("missing_file", f"{path} does not exist" if not path.exists() else f"{path} is not a file")
    if file_size(path) == 0:
        raise ItemError("empty", f"{path.name} has 0 bytes")
    try:
        if path.suffix.lower() == ".npy":
            with path.open("rb") as file:
                return {"": _header(file)}
        found = {}
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if info.filename.endswith(".npy"):
                    with archive.open(info) as file:
                        found[info.filename.removesuffix(".npy")] = _header(file)
        return found
    except Exception as error:  # zipfile, zlib and NumPy raise kinds of their own for damaged content
        raise ItemError("corrupt", f"{path.name} cannot be read as {path.suffix.lower()[1:]}: {error}") from error


def _header(file: IO[bytes]) -> Member:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return Member(tuple(map(int, shape)), dtype)


def volume_keys(members: Mapping[str, Member]) -> tuple[str | None, str | None]:
    """Names of the image and of the label map among arrays; None where there is none or where nobody can tell."""
    fitting = [name for name, one in members.items() if one.is_volume]
    labels = next((name for key in LABEL_KEYS for name in fitting if name.lower() == key), None)
    images = [name for name in fitting if name != labels]
    image = next((name for key in IMAGE_KEYS for name in images if name.lower() == key), None)
    return image if image is not None or len(images) != 1 else images[0], labels


def looks_like_volume(path: Path) -> bool:
    """Whether a regular file holds an array of a scan's shape: for choosing readers."""
    try:
        return volume_keys(members_of(path)) != (None, None)
    except ItemError:
        return False


def has_labels(path: Path) -> bool:
    """Whether an ``.npz`` holds an image and its label map."""
    if path.suffix.lower() != ".npz":
        return False
    try:
        return None not in volume_keys(members_of(path))
    except ItemError:
        return False


def read_array(path: Path, rules: ReadingRules, *, labels: bool = False) -> Volume:
    """An array as a volume; a short fourth axis, first or last, holds channels.

    Args:
        labels: take the label map of an ``.npz`` that holds both, or the only array.

    Raises:
        ItemError: damaged, too large, no volume, several that could be meant, or without a spacing.
    """
    members = members_of(path)
    _refuse_pictures(path, members)
    image, mask = volume_keys(members)
    key = (mask if mask is not None else image) if labels else image
    if key is None and not labels and mask is not None and len(members) == 1:
        key = mask
    if key is None:
        told = ", ".join(f"{name or 'array'} {one.shape} {one.dtype}" for name, one in members.items()) or "nothing"
        raise ItemError(
            "not_a_volume",
            f"{path.name} holds {told[:200]}; a volume has three axes of {LEAST_EDGE} voxels or more (one array, or "
            f"one called {', '.join(IMAGE_KEYS[:4])})",
        )
    _check_promise(path, members[key], rules)
    affine = _affine(path, members, rules)
    values = _values(path, key)
    channels = _channels(values)
    parts = [
        Volume(one, affine, path, channel=f"channel {number}" if len(channels) > 1 else "", facts={"remark": ASSUMED})
        for number, one in enumerate(channels)
    ]
    parts[0].further = tuple(parts[1:])
    return parts[0]


def _refuse_pictures(path: Path, members: Mapping[str, Member]) -> None:
    """Refuse arrays of many pictures with a label each (``train_images`` and ``train_labels``, as MedMNIST has them).

    Raises:
        ItemError: ``not_a_volume``.
    """
    for name, one in members.items():
        labels = members.get(name.replace("images", "labels")) if "images" in name else None
        if labels is not None and len(labels.shape) in (1, 2) and one.shape[:1] == labels.shape[:1]:
            raise ItemError(
                "not_a_volume",
                f"{path.name} holds {one.shape[0]:,} pictures with labels ({name} {one.shape}), no volume: "
                "--reader medical3d/image-arrays or medical3d/volume-arrays",
            )


def _check_promise(path: Path, member: Member, rules: ReadingRules) -> None:
    needed, size = member.nbytes, file_size(path)
    if needed > rules.largest_mib * 2**20:
        raise ItemError(
            "too_large",
            f"{path.name} promises {needed / 2**20:,.0f} MiB ({' x '.join(map(str, member.shape))} voxels); the limit "
            f"is {rules.largest_mib:,} (dataset.largest_mib)",
        )
    if needed > size * (1 if path.suffix.lower() == ".npy" else DEFLATE_RATIO):
        raise ItemError("corrupt", f"{path.name} has {size} bytes; its header promises {needed}")


def _affine(path: Path, members: Mapping[str, Member], rules: ReadingRules) -> np.ndarray:
    """Voxel index to millimetres, from the file's own keys or the setting."""
    by_name = {name.lower(): name for name in members}
    if AFFINE_KEY in by_name:
        affine = _small(path, by_name[AFFINE_KEY], members)
        if affine.shape == (4, 4):
            return affine
    spacing = next((_small(path, by_name[key], members) for key in SPACING_KEYS if key in by_name), None)
    if spacing is None and rules.spacing_mm is not None:
        spacing = np.asarray(rules.spacing_mm, np.float64)
    if spacing is None:
        raise ItemError(
            "no_spacing",
            f"{path.name} does not say how large its voxels are: dataset.spacing_mm=[1,1,1], or a key 'spacing' of "
            "three millimetres in the .npz",
        )
    spacing = spacing.reshape(-1)
    if spacing.size == 1:
        spacing = np.repeat(spacing, 3)
    if spacing.size != 3 or not (np.isfinite(spacing) & (spacing > 0)).all():
        raise ItemError("bad_spacing", f"the spacing of {path.name} is {spacing.tolist()}, not three millimetres")
    return np.diag([*spacing, 1.0])


def _small(path: Path, key: str, members: Mapping[str, Member]) -> np.ndarray:
    member = members[key]
    if member.nbytes > 4096 or member.dtype.kind not in "uif":
        raise ItemError("bad_spacing", f"{path.name} has {key!r} of shape {member.shape} ({member.dtype})")
    return _values(path, key).astype(np.float64)


def _values(path: Path, key: str) -> np.ndarray:
    """An array: ``.npy`` stays on disk until it is read."""
    try:
        if not key:
            return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
        with np.load(path, allow_pickle=False) as archive:
            return np.asarray(archive[key])
    except Exception as error:  # as for headers
        raise ItemError("corrupt", f"{path.name} cannot be decoded: {error}") from error


def _spatial(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The three long axes of four; empty where the first and the last could both be channels, or neither."""
    if len(shape) != 4:
        return ()
    short = [1 <= size <= MOST_CHANNELS for size in (shape[0], shape[3])]
    if short[0] == short[1]:
        return ()
    return shape[1:] if short[0] else shape[:3]


def _channels(values: np.ndarray) -> list[np.ndarray]:
    if values.dtype == bool:
        values = values.astype(np.uint8)
    if values.ndim == 3:
        return [values]
    first = _spatial(values.shape) == values.shape[1:]
    return list(values if first else np.moveaxis(values, -1, 0))
