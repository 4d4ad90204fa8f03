"""One account of what was found: every file and every table record is used, ignored (why) or unreadable (why).

A layout writes down what it leaves out while it looks for rows; :class:`repcore.data.catalogue.CatalogueReader` adds
the files behind its rows and everything else below the path, so that no file vanishes without a word. Readers of other
shapes (one table, one archive) keep an :class:`Accounting` in an attribute ``account`` and feed it themselves.
``inspect``, ``train`` and ``embed`` print :meth:`Accounting.sentences`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from repcore.data.setting_flags import with_flag
from repcore.data.shards.shard import names_elsewhere
from repcore.errors import shortened
from repcore.files import special_kind
from repcore.reporting import Reporter

Fate = Literal["used", "ignored", "unreadable"]
FATES: tuple[Fate, ...] = ("used", "ignored", "unreadable")
EXAMPLES = 3
MOST_ALIKE = 6  # sentences that differ in the name of a column only
MOST_SENTENCES = 50  # that differ in the name and in figures
KEPT = 1000  # names kept of each reason; counts go on


@dataclass(frozen=True, slots=True)
class Guess:
    """A decision that was taken from the data: what about, what was chosen, why, and how to choose otherwise.

    ``is_loss``: something is left out that may have been meant to count.
    """

    about: str
    chosen: str
    reason: str
    change: str = ""
    is_loss: bool = False

    def __str__(self) -> str:
        words = f"{self.about}: {self.chosen} ({self.reason})"
        return f"{words}; to change: {with_flag(self.change)}" if self.change else words


@dataclass(slots=True)
class TableCount:
    """Where the lines of one table went: ``lines`` = rows + headers + comments + blank + lines inside quoted cells."""

    name: str
    rows: int
    headers: int = 0
    comments: int = 0
    blank: int = 0
    inside_cells: int = 0
    malformed: int = 0

    @property
    def lines(self) -> int:
        return self.rows + self.headers + self.comments + self.blank + self.inside_cells

    def __str__(self) -> str:
        parts = [f"{self.rows:,} rows"]
        parts += [f"{self.headers:,} header line{'s' if self.headers > 1 else ''}"] if self.headers else []
        parts += [f"{self.comments:,} comment lines"] if self.comments else []
        parts += [f"{self.blank:,} blank lines"] if self.blank else []
        parts += [f"{self.malformed:,} of the rows malformed"] if self.malformed else []
        return f"{self.name}: {', '.join(parts)}"


@dataclass(slots=True)
class Accounting:
    """The account of one data set.

    Args:
        root: folder that names are given relative to; None = as they are.
        guesses: decisions taken from the data.
        notes: other remarks for people.
        tables: records of each table.
        odd_cells: sentences on cells that were not understood, one a column and kind.
    """

    root: Path | None = None
    guesses: list[Guess] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tables: list[TableCount] = field(default_factory=list)
    odd_cells: list[str] = field(default_factory=list)
    _fate: dict[str, tuple[Fate, str]] = field(default_factory=dict)
    _said: set[Guess] = field(default_factory=set)

    # -------------------------------------------------------------------------------------------- feeding

    def use(self, *paths: Path | str) -> None:
        """Files whose content becomes rows, labels or settings. Wins over ``ignore``, not over ``unreadable``."""
        for path in paths:
            name = self._name(path)
            known = self._fate.get(name)
            if known is None or known[0] != "unreadable":
                self._fate[name] = ("used", "")

    def ignore(self, path: Path | str, reason: str) -> None:
        """A file that is left out on purpose; says why. Does not change what is used or unreadable."""
        self._fate.setdefault(self._name(path), ("ignored", reason))

    def unreadable(self, path: Path | str, reason: str) -> None:
        """A file that should have given rows and cannot be read."""
        self._fate[self._name(path)] = ("unreadable", reason)

    def guess(self, about: str, chosen: str, reason: str, change: str = "", *, is_loss: bool = False) -> None:
        """A decision taken from the data, with its reason and the setting that changes it; said once."""
        one = Guess(about, chosen, reason, change, is_loss)
        if one not in self._said:
            self._said.add(one)
            self.guesses.append(one)

    def note(self, text: str) -> None:
        """A remark for people; said once."""
        if text not in self.notes:
            self.notes.append(text)

    def cover(self, root: Path, reason: str = "not read by this reader") -> None:
        """Everything below ``root`` that nobody spoke of is ignored for ``reason`` (its suffix is added); of a folder
        that stands in for an address, what lies there."""
        elsewhere = names_elsewhere(root)
        if elsewhere is not None:
            for name in elsewhere:
                self.ignore(root / name, f"{reason} ({Path(name).suffix.lower() or 'no suffix'})")
            return
        for found in walk(root):
            if found.problem:
                self._cover_problem(found)
            elif self._name(found.path) not in self._fate:
                why = found.left_out or f"{reason} ({found.path.suffix.lower() or 'no suffix'})"
                self.ignore(found.path, why)

    def _cover_problem(self, found: Found) -> None:
        if self._name(found.path) not in self._fate:
            self.unreadable(found.path, found.problem)

    def add(self, other: Accounting) -> None:
        """Take over another account (of one table, of one part)."""
        for name, (fate, reason) in other._fate.items():
            full = name if other.root is None else str(other.root / name)
            {"used": lambda n, r: self.use(n), "ignored": self.ignore, "unreadable": self.unreadable}[fate](
                full, reason
            )
        for one in other.guesses:
            self.guess(one.about, one.chosen, one.reason, one.change, is_loss=one.is_loss)
        for text in other.notes:
            self.note(text)
        self.tables += [one for one in other.tables if one not in self.tables]
        self.odd_cells += [one for one in other.odd_cells if one not in self.odd_cells]

    # -------------------------------------------------------------------------------------------- reading

    @property
    def counts(self) -> dict[Fate, int]:
        """Files by fate."""
        counted = Counter(fate for fate, _ in self._fate.values())
        return {fate: counted[fate] for fate in FATES}

    @property
    def total(self) -> int:
        """Files that were seen."""
        return len(self._fate)

    def fate(self, path: Path | str) -> tuple[Fate, str] | None:
        """What became of a file, and why; None = never seen."""
        return self._fate.get(self._name(path))

    def files(self) -> list[tuple[str, Fate, str]]:
        """Name, fate and reason of every file that was seen."""
        return [(name, fate, reason) for name, (fate, reason) in self._fate.items()]

    def reasons(self, fate: Fate) -> dict[str, list[str]]:
        """Reason -> names of the files with it, the most frequent first."""
        found: dict[str, list[str]] = {}
        for name, (one, reason) in self._fate.items():
            if one == fate:
                found.setdefault(reason, []).append(name)
        return dict(sorted(found.items(), key=lambda item: -len(item[1])))

    @property
    def is_complete(self) -> bool:
        """Nothing was ignored, unreadable, malformed or not understood."""
        counts = self.counts
        malformed = any(table.malformed for table in self.tables)
        return not (counts["ignored"] or counts["unreadable"] or malformed or self.odd_cells)

    def sentences(self, examples: int = EXAMPLES) -> list[str]:
        """The account in words: counts, first names with reasons, tables, guesses, cells, notes."""
        words = []
        if self.total:
            counts = self.counts
            words.append(f"files: {', '.join(f'{counts[fate]:,} {fate}' for fate in FATES if counts[fate])}")
            for fate in ("unreadable", "ignored"):
                for reason, names in self.reasons(fate).items():
                    words.append(f"{fate}: {_first(names, examples)}: {reason}")
        words += [f"table {table}" for table in self.tables]
        words += _summed_up(self.guesses)
        return [shortened(one) for one in (*words, *self.odd_cells, *self.notes)]

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values; at most 1,000 names of a reason."""
        return {
            "files": self.counts,
            **{
                fate: [
                    {"reason": reason, "count": len(names), "names": names[:KEPT]}
                    for reason, names in self.reasons(fate).items()
                ]
                for fate in ("ignored", "unreadable")
            },
            "tables": [{name: getattr(table, name) for name in TableCount.__slots__} for table in self.tables],
            "guesses": [{name: getattr(one, name) for name in Guess.__slots__} for one in self.guesses],
            "odd_cells": list(self.odd_cells),
            "notes": list(self.notes),
        }

    def _name(self, path: Path | str) -> str:
        text = os.fspath(path)
        if self.root is not None:
            prefix = os.fspath(self.root)
            if text == prefix:
                return Path(text).name
            if text.startswith(prefix + os.sep):
                return text[len(prefix) + 1 :]
        return text


