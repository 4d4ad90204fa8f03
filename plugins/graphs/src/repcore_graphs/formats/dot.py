"""Graphviz' DOT, parsed by pydot: every graph of a file, with the nodes and edges of its clusters and of ``{a; b}``.

Ports (``a:left``) say where an edge meets a node, not another node. Defaults (``node [weight=1]``) hold for nodes and
edges that come into being behind them, in their graph or cluster and those inside of it, as Graphviz has it.
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

KINDS = ("node", "edge")
NOT_NODES = frozenset({*KINDS, "graph", "\\n", "\\r", "\\r\\n"})  # defaults, and blank lines
Defaults = dict[str, dict[str, str]]
_NAME = re.compile(r'("(?:[^"\\]|\\.)*"|[^:]+)(?::.*)?', re.DOTALL)


@dataclass(slots=True)
class _Found:
    """Nodes in order with their attributes; edges as places with theirs."""

    place: dict[str, int] = field(default_factory=dict)
    nodes: list[dict[str, str]] = field(default_factory=list)
    edges: list[tuple[int, int]] = field(default_factory=list)
    held: list[dict[str, str]] = field(default_factory=list)
    own: list[dict[str, str]] = field(default_factory=list)  # attributes of edges without their defaults

    def node(self, name: str, defaults: Defaults) -> int:
        if name not in self.place:
            self.place[name] = len(self.place)
            self.nodes.append(dict(defaults["node"]))
        return self.place[name]

    def edge(self, source: str, target: str, own: dict[str, str], defaults: Defaults) -> None:
        self.edges.append((self.node(source, defaults), self.node(target, defaults)))
        self.held.append({**defaults["edge"], **own})
        self.own.append(own)


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
        _take(graph, found, {kind: {} for kind in KINDS})
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


def _take(graph: Any, found: _Found, outer: Defaults) -> list[str]:
    """Take the statements of a graph or cluster in their order; names of the nodes that it mentions."""
    defaults = {kind: dict(outer[kind]) for kind in KINDS}
    names: dict[str, None] = {}
    for one in sorted((*graph.get_nodes(), *graph.get_edges(), *graph.get_subgraphs()), key=_place):
        kind = one.obj_dict["type"]
        if kind == "node":
            called = one.get_name()
            if called in KINDS:
                defaults[called].update(_attributes(one.get_attributes()))
            elif called not in NOT_NODES and called.strip('"') not in NOT_NODES - {*KINDS, "graph"}:
                names[_name(called)] = None
                found.nodes[found.node(_name(called), defaults)].update(_attributes(one.get_attributes()))
        elif kind == "edge":
            ends = [_ends(end, found, defaults) for end in (one.get_source(), one.get_destination())]
            names |= dict.fromkeys([*ends[0], *ends[1]])
            for source in ends[0]:
                for target in ends[1]:
                    found.edge(source, target, _attributes(one.get_attributes()), defaults)
        else:
            names |= dict.fromkeys(_take(one, found, defaults))
    return list(names)


def _place(statement: Any) -> int:
    return int(statement.get_sequence() or 0)


def _ends(end: Any, found: _Found, defaults: Defaults) -> list[str]:
    """Names of the nodes that one end of an edge is; what ``{a -> b}`` says is taken, too."""
    import pydot

    return [_name(end)] if isinstance(end, str) else _take(pydot.Subgraph(obj_dict=end), found, defaults)


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
    for (source, target), held, own in zip(found.edges, found.held, found.own, strict=True):
        ends = (source, target) if is_directed or (target, source) not in kept else (target, source)
        kept[ends] = {**kept[ends], **own} if ends in kept else held
    found.edges, found.held = list(kept), list(kept.values())
