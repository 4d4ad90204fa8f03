"""Archives of labelled series: what one file holds, whatever its form.

Sources: the UCR and UEA archives (`.ts`, `.arff`, `.tsv`), the Monash archive (`.tsf`); as `aeon` reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from repcore.data.encodings import whole_text
from repcore.errors import DataError
from repcore_timeseries.formats.series import Series

SUFFIXES = (".ts", ".arff", ".tsv", ".tsf")  # in the order in which one of several forms of the same cases is taken


@dataclass(frozen=True, slots=True)
class Case:
    """One series of an archive.

    Args:
        name: of a series that has one.
        series: None where it cannot be used.
        label: as text; None without one.
        problem: status and reason of one that cannot be used.
        group: of a series that has one.
    """

    series: Series | None
    label: str | None = None
    problem: tuple[str, str] | None = None
    name: str = ""
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Archive:
    """Content of a file.

    Args:
        path: the file.
        cases: in its order.
        classes: names that its header declares; empty without.
        is_regression: whether labels are numbers to be predicted.
        facts: what the header says besides, by lower-case key.
    """

    path: Path
    cases: Sequence[Case]
    classes: tuple[str, ...] = ()
    is_regression: bool = False
    facts: Mapping[str, str] = field(default_factory=dict)


def text_lines(path: Path) -> list[str]:
    """Lines of a text file of any encoding.

    Raises:
        DataError: the file is empty, binary or damaged.
    """
    if path.stat().st_size == 0:
        raise DataError(f"{str(path)!r} is empty (0 bytes)")
    return whole_text(path).splitlines()


def numbers(text: str, separator: str = ",") -> np.ndarray:
    """Numbers of a line; ``?``, ``NaN`` and nothing between separators are missing.

    Raises:
        ValueError: a word is no number.
    """
    words = [word.strip() for word in text.split(separator)]
    return np.asarray([np.nan if word in ("", "?") or word.lower() == "nan" else float(word) for word in words])


def stacked(channels: Sequence[np.ndarray]) -> Series:
    """A series (T, C) of channels of one length.

    Raises:
        ValueError: the lengths differ.
    """
    lengths = {len(one) for one in channels}
    if len(lengths) != 1:
        raise ValueError(f"its {len(channels)} channels have {min(lengths)} to {max(lengths)} steps")
    return Series.of(np.stack(channels, 1))


def guarded(line: int, build: Callable[[], Case]) -> Case:
    """A case, or the reason why it cannot be used, as a row of its own."""
    try:
        return build()
    except (ValueError, DataError) as error:
        return Case(None, problem=("malformed_case", f"line {line + 1}: {error}"))


def header_value(line: str) -> tuple[str, str]:
    """``@key value`` as a lower-case key and its value."""
    key, _, value = line[1:].strip().partition(" ")
    return key.strip().lower(), value.strip()
