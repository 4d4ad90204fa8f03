"""Fine-tuning heads, import of published weights, pictures, and what the plugin registers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch as GraphBatch

from repcore.errors import CheckpointError, ConfigError, DataError
from repcore.interfaces import Batch, Sample
from repcore.specs import TargetSpec
from repcore_graphs.checkpoints.convert import convert_clusters, convert_graph, convert_nodes
from repcore_graphs.configs.ehgnn import EHGNNConfig, NodeEHGNNConfig, published_graph, published_nodes
from repcore_graphs.configs.tasks import GraphTaskConfig, NodeTaskConfig
from repcore_graphs.datasets.raw_graph import RawGraph
from repcore_graphs.encoders.ehgnn import EHGNN
from repcore_graphs.encoders.ehgnn_node import NodeEHGNN
from repcore_graphs.encoders.hypercluster import HyperClusterEncoder
from repcore_graphs.rendering.graphs import draw_graph, draw_sample, layout
from repcore_graphs.tasks.graph import GraphClassification, GraphMultilabel
from repcore_graphs.tasks.node import NodeClassification
from tests.graphs.conftest import random_graph, write_tu


def batch(count: int = 3) -> Batch:
    return Batch(inputs=GraphBatch.from_data_list([random_graph(seed) for seed in range(count)]), size=count)


def encoder() -> EHGNN:
    torch.manual_seed(0)
    return EHGNN(EHGNNConfig(node_width=5, edge_width=3, hidden_width=8))


def test_graph_classification_learns_three_graphs() -> None:
    task = GraphClassification(GraphTaskConfig(dropout=0.0), encoder(), TargetSpec("y", "class", names=("a", "b", "c")))
    labels = torch.tensor([0.0, 1.0, 2.0])
    task.fit_targets(labels.numpy())
    optimiser = torch.optim.Adam(task.parameters(), 1e-2)
    for _ in range(40):
        optimiser.zero_grad()
        task.loss(task(batch()), labels).backward()
        optimiser.step()
    task.eval()
    assert task.predict(task(batch())).argmax(1).tolist() == [0, 1, 2]


def test_multilabel_leaves_missing_labels_out() -> None:
    task = GraphMultilabel(GraphTaskConfig(), encoder(), TargetSpec("y", "multilabel", names=("p", "q"))).eval()
    outputs = task(batch())
    known = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    gaps = known.clone()
    gaps[0, 1] = gaps[2, 0] = torch.nan
    each = torch.nn.functional.binary_cross_entropy_with_logits(outputs, known, reduction="none")
    torch.testing.assert_close(task.loss(outputs, gaps), each[~torch.isnan(gaps)].mean())


def test_node_classification_with_and_without_a_head() -> None:
    target = TargetSpec("y", "class", level="node", names=("a", "b", "c"), ignore=-1)
    labels = torch.tensor([0.0, 1.0, 2.0, torch.nan, -1.0] * 6)[:27]
    task = NodeClassification(NodeTaskConfig(), encoder(), target)
    task.fit_targets(labels.numpy())
    outputs = task(batch())
    assert outputs.shape == (27, 3)
    used = (~torch.isnan(labels)) & (labels >= 0)
    expected = torch.nn.functional.cross_entropy(outputs[used], labels[used].long())
    torch.testing.assert_close(task.loss(outputs, labels), expected)
    torch.testing.assert_close(task.predict(outputs).sum(1), torch.ones(27))
    published = NodeEHGNN(NodeEHGNNConfig(node_width=5, output_width=3, layers=3))
    bare = NodeClassification(NodeTaskConfig(head="none"), published, target).eval()
    torch.testing.assert_close(bare(batch()), published(batch()).tokens["node"].values)
    with pytest.raises(ConfigError, match="8 outputs for 3 classes"):
        NodeClassification(NodeTaskConfig(head="none"), encoder(), target)
    with pytest.raises(DataError, match="not class numbers"):
        task.fit_targets(np.array([0.0, 7.0]))


# ----------------------------------------------------------------------------------------------------- import


def _published(module: torch.nn.Module, renames: list[tuple[str, str]]) -> dict[str, torch.Tensor]:
    state = {}
    for key, value in module.state_dict().items():
        for ours, theirs in renames:
            key = key.replace(ours, theirs)
        state[key] = value
    return state


def test_a_tu_classifier_is_imported_with_its_labels(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = EHGNN(published_graph(node_width=4, edge_width=3, hidden_width=6, edge_ratio=0.7))
    state = _published(
        model,
        [("node_convs", "convs"), (".conv.lin", ".lin"), (".conv.bias", ".bias"), ("edge_convs", "hyperconvs"),
         ("drops", "scoreconvs"), (".score_conv", "")],
    )  # fmt: skip
    state["classifier.6.bias"] = torch.zeros(2)
    folder = write_tu(tmp_path)  # one attribute and three labels: width 4; three bond types
    options = {"edge_ratio": "0.7", "vocabulary": str(folder)}
    imported = convert_graph(state, Path("model.pth"), options)
    assert imported.encoder_config == published_graph(
        node_width=4, edge_width=3, hidden_width=6, edge_hidden_width=6, edge_ratio=0.7
    )
    rebuilt = EHGNN(imported.encoder_config)
    rebuilt.load_state_dict(imported.state)
    from repcore_graphs.configs.data import TUDatasetConfig
    from repcore_graphs.datasets.tu import TUDataset

    reader = TUDataset(TUDatasetConfig(path=str(folder)))
    prepared = imported.preprocessor.collate([imported.preprocessor.prepare(reader[row])[0] for row in range(3)])
    torch.testing.assert_close(rebuilt.eval()(prepared).pooled, model.eval()(prepared).pooled)
    assert imported.heads["task"].keys() == {"layers.6.bias"}
    with pytest.raises(CheckpointError, match="which share of the edges"):
        convert_graph(state, Path("model.pth"), {"vocabulary": str(folder)})
    with pytest.raises(CheckpointError, match="which label each one-hot column"):
        convert_graph(state, Path("model.pth"), {"edge_ratio": "0.7"})
    narrower = state | {"convs.0.lin.weight": torch.zeros(6, 9)}
    with pytest.raises(CheckpointError, match="node_width=9; the data of --vocabulary gives 4"):
        convert_graph(narrower, Path("model.pth"), options)


def test_an_autoencoder_and_a_node_classifier_are_imported(shared: Path) -> None:
    from safetensors.torch import load_file

    path = shared / "golden" / "ehgnn" / "weights.safetensors"
    if not path.is_file():
        pytest.skip("no golden folder of EHGNN")
    stored = load_file(path)

    def part(name: str) -> dict[str, torch.Tensor]:
        return {key.removeprefix(name + "."): value for key, value in stored.items() if key.startswith(name + ".")}

    imported = convert_clusters(part("hypercluster"), Path("zinc.pth"), {})
    HyperClusterEncoder(imported.encoder_config).load_state_dict(imported.state)
    assert set(imported.heads) == {"objective"}
    nodes = convert_nodes(part("hyperdrop_node"), Path("cora.pth"), {"edge_ratio": "0.65"})
    assert nodes.encoder_config == published_nodes(
        node_width=5, hidden_width=16, edge_hidden_width=8, output_width=3, layers=4, edge_ratio=0.65
    )
    NodeEHGNN(nodes.encoder_config).load_state_dict(nodes.state)


# ---------------------------------------------------------------------------------------------------- pictures


def _graph() -> RawGraph:
    arcs = np.array([[0, 1, 1, 2, 2, 0, 3, 3], [1, 0, 2, 1, 0, 2, 3, 0]])
    return RawGraph(
        4, arcs, node_labels=np.array([[0], [1], [2], [0]]), edge_labels=np.array([[0, 0, 1, 1, 2, 2, 3, 0]]).T
    )


def test_a_picture_shows_nodes_edges_and_importance() -> None:
    importance = np.array([0.1, 0.1, 0.9, 0.9, 0.5, 0.5, 0.2, 0.3])
    drawn = draw_sample(Sample("g", _graph(), meta={"edge_importance": importance}))
    assert drawn.html.count("<circle") == 4
    assert drawn.html.count("<line") == 4  # three sides and a one-way edge
    assert drawn.html.count("<ellipse") == 1  # the self edge
    assert 'stroke="rgb(192,28,40)"' in drawn.html  # the most important edge
    assert 'stroke="rgb(205,210,216)"' in drawn.html  # the least important one
    assert "0.1" in drawn.alt
    assert "importance" not in draw_graph(_graph(), title="plain").alt
    assert draw_graph(_graph()).html == draw_graph(_graph()).html


def test_pictures_of_odd_graphs() -> None:
    alone = RawGraph(1, np.zeros((2, 0), np.int64))
    assert draw_graph(alone).html.count("<circle") == 1
    assert np.isfinite(layout(1, np.zeros((0, 2), np.int64))).all()
    crowd = RawGraph(5000, np.zeros((2, 0), np.int64))
    assert "too many to draw" in draw_graph(crowd, title="<crowd>").html
    assert "<crowd>" not in draw_graph(crowd, title="<crowd>").html
    assert "not a graph" in draw_sample(Sample("x", "text")).alt
