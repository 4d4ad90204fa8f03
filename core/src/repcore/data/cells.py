"""What a cell of a text table says: a number, nothing, or something that has to be named.

Numbers are read strictly: no underscores between digits (``12_13`` is an identifier), no percent, and signs before
thousands only where a column shows that they are such (:mod:`repcore.data.grouped`). What is neither a number nor
missing is sorted by what it looks like, so that a column is never lost and never half read without a sentence that
shows the cells.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from repcore.data.grouped import MINUS, may_go_on_at_thousand, point_meaning, without_groups

MISSING_WORDS = frozenset({"", "nan", "na", "n/a", "null", "none", "-", "?", "nil", "missing", "<na>", "nat"})
LONGEST_MISSING = max(map(len, MISSING_WORDS))
EXCEL_ERRORS = frozenset(
    {"#n/a", "#value!", "#ref!", "#div/0!", "#name?", "#num!", "#null!", "#spill!", "#calc!", "#error!"}
)
Decimal = Literal[".", ","]
DecimalWord = Literal["auto", "point", "comma"]
DECIMAL_SIGNS: Mapping[DecimalWord, Decimal | None] = {"auto": None, "point": ".", "comma": ","}
_DECIMALS = {".": "decimals with a point", ",": "decimal comma"}
_PLAIN_TYPES = {str, type(None), float, int, bool}
MISSING_TYPES = ("NAType", "NaTType")  # of pandas, which is not imported here
EXACT_DIGITS = 15  # whole numbers of so many are themselves in float64
SHOWN = 3
MOSTLY = 0.5  # share of filled cells that must be numbers
BLOCK = 4096  # cells that are tried at once
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eEdD][+-]?\d+)?")
_NUMBER_COMMA = re.compile(r"[+-]?(\d+,?\d*|,\d+)([eE][+-]?\d+)?")
_THOUSANDS_COMMA = re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+,\d+")  # 1.234,56: nothing else can be meant
EITHER = "thousands or decimals, which nothing in the column tells"
_GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+")  # 1.100: thousands where the comma separates decimals
_WHOLE = re.compile(r"[+-]?\d+(\.0*)?")
_EXPONENT = re.compile(r"\d+[eE]\d+")
_MONTH = (  # whole words: 1-Octyne is no day in October
    r"(jan(uary)?|feb(ruary)?|mar(ch)?|apr(il)?|may|june?|july?|aug(ust)?|sept?(ember)?|oct(ober)?|nov(ember)?|"
    r"dec(ember)?)"
)
_LOOKS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("censored", re.compile(r"(>=?|<=?|≥|≤|>>|<<|~|≈|=)\s*[+-]?[\d.,]+([eE][+-]?\d+)?")),
    ("percent", re.compile(r"[+-]?[\d.,]+\s*%")),
    ("underscore digits", re.compile(r"[+-]?\d+(_\d+)+")),
    ("thousands", re.compile(
        r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?|[+-]?\d{1,3}(\.\d{3}){2,}(,\d+)?|"
        r"[+-]?\d{1,3}([ '\u2019\u00a0\u2009\u202f]\d{3})+([.,]\d+)?")),
    ("decimal comma", re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")),
    ("date", re.compile(
        r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([ T]\d{1,2}:\d{2}.*)?|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}|"
        rf"\d{{1,2}}[- ]{_MONTH}([- ]\d{{2,4}})?|{_MONTH}[- ]\d{{1,4}}", re.IGNORECASE)),
    ("infinite", re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)),
    ("range", re.compile(r"[+-]?[\d.,]+\s*(-|–|\.\.|to|±|\+/-|\+-)\s*[\d.,]+")),
    ("number with a unit", re.compile(r"[+-]?\d[\d.,]*\s*[a-zA-Zµμ°/%^]{1,8}\d?")),
    ("several numbers", re.compile(r"[\[(]?\s*[+-]?[\d.]+(\s*[,;| ]\s*[+-]?[\d.]+)+\s*[\])]?")),
)  # fmt: skip


def is_missing(value: Any) -> bool:  # a cell of any type
    """Whether a cell says that there is nothing: None, NaN, blank, ``n/a``, ``null``, ``-``, ..."""
    if isinstance(value, str):
        return value.strip().lower() in MISSING_WORDS
    if value is None or type(value) in _PLAIN_TYPES:
        return value is None or bool(value != value)
    if type(value).__name__ in MISSING_TYPES:
        return True
    return not _is_nested(value) and bool(value != value)


def flat_cells(cells: Iterable[Any]) -> list[Any]:
    """Cells that are lists, structures or arrays (of JSON, parquet, Python) as the texts that JSON writes for them."""
    held = list(cells)
    if set(map(type, held)) <= _PLAIN_TYPES:
        return held
    return [json.dumps(_plain(cell), default=_in_short) if _is_nested(cell) else cell for cell in held]


def _is_nested(cell: Any) -> bool:
    return isinstance(cell, list | tuple | set | frozenset | Mapping) or (
        isinstance(cell, np.ndarray) and cell.ndim > 0
    )


def _plain(cell: Any) -> Any:
    if isinstance(cell, set | frozenset):
        return sorted(cell, key=str)
    return cell.tolist() if isinstance(cell, np.ndarray) else cell


def _in_short(value: Any) -> Any:  # what JSON has no form for: dates, bytes, numbers of NumPy
    if isinstance(value, np.generic):
        return value.item()
    return f"{len(value)} bytes" if isinstance(value, bytes) else str(value)


def number(value: Any, decimal: Decimal = ".") -> float | None:  # a cell in, a number out
    """A cell as a number, None when missing.

    Raises:
        ValueError: it is neither; also for digits with underscores.
    """
    if value is None or isinstance(value, bool | int | float):
        return None if value is None or value != value else float(value)
    text = str(value).strip().translate(MINUS)
    if text.lower() in MISSING_WORDS:
        return None
    if decimal == "," and _GROUPED.fullmatch(text):
        return float(text.replace(".", ""))
    if decimal == "," and "," in text:
        if _THOUSANDS_COMMA.fullmatch(text):
            text = text.replace(".", "")
        if _NUMBER_COMMA.fullmatch(text):
            return float(text.replace(",", "."))
        raise ValueError(f"could not convert string to float: {text!r}")
    if "_" in text:
        raise ValueError(f"could not convert string to float: {text!r} (digits with underscores are no number)")
    return float(text)


def looks_like(value: Any) -> str:  # a cell of any type
    """What a filled cell that is no number looks like: censored, percent, thousands, decimal comma, date, ..., text."""
    text = str(value).strip().translate(MINUS)
    if text.lower() in EXCEL_ERRORS:
        return "Excel error"
    for name, pattern in _LOOKS:
        if pattern.fullmatch(text):
            return name
    return "text"


@dataclass(slots=True)
class NumberColumn:
    """A column read as numbers.

    Args:
        name: of the column.
        values: float64 (N,); NaN where missing or not understood.
        missing: number of empty cells.
        odd: looks -> rows that are neither numbers nor missing.
        examples: looks -> first cells.
    """

    name: str
    values: np.ndarray
    missing: int = 0
    odd: dict[str, list[int]] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    @property
    def filled(self) -> int:
        """Cells that are not empty."""
        return len(self.values) - self.missing

    @property
    def odd_count(self) -> int:
        """Cells that are not empty and no finite numbers."""
        return sum(len(rows) for rows in self.odd.values())

    @property
    def number_share(self) -> float:
        """Share of filled cells that are finite numbers; 0 when none is filled."""
        return (self.filled - self.odd_count) / self.filled if self.filled else 0.0

    def sentences(self, first_row: int = 0) -> list[str]:
        """``column 'IC50': 7 of 20 cells look censored ('>10' in row 0, ...) and count as missing``."""
        said = []
        for looks, rows in sorted(self.odd.items(), key=lambda item: -len(item[1])):
            shown = zip(self.examples[looks], rows, strict=False)
            cells = ", ".join(f"{cell!r} in row {row + first_row}" for cell, row in shown)
            said.append(
                f"column {self.name!r}: {len(rows):,} of {self.filled:,} filled cells look like {looks} ({cells}) and "
                "count as missing"
            )
        return said


def read_numbers(name: str, cells: Sequence[Any], decimal: Decimal = ".") -> NumberColumn:
    """A whole column as numbers, with account of every cell that is none; infinite ones are not understood."""
    column = NumberColumn(name, np.full(len(cells), math.nan))
    for start in range(0, len(cells), BLOCK):
        block = cells[start : start + BLOCK]
        quick = _quick(block) if decimal == "." else None
        if quick is None:
            _read_block(column, start, block, decimal)
        else:
            column.values[start : start + len(block)] = quick
            column.missing += int(np.isnan(quick).sum())
    return column


def numbers_as_written(
    name: str,
    cells: Sequence[Any],
    asked: Decimal | None = None,
    comma: str = "",
    point: Callable[[], str] = str,
) -> tuple[NumberColumn, str]:
    """A whole column as numbers, with a decimal comma where asked for or seen in its cells, and what to say of it.

    Args:
        comma: why decimals of the whole table have a comma (:func:`decimal_comma_of`); ``1.100`` is 1100 then.
        point: why a comma stands before thousands (:meth:`TableNumbers.point`); ``1,100`` is 1100 then.
    """
    numbers = read_numbers(name, cells, asked or ".")
    parted = without_groups(cells, asked, point) if "thousands" in numbers.odd else None
    if parted is not None:
        cleared, sign, said = parted
        return read_numbers(name, cleared, "," if sign == "," else "."), f"{_DECIMALS[sign]}: {said}"
    grouped = () if asked is not None else grouped_rows(cells)
    if grouped and comma:
        shown = f"{len(grouped):,} cells such as {str(cells[grouped[0]]).strip()!r}"
        meant = point_meaning(cells, grouped)
        if meant == "thousands":
            return read_numbers(name, cells, ","), f"a point stands before thousands in {shown}: {comma}"
        if meant == "decimal":
            return numbers, f"decimals with a point in {shown}, beside whole numbers above 999 without one; {comma}"
    if grouped and (comma or may_go_on_at_thousand(cells, grouped, ".")):
        for row in grouped:
            numbers.values[row] = math.nan
            _note_odd(numbers, row, cells[row], EITHER if comma else "thousands")
        return numbers, ""
    if grouped and len(grouped) == numbers.filled:
        shown = str(cells[grouped[0]]).strip()
        return numbers, (
            f"decimals with a point: all {len(grouped):,} cells are written like {shown!r}, which may also be "
            f"{shown.replace('.', '')} with a point before thousands, and nothing else in the table has a decimal comma"
        )
    if asked is not None or not ({"decimal comma", "thousands", "several numbers", "text"} & set(numbers.odd)):
        return numbers, ""
    found = decimal_sign(cells)
    if found is None or found[0] == ".":
        return numbers, ""
    return read_numbers(name, cells, ","), f"decimal comma: {found[1]}"


class Columns(Mapping[str, Sequence[Any]]):
    """Cells by column name, read when they are asked for."""

    def __init__(self, names: Iterable[str], read: Callable[[str], Sequence[Any]]) -> None:
        self._names, self._read = dict.fromkeys(names), read

    def __getitem__(self, name: str) -> Sequence[Any]:
        if name not in self._names:
            raise KeyError(name)
        return self._read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class TableNumbers:
    """Columns of one table as numbers: what one of them shows of the decimal sign holds for the others.

    Args:
        columns: cells by name; a mapping that reads them when they are asked for will do.
        decimal: the sign, as the user says; found in the cells when None.
    """

    def __init__(self, columns: Mapping[str, Sequence[Any]], decimal: Decimal | None = None) -> None:
        self.columns, self.decimal = columns, decimal

    @cached_property
    def _comma(self) -> str:
        return decimal_comma_of(self.columns)

    def comma_for(self, cells: Sequence[Any]) -> str:
        """Why a point in these cells stands before thousands; empty where it does not, or none of them has one."""
        return self._comma if self.decimal is None and grouped_rows(cells) else ""

    @cached_property
    def _point(self) -> str:
        found = ((name, without_groups(cells)) for name, cells in self.columns.items())
        name = next((name for name, parted in found if parted is not None and "comma stands" in parted[2]), None)
        return "" if name is None else f"column {name!r} shows it"

    def point(self) -> str:
        """Why a comma stands before thousands in columns that do not show it; empty where no column does."""
        return self._point

    def read(self, name: str, cells: Sequence[Any] | None = None) -> tuple[NumberColumn, str]:
        """A column, and what to say of its decimal sign.

        Args:
            cells: of the column, where they are no longer those of the table.
        """
        held = self.columns[name] if cells is None else cells
        return numbers_as_written(name, held, self.decimal, self.comma_for(held), self.point)


def _quick(cells: Sequence[Any]) -> np.ndarray | None:
    """Plain finite numbers and empty cells at Arrow's speed; None where anything else is among them."""
    try:
        texts = pa.array([None if cell == "" else cell for cell in cells])
        values = pc.cast(texts, pa.float64()).to_numpy(zero_copy_only=False)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return None
    return None if np.isinf(values).any() else np.asarray(values, np.float64)


