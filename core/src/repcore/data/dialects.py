"""How a text table is written: delimiter, header, comment lines, decided from many of its lines, with reasons.

The evidence is what all lines agree on. A delimiter is one that cuts (nearly) every line into the same number of cells;
a header is a first line that differs from the cells below it. Where nothing speaks for one reading the custom of the
suffix decides, and says so.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from repcore.data.cells import EXCEL_ERRORS
from repcore.data.header_row import (
    AGREEING,
    IsData,
    column_names,
    header_votes,
    is_header,
    is_name,
    is_number,
    judged_header,
)

BLANKS = " "  # delimiter: any run of blanks
FIRST_BLANK = "first-blank"  # delimiter: only the first run of blanks (a text and its name)
DELIMITERS = (",", "\t", ";", "|", BLANKS)
DELIMITER_WORDS = {
    ",": "comma",
    "\t": "tab",
    ";": "semicolon",
    "|": "bar",
    BLANKS: "blanks",
    FIRST_BLANK: "first blank",
}
COMMENT_SIGNS = ("#", "//", "%", "!")
LINES_LOOKED_AT = 400
MOST_LINES_OF_A_CELL = 50  # while a dialect is judged
LOGGER_FORMS = ("TOA5", "TOACI1")  # of Campbell: what the first cell of their line about the station says
MOST_LINES_ABOVE = 30  # title lines and remarks above the header
LEAST_QUOTED = 0.5  # share of lines with two single quotes; a cell may span lines
SEPARATOR_LINE = re.compile(r"sep=(.)\r?", re.IGNORECASE)  # as Excel writes it
SWAPPED = str.maketrans("'\"", "\"'")


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a table is written.

    Args:
        delimiter: sign between cells; ``BLANKS``, ``FIRST_BLANK``, or ``""`` for one column.
        width: cells of a line.
        above: lines above the header that are remarks.
        has_header: whether the first line after those holds names.
        names: of the columns, unique; ``column0`` ... where the table gives none.
        reasons: about -> (chosen, why).
        trailing: every line ends in a delimiter that opens no cell.
        commented_header: the header stands behind a comment sign.
        quote: sign round cells; with ``'`` lines are judged and cut after both signs change places (:data:`SWAPPED`).
        escapes: a quotation mark inside a cell stands behind a backslash; lines are cut after :func:`doubled`.
    """

    delimiter: str
    width: int
    above: int
    has_header: bool
    names: tuple[str, ...]
    reasons: dict[str, tuple[str, str]] = field(compare=False)
    trailing: bool = False
    commented_header: bool = False
    quote: str = '"'
    escapes: bool = False


def doubled(line: str) -> str:
    """A line in which quotation marks behind a backslash are doubled instead."""
    return line.replace('\\"', '""')


def cut(line: str, delimiter: str) -> list[str]:
    """Cells of one record, quotes taken off; a quotation mark that closes nothing is an ordinary character."""
    if delimiter == "":
        return [_unquoted(line)]
    if delimiter == FIRST_BLANK:
        return line.strip().split(None, 1) or [""]
    if '"' not in line:
        return line.split() if delimiter == BLANKS else line.split(delimiter)
    if delimiter == BLANKS:
        return [_unquoted(cell) for cell in re.findall(r'"[^"]*"(?=\s|$)|\S+', line)]
    return _cut_quoted(line, delimiter)[0]


def is_open(line: str, delimiter: str) -> bool:
    """Whether a quotation mark that opens a cell is not closed by the end of this text."""
    if '"' not in line or delimiter in ("", BLANKS, FIRST_BLANK):
        return False
    return _cut_quoted(line, delimiter)[1]


@lru_cache(maxsize=16)
def _cells_of(delimiter: str) -> re.Pattern[str]:
    """One cell from a place on: quoted and properly closed, quoted and never closed, or plain."""
    sign = re.escape(delimiter)
    inside = r'[^"]*(?:""[^"]*)*'
    return re.compile(rf' *"({inside})" *(?={sign}|\Z)|( *"{inside}\Z)|([^{sign}]*)')


def _cut_quoted(line: str, delimiter: str) -> tuple[list[str], bool]:
    """Cells, and whether one of them opens with a quotation mark that is never closed."""
    pattern, place, is_unclosed = _cells_of(delimiter), 0, False
    cells: list[str] = []
    while True:
        found = pattern.match(line, place)
        assert found is not None  # the last alternative matches anything
        if found[1] is not None:
            cells.append(found[1].replace('""', '"'))
            place = found.end()
        else:
            is_unclosed |= found[2] is not None
            end = line.find(delimiter, place)
            end = len(line) if end < 0 else end
            cells.append(line[place:end])
            place = end
        if place >= len(line):
            return cells, is_unclosed
        place += 1


