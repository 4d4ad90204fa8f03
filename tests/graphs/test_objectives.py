"""Label-free objectives: independent formulas, where gradients go, masks, augmentations, limit cases."""

from __future__ import annotations

import pytest
import torch
from torch_geometric.data import Batch as GraphBatch

from repcore.errors import ConfigError
from repcore.interfaces import Batch, Progress
from repcore.training.objective_rules import exported_encoder
from repcore_graphs.configs.ehgnn import EHGNNConfig, HyperClusterConfig
from repcore_graphs.configs.objectives import (
    EdgeReconstructionConfig,
    GraphContrastConfig,
    MaskedEdgeConfig,
    MaskedNodeConfig,
)
from repcore_graphs.encoders.ehgnn import EHGNN
from repcore_graphs.encoders.hypercluster import HyperClusterEncoder
from repcore_graphs.objectives.augmentations import AUGMENTATIONS, draw_augmentation, random_walk
from repcore_graphs.objectives.edge_reconstruction import EdgeReconstruction
from repcore_graphs.objectives.graph_contrast import GraphContrast
from repcore_graphs.objectives.masked_edges import MaskedEdges
from repcore_graphs.objectives.masked_nodes import MaskedNodes
from repcore_graphs.tensors import from_pyg
from tests.graphs.conftest import edgeless, random_graph

START = Progress(step=0, total_steps=10)


def bond_batch(count: int = 4) -> Batch:
    """Graphs with three one-hot bond types, the same in both directions."""
    graphs = [random_graph(seed) for seed in range(count)]
    for graph in graphs:
        kinds = (graph.edge_index.sum(0)) % 3
        graph.edge_attr = torch.nn.functional.one_hot(kinds, 3).float()
    return Batch(inputs=GraphBatch.from_data_list(graphs), size=count)


def encoder(seed: int = 0, **changes: object) -> EHGNN:
    torch.manual_seed(seed)
    return EHGNN(EHGNNConfig(**({"node_width": 5, "edge_width": 3, "hidden_width": 8} | changes)))  # type: ignore[arg-type]


def clusters(**changes: object) -> HyperClusterEncoder:
    torch.manual_seed(0)
    values = {"node_width": 5, "edge_width": 3, "average_edges": 24, "hidden_width": 8} | changes
    return HyperClusterEncoder(HyperClusterConfig(**values))  # type: ignore[arg-type]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_masked_edges_against_a_loop() -> None:
    objective = MaskedEdges(MaskedEdgeConfig(edge_kind="one-hot", mask_ratio=0.3), encoder()).eval()
    batch = bond_batch()
    draws = objective.draw(batch, generator(), START)
    terms = objective(batch, draws)
    graph = objective.encoder.embed_edges(objective.encoder.embed_nodes(objective.encoder.read(batch.inputs)))
    features = graph.edges.clone()
    features[draws["hidden"]] = objective.token.detach()
    logits = objective.decoder(objective.encoder.encode(graph.with_features(edges=features)).tokens["edge"].values)
    losses = []
    for edge in range(graph.num_edges):
        if draws["hidden"][edge]:
            losses.append(-logits[edge].log_softmax(0)[int(graph.edges[edge].argmax())])
    assert len(losses) == round(0.3 * 48)
    torch.testing.assert_close(terms.total, torch.stack(losses).mean())
    assert int(terms.counts["masked_edges"]) == len(losses)


def test_hidden_bond_types_cannot_be_read_anywhere() -> None:
    """Changing the true type of hidden edges changes the targets, never the predictions."""
    for edges in ("once", "as-stored"):
        objective = MaskedEdges(MaskedEdgeConfig(edge_kind="one-hot"), encoder(edges=edges)).eval()
        batch = bond_batch()
        draws = objective.draw(batch, generator(), START)
        other = bond_batch()
        hidden_arcs = draws["hidden"][objective.encoder.read(batch.inputs).arc_edge]
        assert 0 < int(hidden_arcs.sum()) < 96
        other.inputs.edge_attr[hidden_arcs] = other.inputs.edge_attr[hidden_arcs].roll(1, dims=1)
        predictions = []
        for one in (batch, other):
            caught: list[torch.Tensor] = []
            handle = objective.decoder.register_forward_hook(lambda _m, _i, out, caught=caught: caught.append(out))
            objective(one, draws)
            handle.remove()
            predictions.append(caught[0])
        # as stored: (E,) masks of another pairing would break this
        torch.testing.assert_close(predictions[0], predictions[1])


