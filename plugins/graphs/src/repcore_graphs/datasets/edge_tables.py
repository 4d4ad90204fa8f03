"""What the columns of an edge, node or graph table are: ends of edges, ids, graphs, features.

Names decide where they are known; else the cells do (ids that stand in both columns), and what was decided is told to
the account. Ids are text: ``01`` and ``1`` are two nodes; only where a whole column of whole numbers was written with
decimals (``1.0``, as exports do beside empty cells) they are read as whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from repcore.data.accounting import Accounting
from repcore.data.cells import Decimal, TableNumbers, is_missing, read_numbers, words_of
from repcore.data.groups import plain_name
from repcore.data.names import composed
from repcore.data.tables import Table
from repcore.errors import DataError

END_NAMES = (
    ("source", "target"), ("src", "dst"), ("from", "to"), ("u", "v"), ("i", "j"), ("head", "tail"), ("row", "col"),
    ("node1", "node2"), ("node_1", "node_2"), ("node_a", "node_b"), ("id1", "id2"), ("id_1", "id_2"), ("n1", "n2"),
    ("source_id", "target_id"), ("source_node", "target_node"), ("from_id", "to_id"), ("from_node", "to_node"),
    ("from_node_id", "to_node_id"), ("fromnodeid", "tonodeid"), ("subject", "object"), ("atom1", "atom2"),
    ("vertex1", "vertex2"), ("start_node", "end_node"), ("source", "dst"), ("src", "target"), ("from", "target"),
    ("source", "destination"), ("follower", "followee"), ("citing", "cited"),
)  # fmt: skip
GRAPH_NAMES = ("graph", "graph_id", "graphid", "graph_idx", "graph_index", "molecule", "mol_id", "network")
NODE_NAMES = ("node", "node_id", "nodeid", "id", "name", "vertex", "vertex_id", "atom")
CATEGORY_NAMES = ("type", "kind", "label", "relation", "rel", "bond")
IDENTIFIER = re.compile(
    r"(^|_)(id|idx|index|no|name|key|title|comment|note|url|timestamp|date|time)$|^unnamed|^column\d+$"
)
MOST_WORDS = 1000
ROWS_COMPARED = 200_000  # a large sparse graph repeats few ids in its first thousand edges
DIRECTION_NAMES = ("type", "edge_type", "direction")
DIRECTION_WORDS = {"directed": True, "undirected": False}
MOST_UNNAMED = 4  # columns of an edge list without a header: two ends, a weight, a time
LEAST_SHARED = 0.1  # share of ids that have to stand on both sides, to take two columns for ends by their cells
CHANGE = "dataset.source=NAME dataset.target=NAME with train, --read source=NAME ... elsewhere"


def column_named(columns: Sequence[str], names: Sequence[str]) -> str | None:
    """The first of these names that is there, whatever its case and signs."""
    plain = {plain_name(column): column for column in reversed(columns)}
    return next((plain[name] for name in names if name in plain), None)


def find_ends(table: Table, source: str, target: str, account: Accounting | None) -> tuple[str, str]:
    """The columns with the two ends of each edge.

    Args:
        source / target: as the user says; empty = find them.

    Raises:
        DataError: no two columns are ends, or only the user can tell which are.
    """
    if source or target:
        if not (source and target):
            raise DataError("one end of the edges was named, not the other", hint=CHANGE)
        return table.require(source), table.require(target)
    _refuse_matrix(table, by_name=True)
    names = {plain_name(column): column for column in table.columns}
    for one, other in END_NAMES:
        if table.has_header and one in names and other in names:
            if account is not None and (one, other) != END_NAMES[0]:
                account.guess("ends of edges", f"columns {names[one]!r} and {names[other]!r}", "by their names", CHANGE)
            return names[one], names[other]
    if len(table.columns) < 2:
        raise DataError(
            f"{table.path.name} has one column, an edge has two ends", columns=", ".join(table.columns), hint=CHANGE
        )
    _refuse_matrix(table, by_name=False)
    pairs = [(table.columns[0], one) for one in table.columns[1:3]]  # a triple has its relation in the middle
    shares = {pair: shared_ids(*(table.slice(0, ROWS_COMPARED, name) for name in pair)) for pair in pairs}
    first, second = max(pairs, key=lambda pair: shares[pair])
    share = shares[first, second]
    if (len(table.columns) > 2 and share < LEAST_SHARED) or not are_ids(table, first, second):
        raise DataError(
            f"{table.path.name} has no source and target columns",
            columns=", ".join(table.columns[:40]),
            hint=CHANGE,
        )
    if account is not None:
        why = f"{share:.0%} of the ids stand in both"
        account.guess("ends of edges", f"columns {first!r} and {second!r}", why, CHANGE)
    return first, second


def _refuse_matrix(table: Table, *, by_name: bool) -> None:
    """Raises DataError for an adjacency matrix: its columns are called like the cells of its first, or it is square."""
    inner, count = table.columns[1:], len(table)
    if by_name:
        is_matrix = count == len(inner) > 1 and {str(cell).strip() for cell in table.cells(table.columns[0])} == {
            *inner
        }
    else:
        is_matrix = len(table.columns) == count > 2 or (len(table.columns) > MOST_UNNAMED and not table.has_header)
    if is_matrix:
        raise DataError(
            f"{table.path.name} has {len(table.columns)} columns and {count} rows",
            meaning="an edge list has one row an edge; this may be an adjacency matrix",
            hint=f"{CHANGE}; or save the matrix with scipy.io.mmwrite",
        )


def direction_column(table: Table) -> tuple[str, bool] | None:
    """A column called type in which every edge is ``Directed``, or every one ``Undirected``, as Gephi writes it."""
    name = next((one for one in table.columns if plain_name(one) in DIRECTION_NAMES), None)
    words = set() if name is None else {str(cell).strip().lower() for cell in table.cells(name)}
    if name is None or len(words) != 1 or not words <= set(DIRECTION_WORDS):
        return None
    return name, DIRECTION_WORDS[words.pop()]


def shared_ids(one: Sequence[Any], other: Sequence[Any]) -> float:
    """Share of the distinct ids of the smaller side that stand on the other side, too."""
    left, right = {str(cell).strip() for cell in one}, {str(cell).strip() for cell in other}
    return len(left & right) / max(1, min(len(left), len(right)))


def counts_within(keys: Sequence[Any], cells: Sequence[Any]) -> bool:
    """Whether cells count the rows of each key from the same number on: cycles of an engine, visits of a patient.

    Ends of edges do not: a node is no number that begins again at every other node.
    """
    begun: dict[str, int] = {}
    before = ("", 0)
    for key, cell in zip((str(one).strip() for one in keys), (str(one).strip() for one in cells), strict=True):
        if not cell.isdecimal():
            return False
        if key != before[0]:
            if key in begun:
                return False
            begun[key] = int(cell)
        elif int(cell) != before[1] + 1:
            return False
        before = (key, int(cell))
    return 1 < len(begun) < len(cells) and len(set(begun.values())) == 1 and next(iter(begun.values())) in (0, 1)


def are_ids(table: Table, *columns: str) -> bool:
    """Whether cells can name nodes: whole numbers, or short texts; measured values and sentences cannot."""
    for column in columns:
        filled = [str(cell).strip() for cell in table.slice(0, 2000, column) if not is_missing(cell)]
        numbers = read_numbers(column, filled).values
        known = numbers[~np.isnan(numbers)]
        if not filled or (known.size and not (known == known.round()).all()):
            return False
        if known.size < len(filled) and max(len(text.split()) for text in filled) > 4:
            return False
    return True


@dataclass(slots=True)
class Ids:
    """Turns cells into node ids, alike for all tables of a data set.

    Args:
        whole: numbers were written with decimals and are read as whole ones.
    """

    whole: bool = False

    @classmethod
    def of(cls, columns: Sequence[Sequence[Any]], account: Accounting) -> Ids:
        """Judge all columns of ids together."""
        distinct: set[Any] = set().union(*columns)  # a large graph names its nodes again and again
        texts = {str(cell).strip() for cell in distinct if not is_missing(cell)}
        decimals = sorted(text for text in texts if re.fullmatch(r"\d+\.0*", text))
        if decimals and all(re.fullmatch(r"\d+(\.0*)?", text) for text in texts):
            account.guess("node ids", "whole numbers", f"{len(decimals):,} are written as {decimals[0]!r}")
            return cls(whole=True)
        padded = sorted(text for text in texts if re.fullmatch(r"0+\d+", text) and text.lstrip("0").zfill(1) in texts)
        if padded:
            other = padded[0].lstrip("0").zfill(1)
            account.note(
                f"node ids {padded[0]!r} and {other!r} are two nodes: ids are text ({len(padded):,} such pairs)"
            )
        cases: dict[str, set[str]] = {}
        for text in sorted(texts):
            cases.setdefault(composed(text).casefold(), set()).add(composed(text))
        twice = [sorted(found) for found in cases.values() if len(found) > 1]
        if twice:
            account.note(
                f"node ids {twice[0][0]!r} and {twice[0][1]!r} are two nodes: ids differ by case ({len(twice):,} such)"
            )
        return cls()

    def texts(self, cells: Sequence[Any]) -> list[str]:
        """Ids of a whole column."""
        known = {cell: self(cell) for cell in set(cells)}
        return [known[cell] for cell in cells]

    def __call__(self, cell: Any) -> str:
        text = "" if cell is None else composed(str(cell).strip())
        return text.split(".")[0] if self.whole else text


# ------------------------------------------------------------------------------------------------ features


@dataclass(slots=True)
class FeatureColumns:
    """Feature columns of a table: numbers (NaN = not understood, or empty) and categories, one a row."""

    numbers: dict[str, np.ndarray] = field(default_factory=dict)
    categories: dict[str, list[str]] = field(default_factory=dict)
    cells: dict[str, list[Any]] = field(default_factory=dict)

    def of(self, kind: str, rows: np.ndarray) -> dict[str, Any]:  # keyword arguments of RawGraph
        """Features of some rows."""
        found: dict[str, Any] = {}
        if self.numbers:
            found[f"{kind}_attributes"] = np.stack([one[rows] for one in self.numbers.values()], 1).astype(np.float32)
        if self.categories:
            columns = [[one[row] for row in rows] for one in self.categories.values()]
            table = np.array(columns, dtype=str).reshape(len(columns), len(rows)).T
            found[f"{kind}_labels"] = _whole(table)
        return found

    def odd(self, rows: np.ndarray) -> str:
        """What is wrong with the first cell of these rows that is no number; empty if nothing is."""
        for name, values in self.numbers.items():
            bad = rows[np.isnan(values[rows])]
            if bad.size:
                return f"column {name!r} has {self.cells[name][bad[0]] or ''!r} in row {bad[0]}"
        return ""


def _whole(table: np.ndarray) -> np.ndarray:
    """Codes as int64 where all of them are whole numbers, else the words."""
    try:
        return table.astype(np.int64)
    except ValueError:
        return table


def feature_columns(
    table: Table, skip: Sequence[str | None], what: str, account: Accounting, decimal: Decimal | None = None
) -> FeatureColumns:
    """Judge every column that is neither an end, an id nor a label."""
    found = FeatureColumns()
    as_numbers = TableNumbers(table.by_column, decimal)
    for name in table.columns:
        if name in skip:
            continue
        cells = table.cells(name)
        numbers, written = as_numbers.read(name, cells)
        plain = plain_name(name) if table.has_header else ""  # names that nobody gave say nothing
        is_category = plain in CATEGORY_NAMES or plain.endswith(("_label", "_type"))
        said = f"{what} column {name!r}"
        if not numbers.filled:
            account.guess(said, "left out", "every cell is empty")
            continue
        if numbers.number_share >= 0.5 and not is_category:
            found.numbers[name], found.cells[name] = numbers.values, cells
            why = "; ".join(filter(None, (f"{numbers.number_share:.0%} of its filled cells are", written)))
            account.guess(said, "a number", why, "decimal=point|comma" if written else "")
            account.odd_cells += [f"{text}: their graphs are rows that cannot be used" for text in _odd(numbers)]
            continue
        values = [word if word is None else _code(word) for word in words_of(cells)]
        words = [word for word in values if word is not None]
        if is_category or _come_again(words, plain):
            found.categories[name] = ["" if word is None else word for word in values]
            empty = values.count(None)
            why = f"words such as {words[0]!r}" + (f"; {empty:,} empty cells are one more" if empty else "")
            account.guess(said, f"{len(set(words))} categories", why)
        else:
            why = f"{len(set(words)):,} different texts such as {words[0][:40]!r}"
            account.guess(said, "left out", why, is_loss=True)
    return found


def _odd(numbers: Any) -> list[str]:
    return [text.replace(" and count as missing", "") for text in numbers.sentences()]


def _code(text: str) -> str:
    return text[:-2] if re.fullmatch(r"-?\d+\.0", text) else text


def _come_again(words: Sequence[str], plain: str) -> bool:
    distinct = len(set(words))
    return (
        not IDENTIFIER.search(plain) and distinct < len(words) and distinct <= min(MOST_WORDS, max(2, len(words) / 3))
    )


def by_value(cells: Sequence[Any], order: Mapping[str, int]) -> list[np.ndarray]:
    """Row numbers of each name of ``order``."""
    found: list[list[int]] = [[] for _ in order]
    for row, cell in enumerate(cells):
        found[order["" if cell is None else str(cell).strip()]].append(row)
    return [np.asarray(rows, np.int64) for rows in found]
