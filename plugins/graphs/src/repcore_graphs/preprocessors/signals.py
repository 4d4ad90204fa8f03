"""Columns of features as signals on a graph: each is read by itself, and which it is goes along as a number.

Nothing is learned from a data set, so that a model reads columns that it never saw, as many as there are: attributes
keep their place, a label is a column of its own whose number is its code (of a word, a checksum of it), and columns of
edges become the mean over the edges at a node. Values are taken as inverse hyperbolic sines, which keep their sign and
are logarithms of large ones, beside standardised ones of the graph, averages over neighbours of these, and mean and
deviation over the graph.

Symbols: N nodes, A stored columns of edges, C columns.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from repcore_graphs.datasets.raw_graph import RawGraph
from repcore_graphs.ops.structure import NodeStructure
from repcore_graphs.preprocessors.features import Label

MOST_COLUMNS = 64  # of a kind; further ones are added to these with alternating signs
LABEL_STEP = 13  # from the codes of one column of labels to those of the next
WIDTH = 8  # numbers that describe a signal at a node
CUT_OFF = 5.0  # deviations
CONSTANT = 1e-6  # deviation of a column that is the same everywhere


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns of nodes.

    Args:
        values: float64 (N, C), inverse hyperbolic sines.
        numbers: int64 (C,), which column each is.
    """

    values: np.ndarray
    numbers: np.ndarray

    def standardised(self) -> np.ndarray:
        """(N, C) with mean 0 and deviation 1 over the graph, cut off; 0 where a column does not vary."""
        deviation = self.values.std(0)
        varies = deviation > CONSTANT
        scaled = (self.values - self.values.mean(0)) / np.where(varies, deviation, 1.0)
        return np.clip(scaled, -CUT_OFF, CUT_OFF) * varies

    def signals(self, structure: NodeStructure) -> np.ndarray:
        """What the encoder reads of each column at each node, float32 (N, C, WIDTH)."""
        own = self.standardised()
        near = structure.walk @ own
        further = structure.walk @ near
        whole = [np.broadcast_to(one, own.shape) for one in (self.values.mean(0), self.values.std(0))]
        parts = [self.values, own, near, further, structure.walk @ further, own * near, *whole]
        return np.stack(parts, 2).astype(np.float32)


def node_columns(graph: RawGraph) -> Columns:
    """Columns of the nodes' own features; none where a graph has none."""
    return _columns(graph.node_attributes, graph.node_labels, graph.num_nodes)


def edge_columns(graph: RawGraph) -> Columns:
    """Columns of edges, each the mean over the edges at a node, in and out; 0 at an isolated node."""
    found = _columns(graph.edge_attributes, graph.edge_labels, graph.edge_index.shape[1])
    ends, both = graph.edge_index.reshape(-1), np.concatenate([found.values, found.values])
    total = np.zeros((graph.num_nodes, len(found.numbers)))
    for column in range(len(found.numbers)):
        total[:, column] = np.bincount(ends, both[:, column], graph.num_nodes)
    count = np.bincount(ends, minlength=graph.num_nodes)
    return Columns(total / np.maximum(count, 1)[:, None], found.numbers)


def _columns(attributes: np.ndarray | None, labels: np.ndarray | None, count: int) -> Columns:
    parts, numbers, first = [np.zeros((count, 0))], [np.zeros(0, np.int64)], 0
    if attributes is not None and attributes.shape[1]:
        parts.append(_folded(np.arcsinh(attributes.astype(np.float64))))
        numbers.append(np.arange(parts[-1].shape[1]))
        first = parts[-1].shape[1]
    for place in range(0 if labels is None else labels.shape[1]):
        assert labels is not None
        distinct, inverse = np.unique(labels[:, place], return_inverse=True)
        codes = [(_code(one) + LABEL_STEP * place) % MOST_COLUMNS for one in distinct.tolist()]
        known, column = np.unique(np.asarray(codes, np.int64), return_inverse=True)
        values = column.reshape(-1)[inverse.reshape(-1)][:, None] == np.arange(len(known))
        parts.append(np.arcsinh(values.astype(np.float64)))
        numbers.append(first + known)
    return Columns(np.concatenate(parts, 1), np.concatenate(numbers))


def _folded(values: np.ndarray) -> np.ndarray:
    """At most so many columns: (N, C) -> (N, min(C, MOST_COLUMNS))."""
    whole = np.zeros((values.shape[0], min(values.shape[1], MOST_COLUMNS)))
    for turn, start in enumerate(range(0, values.shape[1], MOST_COLUMNS)):
        part = values[:, start : start + MOST_COLUMNS]
        whole[:, : part.shape[1]] += part * (-1) ** turn
    return whole


def _code(label: Label) -> int:
    """A number as it is, also where it is written as a word; of another word its checksum."""
    text = str(label)
    return int(text) if text.removeprefix("-").isdecimal() else zlib.crc32(text.encode())
