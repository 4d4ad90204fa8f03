"""What the columns of an edge, node or graph table are: ids, graphs, features; their ends are in :mod:`.edge_ends`.

Ids are text: ``01`` and ``1`` are two nodes; only where a whole column of whole numbers was written with
decimals (``1.0``, as exports do beside empty cells) they are read as whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from repcore.data.accounting import Accounting
from repcore.data.cells import Decimal, TableNumbers, is_missing, words_of
from repcore.data.grouped import comma_meaning
from repcore.data.groups import plain_name
from repcore.data.names import composed
from repcore.data.tables import Table

GRAPH_NAMES = ("graph", "graph_id", "graphid", "graph_idx", "graph_index", "molecule", "mol_id", "network")
NODE_NAMES = ("node", "node_id", "nodeid", "id", "name", "vertex", "vertex_id", "atom")
CATEGORY_NAMES = ("type", "kind", "label", "relation", "rel", "bond")
IDENTIFIER = re.compile(
    r"(^|_)(id|idx|index|no|name|key|title|comment|note|url|timestamp|date|time)$|^unnamed|^column\d+$"
)
MOST_WORDS = 1000


def column_named(columns: Sequence[str], names: Sequence[str]) -> str | None:
    """The first of these names that is there, whatever its case and signs."""
    plain = {plain_name(column): column for column in reversed(columns)}
    return next((plain[name] for name in names if name in plain), None)


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

    def columns(self, kind: str) -> dict[str, tuple[str, ...]]:
        """Names of the columns, by field of RawGraph."""
        named = {f"{kind}_attributes": tuple(self.numbers), f"{kind}_labels": tuple(self.categories)}
        return {name: columns for name, columns in named.items() if columns}

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
    table: Table,
    skip: Sequence[str | None],
    what: str,
    account: Accounting,
    left_out: Mapping[str, str],
    decimal: Decimal | None = None,
) -> FeatureColumns:
    """Judge every column that is neither an end, an id nor a label; ``left_out`` says which are none, and why."""
    found = FeatureColumns()
    as_numbers = TableNumbers(table.by_column, decimal)
    for name in table.columns:
        if name in skip:
            continue
        if name in left_out:
            account.guess(f"{what} column {name!r}", "left out", left_out[name])
            continue
        cells = table.cells(name)
        vectors = _vectors(cells)
        if vectors is not None:
            for place, values in enumerate(vectors.T):
                found.numbers[f"{name}[{place}]"], found.cells[f"{name}[{place}]"] = values, cells
            account.guess(f"{what} column {name!r}", f"{vectors.shape[1]} numbers", "every cell is a list of so many")
            continue
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


def _vectors(cells: Sequence[Any]) -> np.ndarray | None:
    """Cells that are lists of equally many numbers (``0.1, 0.2`` or ``[0.1 0.2]``), float64 (S, k); None for others."""
    rows: list[list[float]] = []
    for cell in cells:
        parts = re.split(r"[\s,;]+", str(cell).strip().strip("[]()").strip())
        if len(parts) < 2 or (rows and len(parts) != len(rows[0])):
            return None
        try:
            rows.append([float(part) for part in parts])
        except ValueError:
            return None
    values = np.array(rows)
    texts = [str(cell).strip() for cell in cells]
    is_bare = values.shape[1] == 2 and not any(re.search(r"[\s;\[(]", text) for text in texts)
    is_one = is_bare and (comma_meaning([texts])[0] == "thousands" or not any("." in text for text in texts))
    return None if is_one else values  # 1,000.5 and 0,5 are numbers


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
