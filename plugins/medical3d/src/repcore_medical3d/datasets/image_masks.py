"""Label images of 2-D images: found by names and folders, several of one image put together, never images themselves.

A mask is told by its name (``a_mask.png``), by its folder (``labels/a.png``), or by lying in a folder beside that of
the images under the same names and holding two values only (``images/a.png``, ``left_lung/a.png``). Numbered masks of
one image (``a_mask.png``, ``a_mask_1.png``) are pieces of one class; masks with words of their own are classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from repcore.data.accounting import Accounting
from repcore.errors import ItemError
from repcore_medical3d.datasets.volume_mask_contents import look_at_picture, with_masks_by_content
from repcore_medical3d.datasets.volume_masks import pair_masks
from repcore_medical3d.datasets.volume_names import IMAGE_FOLDER, Named, named
from repcore_medical3d.datasets.volume_pairs import items_of
from repcore_medical3d.formats.images import read_image

LEAST_SHARED = 0.8  # of the files of a folder of masks that have the name of an image
LOOKED_AT = 3  # files of a folder whose values are looked at


@dataclass(frozen=True, slots=True)
class Masks:
    """Label images by image.

    Args:
        whole: image -> the one label image.
        pieces: image -> (class number, mask), where several make its label image.
        names: of the classes by number, the background first; empty where ids are used as they are stored.
    """

    whole: Mapping[Path, Path] = field(default_factory=dict)
    pieces: Mapping[Path, tuple[tuple[int, Path], ...]] = field(default_factory=dict)
    names: tuple[str, ...] = ()

    @property
    def files(self) -> set[Path]:
        """Every file that is a mask of some image."""
        return {*self.whole.values(), *(path for found in self.pieces.values() for _, path in found)}


def split_masks(files: Sequence[Path], root: Path, account: Accounting, *, by_content: bool = True) -> Masks:
    """Images and their label images; masks without an image are said. Nothing is a mask where everything would be one.

    Args:
        files: all pictures below the root.
        by_content: find label images that no name tells, too.
    """
    seen = [named(file, root) for file in files]
    if by_content:
        seen = _with_mask_folders(seen, account)
        masks = [one for one in seen if one.is_mask]
        others = [one for one in seen if not one.is_mask]
        seen = [*masks, *with_masks_by_content(others, look_at_picture, account, masks, also_alone=False)]
    if all(one.is_mask for one in seen):
        return Masks()
    items = items_of([one for one in seen if not one.is_mask], together=False, account=account)
    names = pair_masks(items, [one for one in seen if one.is_mask], account, pieces=True)
    return Masks(
        {item.files[0]: item.mask for item in items if item.mask is not None},
        {item.files[0]: item.masks for item in items if item.masks},
        names,
    )


def read_mask(pieces: Sequence[tuple[int, Path]]) -> np.ndarray:
    """One label image (H, W) of several masks; where they overlap the smaller one counts.

    Raises:
        ItemError: a mask cannot be read, or their sizes differ.
    """
    masks = [(number, _is_set(read_image(path))) for number, path in pieces]
    shapes = {mask.shape for _, mask in masks}
    if len(shapes) > 1:
        raise ItemError("mask_size", f"the masks of one image have shapes {' and '.join(map(str, sorted(shapes)))}")
    found = np.zeros(shapes.pop(), np.uint8 if max(number for number, _ in masks) < 256 else np.int32)
    for number, mask in sorted(masks, key=lambda one: -int(one[1].sum())):
        found[mask] = number
    return found


def _is_set(pixels: np.ndarray) -> np.ndarray:
    return (pixels if pixels.ndim == 2 else pixels.max(axis=2)) > 0


def _with_mask_folders(seen: Sequence[Named], account: Accounting) -> list[Named]:
    """Files in folders beside a folder of images that hold masks under the images' names, as masks of that class."""
    by_folder: dict[Path, list[Named]] = {}
    for one in seen:
        by_folder.setdefault(one.path.parent, []).append(one)
    classes: dict[Path, str] = {}
    for folder, images in by_folder.items():
        if not IMAGE_FOLDER.fullmatch(folder.name) or any(one.is_mask for one in images):
            continue
        stems = {one.path.stem for one in images}
        for other, ones in by_folder.items():
            shared = sum(one.path.stem in stems for one in ones)
            is_beside = other.parent == folder.parent and other != folder and not any(one.is_mask for one in ones)
            if is_beside and shared >= LEAST_SHARED * len(ones) and _are_masks([one.path for one in ones[:LOOKED_AT]]):
                classes[other] = other.name
    for other, name in classes.items():
        why = "they have the names of images and two values only"
        account.guess(f"files in {other.name}", f"masks of a class, {name!r}", why)
    return [
        replace(one, is_mask=True, label=classes[one.path.parent].lower(), folders=())
        if one.path.parent in classes
        else one
        for one in seen
    ]


def _are_masks(paths: Sequence[Path]) -> bool:
    """Whether pictures hold two values, the lower of them 0, or one value where others hold two."""
    most = 0
    for path in paths:
        try:
            values = np.unique(read_image(path))
        except ItemError:
            return False
        if len(values) > 2 or (len(values) == 2 and values[0] != 0):
            return False
        most = max(most, len(values))
    return most == 2
