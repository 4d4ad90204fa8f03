"""Which two columns of a table of edges are their ends: by their names, else by their cells.

What was decided is told to the account, with the setting that changes it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from repcore.data.accounting import Accounting
from repcore.data.cells import is_missing, read_numbers
from repcore.data.groups import plain_name
from repcore.data.label_names import identifies
from repcore.data.tables import Table
from repcore.errors import DataError

END_NAMES = (
    ("source", "target"), ("src", "dst"), ("from", "to"), ("u", "v"), ("i", "j"), ("head", "tail"), ("row", "col"),
    ("node1", "node2"), ("node_1", "node_2"), ("node_a", "node_b"), ("id1", "id2"), ("id_1", "id_2"), ("n1", "n2"),
    ("source_id", "target_id"), ("source_node", "target_node"), ("from_id", "to_id"), ("from_node", "to_node"),
    ("from_node_id", "to_node_id"), ("fromnodeid", "tonodeid"), ("subject", "object"), ("atom1", "atom2"),
    ("vertex1", "vertex2"), ("start_node", "end_node"), ("source", "dst"), ("src", "target"), ("from", "target"),
    ("source", "destination"), ("follower", "followee"), ("citing", "cited"),
    ("parent", "child"), ("child", "parent"), ("start_id", "end_id"), ("src_id", "dst_id"), ("ego", "alter"),
)  # fmt: skip
ROWS_COMPARED = 200_000  # a large sparse graph repeats few ids in its first thousand edges
DIRECTION_NAMES = ("type", "edge_type", "direction")
DIRECTION_WORDS = {"directed": True, "undirected": False}
MOST_UNNAMED = 4  # columns of an edge list without a header: two ends, a weight, a time
LEAST_SHARED = 0.1  # share of ids that have to stand on both sides, to take two columns for ends by their cells
SIDES = frozenset({  # what tells two columns of the same kind apart
    ("a", "b"), ("1", "2"), ("0", "1"), ("u", "v"), ("i", "j"), ("source", "target"), ("src", "dst"), ("from", "to"),
    ("start", "end"), ("head", "tail"), ("left", "right"), ("source", "destination"),
})  # fmt: skip
KINDS = frozenset({  # nouns: two columns that are called by two of them join two sets of nodes
    "user", "item", "movie", "film", "book", "product", "customer", "author", "paper", "article", "gene", "disease",
    "drug", "protein", "compound", "actor", "song", "artist", "student", "course", "event", "person", "plant", "site",
    "pollinator", "host", "parasite", "document", "word", "term", "team", "player", "tag", "symptom", "phenotype",
    "mirna", "lncrna", "cell", "tissue", "company", "country", "publication", "patent", "group", "member", "reader",
})  # fmt: skip
TIME_WORDS = frozenset({"time", "date", "year", "day", "month", "s", "sec", "seconds", "ms"})
MEASURES = frozenset({
    "weight", "score", "value", "count", "rating", "time", "timestamp", "date", "year", "sign", "distance", "length",
    "capacity", "cost", "type", "label", "class", "kind", "relation", "strength", "probability", "confidence", "w", "t",
    "split", "fold", "graph", "flow", "amount", "size",
})  # fmt: skip
FORMULA = re.compile(r"[A-Za-z0-9@+\-\[\]()=#$%/\\.:*]+")
LEAST_COUNTED = 3  # rows from which numbers in order count them
MOST_JUDGED = 6  # columns, from the left
RIVAL = 0.6  # of the best pair's fit, from which another pair fits, too
CHANGE = "dataset.source=NAME dataset.target=NAME with train, --read source=NAME ... elsewhere"


def find_ends(table: Table, source: str, target: str, account: Accounting | None) -> tuple[str, str]:
    """The columns with the two ends of each edge.

    Args:
        source / target: as the user says; empty = find them.
        account: where the choice is told; None = only look: where two pairs fit, the better one.

    Raises:
        DataError: no two columns are ends, or only the user can tell which are.
    """
    if source or target:
        if not (source and target):
            raise DataError("one end of the edges was named, not the other", hint=CHANGE)
        return table.require(source), table.require(target)
    _refuse_matrix(table, by_name=True)
    named = _by_name(table)
    if named is not None:
        pair, others = named
        if account is not None and tuple(map(plain_name, pair)) != END_NAMES[0]:
            also = "".join(f"; {one!r} and {other!r} fit, too" for one, other in others)
            account.guess("ends of edges", _in_words(pair), f"by their names{also}", CHANGE)
        return pair
    if len(table.columns) < 2:
        raise DataError(
            f"{table.path.name} has one column, an edge has two ends", columns=", ".join(table.columns), hint=CHANGE
        )
    _refuse_matrix(table, by_name=False)
    pair, why = _by_cells(table, may_refuse=account is not None)
    if account is not None:
        account.guess("ends of edges", _in_words(pair), why, CHANGE)
    return pair


def _in_words(pair: tuple[str, str]) -> str:
    return f"columns {pair[0]!r} and {pair[1]!r}"


def _by_name(table: Table) -> tuple[tuple[str, str], list[tuple[str, str]]] | None:
    """The pair of columns that are called like ends, and further pairs that name the same ends otherwise."""
    if not table.has_header:
        return None
    names = {plain_name(column): column for column in table.columns}
    for one, other in END_NAMES:
        if one in names and other in names:
            return (names[one], names[other]), []
    kinds = [one for one in table.columns if kind_of_node(one)]
    if len(kinds) == 2 and are_two_kinds(*kinds) and are_ids(table, *kinds):
        return (kinds[0], kinds[1]), []
    pairs = [pair for pair in paired_columns(table.columns) if are_ids(table, *pair)]
    numbers = [one for one in table.columns if counts_rows(table.slice(0, ROWS_COMPARED, one))]
    first = [one for one in table.columns if one not in numbers][:2]
    if pairs and pairs[0][0] in first and not set(numbers) & set(pairs[0]):
        return pairs[0], pairs[1:]
    return None


def kind_of_node(name: str) -> str:
    """The noun of :data:`KINDS` that a column is called by (``movieId``: movie); empty if it is none."""
    noun = plain_name(name).removesuffix("_id").removesuffix("_name").removesuffix("id")
    return noun if noun in KINDS else ""


def are_two_kinds(one: str, other: str) -> bool:
    """Whether the names of two columns say that their ids are those of two sets of nodes: user 3 is not item 3."""
    kinds = {kind_of_node(one), kind_of_node(other)}
    return len(kinds) == 2 and "" not in kinds


def joins_two_sets(names: tuple[str, str], ends: Sequence[Sequence[str]], sets: str, account: Accounting) -> bool:
    """Whether the same id at both ends is two nodes, as of users and items; says so where ids are shared.

    Args:
        names: of the two columns.
        ends: their ids.
        sets: ``one``, ``two``, or ``auto``: as the names say.
    """
    if sets == "one" or not (sets == "two" or are_two_kinds(*names)):
        return False
    shared = len({*ends[0]} & {*ends[1]} - {""})
    if shared:
        why = "as asked" if sets == "two" else "their names tell two kinds of things apart"
        change = "dataset.sets=one with train, --read sets=one elsewhere"
        said = f"two, {names[0]!r} and {names[1]!r}: {shared:,} ids stand in both, and are two nodes each"
        account.guess("sets of nodes", said, why, change)
    return bool(shared)


def paired_columns(columns: Sequence[str]) -> list[tuple[str, str]]:
    """Columns whose names differ in which end they mean: ``protein1`` and ``protein2``, ``Gene A`` and ``Gene B``.

    Names that go on (``x1``, ``x2``, ``x3``) and bare letters are no such pairs.
    """
    alike: dict[tuple[int, tuple[str, ...]], list[tuple[int, str]]] = {}  # names that differ in one place at most
    for number, column in enumerate(columns):
        pieces = tuple(re.findall(r"[^\W\d_]+|\d+", plain_name(column)))
        for place, piece in enumerate(pieces if len(pieces) > 1 else ()):
            alike.setdefault((place, (*pieces[:place], *pieces[place + 1 :])), []).append((number, piece))
    found = [
        (one[0], other[0])
        for (_, rest), series in alike.items()
        if len(series) == 2 and not set(rest) & TIME_WORDS
        for one, other in [series]
        if (one[1], other[1]) in SIDES
    ]
    return [(columns[one], columns[other]) for one, other in sorted(found)]


def counts_rows(cells: Sequence[Any]) -> bool:
    """Whether cells are whole numbers that count the rows, each by one above the one before."""
    if len(cells) < LEAST_COUNTED:
        return False
    texts = [str(cell).strip().removesuffix(".0") for cell in cells]
    if not all(text.isdecimal() for text in (texts[0], texts[1], texts[-1])) or int(texts[1]) != int(texts[0]) + 1:
        return False
    return all(text.isdecimal() and int(text) == int(texts[0]) + row for row, text in enumerate(texts))


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


def _by_cells(table: Table, *, may_refuse: bool) -> tuple[tuple[str, str], str]:
    """The two columns whose cells are the same ids, and why.

    A column that numbers the rows is none of them as long as two others fit. Where two pairs fit about equally well, a
    table with names is refused; without, the first two columns are the custom.
    """
    looked_at = [one for one in table.columns if not (table.has_header and is_measure(one))][:MOST_JUDGED]
    cells = {one: table.slice(0, ROWS_COMPARED, one) for one in looked_at if are_ids(table, one)}
    pairs = list(combinations(cells, 2))
    alone = len(table.columns) == 2
    shares = {pair: shared_ids(*(cells[one] for one in pair)) for pair in pairs}
    fits = {pair: overlap(*(cells[one] for one in pair)) for pair in pairs if alone or shares[pair] >= LEAST_SHARED}
    if not fits:
        if not table.has_header and len(table.columns) == 3 and pairs == [(table.columns[0], table.columns[1])]:
            return pairs[0], "the first two columns, as in lists of weighted edges; no id stands in both"
        raise _no_ends(table)
    numbers = {one for one in cells if counts_rows(cells[one])}
    numbers = set() if alone else _numbers_only(fits, numbers, table)
    fits = {pair: fit for pair, fit in fits.items() if not numbers & set(pair)}
    best = max(fits, key=lambda pair: fits[pair])
    rivals = [pair for pair in fits if fits[pair] >= RIVAL * fits[best]]
    why = f"{shares[best]:.0%} of the ids stand in both"
    if numbers:
        why += f"; {', '.join(map(repr, sorted(numbers)))} numbers the rows"
    if len(rivals) > 1 and not table.has_header:
        others = ", ".join(_in_words(pair) for pair in rivals[1:])
        return rivals[0], f"the first two that fit, as in lists without a header; {others} fit, too"
    if len(rivals) > 1 and may_refuse:
        raise DataError(
            f"{table.path.name} does not tell which of its columns are ends of edges: {len(rivals)} pairs fit",
            choices="; ".join(f"{_in_words(pair)} ({shares[pair]:.0%} of the ids stand in both)" for pair in rivals),
            hint=CHANGE.replace("NAME", rivals[0][0], 1),
        )
    return best, why


def _no_ends(table: Table) -> DataError:
    return DataError(
        f"{table.path.name} has no source and target columns", columns=", ".join(table.columns[:40]), hint=CHANGE
    )


def _numbers_only(fits: Mapping[tuple[str, str], float], numbers: set[str], table: Table) -> set[str]:
    """Those columns that number the rows and are no ends: by their names, or because others fit better than they do."""
    inner = [fit for pair, fit in fits.items() if not numbers & set(pair)]
    if not inner:
        return set()
    outer = [fit for pair, fit in fits.items() if numbers & set(pair)]
    if max(inner) >= max(outer, default=0.0):
        return numbers
    return {one for one in numbers if table.has_header and identifies(one)} if len(numbers) == 1 else set()


def is_measure(name: str) -> bool:
    """Whether a name says that a column tells how strong, when or of what kind an edge is."""
    return bool(set(re.findall(r"[^\W\d_]+", plain_name(name))) & MEASURES)


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


def are_formulas(cells: Sequence[Any]) -> bool:
    """Whether cells are written like structures of molecules: a table of pairs of them is no network."""
    texts = {str(cell).strip() for cell in cells[:2000] if not is_missing(cell)}
    alike = [text for text in texts if FORMULA.fullmatch(text)]
    marked = [text for text in alike if any(sign in text for sign in "=#([")]
    return len(alike) >= 0.8 * len(texts) and len(marked) >= 0.3 * len(texts) > 0


def overlap(one: Sequence[Any], other: Sequence[Any]) -> float:
    """Share of the distinct ids of the larger side that stand on the other side, too: few numbers are no ids."""
    left, right = {str(cell).strip() for cell in one}, {str(cell).strip() for cell in other}
    return len(left & right) / max(1, len(left), len(right))


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
