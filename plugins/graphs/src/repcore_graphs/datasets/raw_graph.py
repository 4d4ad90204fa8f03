"""One stored graph before any preprocessing, and the checks every reader applies to it.

Symbols: N nodes, A arcs (columns of edges), E edges as stored, A where directions were not added.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from repcore.errors import ItemError


@dataclass(frozen=True, slots=True)
class RawGraph:
    """What is in ``Sample.inputs``.

    Args:
        num_nodes: N.
        edge_index: int64 (2, A).
        node_attributes / edge_attributes: float32 (N, a) and (A, b), or None.
        node_labels / edge_labels: int64 or text (N, c) and (A, d), or None.
        node_targets / edge_targets: name -> (N,) or (E,) class numbers or values, NaN = missing; ``Sample.targets``
            has them, too.
        edge_of: int64 (A,), the stored edge behind each arc, where a reader added opposite directions; None = each
            arc is one.
        columns: names of the columns of ``node_attributes``, ``node_labels``, ``edge_attributes`` and ``edge_labels``,
            of those whose format names them: a model finds its features by name.
    """

    num_nodes: int
    edge_index: np.ndarray
    node_attributes: np.ndarray | None = None
    node_labels: np.ndarray | None = None
    edge_attributes: np.ndarray | None = None
    edge_labels: np.ndarray | None = None
    node_targets: Mapping[str, np.ndarray] = field(default_factory=dict)
    edge_targets: Mapping[str, np.ndarray] = field(default_factory=dict)
    edge_of: np.ndarray | None = None
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def element_targets(self) -> dict[str, np.ndarray]:
        """Labels of nodes and edges, for ``Sample.targets``."""
        return {**self.node_targets, **self.edge_targets}

    @property
    def first_arcs(self) -> np.ndarray:
        """The arc of each stored edge that stands as stored, int64 (E,)."""
        if self.edge_of is None:
            return np.arange(self.edge_index.shape[1])
        return np.unique(self.edge_of, return_index=True)[1]

    def of_arcs(self, values: np.ndarray) -> np.ndarray:
        """Values of stored edges (E, ...) at every arc (A, ...)."""
        return values if self.edge_of is None else values[self.edge_of]

    def with_arcs(self, kept: np.ndarray) -> RawGraph:
        """The graph with some of its arcs, bool (A,), and the stored edges that have one among them."""
        edges, edge_of = (kept, None) if self.edge_of is None else np.unique(self.edge_of[kept], return_inverse=True)
        return replace(
            self,
            edge_index=np.ascontiguousarray(self.edge_index[:, kept]),
            edge_attributes=None if self.edge_attributes is None else self.edge_attributes[kept],
            edge_labels=None if self.edge_labels is None else self.edge_labels[kept],
            edge_targets={name: values[edges] for name, values in self.edge_targets.items()},
            edge_of=edge_of,
        )


def check_graph(graph: RawGraph) -> None:
    """Refuse what no encoder can use.

    Raises:
        ItemError: ``no_nodes``, ``dangling_edge``, ``length_mismatch`` or ``not_finite``; the sentence names the place.
    """
    if graph.num_nodes < 1:
        raise ItemError("no_nodes", "the graph has no node")
    num_arcs = graph.edge_index.shape[1]
    wrong = ((graph.edge_index < 0) | (graph.edge_index >= graph.num_nodes)).any(axis=0)
    if wrong.any():
        place = int(np.argmax(wrong))
        source, target = (int(end) for end in graph.edge_index[:, place])
        raise ItemError(
            "dangling_edge",
            f"edge {place} joins nodes {source} and {target}, but there are {graph.num_nodes} nodes"
            f" ({int(wrong.sum())} such edges)",
        )
    for name, values, length in (
        ("node attributes", graph.node_attributes, graph.num_nodes),
        ("node labels", graph.node_labels, graph.num_nodes),
        ("edge attributes", graph.edge_attributes, num_arcs),
        ("edge labels", graph.edge_labels, num_arcs),
    ):
        if values is None:
            continue
        if len(values) != length:
            raise ItemError("length_mismatch", f"{len(values)} rows of {name} for {length} of them")
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            row = int(np.argmax(~np.isfinite(values).all(axis=1)))
            raise ItemError("not_finite", f"{name} of row {row} are not finite: {values[row].tolist()[:8]}")


def add_reverse(graph: RawGraph) -> RawGraph:
    """The same graph with the missing opposite direction of every edge, each right after the stored one."""
    source, target = graph.edge_index
    keys, opposite = source * graph.num_nodes + target, target * graph.num_nodes + source
    missing = (source != target) & ~np.isin(opposite, keys)
    repeats = np.where(missing, 2, 1)
    arcs = np.repeat(np.arange(source.size), repeats)
    is_reverse = np.concatenate([[False], arcs[1:] == arcs[:-1]]) if arcs.size else np.zeros(0, bool)
    doubled = np.stack(
        [np.where(is_reverse, target[arcs], source[arcs]), np.where(is_reverse, source[arcs], target[arcs])]
    )
    return replace(
        graph,
        edge_index=doubled.astype(np.int64),
        edge_attributes=None if graph.edge_attributes is None else graph.edge_attributes[arcs],
        edge_labels=None if graph.edge_labels is None else graph.edge_labels[arcs],
        edge_of=arcs if graph.edge_of is None else graph.edge_of[arcs],
    )


ONE_GRAPH = "one graph: to train on it, cut it into parts (--reader parts, dataset.parts=N)"