def _summed_up(guesses: Sequence[Guess]) -> list[str]:
    """Guesses in words; those of many columns that say the same are one sentence."""
    alike: dict[tuple[str, str, str, str], list[Guess]] = {}
    for one in guesses:
        kind = one.about.partition(" ")[0]
        alike.setdefault((kind, one.chosen, one.reason, one.change), []).append(one)
    words = []
    sizes = Counter((kind, chosen, change) for kind, chosen, _, change in alike)
    said: Counter[tuple[str, str, str]] = Counter()
    for (kind, chosen, _, change), same in alike.items():
        group = (kind, chosen, change)
        said[group] += 1
        if sizes[group] >= MOST_SENTENCES and said[group] > MOST_ALIKE:  # each with figures of its own
            if said[group] == sizes[group]:
                more = f"{kind} {same[-1].about.partition(' ')[2]} and {sizes[group] - MOST_ALIKE - 1:,} more"
                words.append(str(Guess(more, chosen, "for reasons of their own", change)))
            continue
        if len(same) < MOST_ALIKE:
            words += [str(one) for one in same]
        else:
            names = ", ".join(one.about.partition(" ")[2] for one in same[:EXAMPLES])
            first = same[0]
            about = f"{kind} {names} and {len(same) - EXAMPLES:,} more"
            words.append(str(Guess(about, first.chosen, first.reason, first.change)))
    return words


