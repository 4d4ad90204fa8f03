"""What masked-node restores: the graph with its hidden nodes as they are and as restored, and a table of the guesses.

Symbols: N nodes, C features of a node.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from repcore.interfaces import Picture
from repcore_graphs.datasets.raw_graph import RawGraph
from repcore_graphs.rendering.edges import types_of
from repcore_graphs.rendering.graphs import Mark, draw_graph, node_key
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

    from repcore_graphs.tensors import GraphTensors


NOTHING = -1
KEY = "Ring: hidden; number in a circle: right, in a square: wrong. Scores are cosines of the restored row with a type."


@dataclass(frozen=True, slots=True)
class RestoredNodes:
    """True and restored features of every node of one graph.

    Args:
        true / restored: float (N, C); restored ones have no scale of their own.
        cosines: (N,), as the loss judges them.
        kinds: int64 (N,) types where the features are one-hot rows, else None.
    """

    true: np.ndarray
    restored: np.ndarray
    cosines: np.ndarray
    kinds: np.ndarray | None

    @property
    def shares(self) -> np.ndarray:
        """(N, C) cosine of each restored row with each type: the largest is the guess."""
        return self.restored / np.maximum(np.linalg.norm(self.restored, axis=1, keepdims=True), 1e-8)

    @property
    def guess(self) -> np.ndarray:
        """int64 (N,) types; -1 where the restored row is zero, since nothing visible is near."""
        return np.where(self.restored.any(axis=1), self.shares.argmax(axis=1), NOTHING)


def nodes_picture(
    raw: GraphTensors, original: Tensor, restored: Tensor, *, similarity: Tensor, hidden: Tensor, remark: str = ""
) -> Picture:
    """Both graphs side by side (one, where nodes have no types) and a table of the hidden nodes.

    Args:
        raw: one graph.
        original / restored: (N, C) features.
        similarity: (N,) cosines of the two.
        hidden: bool (N,).
        remark: end of the picture's words.
    """
    kinds = types_of(original)
    true, vectors = original.float().cpu().numpy(), restored.float().cpu().numpy()
    nodes = RestoredNodes(true, vectors, similarity.cpu().numpy(), None if kinds is None else kinds[:, 0])
    is_hidden = hidden.cpu().numpy()
    listed = np.flatnonzero(is_hidden)[:MOST_ROWS]
    html = _panels(raw, nodes, is_hidden, listed) + _table(nodes, listed)
    if is_hidden.sum() > MOST_ROWS:
        html += note(f"and {is_hidden.sum() - MOST_ROWS} more, without numbers")
    words = f"{is_hidden.sum()} of {len(is_hidden)} nodes hidden"
    if nodes.kinds is not None:
        words += f", {(nodes.guess == nodes.kinds)[is_hidden].sum()} guessed right"
    return Picture(box(html), f"{words}; mean cosine {nodes.cosines[is_hidden].mean():.2f}{remark}")


def _panels(raw: GraphTensors, nodes: RestoredNodes, hidden: np.ndarray, listed: np.ndarray) -> str:
    ends = raw.ends.cpu().numpy()
    plain = {int(node): Mark(number) for number, node in enumerate(listed, 1)}
    if nodes.kinds is None:
        return side_by_side([("as it is", draw_graph(RawGraph(raw.num_nodes, ends), node_marks=plain).html)])
    right = nodes.guess == nodes.kinds
    judged = {int(node): Mark(number, bool(right[node])) for number, node in enumerate(listed, 1)}
    filled = np.where(hidden, nodes.guess, nodes.kinds)
    panels = []
    for name, kinds, marks in (("as it is", nodes.kinds, plain), ("as the model restores it", filled, judged)):
        graph = RawGraph(raw.num_nodes, ends, node_labels=kinds[:, None])
        panels.append((name, draw_graph(graph, title=name, node_marks=marks).html))
    keys = " &ensp; ".join(f"{node_key(kind)} type {kind}" for kind in sorted({*nodes.kinds, *filled} - {NOTHING}))
    if NOTHING in filled:
        keys += f" &ensp; {node_key(NOTHING)} nothing restored: all neighbours are hidden too"
    return side_by_side(panels) + note(f"{keys}<br>{KEY}")


def _table(nodes: RestoredNodes, listed: np.ndarray) -> str:
    is_typed = nodes.kinds is not None
    heads = guess_heads(nodes.true.shape[1]) if is_typed else ["true features", "restored, same length", "cosine"]
    rows = []
    for number, node in enumerate(listed, 1):
        row = [cell(str(number)), cell(str(node))]
        if nodes.kinds is not None:
            row += guess_cells(int(nodes.kinds[node]), nodes.shares[node], are_chances=False)
        else:
            scaled = nodes.shares[node] * np.linalg.norm(nodes.true[node])
            row += [feature_cell(nodes.true[node]), feature_cell(scaled), cell(f"{nodes.cosines[node]:.2f}")]
        rows.append(row)
    return table(["", "node", *heads], rows)
