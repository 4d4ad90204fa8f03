"""Files of one kind by their names (one folder, one ending, one name in many folders), and what lies beside each.

``truth/p1`` beside ``scans/p1``; ``c1_pred`` beside ``c1``; ``p1_gtv`` beside ``p1_ct``; ``gtv_p1`` beside ``ct_p1``;
``case1/gtv`` beside ``case1/ct``. Files are judged a kind at a time; those of no kind alone, with their folder.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from typing import Literal

from repcore_medical3d.datasets.volume_names import Named, case_of
from repcore_medical3d.formats.volume_files import volume_stem

SHARE = 0.8  # of the files of a folder that have a partner in another
MOST_OF_A_CASE = 12  # files of a folder that may be one case
MOST_BESIDE = 12  # folders that may hold kinds of files; more are folders of cases
MOST_FOLDERS = 4  # that hold a name before it is taken for the name of a role, not of a case
SIGN = re.compile(r"[-_.]")
HEAD = re.compile(r"[^0-9]*[0-9]+(?![0-9])")  # of a name: up to its first number
Way = Literal["folder", "ending", "beginning", "name", "suffix", "alone"]


@dataclass(slots=True)
class Kind:
    """Files that are told in one way, each with the files beside it that may be its scan, and the role of each."""

    way: Way
    name: str
    partners: dict[Named, list[tuple[Named, str]]] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The word that tells the kind: the name of a folder, or what a name adds to its case."""
        return self.name.rpartition("/")[2].lower()

    def add(self, one: Named, partner: Named, role: str) -> None:
        self.partners.setdefault(one, []).append((partner, role))


class _Stems:
    """Names without suffix, taken apart once a file: sets of pictures have a hundred thousand."""

    def __init__(self, scans: Sequence[Named]) -> None:
        self._of = {id(one): volume_stem(one.path) for one in scans}

    def __call__(self, one: Named) -> str:
        return self._of[id(one)]


def kinds_of(scans: Sequence[Named]) -> list[Kind]:
    """Kinds with more than one file, or whose file goes on from the name of another; large ones first."""
    by_folder = _folders(scans)
    stem = _Stems(scans)
    kinds: dict[tuple[Way, str], Kind] = {}
    words = (_by_words(by_folder, stem, ends=True), _by_words(by_folder, stem, ends=False))
    ways = (_by_folder(by_folder, stem), *words, _by_name(by_folder, stem), _by_suffix(by_folder, stem))
    for way, name, one, partner, role in (found for each in ways for found in each):
        kinds.setdefault((way, name), Kind(way, name)).add(one, partner, role)
    return sorted(kinds.values(), key=lambda kind: (-len(kind.partners), kind.way, kind.name))


def alone(scans: Sequence[Named]) -> Iterator[Kind]:
    """Every file as a kind of its own, with all others of its folder where these are few."""
    for files in _folders(scans).values():
        for one in files:
            few = files if len(files) <= MOST_OF_A_CASE else []
            beside = [(other, volume_stem(other.path)) for other in few if other is not one]
            yield Kind("alone", volume_stem(one.path), {one: beside})


def _folders(scans: Sequence[Named]) -> dict[Path, list[Named]]:
    found: dict[Path, list[Named]] = defaultdict(list)
    for one in scans:
        found[one.path.parent].append(one)
    return found


_Found = Iterator[tuple[Way, str, Named, Named, str]]


def _by_folder(by_folder: dict[Path, list[Named]], stem: _Stems) -> _Found:
    """Folders beside a folder of scans whose files are called like these."""
    often: dict[str, int] = defaultdict(int)
    beside: dict[Path, list[Path]] = defaultdict(list)
    for folder, files in by_folder.items():
        beside[folder.parent].append(folder)
        for one in files:
            often[stem(one)] += 1
    for folder, files in by_folder.items():
        mine = [one for one in files if often[stem(one)] <= MOST_FOLDERS]
        if not mine or len(beside[folder.parent]) > MOST_BESIDE:
            continue
        for other in [one for one in beside[folder.parent] if one != folder]:
            named: dict[tuple[str, ...], list[Named]] = defaultdict(list)
            heads = _heads(by_folder[other], stem)
            for scan in by_folder[other]:
                for case in {scan.case, case_of(scan.base), (stem(scan).lower(),)}:
                    named[case].append(scan)
            mine_by_head = {one: head for head, one in _heads(mine, stem).items()}
            shared = {
                one: named.get(one.case or (stem(one).lower(),))
                or [heads[head] for head in (mine_by_head.get(one, ""),) if head in heads]
                for one in mine
            }
            count = sum(1 for partners in shared.values() if partners)
            if count and count >= SHARE * len(files) and count <= len(by_folder[other]):
                yield from (
                    ("folder", folder.as_posix(), one, partner, other.name)
                    for one, found in shared.items()
                    for partner in found
                )


def _heads(files: Sequence[Named], stem: _Stems) -> dict[str, Named]:
    """Beginnings of names up to their first number (``21`` of ``21_manual1``) that one file of a folder has."""
    found: dict[str, list[Named]] = defaultdict(list)
    for one in files:
        head = HEAD.match(stem(one).lower())
        if head:
            found[head[0]].append(one)
    return {head: ones[0] for head, ones in found.items() if len(ones) == 1}


def _by_suffix(by_folder: dict[Path, list[Named]], stem: _Stems) -> _Found:
    """Two files of one name in two formats: ``c0.jpg``, ``c0.png``."""
    for files in by_folder.values():
        named: dict[str, list[Named]] = defaultdict(list)
        for one in files:
            named[stem(one)].append(one)
        for same in (found for found in named.values() if len(found) > 1):
            for one, other in permutations(same, 2):
                yield "suffix", one.path.suffix.lower(), one, other, other.path.suffix.lower()


def _by_words(by_folder: dict[Path, list[Named]], stem: _Stems, *, ends: bool) -> _Found:
    """Names that share their beginning (or their end) with another of the folder: the rest is the kind."""
    together: list[list[tuple[Named, str]]] = []
    for files in by_folder.values():
        shared: dict[str, list[tuple[Named, str]]] = {}
        for one in files:
            name = stem(one).lower()
            shared.setdefault(name, []).append((one, ""))
            for place in (found.start() for found in SIGN.finditer(name)):
                key, rest = (name[:place], name[place + 1 :]) if ends else (name[place + 1 :], name[:place])
                if key and rest:
                    shared.setdefault(key, []).append((one, rest))
        together += [found for found in shared.values() if 1 < len(found) <= MOST_OF_A_CASE]
    cases = Counter(rest for found in together for rest in {rest for _, rest in found})
    for found in together:
        is_continued = any(not rest for _, rest in found)
        for one, rest in found:
            if not rest or SIGN.split(rest)[-1 if ends else 0].isdigit() or (cases[rest] < 2 and not is_continued):
                continue
            for partner, other in found:
                if other != rest and (cases[rest] > 1 or not other):
                    yield "ending" if ends else "beginning", rest, one, partner, other


def _by_name(by_folder: dict[Path, list[Named]], stem: _Stems) -> _Found:
    """One name in several folders of few files: ``case1/gtv``, ``case2/gtv``."""
    small = {folder: files for folder, files in by_folder.items() if 1 < len(files) <= MOST_OF_A_CASE}
    often: dict[str, int] = defaultdict(int)
    for files in small.values():
        for one in files:
            often[stem(one)] += 1
    for files in small.values():
        for one in files:
            if often[stem(one)] > 1:
                beside = [other for other in files if other is not one]
                yield from (("name", stem(one), one, other, stem(other)) for other in beside)
