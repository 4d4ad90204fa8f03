"""Label maps that no name tells, found by content: few whole numbers on the grid of a scan that they lie beside.

Looked at are files that share a name or a folder with another: ``truth/p1`` beside ``scans/p1``, ``case1/gtv`` beside
``case1/ct``, ``c1_pred`` beside ``c1``. Files of one kind (one folder, one name, one ending) are judged together.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from repcore.data.accounting import Accounting
from repcore.errors import ItemError, PluginError
from repcore_medical3d.datasets.volume_names import Named
from repcore_medical3d.formats.nifti import ReadingRules
from repcore_medical3d.formats.volume_files import read_volume, volume_stem
from repcore_medical3d.formats.volumes import Volume

LOOKED_AT = 3  # files of a kind
MOST_IDS, LARGEST_ID = 32, 255  # of a label map
SLICES = 24  # of a volume whose values are looked at
TIMES_MORE = 4  # different values of a scan, compared with those of its label map
SHARE = 0.8  # of the files of a kind that have a partner
PROBABILITY = frozenset({"prob", "probs", "probability", "probabilities", "probmap", "softmax", "sigmoid"})
_Kind = tuple[str, str]


def with_masks_by_content(scans: Sequence[Named], rules: ReadingRules, account: Accounting) -> list[Named]:
    """The files with those marked as masks that are label maps by content; maps of probabilities are left out and said.

    Args:
        scans: files that their names call scans.
        rules: how headers are read.
    """
    kinds = _kinds(scans)
    found: dict[Path, Named] = {}
    for (way, name), pairs in kinds.items():
        if way == "ending" and re.split(r"[-_.]", name)[-1] in PROBABILITY:
            if _judged(pairs, rules, _is_probability):
                for one, _ in pairs:
                    account.ignore(one.path, "a map of probabilities beside its scan")
        elif not any(one.path in found for one, _ in pairs) and _judged(pairs, rules, _is_label_map):
            label = name.rpartition("/")[2].lower()
            account.guess(
                f"files {label!r}", "label maps, no scans", "few whole numbers on the grid of the scan beside each"
            )
            for one, partner in pairs:
                found[one.path] = replace(one, is_mask=True, case=partner.case, folders=partner.folders, label=label)
    return [found.get(one.path, one) for one in scans if account.fate(one.path) is None]


def _kinds(scans: Sequence[Named]) -> dict[_Kind, list[tuple[Named, Named]]]:
    """Kind (how it is told, its name) -> its files, each with the file beside it that may be its scan."""
    by_folder: dict[Path, dict[str, Named]] = defaultdict(dict)
    often: dict[str, int] = defaultdict(int)
    for one in scans:
        by_folder[one.path.parent][volume_stem(one.path)] = one
        often[volume_stem(one.path)] += 1
    kinds: dict[_Kind, list[tuple[Named, Named]]] = defaultdict(list)
    for folder, files in by_folder.items():
        for stem, one in files.items():
            for place in (found.start() for found in re.finditer(r"[-_.]", stem)):
                if stem[:place] in files and not stem[place + 1 :].isdigit():
                    kinds["ending", stem[place + 1 :].lower()].append((one, files[stem[:place]]))
            if len(files) == 2 and often[stem] > 1:
                kinds["name", stem].append((one, next(other for name, other in files.items() if name != stem)))
        for other in [other for other in by_folder if other.parent == folder.parent and other != folder]:
            shared = [stem for stem in files if stem in by_folder[other]]
            if shared and len(shared) >= SHARE * len(files) and len(files) <= len(by_folder[other]):
                kinds["folder", str(folder)] += [(files[stem], by_folder[other][stem]) for stem in shared]
    return kinds


def _judged(pairs: Sequence[tuple[Named, Named]], rules: ReadingRules, is_kind: Callable[[np.ndarray], bool]) -> bool:
    """Whether the first files of a kind are what is asked, on the grids of their scans; one empty map is none."""
    largest = 0
    for one, partner in pairs[:LOOKED_AT]:
        try:
            mask = read_volume(one.path, rules)
            values = _values(mask)
            if mask.further or not is_kind(values):
                return False
            scan = read_volume(partner.path, rules)
            if not scan.grid.is_same(mask.grid) or len(_values(scan)) < TIMES_MORE * min(len(values), MOST_IDS):
                return False
        except (ItemError, PluginError):
            return False
        largest = max(largest, len(values))
    return largest > 1


def _values(volume: Volume) -> np.ndarray:
    """Different values of evenly spread slices."""
    step = max(1, volume.shape[2] // SLICES)
    return np.unique(volume.read((slice(None), slice(None), slice(None, None, step))))


def _is_label_map(values: np.ndarray) -> bool:
    is_small = len(values) <= MOST_IDS and values[0] == 0 and values[-1] <= LARGEST_ID
    return bool(is_small and (values == np.round(values)).all())


def _is_probability(values: np.ndarray) -> bool:
    return bool(values[0] >= 0 and values[-1] <= 1)
