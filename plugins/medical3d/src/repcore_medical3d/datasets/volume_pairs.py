"""Which files are one scan: by the words of their names, never by position."""

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
    """One scan: its files (one a channel), the mask or masks that belong to it, and what its name says.

    Args:
        files: in the order of their channels.
        channels: names of the channels; empty where there is one file.
        stem: name without suffix, role and channel.
        names: everything that a table may call it.
        masks: class number and mask of each class, instead of one label map.
        problem: status and reason where a channel is missing.
    """

    files: tuple[Path, ...]
    stem: str
    seen: Named
    channels: tuple[str, ...] = ()
    mask: Path | None = None
    masks: tuple[tuple[int, Path], ...] = ()
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
    channels = tuple(one.channel for one in present)
    return Item(files, base, present[0], channels, problem=problem, cases=cases, names=names)


def _single(one: Named, *, is_numbered: bool) -> Item:
    stem = volume_stem(one.path)
    problem = None
    if is_numbered and BY_NUMBER.fullmatch(one.channel):
        problem = ("missing_channel", f"{one.base} has the channel {one.channel} only; other scans have more")
    cases = (one.case, case_of(one.base)) if one.channel else (one.case,)
    return Item((one.path,), stem, one, problem=problem, cases=cases, names={stem, one.base})