def _unquoted(cell: str) -> str:
    text = cell.strip()
    return text[1:-1].replace('""', '"') if len(text) > 1 and text[0] == text[-1] == '"' else cell


def assembled(lines: Sequence[str], delimiter: str) -> list[str]:
    """Lines as records: those that an open cell spans are joined, unless it is not closed within 50 lines."""
    found: list[str] = []
    place = 0
    while place < len(lines):
        text, size = lines[place], 1
        while is_open(text, delimiter) and size < MOST_LINES_OF_A_CELL and place + size < len(lines):
            size += 1
            text = "\n".join(lines[place : place + size])
        if is_open(text, delimiter):
            text, size = lines[place], 1
        found.append(text)
        place += size
    return found


def _evidence(lines: Sequence[str]) -> list[str]:
    """Lines to judge the delimiter from.

    Before it is known nobody can tell whether a quotation mark opens a cell over several lines or was forgotten: both
    readings are made, and the one counts whose lines are more alike.
    """
    odd = [line.count('"') % 2 for line in lines]
    if not any(odd):
        return list(lines)
    joined: list[str] = []
    pending: list[str] = []
    for line, is_odd in zip(lines, odd, strict=True):
        pending.append(line)
        if is_odd == (len(pending) > 1):  # closed: an even line alone, or a second odd one
            joined.append("\n".join(pending))
            pending = []
    joined += pending
    alone = [line for line, is_odd in zip(lines, odd, strict=True) if not is_odd]
    return joined if _best_agreement(joined) >= _best_agreement(alone) else alone


def _best_agreement(lines: Sequence[str]) -> float:
    return max(_agreement(lines, sign)[0] for sign in DELIMITERS) if lines else 0.0


def find_dialect(
    lines: Sequence[str],
    suffix: str,
    *,
    delimiter: str | None = None,
    header: bool | None = None,
    is_data: IsData | None = None,
) -> Dialect:
    """Judge the first records of a table.

    Args:
        lines: physical lines without their ends, blank ones left out; some hundred are plenty.
        suffix: ``.csv``, ``.tsv``, ...: decides where nothing else does.
        delimiter / header: as the user says; None = judge.
        is_data: whether a text is a value of the domain, so that a first line of values is no header.
    """
    escaped = sum('\\"' in line for line in lines)
    if escaped:
        plain = [doubled(line) for line in lines]
        if _best_agreement(_evidence(plain)) > _best_agreement(_evidence(lines)):
            found = _judged(plain, suffix, delimiter, header, is_data)
            why = f"{escaped} of {len(lines)} lines hold a quotation mark behind a backslash, and fit so"
            return replace(
                found, escapes=True, reasons={**found.reasons, "quotes in cells": ("behind a backslash", why)}
            )
    single = _single_quoted(lines, suffix, delimiter, header, is_data)
    return single or _judged(lines, suffix, delimiter, header, is_data)


def _single_quoted(
    lines: Sequence[str], suffix: str, delimiter: str | None, header: bool | None, is_data: IsData | None
) -> Dialect | None:
    """The dialect of a table whose cells stand in single quotes, if that is one: a column of (nearly) only such."""
    if sum(line.count("'") > 1 for line in lines) < LEAST_QUOTED * len(lines):
        return None
    if sum('"' in line for line in lines) > (1 - AGREEING) * len(lines):
        return None
    swapped = [line.translate(SWAPPED) for line in lines]
    found = _judged(swapped, suffix, delimiter, header, is_data)
    if found.delimiter in (BLANKS, FIRST_BLANK):
        return None
    sign = re.escape(found.delimiter)
    quoted = re.compile(rf'(?:^|{sign}) *"[^"]*(?:""[^"]*)*" *(?:{sign}|$)' if sign else r'^ *"[^"]*(?:""[^"]*)*" *$')
    records = assembled(swapped, found.delimiter)
    body = records[found.above + found.has_header :] or records
    count = sum(quoted.search(record) is not None for record in body)
    if count < AGREEING * len(body):
        return None
    reasons = {
        about: (chosen.translate(SWAPPED), why.translate(SWAPPED)) for about, (chosen, why) in found.reasons.items()
    }
    reasons["quotes"] = ("single", f"{count} of {len(body)} records have cells between them")
    names = tuple(name.translate(SWAPPED) for name in found.names)
    return replace(found, names=names, reasons=reasons, quote="'")


