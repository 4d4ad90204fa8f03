"""Scans of one person, told by folders and names: the same sequences in each folder, or the same last words of names.

``anna/T1``, ``anna/T2``, ``ben/T1``, ``ben/T2``; ``case12_ADC``, ``case12_DWI``, ``case13_ADC``, ``case13_DWI``. Scans
of one person must not straddle a split: in doubt they are kept together, and that is said.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from repcore.data.groups import KEPT_TOGETHER, groups_in_paths
from repcore_medical3d.datasets.view_groups import view_groups
from repcore_medical3d.datasets.volume_names import SEQUENCES
from repcore_medical3d.datasets.volume_pairs import Item

FEWEST = 2  # people of whom there are several scans, and scans that are called alike
YEAR = re.compile(r"(?:19|20)\d\d")
NUMBERED_SEQUENCE = re.compile(r"t\d{1,2}")

Groups = tuple[list[str | None], str]


def groups_of_scans(items: Sequence[Item], root: Path) -> Groups:
    """The person of each scan, and the sentence that says so; all None and ``""`` where paths tell none."""
    files = [item.files[0] for item in items]
    stems = [item.stem for item in items]
    for groups, said in (
        groups_in_paths(files, root),
        _folders_of_cases(files, root),
        view_groups(files, root, stems),
        _alike(items, root),
    ):
        if said:
            return groups, said
    return [None] * len(items), ""


def _folders_of_cases(files: Sequence[Path], root: Path) -> Groups:
    """Folders as groups where each holds the same sequences (``adc``, ``t2w``), and the sentence that says so."""
    held: dict[Path, set[str]] = {}
    for file in files:
        held.setdefault(file.parent, set()).add(file.name.lower())
    names = next(iter(held.values()), set())
    kinds = {_kind(name.partition(".")[0]) for name in names}
    if root in held or len(held) < 2 or len(names) < 2 or any(one != names for one in held.values()):
        return [None] * len(files), ""
    if "" in kinds or len(kinds) < len(names):  # numbers alone tell rows of a class apart, not sequences
        return [None] * len(files), ""
    shown = ", ".join(sorted(names)[:4])
    said = f"groups: {len(held)} folders with the same sequences ({shown}), a row each; {KEPT_TOGETHER}"
    return [file.parent.relative_to(root).as_posix() for file in files], said


def _kind(word: str) -> str:
    """A name without numbers, unless it is that of a sequence or a visit."""
    is_known = NUMBERED_SEQUENCE.fullmatch(word) or any(word in family for family in SEQUENCES)
    return word if is_known else re.sub(r"[\W\d_]+", "", word)


def _alike(items: Sequence[Item], root: Path) -> Groups:
    """Names without their last word, where several people have scans with the same last words (``_ADC``, ``_2019``)."""
    pairs = [_apart(item) for item in items]
    words: dict[str, set[str]] = defaultdict(set)
    people: dict[str, set[str]] = defaultdict(set)
    for (person, word), item in zip(pairs, items, strict=True):
        if person and word:
            whole = (item.files[0].parent.relative_to(root) / person).as_posix()
            words[whole].add(word)
            people[word].add(whole)
    common = {word for word, found in people.items() if len(found) >= FEWEST}
    several = {person for person, found in words.items() if len(found & common) >= FEWEST}
    if len(several) < FEWEST:
        return [None] * len(items), ""
    keys: list[str | None] = []
    for (person, word), item in zip(pairs, items, strict=True):
        whole = (item.files[0].parent.relative_to(root) / person).as_posix()
        keys.append(whole if person and word and whole in words else None)
    said = (
        f"groups: {len(words)} from names without their last word ({', '.join(sorted(common)[:4])}), for example "
        f"{min(several)!r}; {KEPT_TOGETHER}"
    )
    return keys, said


def _apart(item: Item) -> tuple[str, str]:
    """Person and scan in a name: the person's part holds a digit, the scan's a letter or a year; else empty words."""
    if item.channels:
        return "", ""
    person, _, word = re.sub(r"[-\s]", "_", item.stem).rpartition("_")
    is_word = any(map(str.isalpha, word)) and not any(map(str.isdigit, word[2:]))
    is_scan = is_word or item.seen.is_visit or YEAR.fullmatch(word)
    return (person, word.lower()) if is_scan and any(map(str.isdigit, person)) else ("", "")
