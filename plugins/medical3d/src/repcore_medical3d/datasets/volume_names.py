"""What the names of files and folders say: mask or scan, which case, which channel, which part of a split.

Names are taken apart into words at ``-``, ``_`` and ``.``; words that tell a role (``seg``, ``mask``, ``ct``) are set
aside, so that what is left names the case: ``volume-3`` and ``segmentation-3`` are the same one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from repcore.data.accounting import Accounting
from repcore.data.names import composed
from repcore.data.splits import folder_part
from repcore_medical3d.formats.volume_files import volume_stem

MASK_WORDS = frozenset({
    "seg", "segs", "segmentation", "segmentations", "mask", "masks", "label", "labels", "labelmap", "gt", "dseg",
    "aseg", "fseg", "probseg", "annotation", "annotations", "groundtruth", "truth", "manual", "roi", "contour",
    "contours",
})  # fmt: skip
INNER_MASK_WORDS = frozenset({"seg", "segmentation", "mask", "label"})  # between a case and a class: c1_mask_liver
FIRST_MASK_WORDS = ("seg", "mask", "label")
SCAN_WORDS = frozenset({
    "image", "images", "img", "imgs", "imaging", "volume", "volumes", "vol", "scan", "scans", "ct", "mr", "mri", "pet",
    "raw", "orig", "nifti", "nii", "data",
})  # fmt: skip
LABEL_FOLDER = re.compile(r"(labels?|masks?|segmentations?|segs?|gts?|annotations?|ground_?truths?)(tr|ts|val)?", re.I)
IMAGE_FOLDER = re.compile(r"(images?|imgs?|volumes?|scans?|data|raw|nifti)(tr|ts|val)?", re.IGNORECASE)
DERIVATIVES = "derivatives"
NNUNET_PARTS = {"tr": "train", "ts": "test", "val": "validation"}
CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")
SEQUENCES = (frozenset({"flair", "t1", "t1ce", "t2"}), frozenset({"t1n", "t1c", "t2w", "t2f"}))  # BraTS, old and new
CLASS_ENTITY = re.compile(r"(?:^|[-_.])label-([A-Za-z0-9]+)")
VISIT = re.compile(r"(?P<person>.+)[-_ ]t(?P<number>\d{1,2})", re.IGNORECASE)
LOOSE = re.compile(r"(desc|space|res|label|hemi|den)-[A-Za-z0-9]+", re.IGNORECASE)  # BIDS: a version of, not another


@dataclass(frozen=True, slots=True)
class Named:
    """A file seen through its name.

    Args:
        path: of the file.
        is_mask: its name or folder says that it holds labels.
        is_derived: lies below ``derivatives`` and is no mask.
        case: words that name the case, lower case.
        folders: folders below the root, lower case, without those that tell a role.
        part: split that a folder names, empty where none does.
        base / channel: name of the scan without its channel, and the channel; channel is empty where there is none.
        label: class or number that the name of a mask tells beside its case; empty where it tells none.
        is_visit: whether the name ends in the visit of a person, and ``base`` names the person.
    """

    path: Path
    is_mask: bool
    is_derived: bool
    case: tuple[str, ...]
    folders: tuple[str, ...]
    part: str
    base: str
    channel: str
    label: str = ""
    is_visit: bool = False


def named(path: Path, root: Path) -> Named:
    """A file below ``root`` seen through its name."""
    stem = volume_stem(path)
    above = [composed(name) for name in path.relative_to(root).parts[:-1]]
    words = _words(stem)
    has_mask_word = bool(words) and (words[-1] in MASK_WORDS or words[0].startswith(FIRST_MASK_WORDS))
    has_mask_word |= len(words) > 2 and bool(INNER_MASK_WORDS & set(words[1:-1])) and not words[-1].isdigit()
    in_labels = any(LABEL_FOLDER.fullmatch(name) for name in above)
    is_below = any(name.lower() == DERIVATIVES for name in above)
    is_mask = has_mask_word or in_labels
    base, channel = _channel(stem)
    folders = tuple(name.lower() for name in above if not _tells_role(name, stem, path))
    part = next((word for name in reversed(above) if (word := _part(name))), "")
    case, label = _case_and_label(composed(stem)) if is_mask else (case_of(composed(stem)), "")
    return Named(path, is_mask, is_below and not is_mask, case, folders, part, base, channel, label)


def with_visits(files: Sequence[Named], account: Accounting) -> list[Named]:
    """Files that end in T0, T1, T2, ... as visits of a person, where they cannot be the sequences T1 and T2.

    That is so where one ends in T0, or in T3 or more, and none in another sequence.
    """
    found = {one.path: VISIT.fullmatch(volume_stem(one.path)) for one in files}
    numbers = {int(one["number"]) for one in found.values() if one is not None}
    others = {one.channel.lower() for one in files if one.channel} - {"t1", "t2"}
    if not numbers - {1, 2} or any(other in family for other in others for family in SEQUENCES):
        return list(files)
    shown = ", ".join(f"T{number}" for number in sorted(numbers)[:4])
    why = f"T{0 if 0 in numbers else max(numbers)} is no sequence"
    account.guess(f"names that end in {shown}", "visits of a person, a row each", why, "a table with a column 'group'")
    return [
        one if (seen := found[one.path]) is None else replace(one, base=seen["person"], channel="", is_visit=True)
        for one in files
    ]


def _case_and_label(stem: str) -> tuple[tuple[str, ...], str]:
    """Case of a mask, and the class that its name tells: ``c1_mask_liver``, ``c1_label-liver_mask``, ``c1_mask_2``."""
    entity = CLASS_ENTITY.search(stem.lower())
    if entity:
        return case_of(stem), entity[1]
    words = _all_words(stem)
    inner = next((place for place in range(1, len(words) - 1) if words[place] in INNER_MASK_WORDS), None)
    if inner is not None:
        return case_of("_".join(words[:inner])), " ".join(words[inner + 1 :])
    return case_of(stem), words[-1] if words != _words(stem) else ""


def _tells_role(folder: str, stem: str, path: Path) -> bool:
    """Folders that say what is in them, or repeat the file's own name, and nothing of the case."""
    is_role = LABEL_FOLDER.fullmatch(folder) or IMAGE_FOLDER.fullmatch(folder) or folder.lower() == DERIVATIVES
    return bool(is_role) or folder in (path.name, stem) or folder_part(folder) is not None


