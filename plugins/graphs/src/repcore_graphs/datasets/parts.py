"""One large graph as many rows: connected parts of about equal size, so that it can be trained on.

Parts grow along edges (breadth first, the first from a random node, each other one from where the last ended) until
every node is in one; edges between two parts are left out, and their share is said. A part is the induced subgraph, so
its structure is as stored. Labels and features of nodes and edges go along; the numbers that a part's nodes have in the
whole graph are in ``meta["node_numbers"]``, their names, where they have any, in ``meta["node_names"]``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy import sparse

from repcore.data.accounting import Accounting, account_of
from repcore.data.seeds import generator
from repcore.errors import DataError
from repcore.interfaces import DatasetReader, Sample
from repcore.specs import TargetSpec
from repcore_graphs.configs.data import EdgeListConfig, NetworkConfig, PartsConfig, PyGConfig
from repcore_graphs.datasets import edge_files, edge_list, networks, pyg, pyg_paths
from repcore_graphs.datasets.raw_graph import RawGraph

Opener = Callable[[PartsConfig], DatasetReader]
READERS: Mapping[str, tuple[Callable[[Path], float], Opener]] = {
    "edge-list": (
        edge_files.sniff,
        lambda config: edge_list.EdgeListDataset(EdgeListConfig(path=config.path, directed=config.directed)),
    ),
    "network": (
        networks.sniff,
        lambda config: networks.NetworkDataset(NetworkConfig(path=config.path, directed=config.directed)),
    ),
    "pyg": (pyg_paths.sniff, lambda config: pyg.PyGDataset(PyGConfig(path=config.path))),
}


class GraphParts:
    """Reader of one graph in parts.

    Args:
        config: path, and how many parts.

    Raises:
        DataError: no reader of single graphs fits, the data holds several graphs, or the graph is too small.
    """

    def __init__(self, config: PartsConfig) -> None:
        self.config = config
        path = Path(config.path).expanduser()
        scores = {name: sniff(path) for name, (sniff, _) in READERS.items()} if path.exists() else {}
        best = max(scores, key=lambda name: scores[name], default="")
        if not best or scores[best] <= 0.0:
            raise DataError(f"{config.path!r} is no graph that can be cut", expected=", ".join(READERS))
        self.whole = READERS[best][1](config)
        if len(self.whole) != 1:
            raise DataError(f"{config.path!r} holds {len(self.whole)} graphs; only one is cut", hint=f"--reader {best}")
        self._sample = self.whole[0]
        self.graph: RawGraph = self._sample.inputs
        nodes = self.graph.num_nodes
        self.count = config.parts or max(2, nodes // config.nodes)
        if not 2 <= self.count <= nodes:
            raise DataError(f"{nodes} nodes cannot be cut into {self.count} parts", field="dataset.parts")
        self.account = Accounting()
        self.account.add(account_of(self.whole))
        said = f"{nodes:,} nodes cut into {self.count} parts; {self._lost:.1%} of its edges run between two parts"
        self.account.note(f"{self._sample.id}: {said} and are left out")

    @cached_property
    def part_of(self) -> np.ndarray:
        """Part of every node, int64 (N,); each part has an equal share of them."""
        nodes, arcs = self.graph.num_nodes, self.graph.edge_index
        both = np.concatenate([arcs, arcs[::-1]], axis=1)
        table = sparse.csr_array((np.ones(both.shape[1], np.int8), (both[0], both[1])), shape=(nodes, nodes))
        order = generator(self.config.seed, "parts").permutation(nodes)
        return _grown(table.indptr, table.indices, order, self.count)

    @cached_property
    def _lost(self) -> float:
        ends = self.part_of[self.graph.edge_index]
        return float((ends[0] != ends[1]).mean()) if ends.shape[1] else 0.0

    @cached_property
    def _members(self) -> list[np.ndarray]:
        order = np.argsort(self.part_of, kind="stable")
        return np.split(order, np.searchsorted(self.part_of[order], np.arange(1, self.count)))

    @property
    def fingerprint(self) -> str:
        return f"{self.whole.fingerprint}-{self.count}-{self.config.seed}"

    @property
    def targets(self) -> Sequence[TargetSpec]:
        """Labels of nodes and edges; those of the whole graph are no labels of its parts."""
        return [one for one in self.whole.targets if one.level != "item"]

    @property
    def splits(self) -> Mapping[str, Sequence[int]]:
        return {}

    @property
    def costs(self) -> np.ndarray:
        """Nodes of each part."""
        return np.array([len(one) for one in self._members])

    def __len__(self) -> int:
        return self.count

    def id_of(self, index: int) -> str:
        """``part-0`` and so on, behind the graph's own id."""
        return f"{self._sample.id}:part-{index}"

    def by_id(self, sample_id: str) -> Sample:
        number = sample_id.rpartition(":part-")[2]
        if not number.isdecimal() or int(number) >= len(self) or self.id_of(int(number)) != sample_id:
            raise DataError(f"no part {sample_id!r}", expected=f"{self.id_of(0)} .. {self.id_of(len(self) - 1)}")
        return self[int(number)]

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        members = self._members[index]
        graph = induced(self.graph, members)
        meta = {"nodes": graph.num_nodes, "edges": graph.edge_index.shape[1], "node_numbers": members}
        names = self._sample.meta.get("node_names")
        if names is not None:
            meta["node_names"] = tuple(names[node] for node in members)
        return Sample(id=self.id_of(index), inputs=graph, targets=graph.element_targets, meta=meta)


def _grown(starts: np.ndarray, neighbours: np.ndarray, order: np.ndarray, count: int) -> np.ndarray:
    """Part of every node of a graph in compressed rows."""
    nodes = len(order)
    part = np.full(nodes, -1, np.int64)
    place = 0
    frontier: list[int] = []
    for number in range(count):
        room = (number + 1) * nodes // count - number * nodes // count
        # a new part begins where the last one ended, so that what is left over stays connected where it can
        queue = next(([node] for node in frontier if part[node] < 0), [])
        head = 0
        while room:
            if head == len(queue):
                while part[order[place]] >= 0:
                    place += 1
                queue.append(int(order[place]))
            node = queue[head]
            head += 1
            if part[node] >= 0:
                continue
            part[node], room = number, room - 1
            fresh = neighbours[starts[node] : starts[node + 1]]
            queue.extend(fresh[part[fresh] < 0].tolist())
        frontier = queue[head:]
    return part


def induced(graph: RawGraph, nodes: np.ndarray) -> RawGraph:
    """The subgraph of some nodes: they keep their order, and every edge between two of them."""
    place = np.full(graph.num_nodes, -1, np.int64)
    place[nodes] = np.arange(len(nodes))
    ends = place[graph.edge_index]
    kept = (ends >= 0).all(axis=0)

    return replace(
        graph.with_arcs(kept),
        num_nodes=len(nodes),
        edge_index=np.ascontiguousarray(ends[:, kept]),
        node_attributes=None if graph.node_attributes is None else graph.node_attributes[nodes],
        node_labels=None if graph.node_labels is None else graph.node_labels[nodes],
        node_targets={name: values[nodes] for name, values in graph.node_targets.items()},
    )
