"""Files of one kind by their names (one folder, one ending, one name in many folders), and what lies beside each.

``truth/p1`` beside ``scans/p1``; ``c1_pred`` beside ``c1``; ``p1_gtv`` beside ``p1_ct``; ``gtv_p1`` beside ``ct_p1``;
``case1/gtv`` beside ``case1/ct``. Files are judged a kind at a time; those of no kind alone, with their folder.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from repcore_medical3d.datasets.volume_names import Named, case_of
from repcore_medical3d.formats.volume_files import volume_stem

SHARE = 0.8  # of the files of a folder that have a partner in another
MOST_OF_A_CASE = 12  # files of a folder that may be one case
MOST_FOLDERS = 4  # that hold a name before it is taken for the name of a role, not of a case
SIGN = re.compile(r"[-_.]")
Way = Literal["folder", "ending", "beginning", "name", "alone"]


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


def kinds_of(scans: Sequence[Named]) -> list[Kind]:
    """Kinds with more than one file, or whose file goes on from the name of another; large ones first."""
    by_folder: dict[Path, list[Named]] = defaultdict(list)
    for one in scans:
        by_folder[one.path.parent].append(one)
    kinds: dict[tuple[Way, str], Kind] = {}
    ways = (_by_folder(by_folder), _by_words(by_folder, ends=True), _by_words(by_folder, ends=False))
    for way, name, one, partner, role in (found for each in (*ways, _by_name(by_folder)) for found in each):
        kinds.setdefault((way, name), Kind(way, name)).add(one, partner, role)
    return sorted(kinds.values(), key=lambda kind: (-len(kind.partners), kind.way, kind.name))


def alone(scans: Sequence[Named]) -> Iterator[Kind]:
    """Every file as a kind of its own, with all others of its folder where these are few."""
    by_folder: dict[Path, list[Named]] = defaultdict(list)
    for one in scans:
        by_folder[one.path.parent].append(one)
    for files in by_folder.values():
        for one in files:
            few = files if len(files) <= MOST_OF_A_CASE else []
            beside = [(other, volume_stem(other.path)) for other in few if other is not one]
            yield Kind("alone", volume_stem(one.path), {one: beside})


_Found = Iterator[tuple[Way, str, Named, Named, str]]


def _by_folder(by_folder: dict[Path, list[Named]]) -> _Found:
    """Folders beside a folder of scans whose files are called like these."""
    often: dict[str, int] = defaultdict(int)
    beside: dict[Path, list[Path]] = defaultdict(list)
    for folder, files in by_folder.items():
        beside[folder.parent].append(folder)
        for one in files:
            often[volume_stem(one.path)] += 1
    for folder, files in by_folder.items():
        mine = [one for one in files if often[volume_stem(one.path)] <= MOST_FOLDERS]
        for other in [one for one in beside[folder.parent] if one != folder] if mine else []:
            named: dict[tuple[str, ...], list[Named]] = defaultdict(list)
            for scan in by_folder[other]:
                for case in {scan.case, case_of(scan.base), (volume_stem(scan.path).lower(),)}:
                    named[case].append(scan)
            shared = {one: named.get(one.case or (volume_stem(one.path).lower(),), []) for one in mine}
            count = sum(1 for partners in shared.values() if partners)
            if count and count >= SHARE * len(files) and count <= len(by_folder[other]):
                yield from (
                    ("folder", folder.as_posix(), one, partner, other.name)
                    for one, found in shared.items()
                    for partner in found
                )


def _by_words(by_folder: dict[Path, list[Named]], *, ends: bool) -> _Found:
    """Names that share their beginning (or their end) with another of the folder: the rest is the kind."""
    shared: dict[tuple[Path, str], list[tuple[Named, str]]] = defaultdict(list)
    for folder, files in by_folder.items():
        for one in files:
            stem = volume_stem(one.path).lower()
            shared[folder, stem].append((one, ""))
            for place in (found.start() for found in SIGN.finditer(stem)):
                key, rest = (stem[:place], stem[place + 1 :]) if ends else (stem[place + 1 :], stem[:place])
                if key and rest:
                    shared[folder, key].append((one, rest))
    together = {key: found for key, found in shared.items() if 1 < len(found) <= MOST_OF_A_CASE}
    cases: dict[str, int] = defaultdict(int)
    for found in together.values():
        for rest in {rest for _, rest in found}:
            cases[rest] += 1
    for found in together.values():
        is_continued = any(not rest for _, rest in found)
        for one, rest in found:
            if not rest or SIGN.split(rest)[-1 if ends else 0].isdigit() or (cases[rest] < 2 and not is_continued):
                continue
            for partner, other in found:
                if other != rest and (cases[rest] > 1 or not other):
                    yield "ending" if ends else "beginning", rest, one, partner, other


def _by_name(by_folder: dict[Path, list[Named]]) -> _Found:
    """One name in several folders of few files: ``case1/gtv``, ``case2/gtv``."""
    small = {folder: files for folder, files in by_folder.items() if 1 < len(files) <= MOST_OF_A_CASE}
    often: dict[str, int] = defaultdict(int)
    for files in small.values():
        for one in files:
            often[volume_stem(one.path)] += 1
    for files in small.values():
        for one in files:
            if often[volume_stem(one.path)] > 1:
                beside = [other for other in files if other is not one]
                yield from (("name", volume_stem(one.path), one, other, volume_stem(other.path)) for other in beside)