def _judged(
    lines: Sequence[str], suffix: str, delimiter: str | None, header: bool | None, is_data: IsData | None
) -> Dialect:
    reasons: dict[str, tuple[str, str]] = {}
    told = SEPARATOR_LINE.fullmatch(lines[0]) if len(lines) > 1 else None
    if told and delimiter is None:
        delimiter = told[1]
        reasons["delimiter"] = (DELIMITER_WORDS.get(delimiter, repr(delimiter)), f"the first line says {lines[0]!r}")
    elif delimiter is None:
        delimiter, why = _delimiter(_evidence(lines), suffix)
        if why:
            reasons["delimiter"] = (DELIMITER_WORDS.get(delimiter, "none, one column"), why)
    looked_at = assembled(lines, delimiter)
    cells = [cut(line, delimiter) for line in looked_at]
    width = _width(cells)
    above, commented = (1, False) if told else _lines_above(looked_at, cells, width, delimiter)
    if above:
        reasons["lines above the table"] = (str(above), f"they have another form, first {looked_at[0][:60]!r}")
    body = cells[above:]
    if commented:
        body = [cut(looked_at[above].lstrip("#%!/ \t"), delimiter), *cells[above + 1 :]]
    if header is None:
        header, why = (
            (True, "it stands behind a comment sign") if commented else judged_header(body, width, suffix, is_data)
        )
        if not (header and suffix in (".csv", ".tsv", ".tab")):
            reasons["header"] = ("first line" if header else "none", why)
    names, trailing, said = column_names(body, width, header)
    reasons.update(said)
    return Dialect(delimiter, len(names), above, header, names, reasons, trailing, commented)


# -------------------------------------------------------------------------------------------- delimiter


def _delimiter(lines: Sequence[str], suffix: str) -> tuple[str, str]:
    usual = {".csv": ",", ".tsv": "\t", ".tab": "\t"}.get(suffix, "")
    lines = [line for line in lines if not line.startswith(COMMENT_SIGNS)] or lines
    scores = {sign: _agreement(lines, sign) for sign in DELIMITERS}
    fits = {sign: score for sign, score in scores.items() if score[0] >= (1.0 if sign == BLANKS else AGREEING)}
    if not fits:
        return _no_delimiter(lines, scores, usual)
    best = max(
        fits,
        key=lambda sign: (
            round(fits[sign][0], 2), _cuts_header(lines, sign, fits), sign == usual, sign != BLANKS, fits[sign][1],
        ),
    )  # fmt: skip
    share, width = fits[best]
    if best == usual:
        return best, ""
    return best, f"it cuts {share:.0%} of {len(lines)} lines into {width} cells"


def _cuts_header(lines: Sequence[str], sign: str, fits: Mapping[str, tuple[float, int]]) -> bool:
    """Whether a sign cuts the header as it cuts most lines. The header is the first line that any sign cuts so, and it
    holds no decimal commas: in ``a;b`` above ``0,5;1,5`` the comma cuts all lines but one alike, be they thousands."""
    for line in lines[: MOST_LINES_ABOVE + 1]:
        good = [one for one in fits if len(cut(line, one)) == fits[one][1]]
        if good:
            return sign in good
    return True


def _no_delimiter(lines: Sequence[str], scores: dict[str, tuple[float, int]], usual: str) -> tuple[str, str]:
    """Nothing cuts most lines alike: the usual sign if it cuts at least the first line and others, else one column."""
    if usual and usual in lines[0] and scores[usual][0] > 0.0:
        return usual, ""
    if usual and usual in lines[0] and len(lines) > 1:
        return usual, ""
    if scores[BLANKS][0] >= AGREEING and len(lines) > 4 and usual:
        return BLANKS, f"blanks cut {scores[BLANKS][0]:.0%} of {len(lines)} lines into {scores[BLANKS][1]} cells"
    return "", "no sign cuts its lines into the same number of cells"


def _agreement(lines: Sequence[str], sign: str) -> tuple[float, int]:
    """Share of lines that this sign cuts into the most frequent number (> 1) of cells, and that number."""
    widths = Counter(len(cut(line, sign)) for line in lines)
    width, count = widths.most_common(1)[0]
    if width == 1 and len(lines) == 2 and len(widths) == 2:  # a header and one row that disagree
        width, count = max(widths.items())
    return (count / len(lines), width) if width > 1 else (0.0, 1)