def _part(folder: str) -> str:
    """Split that a folder names: ``imagesTr``, ``labelsTs``, ``train``."""
    found = LABEL_FOLDER.fullmatch(folder) or IMAGE_FOLDER.fullmatch(folder)
    if found and found[2]:
        return NNUNET_PARTS[found[2].lower()]
    return folder_part(folder) or ""


def _channel(stem: str) -> tuple[str, str]:
    """Name of the scan and its channel: ``case_0001`` of nnU-Net, ``X_flair`` and ``X-t1c`` of BraTS."""
    found = CHANNEL.fullmatch(stem)
    if found:
        return found["case"], found["channel"]
    base, sign, last = stem.rpartition("_") if "_" in stem else stem.rpartition("-")
    if "-" in stem and last.rpartition("-")[2].lower() in SEQUENCES[1] | SEQUENCES[0]:
        base, sign, last = stem.rpartition("-")
    is_sequence = bool(sign and base) and any(last.lower() in known for known in SEQUENCES)
    return (base, last) if is_sequence else (stem, "")


def _words(text: str) -> list[str]:
    """Lower-case words; the number of one of several masks of a case (``a_mask_1``) is set aside."""
    words = _all_words(text)
    is_numbered = len(words) > 2 and words[-2] in MASK_WORDS and words[-1].isdigit()
    return words[:-1] if is_numbered else words


def _all_words(text: str) -> list[str]:
    return [word for word in re.split(r"[-_.\s]+", text.lower()) if word]


def case_of(stem: str) -> tuple[str, ...]:
    """Words that name the case: role words at both ends and loose BIDS entities are set aside."""
    plain = LOOSE.sub("", stem.lower())
    words = _words(plain)
    roles = MASK_WORDS | SCAN_WORDS
    while words and words[-1] in roles:
        words.pop()
    while words and words[0] in roles:
        words.pop(0)
    return tuple(words)