def _read_block(column: NumberColumn, start: int, cells: Sequence[Any], decimal: Decimal) -> None:
    for row, cell in enumerate(cells, start):
        try:
            value = number(cell, decimal)
        except (TypeError, ValueError, OverflowError):
            value = math.inf
        if value is None:
            column.missing += 1
        elif math.isinf(value):
            _note_odd(column, row, cell)
        else:
            column.values[row] = value


def _note_odd(column: NumberColumn, row: int, cell: Any, looks: str = "") -> None:  # a cell of any type
    looks = looks or looks_like(cell)
    column.odd.setdefault(looks, []).append(row)
    shown = column.examples.setdefault(looks, [])
    if len(shown) < SHOWN:
        shown.append(str(cell).strip()[:60])


def grouped_rows(cells: Sequence[Any]) -> Sequence[int]:
    """Rows of cells such as ``1.100``; empty where any other cell has a point or a comma, so that none is a decimal."""
    found = []
    for row, cell in enumerate(cells):
        if not isinstance(cell, str) or not ("." in cell or "," in cell) or is_missing(cell):
            continue
        if not _GROUPED.fullmatch(cell.strip().translate(MINUS)):
            return ()
        found.append(row)
    return found


def decimal_comma_of(columns: Mapping[str, Sequence[Any]]) -> str:
    """Why decimals of a table have a comma: a column that is mostly numbers with one; empty if there is none, or if
    another column has decimals with a point."""
    why = ""
    for name, cells in columns.items():
        sign = decimal_sign(cells)
        if sign is not None and sign[0] == ",":
            if not why and read_numbers(name, cells, ",").number_share >= MOSTLY:
                why = f"column {name!r} has a decimal comma ({sign[1]})"
        elif _has_points(cells):
            return ""
    return why


