"""Points in text: one a line, whatever separates the numbers, whatever the header looks like.

Separator, decimal sign, header and a count on the first line are decided by many lines and said; a line that does not
have the width of the others is left out and counted, and the whole file is refused when there are many: an empty cell
is an empty cell, and columns never move.

Symbols: n points, C columns.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np

from repcore.data.cells import DecimalWord
from repcore.data.cells import number as core_number
from repcore.data.dialects import cut
from repcore.data.encodings import code_page
from repcore.data.grouped import Meaning, comma_meaning, without_commas
from repcore.errors import ItemError
from repcore_pointcloud.formats import column_names as known
from repcore_pointcloud.formats.plausible import MOST_UNNAMED, fits_points, is_matrix
from repcore_pointcloud.formats.table import RawColumns

SUFFIXES = (".xyz", ".txt", ".pts", ".csv", ".tsv", ".asc", ".xyzn", ".xyzrgb", ".xyzi", ".neu")
LOOKED_AT = 64 * 1024  # characters that decide how a file is laid out
FEWEST_COMMAS = 0.3  # share of cells with one where it is the sign of decimals
FEWEST_GOOD = 100  # good lines for each one that may be left out
COMMENT = ("#", "//", "%", "!")
LEAST_PANEL = 5  # columns of a table of machines and their cycles
MOST_TITLES = 30  # lines above a header
MISSING = frozenset({"", "nan", "na", "n/a", "null", "none", "-", "?", "-nan", "+nan"})
SAID = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


@dataclass(frozen=True, slots=True)
class Layout:
    """How a text file is laid out.

    Args:
        separator: of cells; None = any blanks.
        decimal_comma: whether numbers have a comma where others have a point.
        names: of the header, empty without one.
        first: place of the first line with a point, among the lines of the file.
        promised: number of points that a first line announces.
        width: cells of a line.
        titles: lines above the header.
        grouped: a cell with a comma before thousands; empty where none is.
        unclear: a cell whose comma may mean either; empty without.
        is_odd: the header has another number of cells than the lines.
    """

    separator: str | None
    decimal_comma: bool
    names: tuple[str, ...]
    first: int
    promised: int | None
    width: int
    titles: int = 0
    grouped: str = ""
    unclear: str = ""
    is_odd: bool = False


def read_text(path: Path, decimal: DecimalWord = "auto") -> RawColumns:
    """Columns of a text file.

    Args:
        path: the file.
        decimal: the sign of decimals; by the cells when ``auto``.

    Raises:
        ItemError: ``empty``, ``corrupt``, ``ambiguous`` or ``wrong_columns``.
    """
    text = decoded(path.read_bytes(), path.name)
    head = text[:LOOKED_AT] if len(text) <= LOOKED_AT else text[: text.rfind("\n", 0, LOOKED_AT) + 1]
    layout = layout_of(head, decimal)
    if layout is None:
        raise ItemError("empty", f"{path.name} has no line with values")
    if layout.unclear:
        commas = f"{layout.unclear.replace(',', '.')} or {layout.unclear.replace(',', '')}"
        raise ItemError(
            "ambiguous",
            f"{path.name}: {layout.unclear!r} may be {commas}, and no cell tells; dataset.decimal=comma or point",
        )
    body = _body(text, layout)
    del text
    cells, bad = _parsed(body, layout, path.name)
    count = len(cells[0]) if cells else 0
    if not count:
        raise ItemError("empty", f"{path.name} has a header but no points")
    if len(cells) < 3:
        raise ItemError("wrong_columns", f"{path.name} has {len(cells)} columns; expected x, y, z")
    names, notes = list(layout.names), _said(layout, path.name)
    for name, column in zip(names, cells, strict=False):
        if column.dtype.kind == "f" and (empty := int(np.isnan(column).sum())):
            notes.append(f"{name}: {empty:,} of {count:,} cells are empty")
    if not names:
        numeric = [one if one.dtype.kind == "f" else np.full(count, np.nan) for one in cells]
        names, said = known.conventional_names(np.stack(numeric, axis=1), path.suffix.lower())
        notes += [said] if said else []
    cells, said = _in_one_unit(names, cells, path.name)
    notes += [said] if said else []
    return RawColumns(
        dict(zip(_unique(names), cells, strict=True)),
        notes=tuple(notes),
        remark=_remark(layout, count, bad, path.name),
        headerless=not layout.names,
    )


def looks_like_points(path: Path) -> bool:
    """Whether the beginning of a text file is columns of numbers: no header, or one that names x, y and z."""
    with path.open("rb") as file:
        head = file.read(LOOKED_AT)
    try:
        text = decoded(head[: len(head) - len(head) % 2], path.name)
    except ItemError:
        return False
    layout = layout_of(text if len(head) < LOOKED_AT else text[: text.rfind("\n") + 1])
    if layout is None or layout.width < 3 or layout.is_odd or (not layout.names and layout.width > MOST_UNNAMED):
        return False
    if layout.names and known.triple(known.AXES, [known.plain(one) for one in layout.names]) is None:
        return False
    lines = text.splitlines()[layout.first : None if len(head) < LOOKED_AT else -1]
    rows = [_cells(line, layout) for line in _kept(lines)[:200]]
    rows = [row for row in rows if len(row) == layout.width] or rows
    if not rows:
        return False
    if layout.names:
        return True
    if len(head) < LOOKED_AT and not _has_shape_of_points(rows, layout):
        return False
    if not layout.names and layout.width >= LEAST_PANEL and _is_panel(rows, layout):
        return False
    numeric = sum(all(_is_number(cell, layout.decimal_comma) for cell in row[:3]) for row in rows)
    return numeric >= 0.9 * len(rows)


def _is_panel(rows: Sequence[Sequence[str]], layout: Layout) -> bool:
    """Whether the lines are steps of machines or persons: a number that stays, and one that counts on."""
    first, second = ([_number(row[place], layout.decimal_comma) for row in rows if len(row) > 1] for place in (0, 1))
    if len(rows) < 3 or any(one is None or not one.is_integer() for one in (*first, *second)):
        return False
    steps = list(zip(np.diff(np.array(first, float)), np.diff(np.array(second, float)), strict=True))
    return all((apart == 0 and step == 1) or (apart == 1 and step < 0) for apart, step in steps)


def _has_shape_of_points(rows: Sequence[Sequence[str]], layout: Layout) -> bool:
    """Whether all lines of a short file are a row a point, and no matrix: as many lines as columns, and symmetric."""
    if not fits_points(len(rows), layout.width):
        return False
    try:
        values = np.array([[float(cell or "nan") for cell in row] for row in rows])
    except ValueError:
        return True  # words in columns after the coordinates
    return values.ndim != 2 or not is_matrix(values)


# ------------------------------------------------------------------------------------------- decoding


def decoded(content: bytes, source: str) -> str:
    """Text of a file: UTF-8, UTF-16 (with a mark, or by its zeros), else an older code page.

    Raises:
        ItemError: ``corrupt``: binary.
    """
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", "replace")
    head = content[:4096]
    for encoding, zeros, others in (("utf-16-le", head[1::2], head[::2]), ("utf-16-be", head[::2], head[1::2])):
        if len(zeros) > 8 and zeros.count(0) > 0.9 * len(zeros) and others.count(0) < 0.1 * len(others):
            return content.decode(encoding, "replace")
    if head.count(0) > 0.05 * max(1, len(head)):
        raise ItemError("corrupt", f"{source} is binary, not text; it begins with {head[:8]!r}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode(code_page(content).name, "replace")


# --------------------------------------------------------------------------------------------- layout


def layout_of(text: str, decimal: DecimalWord = "auto") -> Layout | None:
    """How the lines are laid out, decided by the beginning of a file; None without a line of values."""
    lines = text.splitlines()
    places = [place for place, line in enumerate(lines) if line.strip() and not line.lstrip().startswith(COMMENT)]
    if not places:
        return None
    separator, meaning, shown = _separator([lines[place] for place in places[1:201]] or [lines[places[0]]], decimal)
    comma, grouped = meaning in ("decimal", "unclear"), shown if meaning == "thousands" else ""
    plain = Layout(separator, comma, (), places[0], None, 0, grouped=grouped)
    promised: int | None = None
    names: tuple[str, ...] = ()
    first = titles = _titles([_cells(lines[place], plain) for place in places[: MOST_TITLES + 2]], comma)
    while first < len(places):
        row = _cells(lines[places[first]], plain)
        following = _cells(lines[places[first + 1]], plain) if first + 1 < len(places) else []
        if promised is None and len(row) == 1 and row[0].isdigit() and len(following) > 1:
            promised, first = int(row[0]), first + 1  # .pts begins with the number of points
        elif not names and not any(_is_number(cell, comma) for cell in row if cell) and len(row) > 1:
            names, first = tuple(_header(lines[places[first]], separator)), first + 1
        else:
            break
    widths = Counter(len(_cells(lines[place], plain)) for place in places[first : first + 200])
    width = widths.most_common(1)[0][0] if widths else len(names)
    if not names:
        names = _commented(lines[: places[min(first, len(places) - 1)]], separator, width)
    is_odd = len(names) not in (0, width, width + 1)
    names = () if is_odd else names
    start = places[first] if first < len(places) else len(lines)
    unclear = shown if meaning == "unclear" else ""
    return Layout(separator, comma, names[:width], start, promised, width, titles, grouped, unclear, is_odd)


def _titles(rows: Sequence[Sequence[str]], comma: bool) -> int:
    """Number of lines above a header that have at most half of its cells filled, as spreadsheets write titles."""
    filled = [sum(bool(cell) for cell in row) for row in rows]
    for place, row in enumerate(rows):
        if filled[place] >= 3 and filled[place] == len(row):  # the first full line is the header, or there is no title
            are_words = not any(_is_number(cell, comma) for cell in row)
            are_titles = all(2 * one <= filled[place] for one in filled[:place])
            counts = any(len(one) == 1 and one[0].isdigit() for one in rows[:place])  # .pts: the number of points
            return place if are_words and are_titles and not counts else 0
    return 0


def _commented(lines: Sequence[str], separator: str | None, width: int) -> tuple[str, ...]:
    """Names in a comment before the points, as ``//X Y Z R G B``: only where they are the names of coordinates."""
    for line in reversed([one for one in lines if one.lstrip().startswith(COMMENT)]):
        names = _header(line.lstrip().lstrip("/#%! "), separator)
        if len(names) == 1:
            names = _header(names[0].replace(",", " ").replace(";", " "), None)
        if len(names) == width and known.triple(known.AXES, [known.plain(one) for one in names]) is not None:
            return tuple(names)
    return ()


