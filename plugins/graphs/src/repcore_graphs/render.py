"""Graphs as pictures: SVG from a small force layout, edges coloured by importance, width by importance, dashes by bond
type.

Symbols: N nodes, A stored arcs, E drawn edges (each undirected edge once).
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import numpy as np

from repcore.interfaces import Picture, Sample
from repcore_graphs.datasets.raw_graph import RawGraph

SIZE = 220
MARGIN = 14
MOST_NODES = 400  # a larger graph is a hairball; its size is stated instead
STEPS = 120
NODE_COLOURS = ("#4878a8", "#d08040", "#58a060", "#b05858", "#8868a8", "#80685a", "#c878a8", "#707070")
PALE, STRONG = np.array([205, 210, 216]), np.array([192, 28, 40])


def draw_sample(sample: Sample) -> Picture:
    """The picture that reports show; ``sample.meta["edge_importance"]`` (one value an arc) colours the edges."""
    graph = sample.inputs
    if not isinstance(graph, RawGraph):
        return Picture(f"<code>{escape(str(sample.id))}</code>", f"{sample.id}: not a graph")
    importance = sample.meta.get("edge_importance")
    return draw_graph(graph, title=sample.id, importance=None if importance is None else np.asarray(importance, float))


def draw_graph(graph: RawGraph, *, title: str = "", importance: np.ndarray | None = None) -> Picture:
    """One graph.

    Args:
        graph: what a reader gave.
        title: for the text alternative.
        importance: (A,) one value an arc, any scale; an edge shows the larger of its directions.
    """
    edges = _undirected(graph.edge_index, importance)
    words = f"{title}: {graph.num_nodes} nodes, {len(edges)} edges"
    if graph.num_nodes > MOST_NODES:
        return Picture(f"<p>{escape(words)} (too many to draw)</p>", words)
    places = layout(graph.num_nodes, np.array(sorted(edges), np.int64).reshape(-1, 2))
    values = np.array([value for _, value in sorted(edges.items())])
    shares = _shares(values) if importance is not None else None
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{SIZE}" height="{SIZE}" viewBox="0 0 {SIZE} {SIZE}">']
    parts.append(f"<title>{escape(words)}</title>")
    kinds = _edge_kinds(graph)
    for number, (start, end) in enumerate(sorted(edges)):
        parts.append(
            _line(places[start], places[end], None if shares is None else shares[number], kinds.get((start, end), 0))
        )
    colours = graph.node_labels[:, 0] if graph.node_labels is not None else np.zeros(graph.num_nodes, np.int64)
    radius = 5.0 if graph.num_nodes <= 40 else 3.0
    for node, (x, y) in enumerate(places):
        colour = NODE_COLOURS[int(colours[node]) % len(NODE_COLOURS)]
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}"/>')
    parts.append("</svg>")
    if importance is not None and len(values):
        words += f"; edge importance {values.min():.3g} (pale) to {values.max():.3g} (red)"
    return Picture("".join(parts), words)


def layout(num_nodes: int, edges: np.ndarray) -> np.ndarray:
    """Positions inside the picture by spring forces from a circle: the same graph always looks the same. (N, 2)."""
    angle = 2 * np.pi * np.arange(num_nodes) / max(num_nodes, 1)
    places = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    if num_nodes > 1:
        ideal = 1.6 / np.sqrt(num_nodes)
        for step in range(STEPS):
            between = places[:, None] - places[None]  # (N, N, 2)
            distance = np.sqrt((between**2).sum(-1) + 1e-9)
            force = (between / distance[..., None] ** 2 * ideal**2).sum(axis=1) - 0.05 * places
            if len(edges):
                pull = places[edges[:, 0]] - places[edges[:, 1]]
                pull = pull * np.linalg.norm(pull, axis=1, keepdims=True) / ideal
                np.add.at(force, edges[:, 0], -pull)
                np.add.at(force, edges[:, 1], pull)
            length = np.linalg.norm(force, axis=1, keepdims=True) + 1e-9
            places = places + force / length * np.minimum(length, 0.12 * (1 - step / STEPS))
    low, high = places.min(axis=0), places.max(axis=0)
    scale = (SIZE - 2 * MARGIN) / max(float((high - low).max()), 1e-9) if num_nodes > 1 else 0.0
    return (places - (low + high) / 2) * scale + SIZE / 2


def _undirected(edge_index: np.ndarray, importance: np.ndarray | None) -> dict[tuple[int, int], float]:
    """Each edge once with the larger importance of its directions."""
    found: dict[tuple[int, int], float] = {}
    for arc, (source, target) in enumerate(edge_index.T.tolist()):
        key = (min(source, target), max(source, target))
        value = 0.0 if importance is None else float(importance[arc])
        found[key] = max(found.get(key, value), value)
    return found


def _edge_kinds(graph: RawGraph) -> Mapping[tuple[int, int], int]:
    if graph.edge_labels is None:
        return {}
    kinds = graph.edge_labels[:, 0].tolist()
    return {(min(u, v), max(u, v)): kinds[arc] for arc, (u, v) in enumerate(graph.edge_index.T.tolist())}


def _shares(values: np.ndarray) -> np.ndarray:
    """Values scaled to [0, 1]; all 0.5 if they do not differ."""
    if not values.size or values.max() - values.min() < 1e-9:
        return np.full(values.shape, 0.5)
    return (values - values.min()) / (values.max() - values.min())


def _line(start: np.ndarray, end: np.ndarray, share: float | None, kind: int) -> str:
    colour = np.array([130, 136, 144]) if share is None else PALE + share * (STRONG - PALE)
    width = 1.6 if share is None else 1.0 + 3.0 * share
    dashes = ("", "6 2", "2 2", "8 2 2 2")[kind % 4]
    pattern = f' stroke-dasharray="{dashes}"' if dashes else ""
    red, green, blue = (round(float(part)) for part in colour)
    stroke = f'stroke="rgb({red},{green},{blue})" stroke-width="{width:.1f}"{pattern}'
    if np.array_equal(start, end):  # a self edge: a small ring above its node
        return f'<ellipse cx="{start[0]:.1f}" cy="{start[1] - 7:.1f}" rx="4" ry="6" fill="none" {stroke}/>'
    return f'<line x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}" {stroke}/>'