def test_masked_nodes_against_a_loop_and_no_leak_through_edges() -> None:
    objective = MaskedNodes(MaskedNodeConfig(mask_ratio=0.4, replace_ratio=0.0), encoder(edge_width=0)).eval()
    batch = bond_batch()
    batch.inputs.edge_attr = None
    draws = objective.draw(batch, generator(), START)
    total = objective(batch, draws).total.item()
    hidden = draws["hidden"]
    assert int(hidden.sum()) == round(0.4 * 36)
    caught: list[torch.Tensor] = []
    handle = objective.decoder.register_forward_hook(lambda _m, _i, out: caught.append(out))
    objective(batch, draws)
    original = batch.inputs.x.clone()
    by_hand = []
    for node in hidden.nonzero().flatten().tolist():
        a, b = caught[0][node].detach(), original[node]
        by_hand.append((1 - float(a @ b) / max(float(a.norm() * b.norm()), 1e-8)) ** 2)
    assert total == pytest.approx(sum(by_hand) / len(by_hand), rel=1e-4)
    batch.inputs.x = torch.where(hidden[:, None], original * 7 + 3, original)
    objective(batch, draws)
    handle.remove()
    torch.testing.assert_close(caught[0], caught[1])  # edges start from hidden end points, not from the true ones


def test_edge_reconstruction_against_cross_entropy_on_every_stored_arc() -> None:
    objective = EdgeReconstruction(EdgeReconstructionConfig(edge_kind="one-hot"), clusters())
    batch = bond_batch()
    terms = objective(batch, {})
    features = objective.encoder(batch)
    arcs = objective.logits(features)[features.tokens["edge"].source]  # (A, 3)
    labels = batch.inputs.edge_attr.argmax(1)
    torch.testing.assert_close(terms.total, torch.nn.functional.cross_entropy(arcs, labels))
    right = (arcs.argmax(1) == labels).float()
    assert float(terms.metrics["edge_accuracy"]) == pytest.approx(float(right.mean()))
    exact = [bool(right[batch.inputs.batch[batch.inputs.edge_index[0]] == graph].all()) for graph in range(4)]
    assert float(terms.metrics["exact_match"]) == pytest.approx(sum(exact) / 4)


def test_graph_reconstruction_adds_a_node_term() -> None:
    config = EdgeReconstructionConfig(
        edge_kind="continuous", node_kind="continuous", reconstruct="graph", node_weight=0.5
    )
    objective = EdgeReconstruction(config, clusters(with_nodes=True))
    terms = objective(bond_batch(), {})
    torch.testing.assert_close(terms.total, terms.terms["edges"] + 0.5 * terms.terms["nodes"])
    with pytest.raises(ConfigError, match="with_nodes"):
        EdgeReconstruction(config, clusters())


def test_graph_contrast_of_two_equal_views_is_a_plain_cross_entropy() -> None:
    objective = GraphContrast(GraphContrastConfig(projection_width=6), encoder()).eval()
    batch = bond_batch()
    draws = {
        "second_hide_nodes": torch.zeros(36, dtype=torch.bool),
        "second_hide_edges": torch.zeros(48, dtype=torch.bool),
        "second_drop_edges": torch.zeros(48, dtype=torch.bool),
    }
    with torch.no_grad():
        terms = objective(batch, draws)
        unit = torch.nn.functional.normalize(objective.projection(objective.encoder(batch).pooled), dim=1)
    similarity = (unit @ unit.T) / 0.2
    by_hand = sum(
        float(similarity[row].exp().sum().log() - similarity[row, row]) for row in range(4)
    ) / 4  # fmt: skip
    assert float(terms.total) == pytest.approx(by_hand, rel=1e-4)
    assert float(terms.metrics["partner_found"]) == 1.0


