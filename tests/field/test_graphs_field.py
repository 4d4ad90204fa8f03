"""Graphs as people store them: every layout is read as stored, or refused with the reason and a way out.

Kinds K1 to K15 of the field page, for graphs; the inputs are made here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data import Data, HeteroData
from torch_geometric.transforms import ToSparseTensor

from repcore.errors import DataError, ItemError
from repcore_graphs.configs.data import (
    GraphPreprocessorConfig,
    PyGConfig,
)
from repcore_graphs.datasets import pyg
from repcore_graphs.preprocessors.graph import GraphPreprocessor
from tests.field.graphs_inputs import prepared, said

GRAPHS = 12


def cycles(change: Callable[[int, Data], None], count: int = GRAPHS) -> list[Data]:
    """Cycles of 3, 4, ... nodes in both directions with random features and y = 0, 1, 0, ...; each changed."""
    made = []
    for number in range(count):
        nodes = 3 + number
        ring = torch.arange(nodes)
        source, target = ring, (ring + 1) % nodes
        data = Data(
            x=torch.randn(nodes, 4, generator=torch.Generator().manual_seed(number)),
            edge_index=torch.stack([torch.cat([source, target]), torch.cat([target, source])]),
            y=torch.tensor([number % 2]),
        )
        change(number, data)
        made.append(data)
    return made


def stored(folder: Path, change: Callable[[int, Data], None], **settings: Any) -> pyg.PyGDataset:
    torch.save(cycles(change), folder / "graphs.pt")
    return pyg.PyGDataset(PyGConfig(path=str(folder / "graphs.pt"), **settings))


# ------------------------------------------------------------------------------------------- torch-geometric, y


@pytest.mark.parametrize(
    ("labels", "kind", "names", "first"),
    [
        ([1, 0], "class", ("0", "1"), 1.0),
        ([-1, 1], "class", ("-1", "1"), 0.0),
        ([1.0, 0.0], "class", ("0", "1"), 1.0),
        ([100001, 100000], "class", ("100000", "100001"), 1.0),
        ([1, 2], "class", ("1", "2"), 0.0),
        ([0, 7, 3, 3, 0, 7], "class", ("0", "3", "7"), 0.0),
        ([0.25, 1.5, -2.75], "regression", (), 0.25),
    ],
)
def test_kinds_of_y(tmp_path: Path, labels: list[float], kind: str, names: tuple[str, ...], first: float) -> None:
    def change(number: int, data: Data) -> None:
        data.y = torch.tensor([labels[number % len(labels)]])

    reader = stored(tmp_path, change)
    assert [(one.name, one.kind, one.level, one.names) for one in reader.targets] == [("y", kind, "item", names)]
    assert reader[0].targets["y"] == first
    assert "label 'y': " + kind in said(reader)


def test_y_of_some_graphs_only(tmp_path: Path) -> None:
    reader = stored(tmp_path, lambda number, data: setattr(data, "y", None if number % 3 == 0 else data.y))
    values = [reader[row].targets["y"] for row in range(GRAPHS)]
    assert np.isnan(values[::3]).all()
    assert values[1:3] == [1.0, 0.0]


@pytest.mark.parametrize("shape", [(3,), (1, 3)])
def test_tasks_are_never_taken_for_nodes_because_of_the_first_graph(tmp_path: Path, shape: tuple[int, ...]) -> None:
    tasks = torch.tensor([1.0, 0.0, float("nan")])  # as many as the first graph has nodes
    reader = stored(tmp_path, lambda number, data: setattr(data, "y", tasks.reshape(shape)))
    assert [(one.kind, one.level, one.names) for one in reader.targets] == [("multilabel", "item", ("0", "1", "2"))]
    np.testing.assert_array_equal(reader[5].targets["y"], tasks.numpy())


def test_several_values_are_targets_each_and_together(tmp_path: Path) -> None:
    reader = stored(tmp_path, lambda number, data: setattr(data, "y", torch.tensor([[0.5 * number, 100.5 - number]])))
    assert [(one.name, one.kind) for one in reader.targets] == [
        ("y", "regression"), ("y-0", "regression"), ("y-1", "regression"),
    ]  # fmt: skip
    assert reader[4].targets["y-1"] == 96.5
    assert reader[4].targets["y"].tolist() == [2.0, 96.5]


def test_y_of_nodes_and_of_graphs_of_equal_size(tmp_path: Path) -> None:
    nodes = stored(tmp_path, lambda number, data: setattr(data, "y", torch.arange(data.num_nodes) % 3))
    assert [(one.level, one.names) for one in nodes.targets] == [("node", ("0", "1", "2"))]
    assert nodes[1].inputs.node_targets["y"].tolist() == [0, 1, 2, 0]
    equal = [Data(edge_index=torch.zeros(2, 0).long(), num_nodes=4, y=torch.rand(4)) for _ in range(5)]
    torch.save(equal, tmp_path / "equal.pt")
    with pytest.raises(DataError, match=r"4 values in each graph of 4 nodes[\s\S]*level=graph"):
        pyg.PyGDataset(PyGConfig(path=str(tmp_path / "equal.pt")))
    assert len(pyg.PyGDataset(PyGConfig(path=str(tmp_path / "equal.pt"), level="graph"))[0].targets["y"]) == 4
    torch.save([Data(x=torch.rand(n, 1), y=torch.rand(k)) for n, k in ((3, 2), (4, 5))], tmp_path / "odd.pt")
    with pytest.raises(DataError, match="y has 2, 5 values in different graphs"):
        pyg.PyGDataset(PyGConfig(path=str(tmp_path / "odd.pt")))


# ------------------------------------------------------------------------------------ torch-geometric, structure


def test_directions_self_edges_and_repeats_stay_as_stored(tmp_path: Path) -> None:
    one_way = torch.tensor([[0, 1, 2, 2, 0], [1, 2, 0, 2, 1]])
    reader = stored(tmp_path, lambda number, data: setattr(data, "edge_index", one_way.int()))
    assert reader[0].inputs.edge_index.tolist() == one_way.tolist()
    assert reader[0].inputs.edge_index.dtype == np.int64
    assert f"{GRAPHS} of {GRAPHS} graphs store edges in one direction only" in said(reader)


def test_nodes_counted_from_one_are_refused_or_shifted_on_request(tmp_path: Path) -> None:
    def change(number: int, data: Data) -> None:
        data.edge_index = data.edge_index + 1

    with pytest.raises(DataError, match=r"numbered from 1[\s\S]*first_node=1"):
        stored(tmp_path, change)
    shifted = pyg.PyGDataset(PyGConfig(path=str(tmp_path / "graphs.pt"), first_node=1))
    plain = cycles(lambda number, data: None)[0]
    assert shifted[0].inputs.edge_index.tolist() == plain.edge_index.tolist()


def test_nodes_that_are_not_counted_anywhere_are_said(tmp_path: Path) -> None:
    def change(number: int, data: Data) -> None:
        data.x, data.edge_index = None, data.edge_index + 1

    reader = stored(tmp_path, change)
    assert reader[0].inputs.num_nodes == 4
    assert "store neither x nor num_nodes" in said(reader)
    assert "may be numbered from 1" in said(reader)


def test_isolated_nodes_no_edges_and_one_node(tmp_path: Path) -> None:
    def change(number: int, data: Data) -> None:
        if number % 3 == 0:
            data.x = torch.cat([data.x, torch.zeros(3, 4)])
        elif number % 3 == 1:
            data.edge_index = torch.zeros(2, 0).long()
        else:
            data.x, data.edge_index = torch.zeros(1, 4), torch.zeros(2, 0).long()

    reader = stored(tmp_path, change)
    assert [reader[row].inputs.num_nodes for row in range(3)] == [6, 4, 1]
    assert [reader[row].inputs.edge_index.shape[1] for row in range(3)] == [6, 0, 0]
    assert prepared(reader, 2).x.shape == (1, 4)


def test_features_that_some_graphs_lack_or_have_otherwise_are_reported_rows(tmp_path: Path) -> None:
    def change(number: int, data: Data) -> None:
        if number == 0:
            data.num_nodes, data.x = 3, None
        elif number == 1:
            data.x = torch.zeros(4, 7)
        elif number == 2:
            data.x[1, 2] = float("nan")

    reader = stored(tmp_path, change)
    assert "graphs differ in x: 10 with 4 columns, 1 without, 1 with 7 columns" in said(reader)
    with pytest.raises(ItemError, match="not_finite"):
        _ = reader[2]
    preprocessor = GraphPreprocessor(GraphPreprocessorConfig())
    preprocessor.fit(reader, range(GRAPHS))
    for row in (0, 1):
        with pytest.raises(ItemError, match="missing_features"):
            preprocessor.prepare(reader[row])
    assert preprocessor.prepare(reader[3])[0].values.x.shape == (6, 4)


def test_edge_weights_and_transposed_matrices_are_edges_with_attributes(tmp_path: Path) -> None:
    weights = torch.tensor([0.5, 2.0, 3.0])
    arcs = torch.tensor([[0, 1, 2], [1, 2, 0]])
    reader = stored(tmp_path, lambda n, data: data.update({"edge_index": arcs, "edge_weight": weights}) and None)
    np.testing.assert_array_equal(reader[0].inputs.edge_attributes, weights[:, None].numpy())
    plain = Data(x=torch.zeros(3, 2), edge_index=arcs, edge_weight=weights)
    torch.save([ToSparseTensor(attr="edge_weight")(plain.clone())], tmp_path / "adj.pt")
    graph = pyg.PyGDataset(PyGConfig(path=str(tmp_path / "adj.pt")))[0].inputs
    found = {
        (u, v): w for u, v, w in zip(*graph.edge_index.tolist(), graph.edge_attributes[:, 0].tolist(), strict=True)
    }
    assert found == {(0, 1): 0.5, (1, 2): 2.0, (2, 0): 3.0}


def test_several_types_of_nodes_are_refused_in_words(tmp_path: Path) -> None:
    mixed = HeteroData()
    mixed["paper"].x, mixed["author"].x = torch.zeros(3, 2), torch.zeros(2, 2)
    mixed["author", "writes", "paper"].edge_index = torch.tensor([[0, 1], [2, 0]])
    torch.save([mixed], tmp_path / "mixed.pt")
    with pytest.raises(DataError, match=r"several types[\s\S]*paper, author[\s\S]*to_homogeneous"):
        pyg.PyGDataset(PyGConfig(path=str(tmp_path / "mixed.pt")))


class Planted:
    """What a pickle may not bring along."""


def test_pickles_with_code_are_refused_also_beside_what_is_allowed(tmp_path: Path) -> None:
    graph = cycles(lambda number, data: None, 1)[0]
    _ = ToSparseTensor()(graph.clone())
    graph.planted = Planted()
    torch.save([graph], tmp_path / "bad.pt")
    with pytest.raises(DataError, match=r"cannot be read safely[\s\S]*Planted, which is code"):
        pyg.PyGDataset(PyGConfig(path=str(tmp_path / "bad.pt")))


def test_odd_graphs_are_rows_and_numbers_are_labels(tmp_path: Path) -> None:
    def change(number: int, data: Data) -> None:
        if number == 0:
            data.edge_index = data.edge_index.T
        elif number == 1:
            data.edge_index = [[0, 1], [1]]
        elif number == 2:
            data.edge_index = data.edge_index.float() + 0.25
        else:
            data.y = number % 2  # a plain number

    reader = stored(tmp_path, change)
    assert reader[5].targets == {"y": 1.0}
    for row, words in ((0, r"shape \(6, 2\); expected \(2, edges\): transpose it"), (1, "is a list"), (2, "not whole")):
        with pytest.raises(ItemError, match=f"malformed_graph.*{words}"):
            _ = reader[row]
    (tmp_path / "junk.pt").write_bytes(b"hello")
    with pytest.raises(DataError, match=r"junk\.pt cannot be read safely"):
        pyg.PyGDataset(PyGConfig(path=str(tmp_path / "junk.pt")))


def test_atomic_numbers_stand_for_features_and_what_is_not_used_is_said(tmp_path: Path) -> None:
    def change(number: int, data: Data) -> None:
        data.z, data.pos, data.x = torch.arange(data.num_nodes) + 6, torch.rand(data.num_nodes, 3), None
        data.y = torch.rand(1, 9)

    reader = stored(tmp_path, change)
    assert reader[0].inputs.node_labels[:, 0].tolist() == [6, 7, 8]
    assert "stored but not used: pos" in said(reader)
    assert "labels 'y-0' to 'y-8': 9 regression" in said(reader)


def test_parts_and_one_file_a_graph_are_joined_in_order(tmp_path: Path) -> None:
    graphs = cycles(lambda number, data: None)
    for part, rows in (("train", graphs[:6]), ("val", graphs[6:9]), ("test", graphs[9:])):
        (tmp_path / "parts").mkdir(exist_ok=True)
        torch.save(rows, tmp_path / "parts" / f"{part}.pt")
    parts = pyg.PyGDataset(PyGConfig(path=str(tmp_path / "parts")))
    assert {name: len(rows) for name, rows in parts.splits.items()} == {"train": 6, "validation": 3, "test": 3}
    (tmp_path / "each" / "processed").mkdir(parents=True)
    for number, graph in enumerate(graphs):
        torch.save(graph, tmp_path / "each" / "processed" / f"data_{number}.pt")
    torch.save("None", tmp_path / "each" / "processed" / "pre_filter.pt")
    (tmp_path / "each" / "notes.txt").write_text("x")
    each = pyg.PyGDataset(PyGConfig(path=str(tmp_path / "each")))
    assert [each[row].inputs.num_nodes for row in range(GRAPHS)] == [3 + row for row in range(GRAPHS)]
    assert each.account.counts == {"used": GRAPHS, "ignored": 2, "unreadable": 0}
