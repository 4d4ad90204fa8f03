"""Whether the first line of a table holds the names of its columns, judged from the cells below it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

from repcore.data.cells import is_missing, number
from repcore.data.groups import plain_name

AGREEING = 0.8  # share of cells or lines
ABOVE_NUMBERS = "stands above numbers"
HEADER_WORDS = frozenset({
    "smiles", "smi", "canonical_smiles", "inchi", "selfies", "structure", "id", "name", "path", "file", "filename",
    "file_name", "label", "labels", "class", "category", "target", "split", "fold", "group", "patient", "speaker", "x",
    "y", "z", "source", "node1", "node2", "src", "dst", "weight", "image", "audio", "text", "index",
    "start", "end",
})  # fmt: skip
IsData = Callable[[str], bool]
MOST_JUDGED = 2_000  # columns: more would say the same of a table of 100,000


def is_header(body: Sequence[Sequence[str]], width: int) -> bool:
    """Whether the first of some lines surely holds the names of the columns below it."""
    return bool(body) and header_votes(body[0], body[1:], width, None)[0] > 0


def judged_header(body: Sequence[Sequence[str]], width: int, suffix: str, is_data: IsData | None) -> tuple[bool, str]:
    """Whether the first line is a header, and why; where nothing tells, the custom of the suffix decides."""
    others = [row for row in body[1:] if row != body[0]] or body[1:]  # tables joined end to end repeat their header
    votes, why = header_votes(body[0], others, width, is_data)
    if votes:
        return votes > 0, why
    by_custom = suffix in (".csv", ".tsv", ".tab") and all(is_name(cell) for cell in body[0])
    return (
        by_custom,
        f"nothing tells; {'the custom of' if by_custom else 'no header is the custom of'} {suffix or 'such'} files",
    )


def header_votes(
    first: Sequence[str], rest: Sequence[Sequence[str]], width: int, is_data: IsData | None
) -> tuple[int, str]:
    """Above 0: the first line holds names; below: it holds values; with the strongest reason."""
    total, reasons, above_numbers = 0, [], False
    for place, cell in enumerate(first[:MOST_JUDGED]):
        column = [row[place] for row in rest if len(row) > place and not is_missing(row[place])]
        vote, why = _vote(cell.strip(), column, is_data)
        if len(first) == width - 1 and rest and vote < 0:  # names of all but the first column: cells are shifted by one
            vote = 0
        total += vote
        reasons.append((vote, why))
        above_numbers |= vote > 0 and why.endswith(ABOVE_NUMBERS) and is_name(cell) and not is_missing(cell)
    if above_numbers and min(reasons)[0] > -3:  # gene1, gene2, score: the first two look like genes, the third is none
        return max(total, 1), max(reasons)[1]
    if not total:
        return 0, ""
    return total, (max if total > 0 else min)(reasons, key=lambda one: one[0])[1]


def _vote(cell: str, column: Sequence[str], is_data: IsData | None) -> tuple[int, str]:
    if plain_name(cell) in HEADER_WORDS and not (is_data is not None and is_data(cell) and cell not in HEADER_WORDS):
        return 3, f"{cell!r} is a name of columns"
    if not cell or not column:
        return 0, ""
    numeric = sum(is_number(value) for value in column) / len(column)
    if is_number(cell):
        return (-3, f"{cell!r} is a number like those below it") if numeric >= 0.5 else (0, "")
    if numeric >= AGREEING and cell not in column:
        return 3, f"{cell!r} {ABOVE_NUMBERS}"
    if is_data is not None and is_data(cell) and sum(map(is_data, column[:40])) >= 0.5 * len(column[:40]):
        return -3, f"{cell!r} is a value like those below it"
    if cell in column:
        return -2, f"{cell!r} stands below, too"
    shape = _shape(cell)
    alike = sum(_shape(value) == shape for value in column) / len(column)
    if not shape.isalpha() and alike >= 0.5:
        return -2, f"{cell!r} has the form of the cells below it"
    most, count = Counter(_shape(value) for value in column).most_common(1)[0]
    if not most.isalpha() and count >= AGREEING * len(column) and alike == 0.0:
        return 1, f"{cell!r} has not the form of the cells below it, such as {column[0][:40]!r}"
    return 0, ""


def is_number(text: str) -> bool:
    """Whether a cell is a number, with a point or a comma."""
    try:
        return number(text, ",") is not None if "," in text else number(text) is not None
    except ValueError:
        return False


def _shape(text: str) -> str:
    """Letters as ``a``, digits as ``9``, runs as one: ``mol_12.wav`` is ``a_9.a``."""
    return re.sub(r"9+", "9", re.sub(r"\d", "9", re.sub(r"[^\W\d_]+", "a", text.strip())))[:40]


def is_name(cell: str) -> bool:
    """Whether a cell can be the name of a column: empty, or a text that begins with a letter."""
    return bool(re.fullmatch(r"|[^\W\d][^\n]{0,79}", cell.strip())) and not is_number(cell)


def column_names(
    body: Sequence[Sequence[str]], width: int, header: bool
) -> tuple[tuple[str, ...], bool, dict[str, tuple[str, str]]]:
    """Unique column names; whether every line ends in a delimiter without a cell; and what to say."""
    said: dict[str, tuple[str, str]] = {}
    rows = body[1:] if header else body
    given = [cell.strip() for cell in body[0]] if header else [""] * width
    empty = sum(len(row) < width or not row[-1].strip() for row in rows)
    is_short = len(given) == width - 1  # a stray text behind one line makes no names of rows
    ends_lines = is_short and empty >= AGREEING * len(rows)
    trailing = (
        bool(rows)
        and width > 1
        and (ends_lines or (empty == len(rows) and len(given) == width and not given[-1] and header))
    )
    if trailing:
        given = given[: width - 1]
        count = "every line ends" if empty == len(rows) else f"{empty} of {len(rows)} lines end"
        said["delimiter at the end of lines"] = ("no cell", f"{count} in one")
    elif is_short and rows:
        given = ["", *given]
        said["first column"] = ("names of rows", f"the header has {width - 1} names for {width} cells")
    names: dict[str, None] = {}  # in order, and found at once among a hundred thousand
    copies: Counter[str] = Counter()
    for place, name in enumerate(given):
        wanted = name or f"column{place}"
        unique = wanted
        while unique in names:
            copies[wanted] += 1
            unique = f"{wanted}.{copies[wanted]}"
        if unique != wanted:
            said[f"column name {wanted!r}"] = (f"{unique!r} for column {place}", "the name stands more than once")
        names[unique] = None
    return tuple(names), trailing, said
