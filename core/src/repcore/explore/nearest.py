"""Nearest neighbours by cosine similarity: exact by blocks, or through a graph (usearch), ranked again exactly.

Symbols: N rows, D width, Q queries, k neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from repcore.errors import DataError, PluginError

BLOCK = 65_536  # rows compared at once
EXACT_BELOW = 100_000  # rows up to which every row is compared
CONNECTIVITY, EFFORT_BUILDING, EFFORT_SEARCHING = 16, 64, 512  # of the graph; vectors without structure need most
CANDIDATES = 32  # for each neighbour asked for; at least FEWEST
FEWEST = 256
INSTALL = 'pip install "repcore[search]"'


def exact(
    parts: Sequence[np.ndarray], queries: np.ndarray, k: int, allowed: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k most similar rows of all.

    Args:
        parts: unit vectors (n, D), on disk or in memory, float16 or float32; rows are counted through all of them.
        queries: unit vectors (Q, D).
        allowed: bool (N,); None = all.

    Returns:
        row numbers int64 (Q, k') and similarities float32 (Q, k'), best first, k' = min(k, rows allowed); of equal
        similarities the lower row is first.
    """
    places = np.zeros((len(queries), 0), np.int64)
    similar = np.zeros((len(queries), 0), np.float32)
    start = 0
    for part in parts:
        for first in range(0, len(part), BLOCK):
            rows = np.arange(first, min(first + BLOCK, len(part)))
            if allowed is not None:
                rows = rows[allowed[start + rows]]
            if not len(rows):
                continue
            whole = len(rows) == min(BLOCK, len(part) - first)
            block = np.asarray(part[first : first + len(rows)] if whole else part[rows], np.float32)
            found = np.asarray(queries, np.float32) @ block.T
            own = np.broadcast_to(start + rows, found.shape)
            places, similar = _best(np.hstack([places, own]), np.hstack([similar, found]), k)
        start += len(part)
    return places, similar


def _best(places: np.ndarray, similar: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    if similar.shape[1] > k:
        kept = np.argpartition(-similar, k - 1, axis=1)[:, :k]
        places, similar = np.take_along_axis(places, kept, 1), np.take_along_axis(similar, kept, 1)
    order = np.lexsort((places, -similar), axis=1)
    return np.take_along_axis(places, order, 1), np.take_along_axis(similar, order, 1)


def rows_of(parts: Sequence[np.ndarray], places: np.ndarray) -> np.ndarray:
    """Vectors of some rows, float32 (n, D), counted through all parts."""
    starts = np.cumsum([0, *(len(one) for one in parts)])
    found = np.zeros((len(places), parts[0].shape[1]), np.float32)
    for number, part in enumerate(parts):
        inside = (places >= starts[number]) & (places < starts[number + 1])
        found[inside] = part[places[inside] - starts[number]]
    return found


class Graph:
    """A graph of neighbours on disk; vectors in it have 8 bits a number, so what it finds is ranked again exactly.

    Raises:
        PluginError: usearch is not installed.
    """

    def __init__(self, width: int) -> None:
        try:
            from usearch.index import Index
        except ImportError as error:
            raise PluginError(
                f"more than {EXACT_BELOW:,} rows are searched with usearch, which is not installed", hint=INSTALL
            ) from error
        self._index: Any = Index(
            ndim=width, metric="cos", dtype="i8", connectivity=CONNECTIVITY, expansion_add=EFFORT_BUILDING,
            expansion_search=EFFORT_SEARCHING,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self._index)

    def add(self, vectors: np.ndarray, *, threads: int = 0) -> None:
        """Rows behind those there are; ``threads`` 0 = all cores."""
        for first in range(0, len(vectors), BLOCK):
            block = np.asarray(vectors[first : first + BLOCK], np.float32)
            self._index.add(np.arange(len(self), len(self) + len(block), dtype=np.uint64), block, threads=threads)

    def save(self, path: Path) -> None:
        self._index.save(str(path))

    def load(self, path: Path, *, to_grow: bool = False) -> None:
        """Memory-mapped, or read whole where rows will be added.

        Raises:
            DataError: damaged.
        """
        try:
            (self._index.load if to_grow else self._index.view)(str(path))
        except Exception as error:  # the library raises RuntimeError and others
            raise DataError(f"{path} is damaged: {error}", hint="build the index again") from error

    def search(
        self, parts: Sequence[np.ndarray], query: np.ndarray, k: int, allowed: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """As :func:`exact` for one query (D,): rows (k,) and similarities; nearly always the same ones."""
        wanted = min(k, len(self) if allowed is None else int(allowed.sum()))
        count = max(FEWEST, CANDIDATES * k)
        while True:
            self._index.expansion_search = max(EFFORT_SEARCHING, count)
            keys = np.asarray(self._index.search(query, min(count, len(self))).keys, np.int64).reshape(-1)
            keys = keys if allowed is None else keys[allowed[keys]]
            if len(keys) >= wanted:
                break
            if count >= min(len(self), BLOCK):  # few rows are allowed near here
                places, similar = exact(parts, query[None], k, allowed)
                return places[0], similar[0]
            count *= 8
        similar = rows_of(parts, keys) @ np.asarray(query, np.float32)
        places, similar = _best(keys[None], similar[None], k)
        return places[0], similar[0]
