"""Label maps that no name tells, found by content: few whole numbers on the grid of a scan that they lie beside.

Files of one kind (datasets/volume_mask_kinds.py) are judged together, by a few of them; then files of no kind, alone.
What decides is said, also where a file of few numbers stays a scan: it varies as noise or as grey values do, or no scan
beside lies on its grid. A label map is made of pieces that are equal inside and change to any other number at borders.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from repcore.data.accounting import Accounting
from repcore.errors import ItemError, PluginError
from repcore_medical3d.datasets.volume_mask_kinds import Kind, alone, kinds_of
from repcore_medical3d.datasets.volume_names import Named
from repcore_medical3d.formats.images import read_image
from repcore_medical3d.formats.nifti import ReadingRules
from repcore_medical3d.formats.volume_files import read_volume, volume_stem
from repcore_medical3d.formats.volumes import Grid

LOOKED_AT = 3  # files of a kind
MOST_LOOKED_AT = 60  # files of a folder
MOST_IDS, LARGEST_ID = 32, 255  # of a label map
SLICES = 24  # of a volume whose values are looked at
TIMES_MORE = 4  # different values of a scan, compared with those of its label map
LEAST_EQUAL = 0.6  # share of neighbouring voxels of a label map, both labelled, that have the same number
MOST_STEPS, STEPS_FROM = 0.9, 6  # share of changes to the next number, of a scan of so many grey values
PROBABILITY = frozenset({"prob", "probs", "probability", "probabilities", "probmap", "softmax", "sigmoid"})
GUESSED = re.compile(r"pred|out(put)?$|result|auto|model|infer")  # such a map comes behind one that people made
BY_NAME = "name them *_seg, or put them into a folder labels, if they are label maps"
NOT_BY_CONTENT = "dataset.label_maps=names"


@dataclass(frozen=True, slots=True)
class Look:
    """What a file's content says: its grid and values, and why it is no label map (empty if it may be one).

    Args:
        grid: of a volume, or the shape of a picture.
        values: different values, in rising order.
        is_few: whole numbers from 0 on, as few and small as ids are, in one channel.
    """

    grid: Grid | tuple[int, ...]
    values: np.ndarray
    is_few: bool
    against: str = ""

    def lies_on(self, other: Look) -> bool:
        """Whether two files have the same grid."""
        if isinstance(self.grid, Grid) and isinstance(other.grid, Grid):
            return self.grid.is_same(other.grid)
        return self.grid == other.grid

    @property
    def shown(self) -> str:
        words = [f"{one:g}" for one in self.values[:4]]
        return ", ".join(words) + (", ..." if len(self.values) > len(words) else "")


@dataclass(slots=True)
class _Search:
    """Files looked at, label maps found, and files of few numbers that stay scans, with the reason."""

    open_file: Callable[[Path], Look]
    account: Accounting
    looks: dict[Named, Look | None]
    found: dict[Named, tuple[Named, Kind, bool]]  # the scan, the kind, whether it has one class only
    doubts: dict[Named, tuple[str, str]]

    def look(self, one: Named) -> Look | None:
        """A file's content, looked at once; None where it cannot be read, or enough was read."""
        if one not in self.looks and len(self.looks) < MOST_LOOKED_AT:
            try:
                self.looks[one] = self.open_file(one.path)
            except (ItemError, PluginError):
                self.looks[one] = None
        return self.looks.get(one)

    def scans_of(self, one: Named, partners: Sequence[tuple[Named, str]]) -> list[tuple[Named, str]]:
        """Files beside a label map that are scans on its grid, with their roles."""
        mask = self.look(one)
        scans = []
        for partner, role in partners:
            scan = None if partner in self.found or mask is None else self.look(partner)
            if mask is None or scan is None or not scan.lies_on(mask):
                continue
            if len(scan.values) >= TIMES_MORE * min(len(mask.values), MOST_IDS):
                scans.append((partner, role))
        return scans

    def judge(self, kind: Kind) -> None:
        """Whether the first files of a kind are label maps of a scan beside; one empty map is none."""
        files = [one for one in kind.partners if one not in self.found]
        largest, shown, roles = 0, "", set[str]()
        for one in files[:LOOKED_AT]:
            look = self.look(one)
            if look is None or not look.is_few:
                return
            if look.against:
                self.doubts[one] = (kind.label, f"few whole numbers ({look.shown}), but {look.against}")
                return
            scans = self.scans_of(one, kind.partners[one])
            if kind.way == "alone" and len(scans) > 1:  # 0_1 beside 0, 1 and 2
                own = volume_stem(one.path)
                scans = [scan for scan in scans if re.match(re.escape(scan[1]) + "[-_.]", own)] or scans
            if not scans or (kind.way == "alone" and len(scans) > 1):
                self._doubt(kind, one, look, len(scans))
                return
            roles.update(role for _, role in scans)
            if len(look.values) > largest:
                largest, shown = len(look.values), look.shown
        if largest > 1:
            self._take(kind, files, roles, is_one_class=largest == 2)
            why = f"few whole numbers ({shown}) on the grid of the scan beside each"
            self.account.guess(f"files {kind.label!r}", "label maps, no scans", why, NOT_BY_CONTENT)

    def _doubt(self, kind: Kind, one: Named, look: Look, scans: int) -> None:
        if len(look.values) > 1:
            where = "no scan beside lies on its grid" if not scans else f"{scans} scans beside could be its scan"
            why = f"few whole numbers ({look.shown}) as label maps have, but {where}"
            self.doubts.setdefault(one, (kind.label, why))

    def _take(self, kind: Kind, files: Sequence[Named], roles: set[str], *, is_one_class: bool) -> None:
        """All files of a kind, each with the file beside it that has the role of a scan."""
        for one in files:
            scan = next((partner for partner, role in kind.partners[one] if role in roles), None)
            if scan is not None and scan not in self.found:
                self.found[one] = (scan, kind, is_one_class)


