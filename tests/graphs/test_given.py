"""Graphs that people hold in Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch_geometric.data import Data, HeteroData
from torch_geometric.loader import DataLoader

from repcore.data.given import given_reader
from repcore.errors import DataError, ItemError
from repcore_graphs.configs.data import GraphPreprocessorConfig, PyGConfig
from repcore_graphs.datasets.pyg import PyGDataset
from repcore_graphs.preprocessors.given import graph_from
from repcore_graphs.preprocessors.graph import GraphPreprocessor

EDGES = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])


def test_data_becomes_a_graph_with_its_label() -> None:
    data = Data(x=torch.ones(3, 2), edge_index=EDGES, edge_attr=torch.arange(4), y=torch.tensor([1]))
    for given in (data, [data]):
        sample = given_reader(given, lambda *_: pytest.fail("opened"), graph_from)[0]
        assert sample.inputs.num_nodes == 3
        np.testing.assert_array_equal(sample.inputs.edge_index, EDGES.numpy())
        np.testing.assert_array_equal(sample.inputs.node_attributes, np.ones((3, 2), np.float32))
        np.testing.assert_array_equal(sample.inputs.edge_labels[:, 0], np.arange(4))
    several = given_reader([(data, row % 2) for row in range(8)], lambda *_: pytest.fail("opened"), graph_from)
    assert [one.name for one in several.targets] == ["label"]
    rows = [Data(x=torch.ones(3, 2), edge_index=EDGES, y=torch.tensor([row % 2])) for row in range(8)]
    own = given_reader(rows, lambda *_: pytest.fail("opened"), graph_from)
    assert [one.name for one in own.targets] == ["y"]


def test_what_is_wrong_with_a_graph_is_a_row() -> None:
    with pytest.raises(ItemError, match="dangling_edge"):
        graph_from(Data(x=torch.ones(2, 1), edge_index=EDGES))
    assert graph_from("graph") is None
    assert graph_from(next(iter(DataLoader([Data(x=torch.ones(3, 1), edge_index=EDGES)])))) is None


def test_loaders_of_graphs_with_labels_give_every_row() -> None:
    graphs = [Data(x=torch.full((3, 2), float(row)), edge_index=EDGES) for row in range(10)]
    pairs = [(graph, row % 2) for row, graph in enumerate(graphs)]
    named = [{"graph": graph, "kind": row % 2} for row, graph in enumerate(graphs)]
    for rows, size, label in ((pairs, 4, "label"), (pairs, 2, "label"), (named, 4, "kind")):
        reader = given_reader(DataLoader(rows, batch_size=size), lambda *_: pytest.fail("opened"), graph_from)
        assert [float(reader[row].inputs.node_attributes[0, 0]) for row in range(len(reader))] == list(range(10))
        assert [reader[row].targets for row in range(len(reader))] == [{label: row % 2} for row in range(10)]


def test_several_labels_of_a_graph_are_labels() -> None:
    rows = [Data(x=torch.ones(3, 2), edge_index=EDGES, y=torch.tensor([[row / 2, row % 2]])) for row in range(8)]
    for given in (rows, DataLoader(rows, batch_size=4)):
        reader = given_reader(given, lambda *_: pytest.fail("opened"), graph_from)
        assert [one.name for one in reader.targets] == ["y_0", "y_1"]
        assert reader[3].targets["y_0"] == 1.5


def test_a_heterogeneous_graph_is_refused_in_words() -> None:
    graph = HeteroData()
    for _ in range(2):  # empty, then with nodes
        with pytest.raises(ItemError, match="several kinds of nodes or edges"):
            given_reader(graph, lambda *_: pytest.fail("opened"), graph_from)
        graph["a"].x = torch.ones(3, 2)


PATH = torch.tensor([[0, 1, 2, 3, 4], [1, 2, 3, 4, 5]])


@pytest.mark.parametrize(
    ("edges", "words"),
    [
        (PATH.t(), r"shape \(5, 2\); expected \(2, edges\): transpose it"),
        (PATH.reshape(-1), r"shape \(10,\)"),
        (PATH + 0.5, "not whole"),
        (torch.where(PATH == 0, torch.nan, PATH.float()), "not whole"),
        (torch.where(PATH == 0, torch.inf, PATH.float()), "not whole"),
        (PATH > 2, "torch.bool"),
        (PATH.to(torch.complex64), "torch.complex64"),
        ("0 1", "not a tensor"),
    ],
)
def test_malformed_edges_are_refused_in_objects_as_in_files(edges: object, words: str, tmp_path: Path) -> None:
    data = Data(num_nodes=6, edge_index=edges)
    with pytest.raises(ItemError, match=words) as raised:
        graph_from(data)
    assert raised.value.status == "malformed_graph"
    torch.save([data, Data(num_nodes=6, edge_index=PATH)], tmp_path / "graphs.pt")
    with pytest.raises(ItemError, match=words):
        PyGDataset(PyGConfig(path=str(tmp_path / "graphs.pt")))[0]


def test_sizes_and_tables_that_are_none_are_refused() -> None:
    for wrong in ({"num_nodes": 6.5}, {"x": torch.ones(6, 1, dtype=torch.complex64)}, {"x": torch.tensor(1.0)}):
        with pytest.raises(ItemError, match="malformed_graph"):
            graph_from(Data(edge_index=PATH, **wrong))


def test_whole_floats_and_arrays_are_edges_and_the_callers_graph_stays_his() -> None:
    for edges in (PATH.double(), PATH.numpy(), PATH.int(), PATH.tolist()):
        data = Data(num_nodes=6, edge_index=edges)
        np.testing.assert_array_equal(graph_from(data).inputs.edge_index, PATH.numpy())
        assert data.edge_index is edges
    x = torch.ones(6, 1, requires_grad=True)
    data = Data(x=x, edge_index=PATH)
    assert graph_from(data).inputs.node_attributes.shape == (6, 1)
    assert data.x is x
    assert data.x.requires_grad


def test_features_that_the_model_has_no_place_for_are_said() -> None:
    preprocessor = GraphPreprocessor(GraphPreprocessorConfig())
    plain = Data(num_nodes=6, edge_index=PATH)
    preprocessor.fit(given_reader([plain] * 4, lambda *_: pytest.fail("opened"), graph_from), range(4))
    assert preprocessor.prepare(graph_from(plain))[0].status == "ok"
    for more, words in (
        ({"x": torch.randn(6, 7)}, "7 columns of node attributes are not used: the model was trained without"),
        ({"x": torch.ones(6, 2).long()}, "2 columns of node labels are not used"),
        ({"edge_attr": torch.randn(5, 3)}, "3 columns of edge attributes are not used"),
    ):
        (item,) = preprocessor.prepare(graph_from(Data(**{"num_nodes": 6, "edge_index": PATH, **more})))
        assert item.status == "unused_features"
        assert words in item.reason


def test_labels_that_float64_rounds_keep_their_digits_or_are_refused(tmp_path: Path) -> None:
    rows = [Data(num_nodes=6, edge_index=PATH, y=torch.tensor([2**53 + row % 2])) for row in range(8)]
    (target,) = given_reader(rows, lambda *_: pytest.fail("opened"), graph_from).targets
    assert target.names == (str(2**53), str(2**53 + 1))
    torch.save(rows, tmp_path / "graphs.pt")
    with pytest.raises(DataError, match=str(2**53 + 1)):
        PyGDataset(PyGConfig(path=str(tmp_path / "graphs.pt")))
