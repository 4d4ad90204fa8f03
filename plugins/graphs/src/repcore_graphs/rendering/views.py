"""The two views that graph contrast compares, in one layout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from repcore.interfaces import Picture
from repcore_graphs.datasets.raw_graph import RawGraph
from repcore_graphs.rendering.edges import node_pair, types_of
from repcore_graphs.rendering.graphs import Mark, draw_graph
from repcore_graphs.rendering.tables import box, note, side_by_side

if TYPE_CHECKING:
    from repcore_graphs.tensors import GraphTensors

HIDING = ("hide_nodes", "hide_edges")
Changes = Mapping[str, np.ndarray]
"""Of one view: ``hide_nodes`` bool (N,), ``hide_edges`` and ``drop_edges`` bool (E,); empty = the graph itself."""


def views_picture(raw: GraphTensors, views: Mapping[str, Changes], similarity: float) -> Picture:
    """Each view beside the other.

    Args:
        raw: one graph.
        views: name -> what it changes.
        similarity: cosine of the views' projections, which the loss raises.
    """
    ends = raw.ends.cpu().numpy()
    whole = RawGraph(
        raw.num_nodes,
        ends,
        node_labels=types_of(raw.nodes),
        edge_labels=None if raw.edges is None else types_of(raw.edges),
    )
    panels = [(f"{name}: {_words(changes)}", _drawn(name, whole, changes)) for name, changes in views.items()]
    is_hidden = any(changes[name].any() for changes in views.values() for name in HIDING if name in changes)
    key = "The features of rings and of blue edges are hidden." if is_hidden else ""
    words = "; ".join(f"{name}: {_words(changes)}" for name, changes in views.items())
    return Picture(box(side_by_side(panels) + note(key)), f"{words}; cosine {similarity:.2f}")


def _words(changes: Changes) -> str:
    names = {"drop_edges": ("edge", "dropped"), "hide_nodes": ("node", "hidden"), "hide_edges": ("edge", "hidden")}
    said = []
    for name, (what, how) in names.items():
        count = int(changes[name].sum()) if name in changes else 0
        if count:
            said.append(f"{count} {what}{'s' * (count != 1)} {how}")
    return ", ".join(said) or "the graph itself"


def _drawn(name: str, whole: RawGraph, changes: Changes) -> str:
    """The view with the places that the whole graph has."""
    count = whole.edge_index.shape[1]
    kept = ~changes.get("drop_edges", np.zeros(count, bool))
    covered = kept & changes.get("hide_edges", np.zeros(count, bool))
    kinds = whole.edge_labels
    if kinds is not None:
        kinds = np.where(covered[:, None], 0, kinds)[kept]  # a plain line: the type cannot be seen
    view = RawGraph(whole.num_nodes, whole.edge_index[:, kept], node_labels=whole.node_labels, edge_labels=kinds)
    marks = {node_pair(whole.edge_index, int(edge)): Mark(None) for edge in np.flatnonzero(covered)}
    return draw_graph(view, title=name, marks=marks, hollow=changes.get("hide_nodes"), like=whole).html
