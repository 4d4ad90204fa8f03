"""Networks as other programs write them: every graph, its direction, and what a table beside them says (K1, K2, K4)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import networkx as nx
import pytest

from repcore.errors import DataError, ItemError
from repcore_graphs.configs.data import EdgeListConfig, GraphPreprocessorConfig, NetworkConfig
from repcore_graphs.datasets.edge_files import sniff as sniff_edges
from repcore_graphs.datasets.edge_list import EdgeListDataset
from repcore_graphs.datasets.networks import NetworkDataset, sniff
from repcore_graphs.formats.networks import read_networks
from repcore_graphs.preprocessors.graph import GraphPreprocessor


def arcs(reader: Any, row: int = 0) -> list[list[int]]:
    return sorted(reader[row].inputs.edge_index.T.tolist())


def said(reader: Any) -> str:
    return "\n".join(reader.account.sentences())


def test_every_graph_of_a_graphml_file_is_a_row(tmp_path: Path) -> None:
    path = tmp_path / "two.graphml"
    nx.write_graphml(nx.path_graph(4), path)
    text = path.read_text()
    start, stop = text.index("<graph "), text.index("</graphml>")
    second = text[start:stop].replace('<edge source="0" target="1" />', "")
    path.write_text(text[:stop] + second + text[stop:])
    reader = NetworkDataset(NetworkConfig(path=str(path)))
    assert [len(arcs(reader, row)) for row in range(len(reader))] == [6, 4]
    assert [reader.id_of(row) for row in range(2)] == ["two.graphml:0", "two.graphml:1"]


@pytest.mark.parametrize(("word", "count"), [("Directed", 3), ("Undirected", 6)])
def test_the_type_that_gephi_writes_is_the_direction(tmp_path: Path, word: str, count: int) -> None:
    rows = "".join(f"{a},{b},{word},1.0\n" for a, b in ((0, 1), (1, 2), (2, 3)))
    (tmp_path / "e.csv").write_text("Source,Target,Type,Weight\n" + rows)
    reader = EdgeListDataset(EdgeListConfig(path=str(tmp_path / "e.csv")))
    assert len(arcs(reader)) == count
    assert reader[0].inputs.edge_labels is None
    assert "column 'Type' says so" in said(reader)


def test_a_named_adjacency_matrix_is_no_edge_list(tmp_path: Path) -> None:
    names = [f"n{number}" for number in range(5)]
    lines = [",".join(["", *names]), *(",".join([one, *"01010"]) for one in names)]
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
    assert sniff_edges(tmp_path / "m.csv") == 0.0
    with pytest.raises(DataError, match="adjacency matrix"):
        EdgeListDataset(EdgeListConfig(path=str(tmp_path / "m.csv")))


def test_entries_of_0_that_a_matrix_stores_are_edges_and_said(tmp_path: Path) -> None:
    lines = "1 2 0.5\n2 3 0.0\n4 5 1.5\n1 3 0\n"
    (tmp_path / "m.mtx").write_text(f"%%MatrixMarket matrix coordinate real general\n5 5 4\n{lines}")
    reader = NetworkDataset(NetworkConfig(path=str(tmp_path / "m.mtx")))
    assert arcs(reader) == [[0, 1], [0, 2], [1, 2], [3, 4]]
    held = reader[0].inputs
    weights = {
        tuple(arc): value for arc, (value,) in zip(held.edge_index.T.tolist(), held.edge_attributes, strict=False)
    }
    assert weights == {(0, 1): 0.5, (1, 2): 0.0, (3, 4): 1.5, (0, 2): 0.0}
    assert "m.mtx: 2 of 4 stored entries are 0: kept as edges of weight 0" in said(reader)


@pytest.mark.parametrize("name", ["e.txt", "e.edgelist"])
def test_a_first_line_that_counts_nodes_and_edges_is_no_edge(tmp_path: Path, name: str) -> None:
    lines = "".join(f"{one} {one % 5 + 1}\n" for one in range(1, 6))
    reader_of = {".txt": (EdgeListDataset, EdgeListConfig), ".edgelist": (NetworkDataset, NetworkConfig)}
    kind, config = reader_of[Path(name).suffix]
    for first, nodes, edges in (("5 5", 5, 10), ("5 3", 5, 12)):  # the second line counts wrong: an edge like others
        (tmp_path / name).write_text(f"{first}\n{lines}")
        reader: Any = kind(config(path=str(tmp_path / name)))
        assert (reader[0].inputs.num_nodes, len(arcs(reader))) == (nodes, edges)
        assert ("counts nodes and edges" in said(reader)) == (first == "5 5")


def test_numbers_of_nodes_and_edges_are_announced(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("source,target,target2\n" + "".join(f"{one},{one + 1},{one}\n" for one in range(6)))
    assert "edge column 'target2': a number" in said(EdgeListDataset(EdgeListConfig(path=str(tmp_path / "e.csv"))))
    graph = nx.path_graph(4)
    nx.set_node_attributes(graph, {node: node / 2 for node in graph}, "charge")
    nx.write_graphml(graph, tmp_path / "g.graphml")
    assert "node attribute 'charge': a number" in said(NetworkDataset(NetworkConfig(path=str(tmp_path / "g.graphml"))))


def test_links_by_place_and_elements_of_cytoscape_are_edges(tmp_path: Path) -> None:
    nodes = [{"name": f"v{number}", "x": number / 2} for number in range(3)]
    links = [{"source": 0, "target": 1}, {"source": 1, "target": 2}]
    (tmp_path / "d3.json").write_text(json.dumps({"nodes": nodes, "links": links}))
    elements = {"nodes": [{"data": {"id": one["name"], "x": one["x"]}} for one in nodes],
                "edges": [{"data": {"source": f"v{a}", "target": f"v{a + 1}"}} for a in (0, 1)]}  # fmt: skip
    (tmp_path / "cy.json").write_text(json.dumps({"elements": elements}))
    for name in ("d3.json", "cy.json"):
        reader = NetworkDataset(NetworkConfig(path=str(tmp_path / name)))
        assert arcs(reader) == [[0, 1], [1, 0], [1, 2], [2, 1]]
        assert reader[0].inputs.node_attributes[:, 0].tolist() == [0.0, 0.5, 1.0]  # x alone is no place to draw at
    (tmp_path / "bad.json").write_text(json.dumps({"nodes": nodes, "links": [{"source": 0, "target": 3}]}))
    with pytest.raises(ItemError, match="names node 0"):
        read_networks(tmp_path / "bad.json")


def test_entries_of_a_skew_symmetric_matrix_have_directions(tmp_path: Path) -> None:
    (tmp_path / "s.mtx").write_text("%%MatrixMarket matrix coordinate real skew-symmetric\n3 3 2\n2 1 1\n3 2 2\n")
    network = read_networks(tmp_path / "s.mtx")[0]
    assert network.is_directed
    assert dict(zip(map(tuple, network.arcs.T.tolist()), network.edges["weight"], strict=True)) == {
        (1, 0): 1.0, (0, 1): -1.0, (2, 1): 2.0, (1, 2): -2.0,
    }  # fmt: skip


def test_an_attribute_that_some_edges_lack_is_a_loss(tmp_path: Path) -> None:
    graph = nx.path_graph(4)
    graph.edges[0, 1]["length"] = 2.5
    nx.write_graphml(graph, tmp_path / "g.graphml")
    reader = NetworkDataset(NetworkConfig(path=str(tmp_path / "g.graphml")))
    lost = [one.reason for one in reader.account.guesses if one.is_loss]
    assert lost == ["4 of 6 edges lack it"]


def test_a_table_beside_the_files_says_more_of_each_graph(tmp_path: Path) -> None:
    for number in range(6):
        lines = "".join(f"{a} {a + 1} {a / 2}\n" for a in range(3 + number))
        (tmp_path / f"g{number}.edgelist").write_text(lines)
    order = [3, 0, 5, 1, 2, 9]
    rows = "".join(f"g{n},{n}.5,P{n // 2},{'train' if n < 4 else 'test'}\n" for n in order)
    (tmp_path / "labels.csv").write_text("graph,logP,patient,split\n" + rows)
    assert sniff(tmp_path) == pytest.approx(0.76)
    reader = NetworkDataset(NetworkConfig(path=str(tmp_path)))
    assert [reader[row].targets.get("logP", 0.0) for row in (0, 1, 2, 3, 5)] == [0.5, 1.5, 2.5, 3.5, 5.5]
    assert str(reader[4].targets.get("logP", float("nan"))) == "nan"
    assert list(reader.groups or ()) == ["P0", "P0", "P1", "P1", None, "P2"]
    assert {name: list(part) for name, part in reader.splits.items()} == {"train": [0, 1, 2, 3], "test": [5]}
    assert reader[1].inputs.edge_attributes[:, 0].tolist() == [0.0, 0.0, 0.5, 0.5, 1.0, 1.0, 1.5, 1.5]
    assert "1 rows name no graph of the folder, first 'g9'" in said(reader)
    assert "1 of 6 graphs have no row" in said(reader)
    (tmp_path / "labels.csv").write_text("graph,y\ng0,1\ng0,2\n")
    with pytest.raises(DataError, match="stand more than once"):
        NetworkDataset(NetworkConfig(path=str(tmp_path)))


def test_an_edge_without_its_end_is_left_out_of_one_large_graph_and_said(tmp_path: Path) -> None:
    lines = [f"n{one},n{(one + 1) % 12},{one}" for one in range(12)]
    for name, broken in {"cell": "n4,,9", "other": ",n4,9", "line": "n4"}.items():
        path = tmp_path / f"{name}.csv"
        path.write_text("\n".join(["source,target,weight", *lines[:5], broken, *lines[5:]]) + "\n")
        reader = EdgeListDataset(EdgeListConfig(path=str(path), directed=True))
        sample = reader[0]
        assert sample.inputs.edge_attributes[:, 0].tolist() == [float(one) for one in range(12)]
        assert sample.inputs.num_nodes == 12
        preprocessor = GraphPreprocessor(GraphPreprocessorConfig())
        preprocessor.fit(reader, [0])
        (item,) = preprocessor.prepare(sample)
        assert item.status == "edges_left_out"
        assert item.reason.startswith("1 of 13 edges are left out, the first in row 5")
