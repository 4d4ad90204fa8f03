"""Cells of tables of graphs: signs as words, decimals as the table writes them, a graph that one table alone names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from repcore.data.readers import open_data
from repcore.errors import DataError
from repcore.registry import default
from repcore_graphs.configs.data import EdgeListConfig
from repcore_graphs.datasets.edge_list import EdgeListDataset
from tests.field.graphs_inputs import edges_of, network, said


def test_signs_are_words_and_empty_cells_of_words_are_one_more(tmp_path: Path) -> None:
    reader = edges_of(tmp_path, "source,target,sign\na,b,+\nb,c,-\nc,d,\nd,a,NA\na,c,+\n", directed=True)
    assert reader[0].inputs.edge_labels[:, 0].tolist() == ["+", "-", "", "", "+"]
    assert "edge column 'sign': 2 categories (words such as '+'; 2 empty cells are one more)" in said(reader)
    bonds = edges_of(tmp_path, "source,target,bond\na,b,-\nb,c,=\nc,d,-\n", directed=True)
    assert bonds[0].inputs.edge_labels[:, 0].tolist() == ["-", "=", "-"]


def test_a_graph_that_only_one_table_names_is_the_graph_of_all_tables(tmp_path: Path) -> None:
    (tmp_path / "nodes.csv").write_text("node,w\na,1\nb,2\nc,3\n")
    (tmp_path / "edges.csv").write_text("source,target,graph_id\na,b,g1\nb,c,g1\n")
    reader = EdgeListDataset(EdgeListConfig(path=str(tmp_path), directed=True))
    assert len(reader) == 1
    assert reader[0].id == "g1"
    assert reader[0].inputs.edge_index.tolist() == [[0, 1], [1, 2]]
    assert reader[0].inputs.node_attributes[:, 0].tolist() == [1.0, 2.0, 3.0]
    assert [one.name for one in reader.targets] == []
    (tmp_path / "edges.csv").write_text("source,target,graph_id\na,b,g1\nb,c,g2\n")
    with pytest.raises(DataError, match=r"nodes.csv has no graph column, edges.csv tells 2 graphs apart"):
        EdgeListDataset(EdgeListConfig(path=str(tmp_path)))


def test_the_sign_of_decimals_of_one_column_holds_for_the_others_or_is_set(tmp_path: Path) -> None:
    text = "source;target;w;m\na;b;1.100;0,5\nb;c;1.200;1,5\nc;a;2.300;2,25\n"
    reader = edges_of(tmp_path, text, directed=True)
    assert reader[0].inputs.edge_attributes[:, 0].tolist() == [1100.0, 1200.0, 2300.0]
    alone = "source;target;w\na;b;1.100\nb;c;1.200\nc;a;2.300\n"
    plain = edges_of(tmp_path, alone, directed=True)
    assert np.allclose(plain[0].inputs.edge_attributes[:, 0], [1.1, 1.2, 2.3])
    assert "may also be 1100 with a point before thousands" in said(plain)
    asked = edges_of(tmp_path, alone, directed=True, decimal="comma")
    assert asked[0].inputs.edge_attributes[:, 0].tolist() == [1100.0, 1200.0, 2300.0]


def test_numbers_that_a_network_stores_as_text_are_numbers(tmp_path: Path) -> None:
    cells = [("1.234,5", "1.100"), ("0,25", "1.200"), ("3,5", "2.300")]
    nodes = [{"id": place, "a": a, "b": b} for place, (a, b) in enumerate(cells)]
    links = [{"source": 0, "target": 1, "w": "0.5"}, {"source": 1, "target": 2, "w": "1.5"}]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"nodes": nodes, "links": links, "directed": True}))
    reader = network(path)
    assert reader[0].inputs.node_attributes.tolist() == [[1234.5, 1100.0], [0.25, 1200.0], [3.5, 2300.0]]
    assert reader[0].inputs.edge_attributes[:, 0].tolist() == [0.5, 1.5]
    assert "edge attribute 'w': a number (every edge has one as text" in said(reader)


def test_signs_before_thousands_in_weights_and_tables_of_any_name(tmp_path: Path) -> None:
    edges = "".join(f'{n % 4},{(n + 1) % 4},{n // 4},"1,{n:03d}.5"\n' for n in range(40))
    (tmp_path / "el.csv").write_text(f"source,target,graph_id,weight\n{edges}")
    (tmp_path / "g.csv").write_text("graph_id,label\n" + "".join(f"{n},{n % 2}\n" for n in reversed(range(10))))
    part, reader = open_data(default(), str(tmp_path), options={"directed": True})
    assert (part.name, len(reader)) == ("graphs/edge-list", 10)
    first = next(reader[row] for row in range(10) if reader[row].id.endswith("3"))
    assert sorted(first.inputs.edge_attributes[:, 0].tolist()) == [1012.5, 1013.5, 1014.5, 1015.5]
    assert first.targets["label"] == 1
    vectors = edges_of(tmp_path, 'source,target,w\na,b,"1.5,200.5"\nb,c,"2.5,300.25"\n', directed=True)
    assert vectors[0].inputs.edge_attributes.tolist() == [[1.5, 200.5], [2.5, 300.25]]
