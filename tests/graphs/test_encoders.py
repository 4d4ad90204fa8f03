"""Encoders: awkward graphs, batch mates, permutations, static shapes, tokens, faithful flags, compilation."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch_geometric.data import Batch as GraphBatch
from torch_geometric.data import Data

from repcore.errors import ConfigError, ShapeError
from repcore.interfaces import Batch
from repcore_graphs.configs.ehgnn import EHGNNConfig, HyperClusterConfig, NodeEHGNNConfig, published_graph
from repcore_graphs.encoders.ehgnn import EHGNN
from repcore_graphs.encoders.ehgnn_node import NodeEHGNN
from repcore_graphs.encoders.hypercluster import HyperClusterEncoder, number_of_seeds
from repcore_graphs.layers.hyper_drop import HyperDrop
from repcore_graphs.tensors import from_pyg
from tests.graphs.conftest import AWKWARD, random_graph

VARIANTS = {
    "default": {},
    "drops": {"edge_ratio": 0.5},
    "clusters": {"edge_pool": "hypercluster", "seeds": 3},
    "multi-head clusters": {"edge_pool": "hypercluster", "seeds": 3, "heads": 2},
    "gmt": {"readout": "gmt", "seeds": 3, "heads": 2},
    "gcn": {"node_conv": "gcn", "edge_ratio": 0.7},
    "edge gcn": {"node_conv": "gcn-edge", "norm": "layer", "readout_layers": "last"},
    "as stored": {"edges": "as-stored", "edge_init": "concat", "readout": "sum"},
}


def build(seed: int = 0, **changes: object) -> EHGNN:
    torch.manual_seed(seed)
    config = EHGNNConfig(**({"node_width": 5, "edge_width": 3, "hidden_width": 8} | changes))  # type: ignore[arg-type]
    return EHGNN(config).eval()


def wrap(graphs: list[Data]) -> Batch:
    return Batch(inputs=GraphBatch.from_data_list(graphs), size=len(graphs))


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_every_graph_alone_gives_what_it_gives_in_a_batch(graphs: list[Data], changes: dict) -> None:
    encoder = build(**changes)
    with torch.no_grad():
        together = encoder(wrap(graphs))
        assert together.pooled.shape == (len(graphs), encoder.dim)
        assert torch.isfinite(together.pooled).all()
        for number, graph in enumerate(graphs):
            alone = encoder(wrap([graph]))
            # sums of the same numbers in another order
            torch.testing.assert_close(together.pooled[number], alone.pooled[0], rtol=1e-4, atol=1e-5)
            for level in ("node", "edge"):
                mine = together.tokens[level].values[together.tokens[level].owner == number]
                torch.testing.assert_close(mine, alone.tokens[level].values, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", AWKWARD)
@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_a_batch_of_nothing_but_awkward_graphs_trains(name: str, changes: dict) -> None:
    encoder = build(**changes).train()
    features = encoder(wrap([AWKWARD[name](), AWKWARD[name]()]))
    features.pooled.square().sum().backward()
    assert all(torch.isfinite(one.grad).all() for one in encoder.parameters() if one.grad is not None)


@pytest.mark.parametrize("width", [0, 3])
@pytest.mark.parametrize("changes", [{}, {"edge_ratio": 0.5}, {"readout": "gmt"}], ids=["all", "drops", "gmt"])
def test_renamed_nodes_and_shuffled_edges_change_nothing(width: int, changes: dict) -> None:
    data = random_graph(1)
    generator = torch.Generator().manual_seed(0)
    rename = torch.randperm(9, generator=generator)
    # whole edges move, their two directions stay together
    shuffle = torch.stack([2 * torch.randperm(12, generator=generator)] * 2, 1)
    shuffle[:, 1] += 1
    shuffle = shuffle.flatten()
    moved = Data(
        x=torch.empty_like(data.x).index_copy(0, rename, data.x),
        edge_index=rename[data.edge_index[:, shuffle]],
        edge_attr=data.edge_attr[shuffle],
    )
    if not width:
        data.edge_attr = moved.edge_attr = None
    encoder = build(edge_width=width, **changes)
    with torch.no_grad():
        torch.testing.assert_close(encoder(wrap([data])).pooled, encoder(wrap([moved])).pooled, rtol=1e-4, atol=1e-5)


def test_once_and_as_stored_agree_where_directions_share_features(graphs: list[Data]) -> None:
    once, stored = build(edges="once", edge_ratio=1.0), build(edges="as-stored", edge_ratio=1.0)
    stored.load_state_dict(once.state_dict())
    with torch.no_grad():
        first, second = once(wrap(graphs)), stored(wrap(graphs))
    torch.testing.assert_close(first.pooled, second.pooled, rtol=1e-4, atol=1e-5)
    source = first.tokens["edge"].source
    torch.testing.assert_close(first.tokens["edge"].values[source], second.tokens["edge"].values, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("conv", ["gcn", "gin", "gcn-edge"])
def test_static_shapes_give_the_values_and_gradients_of_removing_edges(graphs: list[Data], conv: str) -> None:
    results = []
    for static in (False, True):
        encoder = build(edge_ratio=0.5, node_conv=conv, norm="none", static_shapes=static, readout_edges=True)
        features = encoder(wrap(graphs))
        gradients = torch.autograd.grad(features.pooled.square().sum(), list(encoder.parameters()), allow_unused=True)
        results.append([features.pooled, features.tokens["edge"].values, *(g for g in gradients if g is not None)])
    assert len(results[0]) == len(results[1]) > 10
    for removed, masked in zip(*results, strict=True):
        scale = max(1.0, float(removed.detach().abs().max()))
        torch.testing.assert_close(removed / scale, masked / scale, rtol=1e-4, atol=1e-5)


def test_a_dropped_self_edge_gives_the_unit_loop_back() -> None:
    """Node 1's self edge is dropped: from then on it must have the loop that nodes without a self edge have."""
    graph = AWKWARD["self edge and isolated node"]()
    encoders = [build(node_conv="gcn", norm="none", edge_ratio=0.3, static_shapes=static) for static in (False, True)]
    with torch.no_grad():
        first, second = (encoder(wrap([graph])).pooled for encoder in encoders)
    torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-6)


