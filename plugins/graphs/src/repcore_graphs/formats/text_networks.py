"""Texts of networks that no library of ours reads.

Cytoscape's SIF (``a relation b c``), KONECT's ``out.NAME`` (``% sym unweighted``) and the
tables of LINQS (``cora.content`` with ``cora.cites``). Symbols: N nodes, A arcs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from repcore.data.encodings import whole_text
from repcore.errors import ItemError

CITES = ".cites"
KONECT_FORMS = {"sym": False, "asym": True, "bip": False}  # whether edges have a direction
PLANETOID = ("x", "tx", "allx", "graph")


@dataclass(frozen=True, slots=True)
class Parts:
    """Names of N nodes; (source, target) of each edge as places; attributes; whether directions mean something."""

    names: list[str]
    edges: list[tuple[int, int]]
    is_directed: bool
    node_columns: dict[str, list[Any]]
    edge_columns: dict[str, list[Any]]
    remarks: list[str]


def text_of(path: Path) -> list[str]:
    """Lines that hold something."""
    return [line for line in whole_text(path).splitlines() if line.strip()]


def read_sif(path: Path) -> Parts:
    """Lines of a source, a relation and any number of targets, or of a node alone; between tabs, else blanks."""
    place: dict[str, int] = {}
    edges, relations = [], []
    lines = text_of(path)
    sign = "\t" if any("\t" in line for line in lines) else None
    for number, line in enumerate(lines):
        words = [word.strip() for word in line.split(sign) if word.strip()]
        if len(words) == 2:
            raise ItemError(
                "incomplete_edge", f"line {number + 1}, {line.strip()[:60]!r}, has a relation and no target"
            )
        source = place.setdefault(words[0], len(place))
        for target in words[2:]:
            edges.append((source, place.setdefault(target, len(place))))
            relations.append(words[1])
    return Parts(list(place), edges, True, {}, {"relation": relations} if edges else {}, [])


def is_konect(path: Path) -> bool:
    """Whether a file is called ``out.NAME`` and begins as KONECT's do."""
    if not path.name.startswith("out.") or not path.is_file():
        return False
    with path.open("rb") as file:
        words = file.readline(200).decode("utf-8", "replace").split()
    return len(words) > 1 and words[0] == "%" and words[1] in KONECT_FORMS


def read_konect(path: Path) -> Parts:
    """Ends that count from 1, then a weight and a time where there are any; two sets of nodes in ``bip``."""
    lines = text_of(path)
    form = lines[0].split()[1]
    cells = [line.replace(",", " ").split() for line in lines if not line.startswith("%")]
    odd = next((row for row in cells if len(row) < 2), None)
    if odd is not None or not cells:
        raise ItemError("incomplete_edge", f"{' '.join(odd or [])!r} is no edge")
    ends = np.asarray([row[:2] for row in cells]).astype(np.int64) - 1
    if ends.min() < 0:
        raise ItemError("dangling_edge", f"node {int(ends.min()) + 1} is below 1, from which nodes are counted")
    first = int(ends[:, 0].max()) + 1
    if form == "bip":
        ends[:, 1] += first
    count = int(ends.max()) + 1
    names = [str(number + 1) for number in range(count)]
    kinds: dict[str, list[Any]] = {}
    if form == "bip":
        names = [
            f"{'left' if number < first else 'right'} {1 + number - first * (number >= first)}"
            for number in range(count)
        ]
        kinds = {"set": ["left" if number < first else "right" for number in range(count)]}
    width = min(map(len, cells))
    more = {name: [float(row[place]) for row in cells] for place, name in ((2, "weight"), (3, "time")) if width > place}
    if "weight" in more and set(more["weight"]) == {1.0}:
        del more["weight"]
    return Parts(names, [(int(u), int(v)) for u, v in ends], KONECT_FORMS[form], kinds, more, [])


def read_linqs(path: Path) -> Parts:
    """Nodes with their words and a class (``.content``), and who cites whom (``.cites``: the cited one first).

    Raises:
        ItemError: the second file is missing, or lines have different numbers of words.
    """
    beside = path.with_suffix(CITES)
    if not beside.is_file():
        raise ItemError("missing_file", f"{beside.name}, which has the edges, is not beside {path.name}")
    rows = [line.split("\t") if "\t" in line else line.split() for line in text_of(path)]
    if len({len(row) for row in rows}) != 1 or len(rows[0]) < 3:
        raise ItemError("unreadable", "lines have different numbers of cells, or fewer than a name, a word and a class")
    names = [row[0] for row in rows]
    place = {name: number for number, name in enumerate(names)}
    columns: dict[str, list[Any]] = {
        f"word{number}": [float(row[number + 1]) for row in rows] for number in range(len(rows[0]) - 2)
    }
    columns["label"] = [row[-1] for row in rows]
    pairs = [line.split()[:2] for line in text_of(beside)]
    known = [(place[cited], place[citing]) for cited, citing in pairs if cited in place and citing in place]
    lost = len(pairs) - len(known)
    remarks = [f"{lost:,} of {len(pairs):,} lines of {beside.name} name a node that {path.name} lacks: left out"]
    return Parts(names, [(citing, cited) for cited, citing in known], True, columns, {}, remarks if lost else [])


def planetoid_files(files: Sequence[Path]) -> list[Path]:
    """The pickled files of Planetoid among some files: ``ind.cora.x``, ``ind.cora.graph``, ..."""
    found = [one for one in files if one.name.startswith("ind.") and one.name.count(".") == 2]
    return found if {one.suffix[1:] for one in found} >= set(PLANETOID) else []
