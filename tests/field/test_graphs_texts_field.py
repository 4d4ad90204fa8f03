"""Networks as Cytoscape, Graphviz, KONECT and LINQS write them; pickles of Planetoid are refused, never run."""

from __future__ import annotations

import importlib.util
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repcore.data.readers import open_data
from repcore.errors import DataError
from repcore.registry import default
from repcore_graphs.formats.dot import read_dot


def opened(path: Path, text: str | None = None) -> tuple[str, Any]:
    if text is not None:
        path.write_text(text, encoding="utf-8")
    part, reader = open_data(default(), str(path))
    return part.name, reader


def said(reader: Any) -> str:
    return " ".join(reader.account.sentences())


def arcs(sample: Any) -> set[tuple[str, str]]:
    names = sample.meta["node_names"]
    return {(names[u], names[v]) for u, v in sample.inputs.edge_index.T.tolist()}


class Harmful:
    """Unpickling it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("inside", ["", "raw"])
def test_pickles_of_planetoid_are_refused_and_not_run(tmp_path: Path, inside: str) -> None:
    place = tmp_path / "Cora" / inside
    place.mkdir(parents=True)
    for name in ("x", "y", "tx", "ty", "allx", "ally", "graph"):
        (place / f"ind.cora.{name}").write_bytes(pickle.dumps(Harmful(tmp_path / "harm")))
    with pytest.raises(DataError, match="which are pickles") as caught:
        opened(tmp_path / "Cora")
    assert "Planetoid(root, 'cora')" in str(caught.value)
    assert not (tmp_path / "harm").exists()


def test_relations_of_cytoscape(tmp_path: Path) -> None:
    name, reader = opened(tmp_path / "net.sif", "A pp B C\nB pd C\nlonely\n")
    assert name == "graphs/network"
    sample = reader[0]
    assert arcs(sample) == {("A", "B"), ("A", "C"), ("B", "C")}
    assert sample.inputs.num_nodes == 4
    assert sample.inputs.edge_labels[:, 0].tolist() == ["pp", "pp", "pd"]
    with pytest.raises(DataError, match="has a relation and no target"):
        opened(tmp_path / "cut.sif", "A pp B\nB pd\n")
    (tmp_path / "container.sif").write_bytes(b"#!/usr/bin/env run-singularity\n\0\0SIF_MAGIC")
    with pytest.raises(DataError, match="no reader recognises"):
        opened(tmp_path / "container.sif")


def test_graphviz_is_read_with_pydot_and_refused_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = 'digraph G {\n "a b" -> c [weight=2];\n c -> d [weight=3.5];\n}\n'
    pytest.importorskip("pydot", reason="pip install repcore-graphs[dot]")
    name, reader = opened(tmp_path / "g.gv", text)
    assert name == "graphs/network"
    assert arcs(reader[0]) == {("a b", "c"), ("c", "d")}
    assert sorted(reader[0].inputs.edge_attributes[:, 0].tolist()) == [2.0, 3.5]
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *more: None if name == "pydot" else find(name, *more))
    with pytest.raises(DataError, match="pip install repcore-graphs"):
        opened(tmp_path / "h.dot", text)


def test_clusters_ports_and_further_graphs_of_graphviz(tmp_path: Path) -> None:
    pytest.importorskip("pydot", reason="pip install repcore-graphs[dot]")
    text = """digraph A { rankdir=LR; node [shape=box]; a:left -> b [weight="2.5"]; "x:y":port:n -> a; lone;
      a -> {d; e}; subgraph cluster_0 { label=zero; g -> h; subgraph cluster_1 { i } } }
      digraph B { c -> d; d -> é }"""
    (tmp_path / "g.dot").write_bytes(text.encode("latin-1"))
    first, second = opened(tmp_path / "g.dot")[1]
    assert arcs(first) == {("a", "b"), ("x:y", "a"), ("a", "d"), ("a", "e"), ("g", "h")}
    assert sorted(first.meta["node_names"]) == ["a", "b", "d", "e", "g", "h", "i", "lone", "x:y"]
    assert arcs(second) == {("c", "d"), ("d", "é")}
    reader = opened(tmp_path / "s.dot", "strict graph { a -- b; b -- a; a -- {b -- c} }")[1]
    assert arcs(reader[0]) == {(u, v) for u in "abc" for v in "abc" if u != v}
    with pytest.raises(DataError, match=r"not readable as DOT: Expected .*line:1"):
        opened(tmp_path / "broken.dot", "digraph G { a -> ")


def test_defaults_of_graphviz_hold_for_what_follows_in_their_scope(tmp_path: Path) -> None:
    pytest.importorskip("pydot", reason="pip install repcore-graphs[dot]")
    text = """graph G { early; node [mass=1]; edge [length=2]; a -- b; c [mass=9];
      subgraph s { node [mass=5]; edge [length=7]; d; d -- a; { e f } -- g [length=0.5]; node [mass=6]; h }
      i -- early; edge [length=4]; "node" -- i }"""
    (tmp_path / "g.dot").write_text(text, encoding="utf-8")
    parts = next(iter(read_dot(tmp_path / "g.dot")))
    mass = dict(zip(parts.names, parts.node_columns["mass"], strict=True))
    assert mass == {
        "early": None, "a": "1", "b": "1", "c": "9", "d": "5", "e": "5", "f": "5", "g": "5", "h": "6", "i": "1",
        "node": "1",
    }  # fmt: skip
    ends = [f"{parts.names[source]}{parts.names[target]}" for source, target in parts.edges]
    length = dict(zip(ends, parts.edge_columns["length"], strict=True))
    assert length == {"ab": "2", "da": "7", "eg": "0.5", "fg": "0.5", "iearly": "2", "nodei": "4"}
    (tmp_path / "s.dot").write_text("strict graph { a -- b [w=3]; edge [w=1]; b -- a [v=2]; b -- c }", encoding="utf-8")
    strict = next(iter(read_dot(tmp_path / "s.dot")))
    assert strict.edge_columns == {"w": ["3", "1"], "v": ["2", None]}


def test_names_of_an_older_code_page_stay_apart(tmp_path: Path) -> None:
    (tmp_path / "a.sif").write_bytes("Müller\tpp\tB\nMöller\tpp\tC\n".encode("latin-1"))
    reader = opened(tmp_path / "a.sif")[1]
    assert arcs(reader[0]) == {("Müller", "B"), ("Möller", "C")}
    (tmp_path / "b.sif").write_bytes("A\tpp\tB\nA\tPP\tC\n".encode("utf-16"))
    assert arcs(opened(tmp_path / "b.sif")[1][0]) == {("A", "B"), ("A", "C")}


@pytest.mark.parametrize(("form", "count"), [("sym", 6), ("asym", 3), ("bip", 6)])
def test_files_of_konect(tmp_path: Path, form: str, count: int) -> None:
    (tmp_path / "out.zachary").write_text(f"% {form} weighted\n% 3 3 3\n1 2 5\n2 3 4\n3 1 2\n", encoding="utf-8")
    (tmp_path / "README.zachary").write_text("about", encoding="utf-8")
    for path in (tmp_path, tmp_path / "out.zachary"):
        name, reader = opened(path)
        assert name == "graphs/network"
        assert reader[0].inputs.edge_index.shape == (2, count)
        assert reader[0].inputs.num_nodes == (6 if form == "bip" else 3)
        assert set(reader[0].inputs.edge_attributes[:, 0].tolist()) == {5.0, 4.0, 2.0}


def test_tables_of_linqs(tmp_path: Path) -> None:
    """Citations as stored, words as features, the last column the class of every node."""
    classes = ("Theory", "Agents", "Theory")
    lines = "".join(f"{310 + row}\t{row % 2}\t1\t0\t{word}\n" for row, word in enumerate(classes * 3))
    (tmp_path / "cora.content").write_text(lines, encoding="utf-8")
    (tmp_path / "cora.cites").write_text("310\t311\n311\t312\n999\t310\n", encoding="utf-8")
    name, reader = opened(tmp_path)
    assert name == "graphs/network"
    sample = reader[0]
    assert arcs(sample) == {("311", "310"), ("312", "311")}  # who cites -> who is cited
    np.testing.assert_array_equal(sample.inputs.node_attributes[:, 0], [row % 2 for row in range(9)])
    assert [(one.name, one.level, one.names) for one in reader.targets] == [
        ("node_label", "node", ("Agents", "Theory"))
    ]
    assert "1 of 3 lines of cora.cites name a node that cora.content lacks" in said(reader)
    assert reader.account.fate(tmp_path / "cora.cites") == ("used", "")
