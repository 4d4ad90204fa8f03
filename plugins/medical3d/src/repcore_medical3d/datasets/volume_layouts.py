"""Folders of volumes: flat ones, nnU-Net, BIDS, LiTS, BraTS, Kaggle's; or one file.

Masks are never scans: they are told by their names and folders, paired with their scan by the words of its name, and
said where there is no scan. Channels in files of their own (``_0000``, ``_0001``; the sequences of BraTS) are one item.
A table beside them (``split.csv``, ``participants.tsv``, or the only one) gives labels, patients and splits.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path

from repcore.data.accounting import Accounting, walk
from repcore.data.catalogue import existing, rows_by
from repcore.data.first_files import LOOKED_AT, first_files
from repcore.data.groups import KEPT_TOGETHER
from repcore.errors import DataError, ItemError, PluginError
from repcore_medical3d.configs.volumes import VolumeFilesConfig
from repcore_medical3d.datasets.scan_groups import groups_of_scans
from repcore_medical3d.datasets.volume_lists import channel_names, label_names, read_list
from repcore_medical3d.datasets.volume_mask_contents import look_at_volume, with_masks_by_content
from repcore_medical3d.datasets.volume_masks import pair_masks
from repcore_medical3d.datasets.volume_names import named, with_visits
from repcore_medical3d.datasets.volume_pairs import Item, items_of
from repcore_medical3d.datasets.volume_tables import folder_classes, read_item_table
from repcore_medical3d.datasets.volumes import (
    VolumeCatalogue,
    VolumeReader,
    reading_rules,
    segmentation_target,
    volume_row,
)
from repcore_medical3d.formats.arrays import has_labels, is_array, looks_like_volume, members_of, volume_keys
from repcore_medical3d.formats.nifti import PAIR_SUFFIXES, ReadingRules
from repcore_medical3d.formats.volume_files import (
    VOLUME_SUFFIXES,
    header_of,
    is_volume,
    parts_beside,
    read_volume,
    volume_stem,
    volume_suffix,
)  # fmt: skip
from repcore_medical3d.formats.volumes import Grid

ARRAYS_LOOKED_AT = 20
LIST = "dataset.json"  # of nnU-Net: names of channels and labels, without a list of files


class VolumeFolderReader(VolumeReader):
    """Dataset ``medical3d/volume-folder``: every volume below a folder, or one file."""

    def __init__(self, config: VolumeFilesConfig) -> None:
        root = existing(config.path, self.noun)
        super().__init__(folder_catalogue(root, config), root, config)


def folder_catalogue(root: Path, config: VolumeFilesConfig | None = None) -> VolumeCatalogue:
    """Rows with their masks, labels, patients and splits, and an account of what was left out.

    Raises:
        DataError: no scan below the folder, or a file that is no volume.
    """
    config = config or VolumeFilesConfig()
    if root.is_file():
        if not is_volume(root):
            header = header_of(root)
            raise DataError(
                f"{str(root)!r} is no volume by its name", expected=", ".join(VOLUME_SUFFIXES),
                hint=f"give {header}, the header beside it" if header else "",
            )  # fmt: skip
        labels = root if has_labels(root) else None
        return VolumeCatalogue(
            [volume_row(volume_stem(root), (root,), labels)], [segmentation_target()] if labels else []
        )
    account = Accounting(root)
    files = with_visits([named(path, root) for path in _volumes(root, account)], account)
    for one in files:
        if one.is_derived:
            account.ignore(one.path, "derived from scans (derivatives)")
    scans = [one for one in files if not one.is_mask and not one.is_derived]
    masks = [one for one in files if one.is_mask]
    if config.label_maps == "content":
        seen = with_masks_by_content(scans, partial(look_at_volume, rules=reading_rules(config)), account, masks)
        scans, masks = [one for one in seen if not one.is_mask], [*masks, *(one for one in seen if one.is_mask)]
    _check_scans(root, len(scans), len(masks))
    items = items_of(scans, together=config.sequences == "together", account=account)
    classes = pair_masks(items, masks, account, grid_of=partial(_grid_of, rules=reading_rules(config)))
    for item in items:
        if item.mask is None and not item.masks and has_labels(item.files[0]):
            item.mask = item.files[0]
    return _catalogue(root, items, config, account, classes)


def _grid_of(path: Path, rules: ReadingRules) -> Grid | None:
    try:
        return read_volume(path, rules).grid
    except (ItemError, PluginError):
        return None


def _volumes(root: Path, account: Accounting) -> list[Path]:
    """Files that are volumes by their names, without the second files of pairs; links to nothing are said."""
    found: list[Path] = []
    values: list[Path] = []
    for one in walk(root):
        if one.problem and is_volume(one.path):
            account.unreadable(one.path, one.problem)
        elif not one.problem and not one.left_out and is_volume(one.path):
            if not is_array(one.path) or _is_volume_array(one.path, account):
                found.append(one.path)
        elif not one.problem and not one.left_out and header_of(one.path):
            values.append(one.path)
    beside = {part for path in found for part in parts_beside(path)}
    for path in values:
        if path not in beside:
            account.unreadable(path, f"values without their header {header_of(path)}")
    lone = [path for path in found if volume_suffix(path).lower() in PAIR_SUFFIXES and not parts_beside(path)]
    for path in lone:
        account.unreadable(path, "a header without its .img")
    return [path for path in found if path not in beside and path not in set(lone)]


def _is_volume_array(path: Path, account: Accounting) -> bool:
    """Arrays of other things (features, points, tables) lie beside scans; damaged ones stay rows."""
    try:
        members = members_of(path)
    except ItemError:
        return True
    if volume_keys(members) != (None, None) or sum(one.is_volume for one in members.values()):
        return True
    shapes = ", ".join(str(one.shape) for one in list(members.values())[:3]) or "nothing"
    account.ignore(path, f"an array that is no volume ({shapes})")
    return False


def _check_scans(root: Path, scans: int, masks: int) -> None:
    if scans:
        return
    if masks:
        raise DataError(
            f"{str(root)!r} holds {masks} label maps by their names and no scan", hint="point to the scans' folder, too"
        )
    there = sorted({path.suffix.lower() or "(no suffix)" for path in islice(root.rglob("*"), LOOKED_AT)})
    raise DataError(
        f"{str(root)!r} holds no NIfTI file or other volume", expected=", ".join(VOLUME_SUFFIXES),
        found=", ".join(there[:8]) or "nothing",
    )  # fmt: skip


def _catalogue(
    root: Path, items: Sequence[Item], config: VolumeFilesConfig, account: Accounting, classes: tuple[str, ...]
) -> VolumeCatalogue:
    facts = _facts(root, account)
    groups, said = groups_of_scans(items, root)
    table = read_item_table(root, items, groups, config.label_kind, account)
    if table.groups:
        groups = [table.groups.get(number, group) for number, group in enumerate(groups)]
        said = f"groups: {len(set(table.groups.values()))} from the table; {KEPT_TOGETHER}"
    account.note(said) if said else None
    by_folder = folder_classes(root, items, groups, table, account)
    names = channel_names(facts)
    rows = []
    for number, (name, item) in enumerate(zip(unique_ids(items, root), items, strict=True)):
        channels = names if item.channels and len(names) == len(item.files) else item.channels
        rows.append(
            volume_row(
                name, item.files, item.mask, targets=table.values.get(number, {}), group=groups[number],
                channels=channels, problem=item.problem, masks=item.masks,
            )
        )  # fmt: skip
    words = [table.splits.get(number, item.seen.part or None) for number, item in enumerate(items)]
    has_masks = any(item.mask or item.masks for item in items)
    if has_masks:
        without = sum(1 for item in items if item.mask is None and not item.masks)
        account.note(f"{len(items) - without} of {len(items)} scans have a mask")
    targets = [segmentation_target(classes or label_names(facts))] if has_masks else []
    return VolumeCatalogue(
        rows, [*targets, *table.targets, *([by_folder] if by_folder else [])], rows_by(words), account=account
    )


def _facts(root: Path, account: Accounting) -> dict[str, object]:
    """nnU-Net's ``dataset.json``, where there is one."""
    file = root / LIST
    if not file.is_file():
        return {}
    try:
        content = dict(read_list(file))
    except DataError as error:
        account.unreadable(file, str(error.summary))
        return {}
    account.use(file)
    return content


def unique_ids(items: Sequence[Item], root: Path) -> list[str]:
    """File names without suffix; paths where names repeat; with suffix where even those do (a.nii beside a.nii.gz)."""
    stems = [item.stem for item in items]
    if len(set(stems)) == len(stems):
        return stems
    paths = [(item.files[0].parent / item.stem).relative_to(root).as_posix() for item in items]
    twice = {name for name in paths if paths.count(name) > 1} if len(set(paths)) < len(paths) else set()
    return [
        item.files[0].relative_to(root).as_posix() if name in twice else name
        for name, item in zip(paths, items, strict=True)
    ]


def sniff_folder(path: Path) -> float:
    """Any tree with volumes, or one of them."""
    if path.is_file():
        return (0.5 * looks_like_volume(path) if is_array(path) else 0.9) if is_volume(path) else 0.0
    files = [one for one in first_files(path) if is_volume(one)]
    if any(not is_array(one) for one in files):
        return 0.6
    return 0.5 if any(looks_like_volume(one) for one in files[:ARRAYS_LOOKED_AT]) else 0.0
