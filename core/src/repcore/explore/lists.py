"""Search among many rows: rows in lists around centres (faiss), of which a query looks into the nearest ones.

Numbers in the lists have 8 bits, so what they name is ranked again with the vectors themselves. How many lists a query
looks into is measured: rows of the index that the centres were not fitted to are searched for, and the answers held
against those of comparing every row. Vectors without structure need most of the lists; then the index says so.

Symbols: N rows, D width, Q queries, k neighbours.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from repcore.errors import DataError, PluginError
from repcore.explore.nearest import BLOCK, EXACT_BELOW, best, exact, rows_of

ROWS_A_CENTRE, FEWEST_ROWS_A_CENTRE = 64, 32  # that centres are fitted to; that a list holds on average
ROUNDS = 8  # of k-means
HELD_OUT, SEED = 512, 0  # rows that are searched for to choose the number of lists
WANTED, NEIGHBOURS = 0.998, 10  # recall of that many neighbours
CANDIDATES, FEWEST = 4, 64  # for each neighbour asked for, and at least
INSTALL = 'pip install "repcore[search]"'


def _library() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise PluginError(
            f"more than {EXACT_BELOW:,} rows are searched with faiss, which is not installed", hint=INSTALL
        ) from error
    return faiss


class Lists:
    """Lists of rows; made by :meth:`built` or :meth:`read`.

    Args:
        probes: lists that a query looks into. recall: of ``NEIGHBOURS`` with that, as measured. fitted: rows that
            there were when the centres were fitted.
    """

    def __init__(self, index: Any, probes: int = 1, recall: float = 0.0, fitted: int = 0) -> None:
        self._index = index
        self.probes, self.recall, self.fitted = probes, recall, fitted

    @classmethod
    def built(cls, parts: Sequence[np.ndarray]) -> Lists:
        """Of unit vectors (n, D) a part.

        Raises:
            PluginError: faiss is not installed.
        """
        faiss = _library()
        count, width = sum(map(len, parts)), parts[0].shape[1]
        lists = max(1, min(2 ** round(np.log2(2 * count**0.5)), count // FEWEST_ROWS_A_CENTRE))
        index = faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatIP(width), width, lists, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
        )
        index.cp.niter, index.cp.min_points_per_centroid = ROUNDS, 1
        order = np.random.default_rng(SEED).permutation(count)
        held, rest = order[: _held(count)], order[_held(count) :]
        index.train(rows_of(parts, np.sort(rest[: ROWS_A_CENTRE * lists])))
        made = cls(index, fitted=count)
        for part in parts:
            made.add(part)
        made.settle(parts, held)
        return made

    @classmethod
    def read(cls, path: Path, facts: dict[str, Any], *, to_grow: bool = False) -> Lists:
        """Memory-mapped, or whole where rows will be added; ``facts`` as :meth:`facts` gave them.

        Raises:
            PluginError: faiss is not installed. DataError: damaged.
        """
        faiss = _library()
        try:
            index = faiss.read_index(os.fspath(path), 0 if to_grow else faiss.IO_FLAG_MMAP)
            return cls(index, int(facts["probes"]), float(facts["recall"]), int(facts["fitted"]))
        except (RuntimeError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path} is damaged: {error}", hint="build the index again") from error

    def facts(self) -> dict[str, Any]:
        """What :meth:`read` needs beside the file."""
        return {"lists": self.count, "probes": self.probes, "recall": self.recall, "fitted": self.fitted}

    def save(self, path: Path) -> None:
        _library().write_index(self._index, os.fspath(path))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def count(self) -> int:
        """Number of lists."""
        return int(self._index.nlist)

    def add(self, vectors: np.ndarray) -> None:
        """Rows behind those there are, unit vectors (n, D)."""
        for first in range(0, len(vectors), BLOCK):
            self._index.add(np.ascontiguousarray(vectors[first : first + BLOCK], np.float32))

    def settle(self, parts: Sequence[np.ndarray], held: np.ndarray | None = None) -> None:
        """Choose the number of lists that a query looks into: the fewest (1, 2, 4, ...) with which rows find their
        neighbours."""
        if held is None:
            held = np.random.default_rng(len(self)).permutation(len(self))[: _held(len(self))]
        queries, k = rows_of(parts, held), min(NEIGHBOURS + 1, len(self))  # every row finds itself, too
        _, true = exact(parts, queries, k)
        self.probes = 1
        while True:
            _, similar = self.search(parts, queries, k)
            self.recall = float(np.mean(similar[:, 1:] >= true[:, -1:] - 1e-6)) if k > 1 else 1.0
            if self.recall >= WANTED or self.probes >= self.count:
                return
            self.probes = min(2 * self.probes, self.count)

    def search(
        self, parts: Sequence[np.ndarray], queries: np.ndarray, k: int, allowed: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """As :func:`repcore.explore.nearest.exact`; nearly always the same rows."""
        queries = np.ascontiguousarray(queries, np.float32)
        k = min(k, len(self) if allowed is None else int(allowed.sum()))
        once = max(1, BLOCK // _wanted(k))
        found = [self._some(parts, queries[row : row + once], k, allowed) for row in range(0, len(queries), once)]
        places, similar = (np.concatenate(one) for one in zip(*found, strict=True))
        return places, similar

    def _some(
        self, parts: Sequence[np.ndarray], queries: np.ndarray, k: int, allowed: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        # where few rows are allowed, the nearest of them lie further away
        scarce = 1.0 if allowed is None else len(allowed) / max(1, int(allowed.sum()))
        probes = min(self.count, int(np.ceil(self.probes * scarce)))
        while True:
            keys = self._candidates(queries, k, probes, allowed)
            if (keys >= 0).sum(1).min(initial=k) >= k or probes >= self.count:
                break
            probes = min(4 * probes, self.count)
        candidates = rows_of(parts, np.maximum(keys, 0).reshape(-1)).reshape(*keys.shape, -1)
        similar = np.einsum("qcd,qd->qc", candidates, queries)
        similar[keys < 0] = -np.inf
        return best(keys, similar, k)

    def _candidates(self, queries: np.ndarray, k: int, probes: int, allowed: np.ndarray | None) -> np.ndarray:
        faiss = _library()
        chosen: dict[str, Any] = {"nprobe": probes}
        bits = None if allowed is None else np.packbits(allowed, bitorder="little")  # must outlive the search
        if bits is not None:
            chosen["sel"] = faiss.IDSelectorBitmap(bits)
        parameters = faiss.SearchParametersIVF(**chosen)
        _, keys = self._index.search(queries, min(len(self), _wanted(k)), params=parameters)
        return np.asarray(keys, np.int64)


def _wanted(k: int) -> int:
    return max(FEWEST, CANDIDATES * k)


def _held(count: int) -> int:
    return max(1, min(HELD_OUT, count // 4))
