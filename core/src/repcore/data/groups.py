"""Leakage groups found in column names, file paths and equal contents: patient, speaker, recording, site, ...

Rows of one patient, speaker or recording must not straddle a split. The columns and path patterns here are known to
every domain; a domain adds its own words by argument. A group is said where it is found, and is never a label.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath

GROUP_WORDS: tuple[str, ...] = (
    "group", "patient", "patienten", "proband", "probanden", "subject", "participant", "case", "speaker", "spk",
    "singer", "actor", "talker", "client", "donor", "animal", "individual", "person", "user", "lesion", "study",
    "recording", "session", "site", "source", "src", "scene", "location", "device",
)  # fmt: skip
"""Words that name who or where a row comes from, the most telling first."""
_WEAK = frozenset({"case", "client", "user", "lesion", "study", "site", "source", "src", "scene", "location", "device"})
"""Words that alone may as well be a label; with a suffix (``site_id``) they are groups."""
_SUFFIXES = ("", "id", "ids", "no", "nr", "num", "number", "name", "file", "key", "code", "uid")
_PATH_PATTERNS = (
    re.compile(r"(?:^|[/_\-.])(sub-[A-Za-z0-9]+)(?=[/_\-.]|$)", re.IGNORECASE),  # BIDS
    re.compile(
        r"(?:^|[/_\-.])"
        r"((?:patient|subject|speaker|participant|volunteer|actor|person|donor|talker)[-_ ]?\d+)(?=[/_\-. ]|$)",
        re.IGNORECASE,
    ),
    re.compile(r"(?:^|/)(p\d{8})(?=/)"),  # MIMIC-CXR: p10/p10000032/s50414267
    re.compile(r"(?:^|/)(\d+)/(\d+)/\1-\2-[^/]+$"),  # LibriSpeech: speaker/chapter/speaker-chapter-utterance
    re.compile(r"(?:^|/)(id\d{5})(?=/)"),  # VoxCeleb: id10270/5r0dWxy17C8/00001.wav
    re.compile(r"(?:^|/)([a-z]?\d{2,})/\1[-_][^/]+$"),  # VCTK: p225/p225_001.wav
    re.compile(r"(?:^|[/_\-.])((?:pat|subj|spk|pid)[-_]?\d+)(?=[/_\-. ]|$)", re.IGNORECASE),
)
_PEOPLE = (
    "sub|subj|subject|pt|pat|patient|participant|user|vp|vpn|proband|person|speaker|spk|actor|animal|rat|mouse|id|pid"
)
_PERSON_IN_NAME = re.compile(rf"((?:s|p|u|{_PEOPLE})[-_]?\d{{1,6}})[-_ .].+", re.IGNORECASE)
_PERSON_FOLDER = re.compile(rf"(?:[spu]\d{{2,6}}|(?:{_PEOPLE})[-_ ]?\d{{1,6}})", re.IGNORECASE)  # S1, S2 may be stages
_LEAST_NAMED = 0.8  # share of the names that begin with a person, where a few do not
KEPT_TOGETHER = "kept together in splits; to change: a column 'group' of a table beside them, or --split random"


def plain_name(name: str) -> str:
    """A column name for comparison: lower case words joined by ``_``, camel case taken apart."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())
    return re.sub(r"[^a-z0-9]+", "_", apart.lower()).strip("_")


def is_group_name(name: str, words: Iterable[str] = ()) -> bool:
    """Whether a column of this name says where a row comes from, so that it is no label."""
    return _rank(name, tuple(words)) is not None


def group_column(columns: Sequence[str], words: Iterable[str] = ()) -> str | None:
    """The column that most surely holds leakage groups; None if none does.

    Args:
        columns: names, in the order of the table.
        words: the domain's own, before the shared ones.
    """
    ranked = [
        (rank, place, name) for place, name in enumerate(columns) if (rank := _rank(name, tuple(words))) is not None
    ]
    return min(ranked)[2] if ranked else None


def useful_groups(keys: Sequence[str | None]) -> bool:
    """Whether keys group anything: at least two, and one of them on two rows or more."""
    filled = [key for key in keys if key is not None]
    return 2 <= len(set(filled)) < len(filled)


def group_in_path(path: Path | PurePath | str, root: Path | None = None) -> str | None:
    """Patient, subject or speaker that a path names (``sub-01``, ``patient00001``, ``p10000032``); else None.

    Args:
        root: only what lies below it is looked at.
    """
    pure = PurePath(path)
    if root is not None and pure.is_relative_to(root):
        pure = pure.relative_to(root)
    text = pure.as_posix()
    for pattern in _PATH_PATTERNS:
        found = pattern.search(text)
        if found:
            return found[1].lower()
    return None


def groups_in_paths(
    paths: Sequence[Path], root: Path | None = None, folders: Sequence[str] = ()
) -> tuple[list[str | None], str]:
    """Groups that paths name, and the sentence that says so; all None and ``""`` where they group nothing.

    In this order: patterns anywhere in paths, folders called like people (``VP01/``), ``folders``, and the code that
    names of files begin with (``S01_walk_0``), where nearly all do.

    Args:
        folders: whose each file is by a level of folders, as :mod:`repcore.data.folder_classes` finds it.
    """
    for keys, how in (
        ([group_in_path(path, root) for path in paths], "from paths"),
        (_people_above(paths, root), "by folders called like people"),
        (list(folders), "by folders"),
        (_people_in_names(paths), "by the first word of names"),
    ):
        if useful_groups(keys):
            first = next(key for key in keys if key is not None)
            count = len({key for key in keys if key})
            return list(keys), f"groups: {count} {how}, for example {first!r}; {KEPT_TOGETHER}"
    return [None] * len(paths), ""


def is_person_folder(name: str) -> bool:
    """Whether a folder is called like a person: ``VP01``, ``S03``, ``patient-1``."""
    return _PERSON_FOLDER.fullmatch(name.strip()) is not None


def _people_above(paths: Sequence[Path], root: Path | None) -> list[str | None]:
    """The outermost folder of each path that is called like a person; none unless all lie in one."""
    inside = [path.relative_to(root) if root and path.is_relative_to(root) else path for path in paths]
    keys = [next((one.lower() for one in path.parts[:-1] if is_person_folder(one)), None) for path in inside]
    return [None] * len(paths) if None in keys else keys


def _people_in_names(paths: Sequence[Path]) -> list[str | None]:
    """Whom names begin with; none unless nearly all begin so."""
    found = [_PERSON_IN_NAME.fullmatch(path.name) for path in paths]
    keys = [one[1].lower() if one and one[0][len(one[1]) :] != path.suffix else None
            for one, path in zip(found, paths, strict=True)]  # fmt: skip
    is_usual = sum(key is not None for key in keys) >= _LEAST_NAMED * len(keys)
    return keys if is_usual else [None] * len(paths)


def _rank(name: str, words: tuple[str, ...]) -> int | None:
    plain = plain_name(name)
    joined = plain.replace("_", "")
    known = (*words, *GROUP_WORDS)
    for rank, word in enumerate(known):
        if any(joined == word + suffix for suffix in _SUFFIXES) and not (word in _WEAK and joined == word):
            return rank
    for rank, word in enumerate(known):  # "subject_number_of_study", "anon patient id"
        if word not in _WEAK and word in plain.split("_") and plain.split("_")[-1] in _SUFFIXES:
            return len(known) + rank
    return None