def with_masks_by_content(
    scans: Sequence[Named],
    open_file: Callable[[Path], Look],
    account: Accounting,
    masks: Sequence[Named] = (),
    *,
    also_alone: bool = True,
) -> list[Named]:
    """The files with those marked as masks that are label maps by content; maps of probabilities are left out and said.

    Args:
        scans: files that their names call scans.
        open_file: looks at a file: :func:`look_at_volume`, :func:`look_at_picture`.
        masks: files that their names call masks; where a scan has one, a label map of several classes beside it is
            left out and said.
        also_alone: judge files of no kind, too.
    """
    search = _Search(open_file, account, {}, {}, {})
    kinds = kinds_of(scans)
    for kind in kinds:
        if re.split(r"[-_.]", kind.label)[-1] in PROBABILITY:
            _leave_out_probabilities(kind, search)
        else:
            search.judge(kind)
    regular = {one for kind in kinds if len(kind.partners) > 1 for one in kind.partners}
    for kind in _some_alone([one for one in scans if one not in regular]) if also_alone else []:
        search.judge(kind)
    _say_doubts(search)
    marked = {one: _marked(one, search, masks) for one in search.found}
    return [marked.get(one, one) for one in scans if account.fate(one.path) is None]


def _some_alone(rest: Sequence[Named]) -> list[Kind]:
    """Of folders of few files all, of the others a few: these have no scan beside, which is said."""
    lone, found = 0, []
    folders: set[Path] = set()
    for kind in alone(rest):
        ((one, beside),) = kind.partners.items()
        if beside or (lone < LOOKED_AT and one.path.parent not in folders):
            found.append(kind)
            lone += not beside
        folders.add(one.path.parent)
    return found


def _say_doubts(search: _Search) -> None:
    said: dict[tuple[str, str], None] = {}
    for one, (label, why) in search.doubts.items():
        if one not in search.found and (label, why) not in said:
            said[label, why] = None
            search.account.guess(f"files {label!r}", "scans", why, BY_NAME)


