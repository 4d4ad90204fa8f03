"""Graphviz' DOT, parsed by pydot: every graph of a file, with the nodes and edges of its clusters and of ``{a; b}``.

Ports (``a:left``) say where an edge meets a node, not another node.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repcore.data.encodings import whole_text
from repcore.errors import ItemError
from repcore_graphs.formats.text_networks import Parts

NOT_NODES = frozenset({"node", "edge", "graph", "\\n", "\\r", "\\r\\n"})  # defaults, and blank lines
_NAME = re.compile(r'("(?:[^"\\]|\\.)*"|[^:]+)(?::.*)?', re.DOTALL)


@dataclass(slots=True)
class _Found:
    """Nodes in order with their attributes; edges as places with theirs."""

    place: dict[str, int] = field(default_factory=dict)
    nodes: list[dict[str, str]] = field(default_factory=list)
    edges: list[tuple[int, int]] = field(default_factory=list)
    held: list[dict[str, str]] = field(default_factory=list)

    def node(self, name: str) -> int:
        if name not in self.place:
            self.place[name] = len(self.place)
            self.nodes.append({})
        return self.place[name]


def read_dot(path: Path) -> Iterator[Parts]:
    """All graphs of a file.

    Raises:
        ItemError: ``missing_package``; ``unreadable``: no DOT, with the place where it ends to be it.
    """
    if importlib.util.find_spec("pydot") is None:
        raise ItemError("missing_package", "DOT is read with the package pydot: pip install repcore-graphs[dot]")
    import pydot

    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):  # pydot prints what is wrong
        graphs = pydot.graph_from_dot_data(whole_text(path))
    if not graphs:
        why = said.getvalue().strip().splitlines()
        raise ItemError("unreadable", f"not readable as DOT: {why[-1] if why else 'it holds no graph'}")
    for graph in graphs:
        found = _Found()
        _take(graph, found)
        if graph.get_strict():
            _without_repeats(found, graph.get_type() == "digraph")
        yield Parts(
            list(found.place),
            found.edges,
            graph.get_type() == "digraph",
            _columns(found.nodes),
            _columns(found.held),
            [],
        )


def _take(graph: Any, found: _Found) -> None:
    for node in graph.get_nodes():
        if node.get_name() not in NOT_NODES and node.get_name().strip('"') not in ("\\n", "\\r", "\\r\\n"):
            found.nodes[found.node(_name(node.get_name()))].update(_attributes(node.get_attributes()))
    for edge in graph.get_edges():
        held = _attributes(edge.get_attributes())
        for source in _ends(edge.get_source(), found):
            for target in _ends(edge.get_destination(), found):
                found.edges.append((found.node(source), found.node(target)))
                found.held.append(held)
    for below in graph.get_subgraphs():
        _take(below, found)


def _ends(end: Any, found: _Found) -> list[str]:
    """Names of the nodes that one end of an edge is; of ``{a -> b}`` the edge between them is taken, too."""
    if isinstance(end, str):
        return [_name(end)]
    names = {_name(one): None for one in end["nodes"] if one not in NOT_NODES}
    for (source, target), edges in end["edges"].items():
        first, second = _name(source), _name(target)
        names |= {first: None, second: None}
        for edge in edges:
            found.edges.append((found.node(first), found.node(second)))
            found.held.append(_attributes(edge["attributes"]))
    for below in end["subgraphs"].values():
        for one in below:
            names |= dict.fromkeys(_ends(one, found))
    return list(names)


def _name(text: str) -> str:
    named = _NAME.fullmatch(text)
    return _bare(named[1] if named else text)


def _bare(text: str) -> str:
    return text[1:-1].replace('\\"', '"') if len(text) > 1 and text[0] == text[-1] == '"' else text


def _attributes(given: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): _bare(str(value)) for name, value in given.items()}


def _columns(rows: list[dict[str, str]]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _without_repeats(found: _Found, is_directed: bool) -> None:
    """``strict``: an edge that comes twice is one, with the attributes of both."""
    kept: dict[tuple[int, int], dict[str, str]] = {}
    for (source, target), held in zip(found.edges, found.held, strict=True):
        ends = (source, target) if is_directed or (target, source) not in kept else (target, source)
        kept[ends] = {**kept.get(ends, {}), **held}
    found.edges, found.held = list(kept), list(kept.values())
