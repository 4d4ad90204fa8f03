"""Dense labels on the grid of their image: compared in the world, resampled where the grids differ, ids kept.

A label map that is stored in another order of axes is turned, one of another resolution is resampled to the nearest
label, and one that lies elsewhere is refused: equal shapes prove nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from repcore.errors import ItemError
from repcore_medical3d.formats.volumes import Box, Grid, Volume
from repcore_medical3d.preprocessors.volume_resampling import resample

NOT_LABELLED = -1  # any id below 0: voxels that neither teach nor count
WHOLE_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class LabelRules:
    """How label maps are read.

    Args:
        by_world: False takes the array as it lies on the image's, which must have the same shape.
        least_cover: share of the image's box that a label map has to cover.
        threshold: soft labels at or above become 1; None refuses them.
        overlap: voxels that several masks claim: ``error``, or the ``smaller`` class has them.
    """

    by_world: bool = True
    least_cover: float = 0.5
    threshold: float | None = None
    overlap: str = "error"


def labels_on(labels: Volume, image: Grid, rules: LabelRules) -> tuple[Volume, str]:
    """A label map on the image's grid, and a remark where it was not stored there (empty where it was).

    Raises:
        ItemError: it lies elsewhere, has several channels, or holds values that are no ids.
    """
    name = labels.path.name if labels.path else "the label map"
    labels = _whole_numbers(labels, rules, name)
    if not rules.by_world:
        if labels.shape != image.shape:
            raise ItemError("labels_do_not_fit", f"{name} has shape {labels.shape}, its image {image.shape}")
        return Volume(labels.source, image.affine, labels.path, files=labels.files), ""
    if labels.grid.is_same(image):
        return labels, ""
    cover = covered_share(image, labels.grid)
    if cover < rules.least_cover:
        away = float(np.linalg.norm(labels.grid.corners_mm.mean(axis=0) - image.corners_mm.mean(axis=0)))
        same = " with the same shape" if labels.shape == image.shape else ""
        raise ItemError(
            "labels_do_not_fit",
            f"{name}{same} covers {cover:.0%} of its image in the world; their centres lie {away:.0f} mm apart "
            "(dataset.label_grid=image takes it voxel by voxel)",
        )
    return Volume(OnGrid(labels, image), image.affine, labels.path, files=labels.files), _difference(labels, image)


def masks_on(masks: Sequence[tuple[int, Volume]], image: Grid, rules: LabelRules) -> tuple[Volume, str]:
    """Masks of one class each as one label map on the image's grid, and remarks.

    Args:
        masks: class number and mask; voxels that are not 0 belong to the class.

    Raises:
        ItemError: as :func:`labels_on`; a mask of several ids; voxels of several masks where that is not allowed.
    """
    placed, remarks = [], []
    for number, mask in masks:
        one, remark = labels_on(mask, image, rules)
        inside = np.asarray(one.read()) > 0
        ids = np.unique(one.read(exact=True)[inside])
        name = mask.path.name if mask.path else str(number)
        if len(ids) > 1:
            raise ItemError(
                "labels_do_not_fit", f"{name} is one of several masks and holds {len(ids)} ids; a mask has one class"
            )
        placed.append((number, name, inside))
        remarks += [remark] if remark and remark not in remarks else []
    found = np.zeros(image.shape, np.int16)
    claimed = np.zeros(image.shape, np.uint8)
    for number, _, inside in sorted(placed, key=lambda one: -int(one[2].sum())):  # the smallest last
        found[inside] = number
        claimed += inside
    twice = int((claimed > 1).sum())
    if twice:
        names = [name for _, name, inside in placed if (inside & (claimed > 1)).any()]
        said = f"{twice:,} voxels are claimed by several of {', '.join(names[:4])}"
        if rules.overlap == "error":
            raise ItemError("labels_overlap", f"{said} (dataset.label_overlap=smaller gives them to the smaller one)")
        remarks.append(f"{said}: the smaller one has them")
    files = tuple(path for _, mask in masks for path in mask.files)
    return Volume(found, image.affine, masks[0][1].path, files=files), "; ".join(remarks)


def _difference(labels: Volume, image: Grid) -> str:
    own = Volume(np.zeros(image.shape, np.uint8), image.affine)
    if labels.orientation != own.orientation and np.allclose(
        sorted(labels.spacing_mm), sorted(own.spacing_mm), rtol=1e-3
    ):
        return f"the label map is stored {labels.orientation}, its image {own.orientation}: turned"
    words = [" x ".join(f"{length:.3g}" for length in one) for one in (labels.spacing_mm, image.spacing_mm)]
    return f"the label map has another grid ({words[0]} mm, its image {words[1]} mm): resampled to the nearest label"


def covered_share(image: Grid, other: Grid) -> float:
    """Share of the voxels of a coarse net over the image that lie inside of the other grid."""
    axes = [np.linspace(0, size - 1, min(size, 16)) for size in image.shape]
    net = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    places = other.voxels(image.world(net))
    inside = ((places >= -0.5) & (places <= np.asarray(other.shape) - 0.5)).all(axis=-1)
    return float(inside.mean())


def _whole_numbers(labels: Volume, rules: LabelRules, name: str) -> Volume:
    """A map of ids; soft ones become 0 and 1 where a threshold is given."""
    if labels.further:
        raise ItemError("labels_do_not_fit", f"{name} has {len(labels.channels)} channels; a label map has one")
    kind = getattr(labels.source, "dtype", None)
    if kind is not None and np.dtype(kind).kind in "uib" and isinstance(labels.source, np.ndarray):
        return labels
    values = labels.read(exact=True)
    if not np.isfinite(values).all():
        raise ItemError("labels_not_whole", f"{name} has voxels that are NaN or infinite")
    odd = np.abs(values - np.round(values)) > WHOLE_TOLERANCE
    if not odd.any():
        return Volume(np.round(values).astype(np.int32), labels.affine, labels.path, files=labels.files)
    if rules.threshold is None:
        raise ItemError(
            "labels_not_whole",
            f"{name} holds {values[odd].flat[0]:.3g} and {int(odd.sum()) - 1} further values that are no label ids: "
            "probabilities? (dataset.soft_labels=0.5 makes 0 and 1 of them)",
        )
    return Volume((values >= rules.threshold).astype(np.uint8), labels.affine, labels.path, files=labels.files)


class OnGrid:
    """A volume seen on another grid, nearest value, 0 outside; made block by block."""

    def __init__(self, volume: Volume, grid: Grid) -> None:
        self.volume, self.grid, self.shape = volume, grid, grid.shape

    def __getitem__(self, box: Box) -> np.ndarray:
        sides = [one.indices(size) for one, size in zip(box, self.shape, strict=True)]
        starts = [side[0] for side in sides]
        shape = tuple(max(0, side[1] - side[0]) for side in sides)
        if min(shape) == 0:
            return np.zeros(shape, np.float32)
        part = resample(self.volume, self.grid.moved(starts, (shape[0], shape[1], shape[2])), order=0)
        return part[tuple(slice(None, None, side[2]) for side in sides)]


@dataclass(frozen=True, slots=True)
class LabelIds:
    """Ids as stored (0, 205, 420) and class numbers 0 to K-1 without gaps; ids below 0 are not labelled.

    Args:
        ids: rising, the background 0 first.
    """

    ids: tuple[int, ...]

    @classmethod
    def found_in(cls, labels: Iterable[Volume]) -> LabelIds:
        """The ids of several label maps, and 0."""
        found: set[int] = {0}
        for one in labels:
            found |= set(np.unique(one.read(exact=True)).astype(np.int64).tolist())
        return cls(tuple(sorted(number for number in found if number >= 0)))

    @property
    def are_numbers(self) -> bool:
        """Ids and class numbers are the same."""
        return self.ids == tuple(range(len(self.ids)))

    def numbers(self, stored: Any) -> np.ndarray:  # array or tensor of whole numbers
        """Class numbers int64; -1 where not labelled or where the id is unknown."""
        values = np.asarray(stored).round().astype(np.int64)
        places = np.searchsorted(self.ids, values).clip(0, len(self.ids) - 1)
        return np.where(np.asarray(self.ids)[places] == values, places, NOT_LABELLED)

    def stored(self, numbers: Any) -> np.ndarray:  # array or tensor of class numbers
        """Ids as they were stored."""
        return np.asarray(self.ids, np.int64)[np.asarray(numbers)]

    def names(self, given: Sequence[str] = ()) -> tuple[str, ...]:
        """Names of the classes: given ones by id, else the id."""
        return tuple(given[number] if number < len(given) else str(number) for number in self.ids)