def _has_points(cells: Sequence[Any]) -> bool:
    """Whether a column is of numbers some of which have a decimal point that cannot stand before thousands."""
    numbers = read_numbers("", cells[:BLOCK])
    texts = [cell.strip().translate(MINUS) for cell in cells[:BLOCK] if isinstance(cell, str) and "." in cell]
    decimals = any(_NUMBER.fullmatch(text) and not _GROUPED.fullmatch(text) for text in texts)
    return decimals and numbers.number_share >= MOSTLY


def decimal_sign(cells: Iterable[Any]) -> tuple[Decimal, str] | None:
    """Which sign separates decimals in these cells, and the reason; None where both readings fit (``1,234`` alone).

    A comma counts only if no cell has a dot before digits (other than before three each, as in ``1.234``), at least one
    cell cannot be a thousands separator (``2,0``, ``-0,52``), and every cell with a comma fits.
    """
    commas = surely = dots = grouped = 0
    example = ""
    for cell in cells:
        if not isinstance(cell, str) or not ("," in cell or "." in cell) or is_missing(cell):
            continue
        text = cell.strip().translate(MINUS)
        if _THOUSANDS_COMMA.fullmatch(text):
            commas, surely, example = commas + 1, surely + 1, example or text
        elif _NUMBER_COMMA.fullmatch(text) and "," in text:
            commas += 1
            if not re.fullmatch(r"[+-]?[1-9]\d{0,2},\d{3}", text):
                surely += 1
                example = example or text
        elif _GROUPED.fullmatch(text):
            grouped += 1
        elif "." in text and _NUMBER.fullmatch(text):
            dots += 1
    if not commas:
        return (".", "no cell has a comma between digits")
    if dots or not surely:
        return None
    if grouped:
        return (",", f"{commas} cells such as {example!r}; in {grouped} a point stands before thousands")
    return (",", f"{commas} cells such as {example!r}, none with a dot")