def _width(cells: Sequence[Sequence[str]]) -> int:
    """Cells of most lines; of the first, where no number is more frequent."""
    widths = Counter(len(row) for row in cells)
    width, count = widths.most_common(1)[0]
    return len(cells[0]) if widths[len(cells[0])] == count else width


# ----------------------------------------------------------------------------------------------- header


def _is_merged(cells: Sequence[Sequence[str]], width: int) -> bool:
    """Whether the first line holds cells merged over several columns, and the header is the second one."""
    if width < 2 or len(cells) < 4 or len(cells[0]) != width or len(cells[1]) != width:
        return False
    top, names = ([cell.strip() for cell in row] for row in cells[:2])
    if len(set(top)) == width and all(top):
        return False
    if len(set(names)) < width or not all(name and is_name(name) for name in names):
        return False
    return not any(map(is_number, filter(None, top))) and header_votes(names, cells[2:], width, None)[0] >= 3


def _lines_above(lines: Sequence[str], cells: Sequence[Sequence[str]], width: int, delimiter: str) -> tuple[int, bool]:
    """Number of remarks above the header, and whether the header stands behind a comment sign."""
    above = int(cells[0][0].strip() in LOGGER_FORMS and len(cells) > 2)
    while above < min(len(lines) - 1, MOST_LINES_ABOVE):
        padded = _padded_titles(cells[above:], width)
        if padded:
            above += padded
            continue
        if _is_merged(cells[above:], width):
            above += 1
            break
        is_comment = lines[above].startswith(COMMENT_SIGNS) and not _is_error(cells[above][0])
        if not is_comment and _is_station_line(cells[above:], width):
            above += 1
            continue
        if not is_comment and not (width > 1 and len(cells[above]) == 1 and above + 1 < len(lines)):
            break
        if not is_comment and not _leads_to_table(cells[above:], width):
            break
        above += 1
    if above and lines[above - 1].startswith(COMMENT_SIGNS):
        names = cut(lines[above - 1].lstrip("#%!/ \t"), delimiter)
        follows = cells[above : above + 50]
        if (
            len(names) == width > 1
            and header_votes(names, follows, width, None)[0] > 0
            and not is_header(follows, width)
        ):
            return above - 1, True
    return above, False


def _is_station_line(cells: Sequence[Sequence[str]], width: int) -> bool:
    """Whether a line of another number of cells stands above a header, as loggers write theirs (TOA5)."""
    if width < 2 or len(cells) < 3 or abs(len(cells[0]) - width) < 2 or len(cells[0]) < 2:
        return False
    return all(len(row) == width for row in cells[1:21]) and is_header(cells[1:], width)


def _padded_titles(cells: Sequence[Sequence[str]], width: int) -> int:
    """Number of leading lines of a report that were filled up with delimiters, as spreadsheets do.

    They have at most half as many texts as the header that follows, and none in a column without a name. A lower
    header line counts even where the upper one holds a title for several columns. Where the header and nearly all
    lines below fill every column, lines that do not are above it.
    """
    if width < 2:
        return 0
    filled = [{place for place, cell in enumerate(row) if cell.strip()} for row in cells[: MOST_LINES_ABOVE + 1]]
    full = next((place for place, names in enumerate(filled[:-1]) if len(names) == width), 0)
    if full and _fills(cells[full + 1 :], width) and is_header(cells[full:], width):
        return full if all(len(row) == width for row in cells[:full]) else 0
    for place, names in enumerate(filled[:-1]):
        if len(cells[place]) != width:
            return 0
        if place and len(names) >= 2 and all(one <= names and 2 * len(one) <= len(names) for one in filled[:place]):
            return place if len(cells) > place + 1 and is_header(cells[place:], width) else 0
        if place == 0 and 2 * len(names) > width:
            return 0
    return 0


def _fills(cells: Sequence[Sequence[str]], width: int) -> bool:
    """Whether (nearly) all lines have a text in their last column."""
    filled = sum(len(row) == width and bool(row[-1].strip()) for row in cells)
    return bool(cells) and filled >= AGREEING * len(cells)


def _is_error(cell: str) -> bool:
    return cell.strip().lower() in EXCEL_ERRORS


def _leads_to_table(cells: Sequence[Sequence[str]], width: int) -> bool:
    """Whether lines of one cell are followed, within a few lines, by nothing but full ones."""
    first = next((place for place, row in enumerate(cells) if len(row) >= width - 1 and len(row) > 1), None)
    return first is not None and first <= 10 and all(len(row) > 1 for row in cells[first : first + 20])
