"""Which files are one scan, and which mask belongs to which scan: by the words of their names, never by position."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from repcore.data.accounting import Accounting
from repcore_medical3d.datasets.volume_names import SEQUENCES, Named, case_of
from repcore_medical3d.formats.volume_files import volume_stem

BY_NUMBER = re.compile(r"\d{4}")


@dataclass(slots=True)
class Item:
    """One scan: its files (one a channel), the mask that belongs to it, and what its name says.

    Args:
        files: in the order of their channels.
        channels: names of the channels; empty where there is one file.
        stem: name without suffix, role and channel.
        names: everything that a table may call it.
        problem: status and reason where a channel is missing.
    """

    files: tuple[Path, ...]
    stem: str
    seen: Named
    channels: tuple[str, ...] = ()
    mask: Path | None = None
    problem: tuple[str, str] | None = None
    cases: tuple[tuple[str, ...], ...] = ()
    names: set[str] = field(default_factory=set)


def items_of(scans: Sequence[Named], *, together: bool, account: Accounting) -> list[Item]:
    """Scans with their channels put together.

    Args:
        together: join ``_0000``, ``_0001`` and the sequences of BraTS; else every file is a scan.
    """
    by_base: dict[tuple[Path, str], list[Named]] = {}
    for one in scans:
        by_base.setdefault((one.path.parent, one.base), []).append(one)
    joined = {key: found for key, found in by_base.items() if together and _are_channels(found)}
    order = sorted({channel for found in joined.values() for channel in _names(found)}, key=_rank)
    items: list[Item] = []
    for (folder, base), found in by_base.items():
        if (folder, base) in joined:
            items.append(_joined(base, found, order))
        else:
            items += [_single(one, is_numbered=together and bool(joined)) for one in found]
    if joined:
        first = next(iter(joined.values()))
        names = ", ".join(one.path.name for one in sorted(first, key=lambda one: _rank(one.channel)))
        account.guess(
            "channels", f"{len(order)} in each of {len(joined)} scans ({', '.join(order)})",
            f"files {names} differ in their last word only", "dataset.sequences=apart",
        )  # fmt: skip
    return sorted(items, key=lambda item: item.files[0])


def _are_channels(found: Sequence[Named]) -> bool:
    """Several files of one name: numbered from 0000 on, or at least two of one family of sequences."""
    names = [one.channel for one in found]
    if len(names) < 2 or len(set(names)) < len(names) or "" in names:
        return False
    if all(BY_NUMBER.fullmatch(name) for name in names):
        return min(int(name) for name in names) <= 1 and max(int(name) for name in names) < 64
    return any({name.lower() for name in names} <= family for family in SEQUENCES)


def _names(found: Sequence[Named]) -> list[str]:
    return [one.channel for one in found]


def _rank(name: str) -> tuple[int, str]:
    family = ["t1", "t1n", "t1ce", "t1c", "t2", "t2w", "flair", "t2f"]
    return (family.index(name.lower()) if name.lower() in family else 99, name)


def _joined(base: str, found: Sequence[Named], order: Sequence[str]) -> Item:
    by_name = {one.channel: one for one in found}
    present = [by_name[name] for name in order if name in by_name]
    missing = [name for name in order if name not in by_name]
    problem = ("missing_channel", f"{base} has no channel {', '.join(missing)}") if missing else None
    cases = (case_of(base), *(one.case for one in present))
    names = {base, *(volume_stem(one.path) for one in present)}
    files = tuple(one.path for one in present)
    return Item(files, base, present[0], tuple(one.channel for one in present), None, problem, cases, names)


def _single(one: Named, *, is_numbered: bool) -> Item:
    stem = volume_stem(one.path)
    problem = None
    if is_numbered and BY_NUMBER.fullmatch(one.channel):
        problem = ("missing_channel", f"{one.base} has the channel {one.channel} only; other scans have more")
    cases = (one.case, case_of(one.base)) if one.channel else (one.case,)
    return Item((one.path,), stem, one, (), None, problem, cases, {stem, one.base})


def pair_masks(items: Sequence[Item], masks: Sequence[Named], account: Accounting) -> None:
    """Give every item its mask; masks without a scan are said.

    A mask belongs to the only scan of its name, of several to that in the same folder; else to the only scan whose name
    goes on where the mask's ends (BIDS: ``sub-01_dseg`` and ``sub-01_T1w``).
    """
    by_case: dict[tuple[str, ...], list[Item]] = {}
    for item in items:
        for case in dict.fromkeys(item.cases):
            by_case.setdefault(case, []).append(item)
    prefixes: dict[tuple[str, ...], list[Item]] = {}
    for item in items:
        for case in dict.fromkeys(item.cases):
            for length in range(1, len(case)):
                prefixes.setdefault(case[:length], []).append(item)
    for mask in masks:
        fitting = _nearest(mask, by_case.get(mask.case, []))
        if not fitting and mask.case:
            fitting = _nearest(mask, prefixes.get(mask.case, []))
        if len(fitting) != 1:
            why = "a mask without a scan" if not fitting else f"a mask that {len(fitting)} scans could have"
            account.ignore(mask.path, why)
        elif fitting[0].mask is not None:
            account.ignore(mask.path, f"another mask of {fitting[0].stem} is used ({fitting[0].mask.name})")
        else:
            fitting[0].mask = mask.path


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