def _header(line: str, separator: str | None) -> list[str]:
    if separator is None:
        line = re.sub(r"\s+(?=[\[(])", "", line)  # "X [m] Y [m]" are two names, not four
    return [cell.strip().strip("\"'") for cell in (line.split(separator) if separator else line.split())]


def _separator(lines: Sequence[str], decimal: DecimalWord) -> tuple[str | None, Meaning, str]:
    """What separates the cells of most lines, what a comma inside of them means, and a cell that shows it."""
    for one in (";", "\t", "|"):
        counts = [line.count(one) for line in lines]
        if sum(count >= 2 for count in counts) > 0.5 * len(lines):
            return one, *_comma([line.split(one) for line in lines], decimal)
    if sum(line.count(",") >= 2 for line in lines) <= 0.5 * len(lines):
        return None, "", ""
    words = [line.split() for line in lines]
    if sum(len(row) >= 3 for row in words) > 0.5 * len(lines):
        meaning, shown = _comma(words, decimal)
        if meaning and not any(cell.endswith(",") for row in words for cell in row):
            return None, meaning, shown
    quoted = [line for line in lines if '"' in line]
    return ",", *(_comma([cut(line, ",") for line in quoted], decimal) if quoted else ("", ""))


def _comma(rows: Sequence[Sequence[str]], decimal: DecimalWord) -> tuple[Meaning, str]:
    """What a comma in these cells means: as the user says, else as they show; nothing where few have one."""
    columns = [[_bare(cell) for cell in column] for column in zip_longest(*rows, fillvalue="")]
    cells = [cell for column in columns for cell in column if cell]
    having = [cell for cell in cells if "," in cell]
    if not having:
        return "", ""
    if decimal != "auto":
        return "decimal" if decimal == "comma" else "thousands", having[0]
    meaning, shown = comma_meaning(columns)
    return (meaning, shown) if meaning == "thousands" or len(having) > FEWEST_COMMAS * len(cells) else ("", "")


