"""Readers of one ``.npz`` of many pictures or volumes with labels and parts, as MedMNIST publishes its sets.

``train_images`` (N, H, W), (N, H, W, 3), (N, 3, H, W) or (N, D, H, W) with ``train_labels`` (N, 1) or (N, L), the same
of ``val`` and ``test``; ``x_train`` with ``y_train``, as Keras names them; or ``images`` with ``labels`` and no parts.
Nothing is unpickled.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from repcore.data.accounting import Accounting
from repcore.data.allocation import open_arrays
from repcore.data.catalogue import Catalogue, Row, existing, rows_by
from repcore.data.labels import read_label
from repcore.data.splits import part_of
from repcore.errors import DataError, ItemError
from repcore.specs import TargetSpec
from repcore_medical3d.configs.images import ImageFilesConfig
from repcore_medical3d.configs.volumes import VolumeFilesConfig
from repcore_medical3d.datasets.images import CHESTXRAY14, ImageFiles, ImageReader, image_row
from repcore_medical3d.datasets.volumes import Scan, VolumeFiles, VolumeReader, VolumeRow, volume_row
from repcore_medical3d.formats.arrays import LEAST_EDGE, Member, members_of
from repcore_medical3d.formats.images import Radiograph
from repcore_medical3d.formats.volumes import Volume

IMAGES = re.compile(r"(?:(?P<part>[a-z]+)_images?|x_(?P<named>[a-z]+)|(?P<all>images?))", re.IGNORECASE)
ALL = "item"  # name of the only part
PART_ORDER = (ALL, "train", "validation", "test")
LABEL = "label"
COLOURS = (1, 3, 4)
ASSUMED_MM = (1.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Part:
    """Names of the arrays of one part: its items, and their labels if there are any."""

    name: str
    items: str
    labels: str | None


def parts_of(members: Mapping[str, Member], axes: int) -> list[Part]:
    """Parts whose items have so many axes (2 = pictures, 3 = volumes)."""
    found = []
    for name, member in members.items():
        said = IMAGES.fullmatch(name)
        part = None if said is None else ALL if said["all"] else part_of(said["part"] or said["named"])
        if said is None or part is None or _axes(member, is_called=not said["named"]) != axes:
            continue
        lower = f"y{name[1:]}" if said["named"] else name.lower().replace("images", "labels").replace("image", "label")
        label = next((one for one in members if one.lower() == lower.lower()), None)
        found.append(Part(part, name, label))
    parts = [one for one in found if one.name != ALL]
    return sorted(parts or [one for one in found if one.labels], key=lambda one: PART_ORDER.index(one.name))


def _axes(member: Member, *, is_called: bool) -> int:
    """2 for pictures, 3 for volumes, 0 for neither; ``is_called``: the name says that they are images."""
    shape = member.shape
    if member.dtype.kind not in "uif" or len(shape) not in (3, 4, 5):
        return 0
    if is_called and has_channels_first(shape):
        return 2
    if min(shape[1:3]) < LEAST_EDGE:
        return 0
    if len(shape) == 3 or (len(shape) == 4 and shape[3] in COLOURS):
        return 2 if len(shape) == 4 or member.dtype.kind == "u" or is_called else 0  # series are no bytes
    return 3 if min(shape[1:4]) >= LEAST_EDGE and (len(shape) == 4 or shape[4] == 1) else 0


def has_channels_first(shape: Sequence[int]) -> bool:
    """Whether (N, C, H, W) are pictures with their channels first, as PyTorch has them."""
    return len(shape) == 4 and shape[1] in COLOURS and shape[3] not in COLOURS and min(shape[2:]) >= LEAST_EDGE


def sniff_images(path: Path) -> float:
    """Many pictures with labels and parts."""
    return _sniff(path, 2)


def sniff_volumes(path: Path) -> float:
    """Many volumes with labels and parts."""
    return _sniff(path, 3)


def _sniff(path: Path, axes: int) -> float:
    if path.suffix.lower() != ".npz" or not path.is_file():
        return 0.0
    try:
        found = parts_of(members_of(path), axes)
    except ItemError:
        return 0.0
    return 0.95 if any(one.labels for one in found) else 0.75 if found else 0.0


@dataclass(frozen=True, slots=True)
class Held:
    """What a file holds: its items in order, ids, labels, the part of each item."""

    items: Sequence[np.ndarray]
    ids: Sequence[str]
    targets: Sequence[TargetSpec]
    values: Sequence[Mapping[str, Any]]
    splits: Mapping[str, list[int]]


def read_parts(path: Path, axes: int, account: Accounting) -> Held:
    """All parts of a file.

    Raises:
        DataError: it is damaged, holds no such parts, or other numbers of items and labels.
    """
    try:
        members = members_of(path)
        parts = parts_of(members, axes)
        if not parts:
            kind = ("pictures", "(N, H, W)") if axes == 2 else ("volumes", "(N, D, H, W)")
            told = ", ".join(f"{name} {one.shape}" for name, one in members.items()) or "nothing"
            raise DataError(
                f"{str(path)!r} holds no {kind[0]} with labels: {told[:200]}",
                expected=f"train_images {kind[1]} with train_labels, val_..., test_...; or images with labels",
            )
        _refuse_objects(path, members, parts)
        with open_arrays(path) as archive:
            items = [archive[one.items] for one in parts]
            labels = [None if one.labels is None else np.asarray(archive[one.labels]) for one in parts]
    except ItemError as error:
        raise DataError(f"{str(path)!r}: {error.reason}") from None
    except DataError:
        raise
    except (OSError, ValueError) as error:
        raise DataError(f"{str(path)!r} is damaged: {error}") from error
    for part, content, own in zip(parts, items, labels, strict=True):
        if own is not None and len(own) != len(content):
            raise DataError(
                f"{part.items} of {path.name} has {len(content):,} items, {part.labels} {len(own):,} labels"
            )
    used = {name for one in parts for name in (one.items, one.labels)}
    for name in members:
        if name not in used:
            account.guess(f"array {name!r}", "not used", "neither items nor labels of a part", is_loss=True)
    names = [one.name for one, content in zip(parts, items, strict=True) for _ in range(len(content))]
    ids = [f"{one.name}-{row:06d}" for one, content in zip(parts, items, strict=True) for row in range(len(content))]
    targets, values = _labels(path, items, labels, account)
    splits = rows_by(names) if len(parts) > 1 else {}
    return Held([one for content in items for one in content], ids, targets, values, splits)


def _refuse_objects(path: Path, members: Mapping[str, Member], parts: Sequence[Part]) -> None:
    for name in [name for one in parts for name in (one.items, one.labels) if name is not None]:
        if members[name].dtype.hasobject:
            raise DataError(
                f"array {name!r} of {path.name} holds Python objects, which are never unpickled",
                hint="numbers, or texts as labels.astype(str)",
            )


def _labels(
    path: Path, items: Sequence[np.ndarray], labels: Sequence[np.ndarray | None], account: Accounting
) -> tuple[list[TargetSpec], list[dict[str, Any]]]:
    """Numbers (N,) or (N, 1) are one label, judged as a column of a table is; 0 and 1 in (N, L) are several."""
    count = sum(len(one) for one in items)
    if any(own is not None and _are_masks(own, content) for content, own in zip(items, labels, strict=True)):
        why = f"{next(one.shape[1:] for one in labels if one is not None)} numbers an item are masks, not labels"
        account.guess(f"labels of {path.name}", "not used", why, is_loss=True)
        return [], [{} for _ in range(count)]
    widths = {one.reshape(len(one), -1).shape[1] for one in labels if one is not None and len(one)}
    if not widths:
        return [], [{} for _ in range(count)]
    if len(widths) > 1:
        raise DataError(f"parts of {path.name} have different numbers of labels", labels=sorted(widths))
    width = widths.pop()
    rows: list[Any] = []
    for content, own in zip(items, labels, strict=True):
        rows += [None] * len(content) if own is None else list(own.reshape(len(own), -1))
    if width == 1:
        cells = [None if one is None else one[0].item() for one in rows]
        whole = all(one.dtype.kind in "uib" for one in labels if one is not None)
        kind: Any = {"kind": "class", "why": "whole numbers beside pictures"} if whole else {}
        column = read_label(LABEL, cells, change="label_kind=KIND", **kind)
        column.tell(account)
        if column.target is None:
            return [], [{} for _ in range(count)]
        return [column.target], [{LABEL: column.value(row)} for row in range(count)]
    seen = {float(one) for own in labels if own is not None for one in np.unique(own)}
    if not seen <= {0.0, 1.0}:
        account.guess(f"labels of {path.name}", "not used", f"{width} numbers an item, not 0 and 1", is_loss=True)
        return [], [{} for _ in range(count)]
    if all((own.reshape(len(own), -1).sum(1) == 1).all() for own in labels if own is not None) and width > 1:
        account.guess(f"labels of {path.name}", f"one of {width} classes", "in each row exactly one number is 1")
        target = TargetSpec(LABEL, "class", names=tuple(map(str, range(width))))
        return [target], [{LABEL: float("nan") if one is None else int(np.argmax(one))} for one in rows]
    account.guess(f"labels of {path.name}", f"{width} labels", "0 and 1, several of them 1 in some rows")
    is_chest = path.stem.lower().startswith("chest") and width == len(CHESTXRAY14)
    names = CHESTXRAY14 if is_chest else tuple(f"label_{number}" for number in range(width))
    if is_chest:
        account.guess(f"labels of {path.name}", "named as ChestX-ray14 names them", "the file is called so")
    nothing = [float("nan")] * width
    return [TargetSpec(LABEL, "multilabel", names=names)], [
        {LABEL: nothing if one is None else one.astype(float).tolist()} for one in rows
    ]


def _are_masks(labels: np.ndarray, items: np.ndarray) -> bool:
    """Whether labels are one number a pixel or voxel."""
    return labels.ndim > 2 and labels.ndim <= items.ndim and min(labels.shape[1:3]) >= LEAST_EDGE


class ImageArrays(ImageReader):
    """Pictures of an ``.npz`` with their labels and published parts.

    Args:
        config: see :class:`ImageFilesConfig`.

    Raises:
        DataError: no such file.
    """

    def __init__(self, config: ImageFilesConfig) -> None:
        path = existing(config.path, self.noun)
        account = Accounting(path.parent)
        held = read_parts(path, 2, account)
        self._items = held.items
        rows = [
            replace(image_row(name, path, targets), stamp=str(number))
            for number, (name, targets) in enumerate(zip(held.ids, held.values, strict=True))
        ]
        super().__init__(Catalogue(rows, held.targets, held.splits, account=account), path, config)
        self._place = {row.id: number for number, row in enumerate(self.rows)}  # ids may be pseudonyms now

    def read(self, row: Row[ImageFiles]) -> Radiograph:
        """The picture, which was read with the file."""
        pixels = self._items[self._place[row.id]]
        if pixels.ndim == 3 and has_channels_first((1, *pixels.shape)):
            pixels = np.moveaxis(pixels, 0, 2)
        if pixels.ndim == 3:
            pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels[..., :3]
        return Radiograph(pixels if pixels.dtype in (np.uint8, np.uint16) else pixels.astype(np.float32))


class VolumeArrays(VolumeReader):
    """Volumes of an ``.npz`` with their labels and published parts; the file does not say how large voxels are.

    Args:
        config: see :class:`VolumeFilesConfig`.

    Raises:
        DataError: no such file.
    """

    def __init__(self, config: VolumeFilesConfig) -> None:
        path = existing(config.path, self.noun)
        account = Accounting(path.parent)
        held = read_parts(path, 3, account)
        self._items = held.items
        edges = config.spacing_mm or ASSUMED_MM
        self._affine = np.diag([*edges, 1.0])
        if config.spacing_mm is None:
            why = "the file does not say how large its voxels are"
            account.guess("voxel edges", "1 mm", why, "dataset.spacing_mm=[1,1,1]", is_loss=True)
        rows = [
            replace(volume_row(name, (path,), targets=targets), stamp=str(number))
            for number, (name, targets) in enumerate(zip(held.ids, held.values, strict=True))
        ]
        super().__init__(Catalogue[VolumeFiles](rows, held.targets, held.splits, account=account), path, config)
        self._place = {row.id: number for number, row in enumerate(self.rows)}

    def read(self, row: VolumeRow) -> Scan:
        """The volume, which was read with the file."""
        values = self._items[self._place[row.id]]
        values = values[..., 0] if values.ndim == 4 else values
        return Scan(Volume(values, self._affine), None, ())

    def bytes_of(self, index: int) -> int:
        """Four for each voxel."""
        return 4 * int(self._items[index].size)