def test_the_whole_encoder_compiles_as_one_graph(batch: GraphBatch) -> None:
    torch._dynamo.reset()
    encoder = build(edge_ratio=0.5, static_shapes=True, node_conv="gcn")
    graph = encoder.embed_edges(encoder.embed_nodes(encoder.read(batch)))
    compiled = torch.compile(lambda g: encoder.encode(g).pooled, fullgraph=True, backend="eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(graph), encoder.encode(graph).pooled)


def test_all_nodes_survive_every_drop_and_kept_edges_follow_the_ratio() -> None:
    encoder = build(edge_ratio=0.5)
    trace: list = []
    data = GraphBatch.from_data_list([random_graph(0), random_graph(1)])
    graph = encoder.embed_edges(encoder.embed_nodes(encoder.read(data)))
    encoder.encode(graph, trace)
    assert [len(step.nodes) for step in trace] == [18, 18, 18]
    assert [len(step.score) for step in trace[:2]] == [24, 12]  # 12 undirected edges a graph, then half
    assert [len(step.kept) for step in trace[:2]] == [12, 6]


def test_directions_are_kept_or_dropped_together() -> None:
    encoder = build(edge_ratio=0.5)
    graph = encoder.embed_edges(encoder.embed_nodes(encoder.read(GraphBatch.from_data_list([random_graph(0)]))))
    dropped = encoder.drops[0](graph.with_features(edges=torch.randn(12, 8))).graph
    arcs = set(map(tuple, dropped.arcs.T.tolist()))
    assert len(arcs) == 12
    assert {(v, u) for u, v in arcs} == arcs


def test_edges_that_were_dropped_keep_their_last_embedding() -> None:
    encoder = build(edge_ratio=0.3)
    trace: list = []
    graph = encoder.embed_edges(encoder.embed_nodes(encoder.read(GraphBatch.from_data_list([random_graph(0)]))))
    tokens = encoder.encode(graph, trace).tokens["edge"].values
    gone = [edge for edge in range(12) if edge not in trace[0].kept.tolist()]
    assert len(gone) == 8
    torch.testing.assert_close(tokens[gone], trace[0].edges[gone])


def test_scores_differ_and_get_gradients_from_every_seed_without_edge_features() -> None:
    data = GraphBatch.from_data_list([random_graph(seed) for seed in range(6)])
    data.edge_attr = None
    for seed in range(8):
        encoder = build(seed, edge_width=0).train()
        features = encoder(Batch(inputs=data, size=6))
        assert float(features.extras["edge_score"].detach().std()) > 1e-3
        features.pooled.sum().backward()
        assert all(float(drop.score_conv.weight.grad.abs().sum()) > 0 for drop in encoder.drops)


def test_the_published_flags_show_the_published_weaknesses() -> None:
    """Ones as edge features make all scores equal; clamped negative scores get no gradient."""
    data = GraphBatch.from_data_list([random_graph(seed) for seed in range(4)])
    data.edge_attr = None
    torch.manual_seed(0)
    encoder = EHGNN(published_graph(node_width=5, edge_width=0, hidden_width=8))
    trace: list = []
    encoder.encode(encoder.embed_edges(encoder.read(data)), trace)
    assert len(trace[0].score) == 96
    assert float(trace[0].score.detach().std()) < 1e-6
    drop = HyperDrop(4, ratio=0.5, activation="clamp")
    negative = torch.full((3,), -0.5, requires_grad=True)
    drop.weights(negative).sum().backward()
    assert negative.grad is not None
    assert float(negative.grad.abs().sum()) == 0
    live = HyperDrop(4, ratio=0.5)
    live.weights(negative).sum().backward()
    assert float(negative.grad.abs().min()) > 0


def test_layers_and_poolings(graphs: list[Data]) -> None:
    encoder = build()
    with torch.no_grad():
        features = encoder(wrap(graphs), (0, 3))
    assert features.layers[0].values.shape[1] == 5
    torch.testing.assert_close(features.layers[3].values, features.tokens["node"].values)
    assert encoder.pool(features, "edge-sum").shape == (5, 8)
    assert encoder.pool(features, "edge-sum")[1].abs().sum() == 0  # the edgeless graph
    with pytest.raises(ConfigError, match="'edge-median'"):
        encoder.pool(features, "edge-median")


def test_integer_codes_are_embedded_and_checked() -> None:
    data = random_graph(0)
    data.x, data.edge_attr = torch.randint(0, 3, (9, 2)), torch.randint(0, 4, (24, 1))
    encoder = build(node_width=0, edge_width=0, node_vocabularies=(3, 3), edge_vocabularies=(4,))
    assert torch.isfinite(encoder(wrap([data])).pooled).all()
    data.x = data.x + 5
    with pytest.raises(ValueError, match="has no embedding"):
        encoder(wrap([data]))


def test_wrong_widths_and_configs_are_named() -> None:
    with pytest.raises(ShapeError, match="built for"):
        build()(wrap([random_graph(0, node_width=4)]))
    with pytest.raises(ConfigError, match="node_width"):
        EHGNN(EHGNNConfig())
    with pytest.raises(ConfigError, match="layers=1"):
        EHGNN(EHGNNConfig(node_width=3, edge_width=1, layers=1, last_edge_layer=False))
    data = random_graph(0)
    data.edge_attr = None
    with pytest.raises(ShapeError, match="edge_attr"):
        build()(wrap([data]))


def test_plain_data_without_a_batch_vector_is_read() -> None:
    graph = from_pyg(random_graph(0))
    assert graph.num_graphs == 1
    assert graph.num_edges == 12


# ------------------------------------------------------------------------------------------------ other encoders


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("with_nodes", [False, True])
def test_hypercluster_on_awkward_batches(graphs: list[Data], heads: int, with_nodes: bool) -> None:
    torch.manual_seed(0)
    config = HyperClusterConfig(
        node_width=5, edge_width=3, average_edges=10, hidden_width=8, heads=heads, with_nodes=with_nodes
    )
    encoder = HyperClusterEncoder(config).eval()
    with torch.no_grad():
        together = encoder(wrap(graphs))
        assert together.pooled.shape == (5, encoder.dim)
        for number, graph in enumerate(graphs):
            torch.testing.assert_close(together.pooled[number], encoder(wrap([graph])).pooled[0], rtol=1e-4, atol=1e-5)
    assert encoder.pool(together, "cluster-mean").shape == (5, 8)


def test_number_of_seeds() -> None:
    assert number_of_seeds(HyperClusterConfig(average_edges=24)) == 4  # ceil(0.15 * 24)
    assert number_of_seeds(HyperClusterConfig(seeds=9)) == 9
    with pytest.raises(ConfigError, match="average_edges"):
        number_of_seeds(HyperClusterConfig())


def test_the_node_encoder_drops_only_while_training() -> None:
    torch.manual_seed(0)
    config = NodeEHGNNConfig(node_width=5, hidden_width=8, edge_hidden_width=4, layers=4, dropout=0.0)
    encoder = NodeEHGNN(config)
    graph = from_pyg(random_graph(0))
    batch = Batch(inputs=random_graph(0), size=1)
    trained = encoder.train()(batch).tokens["node"].values
    kept_all = encoder.eval()(batch).tokens["node"].values
    torch.testing.assert_close(trained, encoder.encode(graph, drop_edges=True).tokens["node"].values)
    assert not torch.allclose(trained, kept_all)
    whole = NodeEHGNN(replace(config, edge_ratio=1.0))
    whole.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(whole.train()(batch).tokens["node"].values, kept_all)
