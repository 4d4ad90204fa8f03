"""Graphs as pictures: SVG from a small force layout, edges coloured by importance, width by importance, dashes by bond
type, and numbered marks on what a task is about.

Symbols: N nodes, A stored arcs, E drawn edges (each undirected edge once).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from zlib import crc32

import numpy as np

from repcore.errors import ItemError
from repcore.interfaces import Picture, Sample
from repcore_graphs.datasets.raw_graph import RawGraph

SIZE = 220
MARGIN = 14
HEAD = f'<svg xmlns="http://www.w3.org/2000/svg" width="{SIZE}" height="{SIZE}" viewBox="0 0 {SIZE} {SIZE}">'
MOST_NODES = 400  # a larger graph is a hairball; its size is stated instead
STEPS = 120
NODE_COLOURS = ("#4878a8", "#d08040", "#58a060", "#b05858", "#8868a8", "#80685a", "#c878a8", "#707070")
PALE, STRONG = np.array([205, 210, 216]), np.array([192, 28, 40])
PLAIN = np.array([130, 136, 144])
DASHES = ("", "6 2", "2 2", "8 2 2 2")  # of edge types 0, 1, 2, 3, and again
ASKED, RIGHT, WRONG = "#1f5fa8", "#1a7f4b", "#b3261e"


@dataclass(frozen=True, slots=True)
class Mark:
    """A strong colour, and a number beside an edge or node: in a circle, or in a square if ``is_right`` is False.

    Args:
        number: None = the colour alone.
        is_right: None = nothing was judged.
    """

    number: int | None
    is_right: bool | None = None

    @property
    def colour(self) -> str:
        return ASKED if self.is_right is None else RIGHT if self.is_right else WRONG


def draw_sample(sample: Sample) -> Picture:
    """The picture that reports show; ``sample.meta["edge_importance"]`` (one value an arc) colours the edges."""
    graph = sample.inputs
    if not isinstance(graph, RawGraph):
        return Picture(f"<code>{escape(str(sample.id))}</code>", f"{sample.id}: not a graph")
    importance = sample.meta.get("edge_importance")
    return draw_graph(graph, title=sample.id, importance=None if importance is None else np.asarray(importance, float))


def overlay(sample: Sample, labellings: Mapping[str, np.ndarray]) -> Picture:
    """The graph once for each labelling of its nodes or edges, with the number of each class beside them.

    Of the labellings after the first, elements that differ from it stand in red squares.

    Args:
        labellings: name -> class numbers (N,) or, of stored edges, (E,); -1 = none.
    """
    graph: RawGraph = sample.inputs
    edges = graph.edge_index[:, graph.first_arcs]
    first = next(iter(labellings.values()))
    of_nodes = len(first) == graph.num_nodes and (len(first) != edges.shape[1] or bool(graph.node_targets))
    figures = []
    for name, numbers in labellings.items():
        marks = [
            None if number < 0 else Mark(number, None if numbers is first or asked < 0 else number == asked)
            for number, asked in zip(numbers.tolist(), first.tolist(), strict=True)
        ]
        known = {place: mark for place, mark in enumerate(marks) if mark is not None}
        ends = {place: (min(pair), max(pair)) for place, pair in enumerate(edges.T.tolist())}
        title = f"{sample.id}, {name}"
        drawn = (
            draw_graph(graph, title=title, node_marks=known)
            if of_nodes
            else draw_graph(graph, title=title, marks={ends[place]: mark for place, mark in known.items()})
        )
        figures.append(f"<figure>{drawn.html}<figcaption>{escape(name)}</figcaption></figure>")
    what = "nodes" if of_nodes else "edges"
    side_by_side = f'<div style="display:flex;gap:2rem">{"".join(figures)}</div>'
    return Picture(side_by_side, f"{sample.id}: classes of its {what}; in this order: {', '.join(labellings)}")


def draw_heat(sample: Sample, heat: np.ndarray, position: np.ndarray | None) -> Picture:
    """The graph with a value for each node.

    Args:
        heat: (N,), any scale.

    Raises:
        ItemError: ``other_tokens``: another number of values than of nodes, or too many nodes to draw.
    """
    del position
    graph = sample.inputs
    if not isinstance(graph, RawGraph) or len(heat) != graph.num_nodes or graph.num_nodes > MOST_NODES:
        raise ItemError("other_tokens", f"{len(heat)} values do not belong to the nodes of {sample.id}")
    return draw_graph(graph, title=sample.id, node_values=np.asarray(heat, float))


def draw_graph(
    graph: RawGraph,
    *,
    title: str = "",
    importance: np.ndarray | None = None,
    marks: Mapping[tuple[int, int], Mark] | None = None,
    node_marks: Mapping[int, Mark] | None = None,
    hollow: np.ndarray | None = None,
    like: RawGraph | None = None,
    node_values: np.ndarray | None = None,
) -> Picture:
    """One graph.

    Args:
        graph: what a reader gave.
        title: for the text alternative.
        importance: (A,) one value an arc, any scale; an edge shows the larger of its directions.
        marks: of some edges, by their end points, the smaller number first.
        node_marks: of some nodes, by their number.
        hollow: bool (N,), nodes that are drawn as rings.
        like: a graph with these nodes, and perhaps other edges, whose places are taken.
        node_values: (N,) any scale, shown as colour instead of the type of a node.
    """
    edges = _undirected(graph.edge_index, importance)
    words = f"{title}: {graph.num_nodes} nodes, {len(edges)} edges"
    if graph.num_nodes > MOST_NODES:
        return Picture(f"<p>{escape(words)} (too many to draw)</p>", words)
    springs = edges if like is None else _undirected(like.edge_index, None)
    places = layout(graph.num_nodes, np.array(sorted(springs), np.int64).reshape(-1, 2))
    values = np.array([edges[pair] for pair in sorted(edges)])
    shares = _shares(values) if importance is not None else None
    parts = [HEAD, f"<title>{escape(words)}</title>"]
    kinds, marks = _edge_kinds(graph), marks or {}
    for number, pair in enumerate(sorted(edges)):
        share = None if shares is None else shares[number]
        parts.append(_line(places[pair[0]], places[pair[1]], share, kinds.get(pair, 0), marks.get(pair)))
    parts += _nodes(graph, places, hollow, None if node_values is None else _shares(node_values))
    parts += [_badge(places[pair[0]], places[pair[1]], mark) for pair, mark in marks.items()]
    parts += [_node_badge(places[node], mark) for node, mark in (node_marks or {}).items()]
    if importance is not None and len(values):
        words += f"; edge importance {values.min():.3g} (pale) to {values.max():.3g} (red)"
    if node_values is not None and len(node_values):
        words += f"; values of nodes from {node_values.min():.3g} (pale) to {node_values.max():.3g} (red)"
    return Picture("".join([*parts, "</svg>"]), words)


def _nodes(
    graph: RawGraph, places: np.ndarray, hollow: np.ndarray | None, shares: np.ndarray | None = None
) -> list[str]:
    kinds = _codes(graph.node_labels[:, 0]) if graph.node_labels is not None else [0] * graph.num_nodes
    radius = 5.0 if graph.num_nodes <= 40 else 3.0
    drawn = []
    for node, (x, y) in enumerate(places):
        paint = f'fill="{NODE_COLOURS[kinds[node] % len(NODE_COLOURS)]}"'
        if shares is not None:
            red, green, blue = (round(float(part)) for part in PALE + shares[node] * (STRONG - PALE))
            paint = f'fill="rgb({red},{green},{blue})" stroke="#666" stroke-width="0.6"'
        if hollow is not None and hollow[node]:
            paint = f'fill="#fff" stroke="{ASKED}" stroke-width="1.6"'
        drawn.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" {paint}/>')
    return drawn


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
    kinds = _codes(graph.edge_labels[:, 0])
    return {(min(u, v), max(u, v)): kinds[arc] for arc, (u, v) in enumerate(graph.edge_index.T.tolist())}


def _codes(kinds: np.ndarray) -> list[int]:
    """Types as numbers; a word has the same one in every graph."""
    return [one if isinstance(one, int) else crc32(str(one).encode()) for one in kinds.tolist()]


def _shares(values: np.ndarray) -> np.ndarray:
    """Values scaled to [0, 1]; all 0.5 if they do not differ."""
    if not values.size or values.max() - values.min() < 1e-9:
        return np.full(values.shape, 0.5)
    return (values - values.min()) / (values.max() - values.min())


def edge_key(kind: int) -> str:
    """A short line as edges of this type are drawn."""
    line = _line(np.array([1.0, 5.0]), np.array([33.0, 5.0]), None, kind)
    return f'<svg width="34" height="10" viewBox="0 0 34 10" style="vertical-align:middle">{line}</svg>'


def node_key(kind: int) -> str:
    """A dot as nodes of this type are drawn."""
    dot = f'<circle cx="5" cy="5" r="5" fill="{NODE_COLOURS[int(kind) % len(NODE_COLOURS)]}"/>'
    return f'<svg width="10" height="10" viewBox="0 0 10 10" style="vertical-align:middle">{dot}</svg>'


def _line(start: np.ndarray, end: np.ndarray, share: float | None, kind: int, mark: Mark | None = None) -> str:
    dashes = DASHES[kind % len(DASHES)]
    pattern = f' stroke-dasharray="{dashes}"' if dashes else ""
    red, green, blue = (round(float(part)) for part in (PLAIN if share is None else PALE + share * (STRONG - PALE)))
    colour = f"rgb({red},{green},{blue})" if mark is None else mark.colour
    width = (1.6 if mark is None else 2.6) if share is None else 1.0 + 3.0 * share
    stroke = f'stroke="{colour}" stroke-width="{width:.1f}"{pattern}'
    if np.array_equal(start, end):  # a self edge: a small ring above its node
        return f'<ellipse cx="{start[0]:.1f}" cy="{start[1] - 7:.1f}" rx="4" ry="6" fill="none" {stroke}/>'
    return f'<line x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}" {stroke}/>'


def _badge(start: np.ndarray, end: np.ndarray, mark: Mark) -> str:
    """The number beside the middle of the edge."""
    along = end - start
    length = float(np.hypot(*along))
    aside = np.array([along[1], -along[0]]) / length * 8.0 if length else np.array([0.0, -18.0])
    return _number((start + end) / 2 + aside, mark)


def _node_badge(place: np.ndarray, mark: Mark) -> str:
    """A ring around the node, and its number beside it."""
    ring = (
        f'<circle cx="{place[0]:.1f}" cy="{place[1]:.1f}" r="8" fill="none" stroke="{mark.colour}" stroke-width="1.6"/>'
    )
    return ring + _number(place + np.array([11.0, -8.0]), mark)


def _number(place: np.ndarray, mark: Mark) -> str:
    """Inside the picture; nothing where the mark has no number."""
    if mark.number is None:
        return ""
    x, y = place.clip(6.0, SIZE - 6.0)
    shape = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5.5" fill="{mark.colour}"/>'
    if mark.is_right is False:
        shape = f'<rect x="{x - 5:.1f}" y="{y - 5:.1f}" width="10" height="10" fill="{mark.colour}"/>'
    text = f'<text x="{x:.1f}" y="{y + 2.7:.1f}" font-size="7.5" text-anchor="middle" fill="#fff">{mark.number}</text>'
    return shape + text
