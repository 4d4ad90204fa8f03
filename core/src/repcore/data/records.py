"""From the bytes of a text table to its records: one list of cells each, with what is wrong with it.

Every physical line ends up in exactly one record, a comment or a blank: a quotation mark that is never closed does not
swallow the lines below it, and a line with too many or too few cells stays a record with a problem.
"""

from __future__ import annotations

import io
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO

from repcore.data.dialects import (
    BLANKS,
    COMMENT_SIGNS,
    FIRST_BLANK,
    LINES_LOOKED_AT,
    SWAPPED,
    Dialect,
    cut,
    doubled,
    is_open,
)
from repcore.data.encodings import Encoding, open_bytes

CHUNK = 4096  # lines that are looked at at once
MOST_JOINED = 1000  # lines that one quoted cell may span
MOST_JOINED_LETTERS = 2**20
MANY_OPEN, FEW_JOINED = 100, 20  # so many cells that are never closed: from then on only few lines are looked through
MOST_LINE = 2**24  # characters
LONG_LINE = "\x1f(too long)"  # stands for a line of more; \x1f is in no line that is read quickly
PUBCHEM, PUBCHEM_LINE = "PUBCHEM_RESULT_TAG", "RESULT_"  # first name of an assay, and how lines about columns begin
LEAST_SWALLOWED = 2  # complete lines inside a quoted cell that show that it was never meant to be one
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f]")
END_OF_FILE = "\x1a"  # DOS


@dataclass(slots=True)
class Counted:
    """What was met on the way."""

    rows: int = 0
    comments: int = 0
    blank: int = 0
    malformed: int = 0
    inside_cells: int = 0
    headers: int = 0
    open_quotes: list[int] = field(default_factory=list)
    surplus_empty: int = 0


def open_text(path: Path, encoding: Encoding) -> IO[str]:
    """A text file (or ``.gz``) in its encoding; bytes that do not fit become U+FFFD."""
    return io.TextIOWrapper(open_bytes(path), encoding=encoding.name, errors="replace", newline="")


def universal_lines(file: IO[str]) -> Iterator[str]:
    """Lines without their ends, whatever those are, even mixed ones; ``LONG_LINE`` in place of one that has no end."""
    pending: list[str] = []  # pieces of the line that is being read
    held, carried = 0, ""
    while block := file.read(1 << 20):
        block = carried + block
        carried = "\r" if block.endswith("\r") else ""  # a \r\n may be cut in two
        body = block[: len(block) - len(carried)].replace("\r\n", "\n").replace("\r", "\n")
        first, *more = body.split("\n")
        held += len(first)
        pending = [LONG_LINE] if held > MOST_LINE else [*pending, first]
        if more:
            *complete, rest = more
            yield "".join(pending)
            yield from complete
            pending, held = [rest], len(rest)
    rest = "".join(pending)
    if rest:
        yield rest


def first_lines(path: Path, encoding: Encoding) -> list[str]:
    """The first lines that are not blank: what a dialect is judged from."""
    with open_text(path, encoding) as file:
        return list(islice((line for line in universal_lines(file) if _is_filled(line)), LINES_LOOKED_AT))


def _is_filled(line: str) -> bool:
    return bool(line.strip()) and line != END_OF_FILE