@pytest.mark.parametrize("name", ["masked-edge", "masked-node", "contrast", "both views", "reconstruction"])
def test_all_randomness_is_in_the_draws(name: str) -> None:
    objective = {
        "masked-edge": lambda: MaskedEdges(MaskedEdgeConfig(edge_kind="one-hot", replace_ratio=0.5), encoder()),
        "masked-node": lambda: MaskedNodes(MaskedNodeConfig(), encoder()),
        "contrast": lambda: GraphContrast(GraphContrastConfig(), encoder()),
        "both views": lambda: GraphContrast(GraphContrastConfig(both_views=True), encoder()),
        "reconstruction": lambda: EdgeReconstruction(EdgeReconstructionConfig(edge_kind="one-hot"), clusters()),
    }[name]()
    batch = bond_batch()
    state = torch.random.get_rng_state()
    draws = objective.draw(batch, generator(3), START)
    again = objective.draw(batch, generator(3), START)
    assert all(torch.equal(draws[key], again[key]) for key in draws)
    first, second = objective.eval()(batch, draws).total, objective(batch, draws).total
    assert torch.equal(first, second)
    assert torch.equal(state, torch.random.get_rng_state())
    objective.train()(batch, draws).total.backward()
    assert any(float(one.grad.abs().sum()) > 0 for one in objective.encoder.parameters() if one.grad is not None)
    assert exported_encoder(objective) is objective.encoder


@pytest.mark.parametrize("last_edge_layer", [False, True])
def test_masked_nodes_train_all_but_an_edge_layer_after_the_last_node_layer(last_edge_layer: bool) -> None:
    objective = MaskedNodes(MaskedNodeConfig(), encoder(last_edge_layer=last_edge_layer)).train()
    batch = bond_batch()
    objective(batch, objective.draw(batch, generator(3), START)).total.backward()
    idle = {name for name, one in objective.named_parameters() if one.grad is None or not one.grad.any()}
    last = len(objective.encoder.edge_convs) - 1
    unread = {name for name in idle if name.startswith((f"encoder.edge_convs.{last}.", f"encoder.edge_norms.{last}."))}
    assert bool(unread) == last_edge_layer
    assert idle == unread


def test_augmentations_change_what_they_say() -> None:
    graph = from_pyg(bond_batch(8).inputs)
    for name in AUGMENTATIONS:
        drawn = draw_augmentation(graph, (name,), strength=0.3, walk_share=0.6, generator=generator(1))
        changed = {key for key in ("hide_nodes", "hide_edges", "drop_edges") if bool(drawn[key].any())}
        expected = {
            "drop-edges": {"drop_edges"},
            "drop-nodes": {"hide_nodes", "drop_edges"},
            "mask-nodes": {"hide_nodes"},
            "mask-edges": {"hide_edges"},
            "subgraph": {"hide_nodes", "drop_edges"},
        }[name]
        assert changed == expected, name
        if name in ("drop-nodes", "subgraph"):
            touched = drawn["hide_nodes"][graph.ends[0]] | drawn["hide_nodes"][graph.ends[1]]
            assert torch.equal(touched, drawn["drop_edges"])


def test_a_random_walk_visits_connected_nodes_of_its_own_graph() -> None:
    graphs = [random_graph(seed) for seed in range(5)] + [edgeless()]
    graph = from_pyg(GraphBatch.from_data_list(graphs))
    visited = random_walk(graph, 0.7, generator(2))
    per_graph = torch.bincount(graph.node_graph[visited], minlength=6)
    assert (per_graph >= 1).all()
    assert int(per_graph[-1]) == 1
    assert int(per_graph.max()) <= 8  # ceil(0.7 * 9) steps and the start
    neighbours = torch.zeros(graph.num_nodes, dtype=torch.long).index_add(
        0, graph.arcs[0], visited[graph.arcs[1]].long()
    )
    several = per_graph[graph.node_graph] > 1
    assert (neighbours[visited & several] > 0).all()


def test_edgeless_batches_do_not_stop_masked_edges() -> None:
    objective = MaskedEdges(MaskedEdgeConfig(edge_kind="one-hot"), encoder())
    batch = Batch(inputs=GraphBatch.from_data_list([edgeless(), edgeless()]), size=2)
    terms = objective(batch, objective.draw(batch, generator(), START))
    terms.total.backward()
    assert terms.total.item() == 0.0


def test_what_the_data_cannot_give_is_said_before_training() -> None:
    with pytest.raises(ConfigError, match="the data has none"):
        MaskedEdges(MaskedEdgeConfig(), encoder(edge_width=0))
    with pytest.raises(ConfigError, match=r"mask_ratio=1\.5"):
        MaskedEdges(MaskedEdgeConfig(mask_ratio=1.5), encoder())
    with pytest.raises(ConfigError, match=r"power=0\.5"):
        MaskedNodes(MaskedNodeConfig(power=0.5), encoder())
    with pytest.raises(ConfigError, match="shuffle"):
        GraphContrast(GraphContrastConfig(augmentations=("shuffle",)), encoder())
