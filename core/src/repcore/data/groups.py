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
_PERSON_IN_NAME = re.compile(
    r"((?:s|p|u|sub|subj|subject|pt|pat|patient|participant|user|vp|proband|person|speaker|actor|animal|rat|mouse|id)"
    r"[-_]?\d{1,6})[-_ .].+",
    re.IGNORECASE,
)


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


def groups_in_paths(paths: Sequence[Path], root: Path | None = None) -> tuple[list[str | None], str]:
    """Groups that paths name, and the sentence that says so; all None and ``""`` where they group nothing."""
    keys = [group_in_path(path, root) for path in paths]
    if not useful_groups(keys):
        return [None] * len(paths), ""
    first = next(key for key in keys if key is not None)
    return (
        keys,
        f"groups: {len({key for key in keys if key})} from paths, for example {first!r}; kept together in splits",
    )


def groups_in_names(stems: Sequence[str]) -> tuple[list[str | None], str]:
    """Whom names of files begin with (``S01_walk_0``), where all do and it groups files, and the sentence that says so;
    else all None and ``""``.
    """
    found = [_PERSON_IN_NAME.fullmatch(stem) for stem in stems]
    keys: list[str | None] = [one[1].lower() if one else None for one in found]
    if None in keys or not useful_groups(keys):
        return [None] * len(stems), ""
    count = len(set(keys))
    return keys, f"groups: {count} by the first word of names, for example {keys[0]!r}; kept together in splits"


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
