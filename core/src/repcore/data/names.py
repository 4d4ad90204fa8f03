"""Names that people write in several ways: accents composed or not, upper and lower case, leading zeros, blanks.

File systems store an accented letter as one sign or as two (macOS), tables as one: such names are the same name.
Case and leading zeros may tell things apart; where they alone keep two lists from matching, that is said.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

_ZEROS = re.compile(r"(?<!\d)0+(?=\d)")


def composed(text: str) -> str:
    """A name with accented letters as one sign each (Unicode NFC)."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def loose(text: str) -> str:
    """A name without what people write differently: case, leading zeros of numbers, blanks around it, ``1.0``."""
    plain = composed(text).strip().casefold()
    return _ZEROS.sub("", re.sub(r"^(\d+)\.0$", r"\1", plain))


def unpadded(names: Iterable[str]) -> dict[str, str]:
    """Short form of names that are numbers with leading zeros, as a spreadsheet leaves them (``7`` of ``0007``), to the
    name; without those that are names themselves or that two names share.
    """
    held = set(names)
    found: dict[str, list[str]] = {}
    for name in held:
        if name.isdecimal() and name.startswith("0") and len(name) > 1:
            found.setdefault(str(int(name)), []).append(name)
    return {short: full[0] for short, full in found.items() if len(full) == 1 and short not in held}


def nearly(have: Iterable[str], wanted: Sequence[str]) -> str:
    """How two lists of names that do not match would, in words; empty where they would not.

    Args:
        have: names that are there.
        wanted: names that were looked for and are not among them.
    """
    by_loose: dict[str, str] = {}
    for name in have:
        by_loose.setdefault(loose(name), name)
    pairs = [(name, by_loose[loose(name)]) for name in wanted if loose(name) in by_loose]
    pairs = [(name, there) for name, there in pairs if composed(name) != composed(there)]
    if not pairs:
        return ""
    wanted_name, there = pairs[0]
    same_case = composed(wanted_name).strip().casefold() == composed(there).strip().casefold()
    differ = "upper and lower case" if same_case else "leading zeros or the way of writing numbers"
    return f"{len(pairs):,} of {len(wanted):,} differ in {differ} only ({wanted_name!r} and {there!r})"


def alike(names: Iterable[str]) -> str:
    """Names of one list that differ only in what people write differently, in words; empty where there are none."""
    by_loose: dict[str, set[str]] = {}
    for name in names:
        by_loose.setdefault(loose(name), set()).add(composed(name))
    pairs = [sorted(found) for found in by_loose.values() if len(found) > 1]
    if not pairs:
        return ""
    one, other = min(pairs)[:2]
    same_case = one.casefold() == other.casefold()
    differ = "upper and lower case" if same_case else "leading zeros or the way of writing numbers"
    return f"{one!r} and {other!r} differ in {differ} only ({len(pairs):,} such)"
