"""What an objective makes of edges: the graph as it is beside the graph as restored, and a table of the guesses.

Symbols: N nodes, E edges, C classes or features of an edge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from repcore.interfaces import Picture
from repcore_graphs.datasets.raw_graph import RawGraph
from repcore_graphs.rendering.graphs import Mark, draw_graph, edge_key
from repcore_graphs.rendering.tables import (
    MOST_ROWS,
    box,
    cell,
    feature_cell,
    guess_cells,
    guess_heads,
    note,
    side_by_side,
    table,
)

if TYPE_CHECKING:
    from torch import Tensor

    from repcore_graphs.layers.targets import FeatureTarget
    from repcore_graphs.tensors import GraphTensors

WORST = 8  # continuous features that are listed


@dataclass(frozen=True, slots=True)
class RestoredEdges:
    """True and predicted features of every edge of one graph.

    Args:
        true / guess: int64 (E,) types, or float (E, C) continuous features.
        error: (E,), cross-entropy (nats) or mean squared error, as in the loss.
        chances: (E, C) probability of each type; None for continuous features.
    """

    true: np.ndarray
    guess: np.ndarray
    error: np.ndarray
    chances: np.ndarray | None

    @property
    def is_right(self) -> np.ndarray | None:
        """bool (E,); None where nothing can be exactly right."""
        return None if self.chances is None else self.true == self.guess

    def worst(self) -> np.ndarray:
        """bool (E,): the wrong types, or the continuous features of largest error."""
        if self.is_right is not None:
            return ~self.is_right
        chosen = np.zeros(len(self.error), bool)
        chosen[np.argsort(-self.error, kind="stable")[:WORST]] = True
        return chosen


def edges_restored(raw: GraphTensors, outputs: Tensor, target: FeatureTarget) -> RestoredEdges:
    """What a decoder's ``outputs`` (E, C) say of the edges of one graph."""
    labels = target.of(raw.edge_features())
    error = target.loss(outputs, labels).cpu().numpy()
    if not target.is_class:
        return RestoredEdges(labels.cpu().numpy(), outputs.cpu().numpy(), error, None)
    guess, chances = outputs.argmax(1), outputs.float().softmax(1)
    return RestoredEdges(labels.cpu().numpy(), guess.cpu().numpy(), error, chances.cpu().numpy())


def edges_picture(
    raw: GraphTensors,
    restored: RestoredEdges,
    asked: np.ndarray,
    what: str,
    *,
    numbered: np.ndarray | None = None,
    remark: str = "",
) -> Picture:
    """Both graphs side by side and a table of the numbered edges.

    Args:
        raw: one graph.
        restored: its edges.
        asked: bool (E,), edges that the loss reads.
        what: their name, such as "hidden edges".
        numbered: bool (E,), edges that are numbered and listed; None = all that are asked.
        remark: end of the picture's words.
    """
    ends = raw.ends.cpu().numpy()
    places = np.flatnonzero(asked if numbered is None else numbered)
    numbers = _numbers(ends, places[:MOST_ROWS])
    words = _words(restored, asked, what)
    html = _panels(raw, ends, restored, asked, numbers)
    if numbered is not None:
        html += note("Only the edges restored worst are numbered.")
    if numbers:
        html += _table(ends, restored, places[:MOST_ROWS], numbers)
    if len(places) > MOST_ROWS:
        html += note(f"and {len(places) - MOST_ROWS} more, without numbers")
    return Picture(box(html), words + remark)


def _words(restored: RestoredEdges, asked: np.ndarray, what: str) -> str:
    count = int(asked.sum())
    if restored.is_right is not None:
        others = "" if asked.all() else f"; {len(asked)} edges in all"
        return f"{int(restored.is_right[asked].sum())} of {count} {what} guessed right{others}"
    if not count:
        return f"no {what}"
    spread = restored.true.var(axis=0).mean()
    return f"{count} {what}, mean squared error {restored.error[asked].mean():.3g} where features vary by {spread:.3g}"


def node_pair(ends: np.ndarray, edge: int) -> tuple[int, int]:
    """End points of an edge, the smaller number first."""
    return int(ends[:, edge].min()), int(ends[:, edge].max())


def _numbers(ends: np.ndarray, places: np.ndarray) -> dict[tuple[int, int], int]:
    """One number a pair of nodes, from 1: both directions of an edge share it."""
    numbers: dict[tuple[int, int], int] = {}
    for edge in places:
        numbers.setdefault(node_pair(ends, edge), len(numbers) + 1)
    return numbers


def _panels(
    raw: GraphTensors,
    ends: np.ndarray,
    restored: RestoredEdges,
    asked: np.ndarray,
    numbers: dict[tuple[int, int], int],
) -> str:
    """The graph as it is, beside it (for edges of types) the graph as restored, and what the lines mean."""
    plain = {pair: Mark(number) for pair, number in numbers.items()}
    nodes = types_of(raw.nodes)
    if restored.is_right is None:
        graph = RawGraph(raw.num_nodes, ends, node_labels=nodes)
        return side_by_side([("as it is", draw_graph(graph, marks=plain).html)])
    wrong = {node_pair(ends, int(edge)) for edge in np.flatnonzero(asked & ~restored.is_right)}
    judged = {pair: Mark(number, pair not in wrong) for pair, number in numbers.items()}
    filled = np.where(asked, restored.guess, restored.true)
    panels = []
    for name, kinds, marks in (("as it is", restored.true, plain), ("as the model restores it", filled, judged)):
        graph = RawGraph(raw.num_nodes, ends, node_labels=nodes, edge_labels=kinds[:, None])
        panels.append((name, draw_graph(graph, title=name, marks=marks).html))
    keys = " &ensp; ".join(f"{edge_key(kind)} type {kind}" for kind in sorted({*restored.true, *filled}))
    notes = ["node colours: node types"] * (nodes is not None) + ["circle: right, square: wrong"] * bool(numbers)
    return side_by_side(panels) + note(f"{keys}<br>{'; '.join(notes)}")


def types_of(features: Tensor) -> np.ndarray | None:
    """Types (S, 1) of nodes or edges from codes (the first column) or one-hot rows; None for other features."""
    values = features.cpu().numpy()
    if values.dtype.kind == "i":
        return values[:, :1]
    is_one_hot = np.isin(values, (0.0, 1.0)).all() and (values.sum(axis=1) == 1).all()
    return values.argmax(axis=1)[:, None] if is_one_hot else None


def _table(ends: np.ndarray, restored: RestoredEdges, places: np.ndarray, numbers: dict[tuple[int, int], int]) -> str:
    heads = ["true features", "restored", "squared error"]
    if restored.chances is not None:
        heads = guess_heads(restored.chances.shape[1])
    rows = []
    for edge in places:
        start, end = ends[:, edge]
        first = [cell(str(numbers[node_pair(ends, edge)])), cell(f"{start}&ndash;{end}")]
        if restored.chances is not None:
            rows.append(first + guess_cells(int(restored.true[edge]), restored.chances[edge], are_chances=True))
        else:
            features = [feature_cell(restored.true[edge]), feature_cell(restored.guess[edge])]
            rows.append([*first, *features, cell(f"{restored.error[edge]:.3g}")])
    return table(["", "nodes", *heads], rows)
