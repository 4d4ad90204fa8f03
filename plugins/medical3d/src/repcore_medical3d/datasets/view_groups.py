"""Several pictures of one person told by side, view, plane or visit: ``10_left``, ``10_right``; ``p3_L_CC``,
``p3_L_MLO``; ``A_baseline``, ``A_followup``; ``BraTS-GLI-00005-000``, ``BraTS-GLI-00005-001``. So are pieces of one
scan, film or picture: ``p7_slice012``, ``vid1_frame_003``, ``A_x512_y0``.

What is left of a name without these words is the person, who must not straddle a split. It counts as found only where
several of them appear with different views, and is said.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import PurePath

from repcore.data.names import composed

VIEWS = frozenset({
    "left", "right", "l", "r", "links", "rechts", "od", "os", "cc", "mlo", "ml", "lm", "xccl", "frontal", "front",
    "lateral", "lat", "ap", "pa", "ll", "oblique", "axial", "coronal", "sagittal", "ax", "cor", "sag", "seitlich",
    "baseline", "followup", "bl", "fu", "pre", "post", "preop", "postop", "prior", "before", "after",
})  # fmt: skip
NUMBERED_VIEW = re.compile(
    r"(?:view|projection|proj)\d*|(?:visit|timepoint|tp|session|ses|followup|fu|day|week|month)\d+"
)
PIECE = re.compile(r"(?:slice|slc|frame|tile|patch|crop|aug)\d*|[xyz]\d+")  # without a number of its own: the next word
HASH = re.compile(r"(?=.*[0-9])(?=.*[a-f])[0-9a-f]{12,}")  # a patient behind the number of a file, as in INbreast
FILE_NUMBER = re.compile(r"\d{6,}")
BRATS = re.compile(r"(brats-[a-z]+-\d{5})-(\d{3})(?=-|$)")  # the last number is the visit
GLUED = re.compile(r"(.*\d)(l|r|od|os|left|right)")  # Image_01L and Image_01R of CHASE_DB1
SHORT_NUMBER = re.compile(r"\d{1,2}")
FEWEST = 2  # people of whom there are several views


def view_groups(paths: Sequence[PurePath], root: PurePath, stems: Sequence[str] = ()) -> tuple[list[str | None], str]:
    """The person of each file, and the sentence that says so; all None and ``""`` where names tell no views.

    Folders tell people apart only where the same name lies in several of them: an eye's folder may be its grade.

    Args:
        stems: names without suffix, where they are not those of ``paths``.
    """
    names = list(stems) or [path.name.partition(".")[0] for path in paths]
    seen = [_person(name, path.relative_to(root).parent.parts) for path, name in zip(paths, names, strict=True)]
    often = Counter((one.name, one.views) for one in seen)
    is_numbered_anew = any(count > 1 for (name, _), count in often.items() if name)
    keys: list[str | None] = []
    for one in seen:
        name = one.name or one.folder
        person = f"{one.folder}/{one.name}" if one.name and is_numbered_anew and one.folder else name
        is_told = bool(one.name) or not all(map(_is_piece, one.views))  # a folder of pieces may be a class
        keys.append(person if one.views and name and is_told else None)
    views: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for of, one in zip(keys, seen, strict=True):
        if of is not None:
            views[of].add(one.views)
    several = {of for of, found in views.items() if len(found) > 1}
    if len(several) < FEWEST:
        return [None] * len(paths), ""
    first = next(key for key in keys if key in several)
    examples = [names[place] for place, key in enumerate(keys) if key == first][:2]
    said = (
        f"groups: {len(set(views))} from names without their sides, views or visits, for example {first!r} of "
        f"{' and '.join(examples)}; kept together in splits"
    )
    return keys, said


class _Seen:
    """A file's name without the words of a view, its folder likewise, and the views that both tell."""

    __slots__ = ("folder", "name", "views")

    def __init__(self, name: str, folder: str, views: tuple[str, ...]) -> None:
        self.name, self.folder, self.views = name, folder, views


def _person(stem: str, folders: Iterable[str]) -> _Seen:
    rest, views = _without_views(composed(stem))
    kept: list[str] = []
    for folder in folders:
        words, found = _without_views(composed(folder))
        if found and not words:
            views += found  # left/10, right/10
        else:
            kept.append(folder)
    return _Seen(rest, "/".join(kept), tuple(sorted(views)))


def _without_views(text: str) -> tuple[str, list[str]]:
    """What is left of a name, and the words of a view in it; short numbers behind a view count repeats of it."""
    text = BRATS.sub(r"\1_visit\2", text.lower()).replace("follow-up", "followup").replace("follow_up", "followup")
    words = [word for word in re.split(r"[-_.\s]+", text) if word]
    if words and (glued := GLUED.fullmatch(words[-1])):
        words[-1:] = [glued[1], glued[2]]
    places = [place for place, word in enumerate(words) if word in VIEWS or NUMBERED_VIEW.fullmatch(word)]
    for place, word in enumerate(words):
        is_apart = word.isalpha() and place + 1 < len(words) and words[place + 1].isdigit()  # frame_003
        if PIECE.fullmatch(word) and (is_apart or not word.isalpha()):
            places += [place, place + 1] if is_apart else [place]
    if not places:
        return "_".join(words), []
    places.sort()
    behind = words[places[-1] + 1 :]
    before = [word for place, word in enumerate(words[: places[-1]]) if place not in places]
    is_repeat = bool(before) and any(map(str.isdigit, "".join(before)))
    if not (is_repeat and all(SHORT_NUMBER.fullmatch(word) for word in behind)):
        before += behind
    if (
        any(map(FILE_NUMBER.fullmatch, before))
        and len(people := [word for word in before if HASH.fullmatch(word)]) == 1
    ):
        before = people
    return "_".join(before), [words[place] for place in places]


def _is_piece(word: str) -> bool:
    return word.isdigit() or PIECE.fullmatch(word) is not None