def _marked(one: Named, search: _Search, masks: Sequence[Named]) -> Named:
    """A found label map as a mask of its scan, with the class that its kind tells where its kind has one class."""
    scan, kind, is_one_class = search.found[one]
    others = [(other, its) for other, (where, its, _) in search.found.items() if where == scan and other != one]
    by_name = next((mask for mask in masks if _may_be_of(mask, scan)), None)
    better = next((other for other, its in others if not GUESSED.search(its.label)), None) or by_name
    if better is not None and GUESSED.search(kind.label):
        why = "a label map by its content that a model made by its name"
        search.account.ignore(one.path, f"{why}; {better.path.name} is used")
    elif by_name is not None and not is_one_class:
        search.account.ignore(one.path, f"a label map by its content; {by_name.path.name} is one by its name")
    label = kind.label if is_one_class or not others else ""
    return replace(one, is_mask=True, case=scan.case, folders=scan.folders, label=label)


def _may_be_of(mask: Named, scan: Named) -> bool:
    if not scan.case:
        return scan.path.parent in (mask.path.parent, mask.path.parent.parent)
    return mask.case[: len(scan.case)] == scan.case


def _leave_out_probabilities(kind: Kind, search: _Search) -> None:
    """Files called like maps of probabilities that hold numbers from 0 to 1 on the grid of their scan."""
    for one, partners in list(kind.partners.items())[:LOOKED_AT]:
        look = search.look(one)
        if look is None or look.values[0] < 0 or look.values[-1] > 1 or len(look.values) < 2:
            return
        scans = [scan for other, _ in partners if (scan := search.look(other)) is not None]
        if not any(scan.lies_on(look) for scan in scans):
            return
    for one in kind.partners:
        search.account.ignore(one.path, "a map of probabilities beside its scan")


# ------------------------------------------------------------------------------------------------ content


def look_at_volume(path: Path, rules: ReadingRules) -> Look:
    """Different values of evenly spread slices; of one alone where these are many already.

    Raises:
        ItemError: the file cannot be read.
    """
    volume = read_volume(path, rules)
    first = volume.shape[2] // 4  # a packed file is unpacked as far as this only
    values = np.unique(volume.read((slice(None), slice(None), slice(first, first + 1))))
    if len(values) >= TIMES_MORE * MOST_IDS:
        return Look(volume.grid, values, is_few=False)
    step = max(1, volume.shape[2] // SLICES)
    block = volume.read((slice(None), slice(None), slice(None, None, step)))
    values = np.unique(block)
    return _judged(volume.grid, block, values, is_few=not volume.further)


def look_at_picture(path: Path) -> Look:
    """Different values of a picture; colours are no ids.

    Raises:
        ItemError: the file cannot be read.
    """
    pixels = read_image(path)
    return _judged(pixels.shape[:2], pixels[..., None], np.unique(pixels), is_few=pixels.ndim == 2)


def _judged(grid: Grid | tuple[int, ...], block: np.ndarray, values: np.ndarray, *, is_few: bool) -> Look:
    is_few = bool(is_few and len(values) <= MOST_IDS and values[0] == 0 and values[-1] <= LARGEST_ID)
    is_few = is_few and bool((values == np.round(values)).all())
    return Look(grid, values, is_few, _against(block, values) if is_few else "")


def _against(block: np.ndarray, values: np.ndarray) -> str:
    """Why a block (I, J, S) of few whole numbers is rather a scan; empty where it is made of pieces."""
    if len(values) < 3:
        return ""
    ranks = np.searchsorted(values, block).astype(np.int32)
    one, other = ranks[:-1], ranks[1:]
    changes = np.abs(one - other)[one != other]
    if len(values) > STEPS_FROM and len(changes) and float((changes == 1).mean()) >= MOST_STEPS:
        return "they rise and fall step by step as grey values do"
    inside = (one > 0) & (other > 0)
    if inside.any() and float((one == other)[inside].mean()) < LEAST_EQUAL:
        return "neighbouring voxels differ as noise does"
    return ""