def _bare(cell: str) -> str:
    return cell.strip().strip("\"'").strip()


def _cells(line: str, layout: Layout) -> list[str]:
    text = line.strip("\r\n")
    if layout.separator:
        cells = cut(text, layout.separator) if '"' in text else text.split(layout.separator)
    else:
        cells = text.split()
    cells = [without_commas(_bare(cell)) if layout.grouped else _bare(cell) for cell in cells]
    if layout.separator and len(cells) > 3 and not cells[-1] and len(cells) == layout.width + 1:
        cells.pop()  # a separator at the end of every line
    return cells


def _is_number(cell: str, comma: bool) -> bool:
    return _number(cell, comma) is not None


def _number(cell: str, comma: bool) -> float | None:
    """A cell as a number, NaN for a missing one; None if it is neither."""
    if cell.lower() in MISSING:
        return float("nan") if cell else None
    try:
        if "_" in cell:  # Python's own notation, nobody's data
            return None
        return float(cell) if not comma else core_number(cell, ",")
    except ValueError:
        return None


# -------------------------------------------------------------------------------------------- parsing


def _kept(lines: Sequence[str]) -> list[str]:
    """Without empty ones and comments."""
    return [line for line in lines if line.strip() and not line.lstrip().startswith(COMMENT)]


def _body(text: str, layout: Layout) -> str:
    """The file from its first point on."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    start = 0
    for _ in range(layout.first):
        start = text.index("\n", start) + 1
    return text[start:]


def _parsed(body: str, layout: Layout, source: str) -> tuple[list[np.ndarray], list[tuple[int, str]]]:
    """Columns, and lines (number among the points, what it says) that have another width.

    Raises:
        ItemError: ``corrupt``: too many such lines.
    """
    if layout.separator == "," and (layout.grouped or layout.decimal_comma):
        return _line_by_line(body, layout, source)
    if layout.grouped:
        body = without_commas(body)
    numbers = body.replace(",", ".") if layout.decimal_comma and layout.separator != "," else body
    if layout.decimal_comma and "." in body:
        return _line_by_line(body, layout, source)
    try:
        table = np.loadtxt(
            io.StringIO(numbers), delimiter=layout.separator, ndmin=2, dtype=np.float64, quotechar='"', comments=COMMENT
        )
    except ValueError:
        return _line_by_line(body, layout, source)
    return list(table.T), []


def _line_by_line(body: str, layout: Layout, source: str) -> tuple[list[np.ndarray], list[tuple[int, str]]]:
    """The slow way, for files with empty cells, words, or lines that do not fit."""
    rows: list[list[str]] = []
    bad: list[tuple[int, str]] = []
    for number, line in enumerate(body.splitlines(), start=layout.first + 1):
        if not line.strip() or line.lstrip().startswith(COMMENT):
            continue
        cells = _cells(line, layout)
        if len(cells) == layout.width:
            rows.append(cells)
        else:
            bad.append((number, line))
    columns, broken = _columns(rows, layout)
    lines = len(rows) + len(bad)
    if broken:
        bad += [(layout.first + 1 + place, " ".join(rows[place])) for place in sorted(broken)]
        keep = np.setdiff1d(np.arange(len(rows)), sorted(broken))
        columns = [one[keep] for one in columns]
    if bad and len(bad) * FEWEST_GOOD > len(rows):
        number, line = bad[0]
        widths = sorted({layout.width, *(len(_cells(one, layout)) for _, one in bad)})
        raise ItemError(
            "corrupt",
            f"{source} has lines of {widths[0]} to {widths[-1]} values: {len(bad)} of {lines} do not "
            f"fit, the first is line {number}: {line.strip()[:40]!r}",
        )
    return columns, bad


def _columns(rows: Sequence[Sequence[str]], layout: Layout) -> tuple[list[np.ndarray], set[int]]:
    """Numbers or words of every column, and rows in which a column of numbers holds something else.

    A column is one of words when most of its filled cells are.
    """
    columns: list[np.ndarray] = []
    broken: set[int] = set()
    for cells in zip(*rows, strict=True):
        values = [_number(cell, layout.decimal_comma) if cell else float("nan") for cell in cells]
        odd = [place for place, value in enumerate(values) if value is None]
        filled = sum(cell.lower() not in MISSING for cell in cells)
        if len(odd) > 0.5 * filled:
            columns.append(np.array(cells))
            continue
        broken.update(odd)
        columns.append(np.array([np.nan if value is None else value for value in values], dtype=np.float64))
    return columns, broken


def _unique(names: Sequence[str]) -> list[str]:
    """Names that differ: a second ``x`` becomes ``x (2)``."""
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found


def _in_one_unit(names: Sequence[str], cells: list[np.ndarray], source: str) -> tuple[list[np.ndarray], str]:
    """Columns with x, y and z in metres where the header gives them in different units, and the sentence about it.

    Raises:
        ItemError: ``wrong_columns``: different units, one of which is unknown.
    """
    places = known.triple(known.AXES, [known.plain(name) for name in names])
    if places is None or not _differ(names):
        return cells, ""
    units = [known.unit_of(names[place]) for place in places]
    said = ", ".join(names[place] for place in places)
    if any(one not in known.METRES for one in units):
        raise ItemError(
            "wrong_columns",
            f"the header of {source} gives {said}: different units, and not each is a known length "
            f"({', '.join(known.METRES)}); write all three in one",
        )
    scaled = list(cells)
    for place, unit in zip(places, units, strict=True):
        scaled[place] = cells[place] * known.METRES[unit] if cells[place].dtype.kind == "f" else cells[place]
    return scaled, f"the header gives {said}: different units, converted to metres"


def _differ(names: Sequence[str]) -> bool:
    """Whether a header gives x, y and z in different units."""
    places = known.triple(known.AXES, [known.plain(name) for name in names])
    units = [known.unit_of(names[place]) for place in places or ()]
    return len({known.METRES.get(one, one) for one in units if one}) > 1


def _said(layout: Layout, source: str) -> list[str]:
    """Guesses about the layout that are worth showing: none for blanks and points."""
    notes = [f"{layout.titles} lines above the header are titles"] if layout.titles else []
    if layout.grouped:
        notes.append(f"a comma stands before thousands, as in {layout.grouped!r}")
    elif layout.separator in (";", "|") or layout.decimal_comma:
        between = f"cells between {SAID[layout.separator]}" if layout.separator else "cells between blanks"
        notes.append(f"{between}, {'decimal commas' if layout.decimal_comma else 'decimal points'}")
    units = {known.unit_of(name) for name in layout.names} - {"", "m", "metre", "meter", "metres", "meters"}
    if not _differ(layout.names) and units & {"mm", "cm", "km", "ft", "feet", "in", "inch", "us-ft", "usft"}:
        notes.append(f"the header of {source} gives coordinates in {', '.join(sorted(units))}: preprocessor.unit_m")
    return notes


def _remark(layout: Layout, count: int, bad: Sequence[tuple[int, str]], source: str) -> tuple[str, str] | None:
    if bad:
        number, line = bad[0]
        said = f"{len(bad)} of {count + len(bad)} lines are no {layout.width} numbers and were left out"
        return "damaged_lines", f"{source}: {said}; line {number} is {line.strip()[:40]!r}"
    if layout.promised is not None and layout.promised != count:
        return "incomplete", f"{source} announces {layout.promised:,} points and holds {count:,}"
    return None