def _first(names: Sequence[str], most: int) -> str:
    shown = ", ".join(printable(name) for name in names[:most])
    return shown if len(names) <= most else f"{len(names):,} files ({shown}, ...)"


def printable(name: str) -> str:
    """A file name for one line of any terminal: line breaks and bytes that are no text are written as escapes."""
    text = name.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


# ------------------------------------------------------------------------------------------------ walking


@dataclass(frozen=True, slots=True)
class Found:
    """One file of a walk. ``left_out``: why it is none of the user's data; ``problem``: why it cannot be opened."""

    path: Path
    left_out: str = ""
    problem: str = ""


def walk(root: Path) -> Iterator[Found]:
    """Every file below a folder, by path, links followed.

    Files in hidden folders and with hidden names come with ``left_out``; links to nothing and folders that cannot be
    listed with ``problem``; a folder that is walked anyway (a loop, a second link, a link above it) with ``left_out``.
    """
    seen: set[tuple[int, int]] = set()
    linked: list[Path] = []
    found: list[Found] = []
    _walk(root, seen, linked, found, hidden=False)
    while linked:  # real folders first, so that a link never hides the folder it points to
        path = linked.pop(0)
        if _identity(path) in seen:
            found.append(Found(path, left_out="link to a folder that is counted already"))
        else:
            _walk(path, seen, linked, found, hidden=_is_hidden(path.relative_to(root).parts))
    yield from sorted(found, key=lambda one: one.path)


def _walk(folder: Path, seen: set[tuple[int, int]], linked: list[Path], found: list[Found], *, hidden: bool) -> None:
    pending = [(folder, hidden)]
    while pending:  # no recursion: folders may be nested deeper than Python's stack
        here, is_hidden = pending.pop()
        seen.add(_identity(here))
        try:
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError as error:
            found.append(Found(here, problem=f"folder cannot be listed: {error.strerror or error}"))
            continue
        for entry in entries:
            path = here / entry.name
            hides = is_hidden or entry.name.startswith(".") or entry.name == "__MACOSX"
            if entry.is_symlink() and not path.exists():
                found.append(Found(path, problem=f"link to {str(path.readlink())!r}, which does not exist"))
            elif entry.is_dir():
                if entry.is_symlink():
                    linked.append(path)
                elif _identity(path) in seen:  # a link leads to a folder above one that is walked anyway
                    found.append(Found(path, left_out="folder that is counted already"))
                else:
                    pending.append((path, hides))
            elif entry.is_file():
                found.append(Found(path, left_out="hidden" if hides else ""))
            else:
                found.append(Found(path, left_out=_special(path)))


def _special(path: Path) -> str:
    return f"no regular file ({special_kind(path)})" if special_kind(path) else "no regular file"


def _identity(path: Path) -> tuple[int, int]:
    try:
        facts = path.stat()
    except OSError:
        return (-1, hash(path))
    return facts.st_dev, facts.st_ino


def _is_hidden(parts: Iterable[str]) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def account_of(reader: Any) -> Accounting:  # any DatasetReader; the attributes are optional
    """The account of a reader: its ``account`` if it keeps one, else one made of its ``notes``."""
    kept = getattr(reader, "account", None)
    if isinstance(kept, Accounting):
        return kept
    account = Accounting()
    for text in getattr(reader, "notes", ()):
        account.note(str(text))
    return account


def rows_without_part(reader: Any) -> str:  # any DatasetReader
    """How many rows lie in no declared part of a split, in words; empty where no part is declared, or none is left."""
    parts = getattr(reader, "splits", {})
    left = len(reader) - len({int(row) for rows in parts.values() for row in rows}) if parts else 0
    return f"{left:,} of {len(reader):,} rows are in no declared part of the split ({', '.join(parts)})" if left else ""


def report_account(reader: Any, reporter: Reporter) -> None:  # any DatasetReader
    """Say the account of a reader: what is lost as warnings, the rest as information."""
    account = account_of(reader)
    for text in account.sentences():
        is_loss = text.startswith("unreadable:") or text in account.odd_cells
        (reporter.warn if is_loss else reporter.info)(text)
    if said := rows_without_part(reader):
        reporter.info(said)