class Records:
    """The records of a table below its header, by column.

    Args:
        lines: without their ends.
        dialect: how the table is written.
        counted: is filled on the way.
    """

    def __init__(self, lines: Iterator[str], dialect: Dialect, counted: Counted) -> None:
        self.dialect, self.counted = dialect, counted
        self._is_swapped = dialect.quote == "'"
        self._lines = (line.translate(SWAPPED) for line in lines) if self._is_swapped else lines
        if dialect.escapes:
            self._lines = map(doubled, lines)
        self._back: deque[str] = deque()
        self.width = dialect.width + dialect.trailing

    def columns(self, most: int) -> Iterator[list[list[str | None]]]:
        """Blocks of ``most`` records, the last one shorter: the cells of each column, and as the last one the problems.

        Plain lines never become rows, which takes a third of the time.
        """
        held: list[list[str | None]] = [[] for _ in range(self.dialect.width + 1)]
        for part in self._parts():
            if self._is_swapped:
                part[:-1] = [[None if cell is None else cell.translate(SWAPPED) for cell in one] for one in part[:-1]]
            for column, cells in zip(held, part, strict=True):
                column += cells
            while len(held[0]) >= most:
                yield [column[:most] for column in held]
                held = [column[most:] for column in held]
        yield held

    def _parts(self) -> Iterator[list[Sequence[str | None]]]:
        """Columns of some records at a time, with their problems."""
        self._skip_head()
        while True:
            if not self._back:
                chunk = list(islice(self._lines, CHUNK))
                if not chunk:
                    return
                plain = self._plain(chunk)
                if plain is not None:
                    yield [*plain, [None] * len(plain[0])]
                    continue
                self._back.extend(chunk)
            for cells, problem in self._one():
                yield [(cell,) for cell in (*cells, problem)]

    def _is_header(self, cells: Sequence[str | None]) -> bool:
        """Whether a record is the header once more, as tables have that were joined end to end."""
        names = self.dialect.names
        if len(names) < 2 or not self.dialect.has_header or not cells[0] or cells[0].strip() != names[0]:
            return False
        return all(cell is not None and cell.strip() == name for cell, name in zip(cells, names, strict=True))

    def _one(self) -> Iterator[tuple[list[str | None], str | None]]:
        """The record that begins in the next line, unless that is blank or a comment."""
        line = self._back.popleft()
        if not _is_filled(line):
            self.counted.blank += 1
            return
        cells, problem = self._record(line)
        if cells is None:
            self.counted.comments += 1
            return
        if self._is_header(cells):
            self.counted.headers += 1
            return
        self.counted.rows += 1
        self.counted.malformed += problem is not None
        yield cells, problem

    def _plain(self, lines: list[str]) -> list[Sequence[str | None]] | None:
        """Columns of these lines, cut at once where none of them is anything but a full row; else None."""
        delimiter = self.dialect.delimiter
        if self.width == 1 or delimiter in ("", BLANKS, FIRST_BLANK):
            return None
        text = "\n".join(lines)
        if '"' in text or _CONTROL.search(text):
            return None
        if any(line.count(delimiter) != self.width - 1 for line in lines):
            return None
        flat = text.replace("\n", delimiter).split(delimiter)
        columns: list[Sequence[str | None]] = [flat[place :: self.width] for place in range(self.width)]
        if self.dialect.trailing:
            if any(cell and cell.strip() for cell in columns[-1]):
                return None
            columns.pop()
        first = self.dialect.names[0]
        if any(first in (cell or "") for cell in columns[0]):  # perhaps the header once more
            rows = list(zip(*columns, strict=True))
            kept = [row for row in rows if not self._is_header(row)]
            self.counted.headers += len(rows) - len(kept)
            columns = list(zip(*kept, strict=True)) if kept else [()] * len(columns)
        self.counted.rows += len(columns[0])
        return columns

    def _next(self) -> str | None:
        return self._back.popleft() if self._back else next(self._lines, None)

    def _skip_head(self) -> None:
        """Remarks above the table are comments; the header is one record, even over several lines."""
        skipped = 0
        while skipped < self.dialect.above + self.dialect.has_header:
            line = self._next()
            if line is None:
                return
            if not _is_filled(line):
                self.counted.blank += 1
                continue
            if '"' in line and is_open(line, self.dialect.delimiter):
                self._joined(line)
            skipped += 1
        self.counted.comments += self.dialect.above
        if self.dialect.has_header and self.dialect.names[0] == PUBCHEM:
            self._skip_descriptions()

    def _skip_descriptions(self) -> None:
        """Lines between the header and the data of a PubChem assay: types, meanings and units of the columns."""
        while (line := self._next()) is not None:
            if not line.lstrip('"').startswith(PUBCHEM_LINE):
                self._back.appendleft(line)
                return
            if '"' in line and is_open(line, self.dialect.delimiter):
                self._joined(line)
            self.counted.comments += 1

    def _record(self, line: str) -> tuple[list[str | None] | None, str | None]:
        """One record from this line on; None for a comment."""
        if line == LONG_LINE:
            return [None] * self.dialect.width, f"its line has more than {MOST_LINE:,} characters"
        delimiter = self.dialect.delimiter
        opens = '"' in line and is_open(line, delimiter)
        joined = self._joined(line) if opens else None
        if joined is not None:
            cells = cut(joined, delimiter)
        else:
            cells = cut(line, delimiter)
            if opens:
                self.counted.open_quotes.append(self.counted.rows)
        if len(cells) != self.width and line.startswith(COMMENT_SIGNS) and delimiter not in ("", FIRST_BLANK):
            return None, None
        control = _CONTROL.search(line if joined is None else joined)
        fitted, problem = self._fitted(cells, opens and joined is None)
        if control is not None and problem is None:
            problem = self._with_control(fitted, control[0])
        return fitted, problem

    def _with_control(self, cells: list[str | None], sign: str) -> str:
        """Text with a control character is damaged, and as an id it would be another one in every output."""
        names = self.dialect.names
        column = next((name for name, cell in zip(names, cells, strict=False) if cell and sign in cell), "")
        place = f"column {column!r} holds" if column else "holds"
        return f"{place} the control character U+{ord(sign):04X}, which no text has: take it out of the file"

    def _fitted(self, cells: list[str], unclosed: bool) -> tuple[list[str | None], str | None]:
        width, names = self.width, self.dialect.width
        fits = len(cells) == width or (self.dialect.trailing and len(cells) == names)
        if fits and not any(cell.strip() for cell in cells[names:]):
            return list(cells[:names]), None
        if self.dialect.delimiter == FIRST_BLANK and len(cells) < names:
            return [*cells, *[""] * (names - len(cells))], None
        if len(cells) > width and not any(cell.strip() for cell in cells[width:]):
            self.counted.surplus_empty += 1
            return list(cells[:names]), None
        problem = f"{len(cells)} fields instead of {names}"
        if unclosed:
            problem += ", and a quotation mark that is never closed"
        kept: list[str | None] = list(cells[:names])
        return [*kept, *[None] * (names - len(kept))], problem

    def _joined(self, line: str) -> str | None:
        """This line with those that its open cell spans; None if the cell is never closed properly."""
        taken: list[str] = []
        text = line
        closed, letters = False, len(line)
        most = MOST_JOINED if len(self.counted.open_quotes) < MANY_OPEN else FEW_JOINED
        while len(taken) < most and letters < MOST_JOINED_LETTERS and not closed:
            following = self._next()
            if following is None:
                break
            taken.append(following)
            letters += len(following)
            if '"' in following:
                text = "\n".join([line, *taken])
                closed = not is_open(text, self.dialect.delimiter)
        if closed and self._is_meant(text, taken[:-1]):
            self.counted.inside_cells += len(taken)
            return text
        self._back.extendleft(reversed(taken))
        return None

    def _is_meant(self, text: str, inside: list[str]) -> bool:
        """Whether lines between two quotation marks are one cell: the record fits, they are no records themselves."""
        delimiter = self.dialect.delimiter
        if len(cut(text, delimiter)) not in (self.width, self.dialect.width):
            return False
        records = self.width > 1 and [len(cut(one, delimiter)) == self.width for one in inside if one.strip()]
        return not records or len(records) < LEAST_SWALLOWED or not all(records)
