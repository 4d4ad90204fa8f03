"""Masks and their scans: which belong together, and how several masks of one scan become one label map.

A mask belongs to the scan whose name it bears. Where names go on (``c1_liver_seg`` of ``c1``), or masks lie beside the
only scan of a folder that is called like nothing or like its folder (``s1/ct``, ``s1/segmentations/liver``), the words
that the mask's name adds are its class; that counts only where it happens again, so that no stray file becomes a label.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from repcore.data.accounting import Accounting
from repcore.data.labels import natural
from repcore_medical3d.datasets.volume_names import LABEL_FOLDER, Named, case_of
from repcore_medical3d.datasets.volume_pairs import Item
from repcore_medical3d.formats.volumes import Grid

MOST_CLASS_WORDS = 4
BACKGROUND = "background"


@dataclass(slots=True)
class _Found:
    """A mask of an item: the class that its name tells (empty: a whole label map), and whether that is a guess."""

    mask: Named
    label: str
    is_guess: bool


@dataclass(slots=True)
class _Scans:
    """Items by the words of their names, and by the folder that they lie in."""

    by_case: dict[tuple[str, ...], list[Item]] = field(default_factory=lambda: defaultdict(list))
    prefixes: dict[tuple[str, ...], list[Item]] = field(default_factory=lambda: defaultdict(list))
    by_folder: dict[Path, list[Item]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def of(cls, items: Sequence[Item]) -> _Scans:
        found = cls()
        for item in items:
            found.by_folder[item.files[0].parent].append(item)
            for case in dict.fromkeys(item.cases):
                found.by_case[case].append(item)
                for length in range(1, len(case)):
                    found.prefixes[case[:length]].append(item)
        return found


def pair_masks(
    items: Sequence[Item],
    masks: Sequence[Named],
    account: Accounting,
    *,
    pieces: bool = False,
    grid_of: Callable[[Path], Grid | None] | None = None,
) -> tuple[str, ...]:
    """Give every item its mask, or its masks of one class each; masks without a scan are said.

    A mask belongs to the only scan of its name, of several to that in the same folder; else to the only scan whose name
    goes on where the mask's ends (BIDS: ``sub-01_dseg`` and ``sub-01_T1w``), or whose name it goes on from.

    Args:
        pieces: numbered masks of one scan (``a_mask``, ``a_mask_1``) are pieces of one class; else the one without a
            number is used and the others are said.
        grid_of: grid of a file, asked only where a mask fits several scans of one folder: each on its grid has it.

    Returns:
        names of the classes by number, the background first; empty where label maps are used as they are stored.
    """
    scans = _Scans.of(items)
    found: dict[int, list[_Found]] = defaultdict(list)
    for mask in masks:
        fitting, label, is_guess = _fitting(mask, scans)
        owners = fitting if len(fitting) < 2 else _sharing(mask, fitting, grid_of, account)
        for item in owners:
            found[id(item)].append(_Found(mask, label, is_guess))
        if not owners:
            why = "a mask without a scan" if not fitting else f"a mask that {len(fitting)} scans could have"
            account.ignore(mask.path, why)
    _drop_stray(found, account)
    return _assign(items, found, account, pieces)


def _sharing(
    mask: Named, fitting: Sequence[Item], grid_of: Callable[[Path], Grid | None] | None, account: Accounting
) -> list[Item]:
    """Of several scans of one case in one folder (CT and PET) those on the grid of their mask."""
    is_one_case = all(
        mask.case in item.cases and item.files[0].parent == fitting[0].files[0].parent for item in fitting
    )
    grid = grid_of(mask.path) if grid_of is not None and is_one_case else None
    if grid is None or grid_of is None:
        return []
    shared = [item for item in fitting if (other := grid_of(item.files[0])) is not None and other.is_same(grid)]
    if len(shared) > 1:
        account.guess(
            "masks", "one for several scans of a case", "the scans lie on the grid of the mask, in one folder"
        )
    return shared


def _fitting(mask: Named, scans: _Scans) -> tuple[list[Item], str, bool]:
    """Scans that a mask could belong to, the class that its name tells, and whether that is a guess."""
    fitting = _nearest(mask, scans.by_case.get(mask.case, []))
    if not fitting and mask.case:
        fitting = _nearest(mask, scans.prefixes.get(mask.case, []))
    if fitting:
        return fitting, mask.label, False
    for length in range(len(mask.case) - 1, max(0, len(mask.case) - 1 - MOST_CLASS_WORDS), -1):
        for case, rest in ((mask.case[:length], mask.case[length:]), (mask.case[-length:], mask.case[:-length])):
            if case in scans.by_case and not rest[0].isdigit() and not rest[-1].isdigit():
                return _nearest(mask, scans.by_case[case]), " ".join((*rest, *mask.label.split())), True
    return _beside(mask, scans), " ".join(mask.case), True


def _beside(mask: Named, scans: _Scans) -> list[Item]:
    """The only scan of the folder that the mask, or the folder of masks, lies in."""
    folder = mask.path.parent.parent if LABEL_FOLDER.fullmatch(mask.path.parent.name) else mask.path.parent
    there = scans.by_folder.get(folder, [])
    if len(there) != 1 or not mask.case or mask.case[0].isdigit():
        return []
    return there if () in there[0].cases or case_of(folder.name) in there[0].cases else []


def _nearest(mask: Named, items: Sequence[Item]) -> list[Item]:
    """Of several candidates those of the same part, then those whose folders fit best."""
    unique = list({id(item): item for item in items}.values())
    kept = [item for item in unique if not (mask.part and item.seen.part) or mask.part == item.seen.part]
    if not mask.case:  # "mask.nii.gz" tells nothing but its folder
        kept = [item for item in kept if item.seen.folders == mask.folders]
    if len(kept) < 2:
        return kept
    scores = [_shared(mask.folders, item.seen.folders) for item in kept]
    return [item for item, score in zip(kept, scores, strict=True) if score == max(scores)]


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    """Folders in common, fewer for those that only one has."""
    return 2 * len(set(one) & set(other)) - len(set(one) ^ set(other))


def _drop_stray(found: dict[int, list[_Found]], account: Accounting) -> None:
    """Guessed classes count where a scan has several, or several scans have the same one."""
    often = Counter(label for masks in found.values() for label in {one.label for one in masks if one.is_guess})
    for item, masks in found.items():
        several = len({one.label for one in masks if one.label}) > 1
        for one in masks:
            if one.is_guess and not several and often[one.label] < 2:
                account.ignore(one.mask.path, "a mask without a scan")
        found[item] = [one for one in masks if not one.is_guess or several or often[one.label] > 1]


def _assign(
    items: Sequence[Item], found: Mapping[int, list[_Found]], account: Accounting, pieces: bool
) -> tuple[str, ...]:
    """One label map a scan, or one mask a class; what is left over is said."""
    split: list[tuple[Item, dict[str, Path]]] = []
    for item in items:
        masks = found.get(id(item), [])
        if pieces and len(masks) > 1 and all(not one.label or one.label.isdigit() for one in masks):
            item.masks = tuple((1, one.mask.path) for one in masks)
            account.guess("masks", "pieces of one class", "several of an image are told apart by numbers only")
            continue
        whole = [one for one in masks if not one.label]
        by_label: dict[str, Path] = {}
        for one in [] if whole else masks:
            by_label.setdefault(one.label, one.mask.path)
        item.mask = whole[0].mask.path if whole else None
        if by_label:
            split.append((item, by_label))
        used = {item.mask, *by_label.values()}
        for one in masks:
            if one.mask.path not in used:
                other = item.mask or by_label[one.label]
                account.ignore(one.mask.path, f"another mask of {item.stem} is used ({other.name})")
    if all(len(by_label) == 1 for _, by_label in split):  # one map each, whatever it is called: ids as stored
        for item, by_label in split:
            item.mask = next(iter(by_label.values()))
        return ()
    names = sorted({label for _, by_label in split for label in by_label}, key=natural)
    for item, by_label in split:
        item.masks = tuple((names.index(label) + 1, path) for label, path in by_label.items())
    shown = ", ".join(f"{number} {name}" for number, name in enumerate(names[:6], 1)) + (", ..." if names[6:] else "")
    account.guess(
        "label map", f"{len(names)} classes ({shown})",
        f"{len(split)} scans have masks of one class each, in files of their own",
        "dataset.label_overlap=error|smaller for voxels of several",
    )  # fmt: skip
    return (BACKGROUND, *names)
