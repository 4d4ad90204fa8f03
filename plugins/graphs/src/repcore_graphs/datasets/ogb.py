"""Open Graph Benchmark graph data sets in their raw CSV form (``raw/*.csv.gz``, ``split/NAME/*.csv.gz``), read in
place.

Integer feature columns are labels (codes of atoms and bonds), others attributes. Nothing is written; ``ogb`` is not
needed.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from repcore.data.accounting import Accounting
from repcore.data.encodings import open_bytes
from repcore.data.tables import file_fingerprint
from repcore.errors import DataError
from repcore.interfaces import Sample
from repcore.specs import TargetSpec
from repcore_graphs.configs.data import OGBConfig
from repcore_graphs.datasets.graph_targets import GraphTargets, read_targets
from repcore_graphs.datasets.raw_graph import RawGraph, add_reverse, check_graph
from repcore_graphs.layers.categorical import OGB_ATOM_VOCABULARIES, OGB_BOND_VOCABULARIES

FILES = ("edge", "num-node-list", "num-edge-list", "node-feat", "edge-feat", "graph-label")
SPLIT_NAMES = {"train": "train", "valid": "validation", "test": "test"}


def sniff(path: Path) -> float:
    """1.0 if the raw lists of an OGB graph data set are there."""
    raw = _raw_folder(path)
    return 1.0 if raw is not None else 0.0


def _raw_folder(path: Path) -> Path | None:
    for folder in (path / "raw", path):
        if _file(folder, "num-node-list") and _file(folder, "edge"):
            return folder
    return None


def _file(folder: Path, name: str) -> Path | None:
    for suffix in (".csv.gz", ".csv"):
        if (folder / f"{name}{suffix}").is_file():
            return folder / f"{name}{suffix}"
    return None


class OGBDataset:
    """Reader of one OGB data set folder.

    Args:
        config: path and split.

    Raises:
        DataError: files are missing or do not fit each other.
    """

    def __init__(self, config: OGBConfig) -> None:
        self.config, self.path = config, Path(config.path).expanduser()
        folder = _raw_folder(self.path)
        if folder is None:
            raise DataError(
                f"{self.path} is not an OGB data set", expected="raw/edge.csv.gz and raw/num-node-list.csv.gz"
            )
        self.folder = folder
        self.node_counts = self._read("num-node-list", np.int64)[:, 0]
        self.account = Accounting(root=self.path)
        self.account.use(*(file for name in FILES if (file := _file(folder, name)) is not None))
        self._targets = self._graph_labels()

    @cached_property
    def fingerprint(self) -> str:
        digest = hashlib.sha256(f"{self.config.split} {self.config.add_reverse}".encode())
        for name in FILES:
            file = _file(self.folder, name)
            if file is not None:
                digest.update(f"{name}:{file_fingerprint(file)};".encode())
        return digest.hexdigest()

    @property
    def targets(self) -> Sequence[TargetSpec]:
        """``label``: classes, yes/no labels (several columns, or one of 0 and 1 with gaps), or values."""
        return self._targets.specs

    @cached_property
    def splits(self) -> Mapping[str, Sequence[int]]:
        """The official split."""
        root = self.path / "split"
        found = sorted(folder.name for folder in root.iterdir() if folder.is_dir()) if root.is_dir() else []
        if not found:
            return {}
        name = self.config.split or (found[0] if len(found) == 1 else "")
        if name not in found:
            raise DataError(f"dataset.split={self.config.split!r}: which of several splits?", found=", ".join(found))
        split = {}
        for theirs, ours in SPLIT_NAMES.items():
            file = _file(root / name, theirs)
            if file is not None:
                split[ours] = _table(file, np.int64)[:, 0].tolist()
        return split

    @property
    def vocabularies(self) -> Mapping[str, list[list[int]]]:
        """The official code ranges of atoms and bonds, if the columns are those."""
        found = {}
        for kind, sizes in (("node", OGB_ATOM_VOCABULARIES), ("edge", OGB_BOND_VOCABULARIES)):
            values = self._all[f"{kind}-feat"]
            if values is not None and values.dtype.kind == "i" and values.shape[1] == len(sizes):
                found[kind] = [list(range(size)) for size in sizes]
        return found

    @property
    def costs(self) -> np.ndarray:
        """Nodes of each graph."""
        return self.node_counts

    def __len__(self) -> int:
        return len(self.node_counts)

    def id_of(self, index: int) -> str:
        """Row number as text."""
        return str(index)

    def by_id(self, sample_id: str) -> Sample:
        if not sample_id.isdigit() or int(sample_id) >= len(self):
            raise DataError(f"no graph {sample_id!r}", expected=f"0 .. {len(self) - 1}")
        return self[int(sample_id)]

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        nodes = slice(*self._starts["node"][index : index + 2])
        arcs = slice(*self._starts["edge"][index : index + 2])
        edges = self._all["edge"]
        assert edges is not None
        graph = RawGraph(
            num_nodes=int(self.node_counts[index]),
            edge_index=edges[arcs].T.reshape(2, -1),
            **_features("node", self._all["node-feat"], nodes),
            **_features("edge", self._all["edge-feat"], arcs),
        )
        check_graph(graph)
        if self.config.add_reverse:
            graph = add_reverse(graph)
        targets = self._targets.of(index)
        meta = {"nodes": graph.num_nodes, "edges": graph.edge_index.shape[1]}
        return Sample(id=self.id_of(index), inputs=graph, targets=targets, meta=meta)

    def _read(self, name: str, dtype: type | None) -> np.ndarray:
        file = _file(self.folder, name)
        if file is None:
            raise DataError(f"{self.folder} lacks {name}.csv.gz")
        return _table(file, dtype)

    def _graph_labels(self) -> GraphTargets:
        """Classes, yes/no labels (several columns, or one of 0 and 1 with gaps), or values."""
        if _file(self.folder, "graph-label") is None:
            return GraphTargets()
        labels = self._read("graph-label", np.float64)
        if len(labels) != len(self.node_counts):
            raise DataError(f"graph-label has {len(labels)} rows for {len(self.node_counts)} graphs")
        names = tuple(f"task-{number}" for number in range(labels.shape[1]))
        known = labels[~np.isnan(labels)]
        if self.config.label_kind == "auto" and np.isin(known, (0, 1)).all():
            self.account.guess("label 'label'", f"{len(names)} yes/no tasks", "every value is 0, 1 or missing")
            return GraphTargets((TargetSpec("label", "multilabel", names=names),), {"label": labels})
        whole = bool((known == known.round()).all())
        return read_targets("label", labels, self.account, kind=self.config.label_kind, codes=whole, tasks=names)

    @cached_property
    def _starts(self) -> dict[str, np.ndarray]:
        counts = {"node": self.node_counts, "edge": self._read("num-edge-list", np.int64)[:, 0]}
        return {kind: np.concatenate([[0], np.cumsum(values)]) for kind, values in counts.items()}

    @cached_property
    def _all(self) -> dict[str, np.ndarray | None]:
        found: dict[str, np.ndarray | None] = {"edge": self._read("edge", np.int64)}
        for name in ("node-feat", "edge-feat"):
            found[name] = None if _file(self.folder, name) is None else self._read(name, None)
        for name, kind in (("edge", "edge"), ("node-feat", "node"), ("edge-feat", "edge")):
            values = found[name]
            if values is not None and len(values) != self._starts[kind][-1]:
                raise DataError(
                    f"{name} has {len(values)} rows; the lists of counts stand for {self._starts[kind][-1]}"
                )
        return found


def _features(kind: str, values: np.ndarray | None, rows: slice) -> dict[str, Any]:  # keyword arguments of RawGraph
    if values is None:
        return {}
    if values.dtype.kind == "i":
        return {f"{kind}_labels": values[rows]}
    return {f"{kind}_attributes": values[rows].astype(np.float32)}


def _table(path: Path, dtype: type | None) -> np.ndarray:
    """Numbers of a CSV file without a header, (rows, columns); without a dtype whole numbers stay whole."""
    try:
        with io.TextIOWrapper(open_bytes(path), encoding="utf-8") as file:
            values = np.genfromtxt(file, delimiter=",", dtype=np.float64, ndmin=2)
    except (OSError, EOFError, ValueError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read; is it truncated?", reason=error) from error
    is_whole = bool(np.isfinite(values).all() and (values == values.round()).all())
    if dtype is np.int64 and not is_whole:
        raise DataError(f"{path} holds something other than whole numbers")
    return values.astype(np.int64) if dtype is np.int64 or (dtype is None and is_whole) else values