def words_of(cells: Iterable[Any]) -> list[str | None]:
    """Cells as trimmed text, None where missing; ``-`` beside ``+`` is an outcome of a test, beside ``=`` a bond."""
    held = list(cells)
    if set(map(type, held)) <= {str, type(None)}:  # as tables have them, a million at a time
        texts = ["" if cell is None else cell.strip() for cell in held]
        words = [text if len(text) > LONGEST_MISSING or text.lower() not in MISSING_WORDS else None for text in texts]
    else:
        words = [None if is_missing(cell) else str(cell).strip() for cell in held]
    if not {"+", "=", "#"} & set(words):
        return words
    return ["-" if str(cell).strip() == "-" else word for cell, word in zip(held, words, strict=True)]


def different(cells: Sequence[Any]) -> Sequence[Any]:
    """Different cells in order of first appearance, of texts; all cells where others are among them: 1 equals True."""
    return list(dict.fromkeys(cells)) if set(map(type, cells)) <= {str, type(None)} else cells


def first_code(cells: Sequence[Any]) -> str:
    """The first cell that is a number and may as well be a code: ``007``, or ``1e5`` where every filled cell is so."""
    for cell in [one for one in cells if isinstance(one, str) and one[:1] == "0"]:
        if len(cell) > 1 and cell.strip().isdecimal():
            return cell.strip()
    first = ""
    for cell in cells:
        if is_missing(cell):
            continue
        if not (isinstance(cell, str) and _EXPONENT.fullmatch(cell.strip())):
            return ""
        first = first or cell.strip()
    return first


def first_inexact(cells: Iterable[Any]) -> str:
    """The first whole number, as a number or in digits, that float64 rounds; from 2^53 on two of them can be one."""
    return next((str(cell).strip() for cell in cells if _is_inexact(cell)), "")


def _is_inexact(cell: Any) -> bool:  # a cell of any type
    if isinstance(cell, str):
        digits = cell.strip().translate(MINUS)
        if len(digits) <= EXACT_DIGITS or _WHOLE.fullmatch(digits) is None:
            return False
        cell = digits.partition(".")[0]
    elif not isinstance(cell, int | np.integer):
        return False
    try:
        return int(float(cell)) != int(cell)
    except (OverflowError, ValueError):  # beyond every float, or more digits than Python takes
        return True


def distinct(words: Sequence[str | None]) -> list[str]:
    """Distinct texts in order of first appearance."""
    return [word for word in dict.fromkeys(words) if word is not None]
