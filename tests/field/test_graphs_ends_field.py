"""Which columns are ends of edges, what row numbers and columns about whole graphs are, and matrices in tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from repcore.errors import DataError, ItemError
from repcore_graphs.configs.data import EdgeListConfig, GraphPreprocessorConfig, NetworkConfig
from repcore_graphs.datasets import edge_files, edge_list, networks
from repcore_graphs.preprocessors.graph import GraphPreprocessor
from tests.field.graphs_inputs import edges_of, network, said

PAIRS = [(u, (3 * u + k) % 11) for u in range(11) for k in (1, 4)]  # 22 edges between 11 nodes


def _table(header: str, *columns: list[object]) -> str:
    rows = [",".join(map(str, row)) for row in zip(*columns, strict=True)]
    return "\n".join([header, *rows] if header else rows) + "\n"


LEFT, RIGHT = [u for u, _ in PAIRS], [v for _, v in PAIRS]
COUNT = list(range(len(PAIRS)))


@pytest.mark.parametrize("header", ["id,a,b", ",one,other", "edge_id,node1,node2", "#Set ID,Entrez A,Entrez B", ""])
def test_row_numbers_are_no_ends_and_no_features(tmp_path: Path, header: str) -> None:
    reader = edges_of(tmp_path, _table(header, COUNT, LEFT, RIGHT))
    graph = reader[0].inputs
    assert graph.num_nodes == 11
    assert {tuple(pair) for pair in graph.edge_index.T.tolist()} >= set(PAIRS)
    assert graph.edge_attributes is None
    assert "left out (it numbers the rows)" in said(reader)


def test_two_pairs_that_fit_are_refused_with_names_and_said_without(tmp_path: Path) -> None:
    third = [(u + v) % 11 for u, v in PAIRS]
    with pytest.raises(DataError, match=r"3 pairs fit[\s\S]*columns 'a' and 'b'[\s\S]*columns 'b' and 'c'"):
        edges_of(tmp_path, _table("a,b,c", LEFT, RIGHT, third))
    reader = edges_of(tmp_path, _table("", LEFT, RIGHT, third), "plain.csv")
    assert {tuple(pair) for pair in reader[0].inputs.edge_index.T.tolist()} >= set(PAIRS)
    assert "as in lists without a header" in said(reader)
    few = edges_of(tmp_path, _table("", LEFT, RIGHT, [1 + u % 3 for u in LEFT]), "weighted.csv")
    assert few[0].inputs.num_nodes == 11
    assert sorted(set(few[0].inputs.edge_attributes[:, 0].tolist())) == [1.0, 2.0, 3.0]


def test_symbols_beside_ids_are_no_features(tmp_path: Path) -> None:
    symbols = [[f"G{one}" for one in side] for side in (LEFT, RIGHT)]
    reader = edges_of(tmp_path, _table("Entrez A,Entrez B,Symbol A,Symbol B", LEFT, RIGHT, *symbols))
    assert (reader.source, reader.target) == ("Entrez A", "Entrez B")
    assert reader[0].inputs.edge_labels is None
    assert "'Symbol A' and 'Symbol B' fit, too" in said(reader)


def test_names_above_numbers_are_a_header(tmp_path: Path) -> None:
    rows = "".join(f"P{u} P{v} {150 + 7 * k % 50}\n" for k, (u, v) in enumerate(PAIRS))
    reader = edges_of(tmp_path, "protein1 protein2 combined_score\n" + rows, "links.txt")
    assert reader[0].inputs.num_nodes == 11
    assert reader[0].inputs.edge_attributes.shape == (reader[0].inputs.edge_index.shape[1], 1)


def test_a_value_a_graph_is_a_label_and_no_input(tmp_path: Path) -> None:
    graphs = [k % 4 for k in COUNT]
    labels = [("lo", "hi")[one % 2] for one in graphs]
    text = _table("source,target,graph_id,label,site,weight", LEFT, RIGHT, graphs, labels, graphs, LEFT)
    reader = edges_of(tmp_path, text)
    assert [(one.name, one.kind, one.names) for one in reader.targets if one.name == "label"] == [
        ("label", "class", ("hi", "lo"))
    ]
    assert [reader[one].targets["label"] for one in range(4)] == [1.0, 0.0, 1.0, 0.0]
    assert reader[0].inputs.edge_labels is None
    assert reader[0].inputs.edge_attributes.shape[1] == 1  # the weight
    assert "one value in each of 4 graphs" in said(reader)


def test_users_and_items_with_the_same_numbers_are_different_nodes(tmp_path: Path) -> None:
    text = _table("user,item,rating", [0, 0, 1, 2], [0, 1, 1, 0], [5, 4, 3, 5])
    reader = edges_of(tmp_path, text)
    graph = reader[0].inputs
    assert (graph.num_nodes, graph.edge_index.shape[1]) == (5, 8)
    assert reader[0].meta["node_names"] == ("item 0", "item 1", "user 0", "user 1", "user 2")
    assert "2 ids stand in both, and are two nodes each" in said(reader)
    one = edge_list.EdgeListDataset(EdgeListConfig(path=str(tmp_path / "edges.csv"), sets="one"))
    assert one[0].inputs.num_nodes == 3


def test_what_nodes_are_called_is_no_label(tmp_path: Path) -> None:
    (tmp_path / "edges.csv").write_text("Source,Target\n0,1\n1,2\n2,3\n")
    (tmp_path / "nodes.csv").write_text("Id,Label,kind\n0,Ann,x\n1,Bob,y\n2,Cy,x\n3,Di,y\n")
    reader = edge_list.EdgeListDataset(EdgeListConfig(path=str(tmp_path)))
    assert not reader.targets
    assert reader[0].inputs.node_labels.tolist() == [["x"], ["y"], ["x"], ["y"]]
    assert "as asked" not in said(reader)


# -------------------------------------------------------------------------------------------------- matrices


def _matrix() -> np.ndarray:
    matrix = np.zeros((11, 11), int)
    matrix[LEFT, RIGHT] = matrix[RIGHT, LEFT] = 1
    np.fill_diagonal(matrix, 0)
    return matrix


@pytest.mark.parametrize("form", ["named", "numbered", "plain", "text", "array"])
def test_adjacency_matrices_are_graphs(tmp_path: Path, form: str) -> None:
    matrix = _matrix()
    path = tmp_path / {"text": "m.txt", "array": "m.npy"}.get(form, "m.csv")
    names = [f"n{node}" if form == "named" else str(node) for node in range(11)]
    if form == "array":
        np.save(path, matrix)
    elif form in ("named", "numbered"):
        rows = [",".join(map(str, [name, *row])) for name, row in zip(names, matrix.tolist(), strict=True)]
        path.write_text("\n".join([",".join(["", *names]), *rows]) + "\n")
    else:
        np.savetxt(path, matrix, fmt="%d", delimiter=" " if form == "text" else ",")
    reader = network(path)
    assert reader[0].inputs.num_nodes == 11
    found = {tuple(pair) for pair in reader[0].inputs.edge_index.T.tolist()}
    assert found == {tuple(pair) for pair in np.argwhere(matrix).tolist()}
    assert tuple(reader[0].meta["node_names"]) == tuple(names)
    assert "read as adjacency matrix" in said(reader)


def test_squares_of_measured_numbers_are_no_graphs(tmp_path: Path) -> None:
    np.save(tmp_path / "points.npy", np.random.default_rng(0).normal(size=(9, 9)))
    np.save(tmp_path / "pose.npy", np.eye(4))
    assert networks.sniff(tmp_path / "points.npy") == networks.sniff(tmp_path / "pose.npy") == 0.0


def test_a_folder_of_matrices_is_a_set_of_graphs_with_the_labels_beside_it(tmp_path: Path) -> None:
    for number in range(3):
        np.savetxt(tmp_path / f"{number:03d}.csv", np.roll(_matrix(), number, (0, 1)), fmt="%d", delimiter=",")
    (tmp_path / "labels.csv").write_text("id,y\n0,0\n1,1\n2,1\n")  # a spreadsheet has taken the zeros away
    reader = networks.NetworkDataset(NetworkConfig(path=str(tmp_path)))
    assert networks.sniff(tmp_path) == 0.75
    assert [reader[row].targets["y"] for row in range(3)] == [0, 1, 1]


def test_a_model_finds_its_features_by_name_and_refuses_others(tmp_path: Path) -> None:
    weights = [0.5 * u for u in LEFT]
    trained = edges_of(tmp_path, _table("source,target,w,d,k", LEFT, RIGHT, weights, RIGHT, ["x", "y"] * 11))
    turned = edges_of(tmp_path, _table("source,target,k,d,w", LEFT, RIGHT, ["x", "y"] * 11, RIGHT, weights), "b.csv")
    other = edges_of(tmp_path, _table("source,target,w,mass,k", LEFT, RIGHT, weights, RIGHT, ["x", "y"] * 11), "c.csv")
    preprocessor = GraphPreprocessor(GraphPreprocessorConfig())
    preprocessor.fit(trained, [0])
    preprocessor.save(tmp_path)
    again = GraphPreprocessor.load(GraphPreprocessorConfig(), tmp_path)
    expected = preprocessor.prepare(trained[0])[0].values.edge_attr
    assert expected.shape[1] == 4
    assert again.prepare(turned[0])[0].values.edge_attr.tolist() == expected.tolist()
    with pytest.raises(ItemError, match=r"missing_features: edge columns are w, mass; the model was trained on d"):
        again.prepare(other[0])


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        ("drug1,drug2,y", [("CC(=O)O", "CCO", 1), ("c1ccccc1O", "CC(=O)O", 0), ("CCO", "CC(C)=O", 1)]),
        ("unit,cycle,s1", [(unit, cycle, 0.5) for unit in range(1, 5) for cycle in range(1, 26)]),
    ],
)
def test_pairs_of_molecules_and_counters_of_series_are_no_sure_network(
    tmp_path: Path, header: str, rows: list[tuple[object, ...]]
) -> None:
    (tmp_path / "t.csv").write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    assert edge_files.sniff(tmp_path / "t.csv") <= 0.3


def test_a_table_about_many_files_beside_it_is_no_network(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("image,patient\n" + "".join(f"{u},{v}\n" for u, v in PAIRS))
    assert edge_files.sniff(tmp_path) == 0.5
    for number in range(5):
        (tmp_path / f"{number}.png").write_bytes(b"\x89PNG")
    assert edge_files.sniff(tmp_path) == 0.0


def test_lists_of_numbers_are_as_many_columns(tmp_path: Path) -> None:
    vectors = [f'"0.{one},1.5,{one}"' for one in range(1, 4)]
    reader = edges_of(tmp_path, _table("src_id,dst_id,feat,cost", [0, 1, 2], [1, 2, 3], vectors, ['"0,5"'] * 3))
    graph = reader[0].inputs
    assert graph.columns["edge_attributes"] == ("feat[0]", "feat[1]", "feat[2]", "cost")
    assert np.allclose(graph.edge_attributes[0], [0.1, 1.5, 1.0, 0.5])
    assert "by their names" in said(reader)
