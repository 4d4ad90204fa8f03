"""GIN for any graph: what it reads against explicit loops, files of every kind, and the generated families."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip("torch_geometric")

import networkx as nx

import repcore
from repcore import registry
from repcore.config.recipes import learns_by_own_objective
from repcore.config.resolve import resolve_run
from repcore.embedding.model import Model
from repcore.errors import ConfigError, ItemError, ShapeError
from repcore.interfaces import Batch, Sample
from repcore_graphs.configs.gin import FamiliesConfig, GraphGinConfig, SignalGraphConfig
from repcore_graphs.datasets.families import FAMILIES, Families
from repcore_graphs.datasets.raw_graph import RawGraph
from repcore_graphs.encoders.gin import GraphGin
from repcore_graphs.ops import structure
from repcore_graphs.ops.structure import FEATURES, NodeStructure, node_structure
from repcore_graphs.preprocessors.signal_graph import SignalGraphPreprocessor, raw_features, statistics
from repcore_graphs.preprocessors.signals import MOST_COLUMNS, Columns, edge_columns, node_columns
from repcore_graphs.preprocessors.statistics import EDGE_PLACES, NODE_PLACES, placed, statistics_of
from tests.graphs.conftest import write_tu

PREPROCESSOR = SignalGraphPreprocessor(SignalGraphConfig())
NOTHING = np.zeros((2, 0), np.int64)


def both_ways(pairs: list[tuple[int, int]]) -> np.ndarray:
    return np.asarray([(one, other) for u, v in pairs for one, other in ((u, v), (v, u))], np.int64).reshape(-1, 2).T


def drawn(nodes: int = 14, seed: int = 0, **features: np.ndarray) -> RawGraph:
    network = nx.gnp_random_graph(nodes, 0.25, seed=seed)
    return RawGraph(nodes, both_ways(list(network.edges)), **features)


def encoder(**changes: int) -> GraphGin:
    torch.manual_seed(0)
    config = replace(GraphGinConfig(width=10, signal_width=4, layers=2, readout_width=7), **changes)
    return GraphGin(config).eval()


def batch_of(*graphs: RawGraph) -> Batch:
    return PREPROCESSOR.collate([PREPROCESSOR.prepare(Sample("", one))[0] for one in graphs])


def vectors(*graphs: RawGraph) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(encoder()(batch_of(*graphs)).pooled)


# ----------------------------------------------------------------------------------------------- structure


def slow_back(graph: nx.Graph, node: int, steps: int) -> float:
    """Chance to be back, one walk after another."""
    at = {node: 1.0}
    for _ in range(steps):
        later: dict[int, float] = {}
        for place, chance in at.items():
            for other in graph[place]:
                later[other] = later.get(other, 0.0) + chance / len(graph[place])
        at = later
    return at.get(node, 0.0)


def test_structure_is_that_of_plain_definitions() -> None:
    graph = drawn()
    found, network = node_structure(14, graph.edge_index), nx.Graph(list(graph.edge_index.T.tolist()))
    network.add_nodes_from(range(14))
    for name, expected in (
        ("degree", dict(network.degree)), ("core", nx.core_number(network)), ("triangles", nx.triangles(network)),
        ("clustering", nx.clustering(network)),
    ):  # fmt: skip
        np.testing.assert_allclose(getattr(found, name), [expected[node] for node in range(14)], err_msg=name)
    for node, steps in itertools.product(range(14), (2, 3, 5, 8)):
        assert found.back[node, steps - 2] == pytest.approx(slow_back(network, node, steps))
    assert found.features().shape == (14, FEATURES)


def test_large_graphs_are_exact_but_for_long_walks(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = drawn(40, seed=3)
    dense = node_structure(40, graph.edge_index)
    monkeypatch.setattr(structure, "MOST_DENSE", 10)
    large = node_structure(40, graph.edge_index)
    for name in ("degree", "core", "triangles"):
        np.testing.assert_allclose(getattr(large, name), getattr(dense, name))
    np.testing.assert_allclose(large.back[:, 0], dense.back[:, 0])
    assert np.abs(large.back - dense.back).mean() < 0.03
    np.testing.assert_array_equal(large.back, node_structure(40, graph.edge_index).back)


def test_directions_weights_self_edges_and_repeats_do_not_count() -> None:
    graph = drawn(seed=2)
    one_way = graph.edge_index[:, ::2]
    odd = np.concatenate([one_way, one_way[:, :3], [[4], [4]]], 1)
    plain, found = (node_structure(14, edges) for edges in (graph.edge_index, odd))
    np.testing.assert_allclose(found.features()[:, :9], plain.features()[:, :9])
    assert not plain.one_way.any()
    assert found.one_way.any()


# ------------------------------------------------------------------------------------------------- columns


def test_labels_are_columns_by_their_code_behind_the_attributes() -> None:
    labels = np.asarray([[7], [2], [7]])
    found = node_columns(RawGraph(3, NOTHING, node_attributes=np.asarray([[1.0], [0.0], [-1.0]]), node_labels=labels))
    assert found.numbers.tolist() == [0, 3, 8]
    np.testing.assert_allclose(np.sinh(found.values), [[1, 0, 1], [0, 1, 0], [-1, 0, 1]])
    words = node_columns(RawGraph(3, NOTHING, node_labels=labels.astype(str)))
    assert words.numbers.tolist() == [2, 7]
    assert 0 <= node_columns(RawGraph(1, NOTHING, node_labels=np.asarray([["carbon"]]))).numbers[0] < MOST_COLUMNS


def test_columns_of_edges_are_means_over_the_edges_at_a_node() -> None:
    edges = both_ways([(0, 1), (1, 2)])
    found = edge_columns(RawGraph(4, edges, edge_attributes=np.asarray([[1.0], [1.0], [3.0], [3.0]])))
    one, three = np.arcsinh([1.0, 3.0])
    np.testing.assert_allclose(found.values[:, 0], [one, (one + three) / 2, three, 0])


def test_more_columns_than_there_is_place_for_are_added_with_signs() -> None:
    values = np.random.default_rng(0).normal(size=(5, 2 * MOST_COLUMNS + 1)).astype(np.float32)
    found = node_columns(RawGraph(5, NOTHING, node_attributes=values)).values
    wide = np.arcsinh(values.astype(np.float64))
    np.testing.assert_allclose(found[:, 0], wide[:, 0] - wide[:, MOST_COLUMNS] + wide[:, 2 * MOST_COLUMNS])
    assert found.shape == (5, MOST_COLUMNS)


def test_each_column_keeps_its_own_place() -> None:
    graph = drawn(node_attributes=np.random.default_rng(1).normal(size=(14, 3)))
    assert graph.node_attributes is not None
    turned = replace(graph, node_attributes=graph.node_attributes[:, [1, 0, 2]])
    assert np.abs(vectors(graph) - vectors(turned)).max() > 1e-3
    far = replace(graph, node_attributes=np.concatenate([np.zeros((14, NODE_PLACES)), graph.node_attributes], 1))
    assert np.abs(vectors(graph) - vectors(far)).max() > 1e-3  # a place that is shared, but with signs of its own


# ------------------------------------------------------------------------------------------------- encoder


def test_a_graph_does_not_depend_on_the_order_of_nodes_nor_on_its_neighbours_in_a_batch() -> None:
    rng = np.random.default_rng(2)
    graph = drawn(node_labels=rng.integers(3, size=(14, 1)), node_attributes=rng.normal(size=(14, 2)))
    order = rng.permutation(14)
    place = np.argsort(order)
    assert graph.node_labels is not None
    assert graph.node_attributes is not None
    turned = RawGraph(
        14, place[graph.edge_index], node_labels=graph.node_labels[order], node_attributes=graph.node_attributes[order]
    )
    alone = vectors(graph)[0]
    np.testing.assert_allclose(vectors(turned)[0], alone, atol=1e-5)
    np.testing.assert_allclose(vectors(drawn(6, seed=5), graph)[1], alone, atol=1e-5)


KINDS = {
    "one node": RawGraph(1, NOTHING),
    "isolated nodes": RawGraph(5, NOTHING, node_attributes=np.ones((5, 2))),
    "fifty columns": drawn(node_attributes=np.random.default_rng(0).normal(size=(14, 50))),
    "huge values": drawn(node_attributes=np.full((14, 1), 3e38, np.float32) * np.linspace(-1, 1, 14)[:, None]),
    "words": drawn(node_labels=np.asarray([["a"], ["b"]] * 7)),
    "one-way": RawGraph(3, np.asarray([[0, 1], [1, 2]]), edge_attributes=np.asarray([[0.5], [2.0]])),
    "self edge": RawGraph(2, np.asarray([[0, 0], [0, 1]])),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_graph_has_a_vector_and_statistics(kind: str) -> None:
    assert np.isfinite(vectors(KINDS[kind])).all()
    found = statistics(PREPROCESSOR, [Sample("", KINDS[kind]), Sample("", drawn())])
    assert np.isfinite(found).all()
    assert np.isfinite(raw_features(PREPROCESSOR, [Sample("", KINDS[kind])])).all()


def test_a_graph_that_cannot_be_used_says_why() -> None:
    with pytest.raises(ItemError, match="no node"):
        PREPROCESSOR.prepare(Sample("", RawGraph(0, NOTHING)))
    broken = Sample("", RawGraph(2, NOTHING, node_attributes=np.asarray([[np.nan], [0.0]])))
    assert np.isnan(statistics(PREPROCESSOR, [broken])).all()


def test_wrong_batches_are_refused() -> None:
    batch = batch_of(drawn())
    for name, wrong, text in (
        ("structure", torch.zeros(14, 3), r"structure has shape \(14, 3\)"),
        ("edge_index", torch.full((2, 1), 14), "edge_index holds numbers from 14 to 14; the batch has 14"),
    ):
        with pytest.raises(ShapeError, match=text):
            encoder()(replace(batch, inputs={**batch.inputs, name: wrong}))
    with pytest.raises(ConfigError, match="no pooling 'median'"):
        encoder().pool(encoder()(batch), "median")


# ---------------------------------------------------------------------------------------------- statistics


def described(graph: RawGraph) -> tuple[NodeStructure, Columns, Columns]:
    return PREPROCESSOR.described(Sample("", graph))


def test_statistics_hold_what_they_say() -> None:
    graph = drawn(node_labels=np.random.default_rng(0).integers(2, size=(14, 1)))
    network = nx.Graph(list(graph.edge_index.T.tolist()))
    found = statistics_of(*described(graph))
    known = {
        "edges": np.log1p(network.number_of_edges()),
        "transitivity": nx.transitivity(network),
        "assortativity": nx.degree_assortativity_coefficient(network),
        "squares": np.log1p(_squares(network)),
        "distance": np.mean([d for _, to in nx.all_pairs_shortest_path_length(network) for d in to.values() if d]),
    }
    for name, value in known.items():
        assert np.isclose(found, value).any(), name


def _squares(graph: nx.Graph) -> int:
    pairs = itertools.combinations(graph.nodes, 2)
    common = [len(set(graph[one]) & set(graph[other])) for one, other in pairs]
    return sum(number * (number - 1) // 2 for number in common) // 2


def test_places_are_shared_with_alternating_signs() -> None:
    values = np.arange(6.0).reshape(2, 3)
    found = placed(Columns(values, np.asarray([1, 1 + EDGE_PLACES, 2])), EDGE_PLACES).values
    np.testing.assert_allclose(found, [[0, 0 - 1, 2, 0], [0, 3 - 4, 5, 0]])


def test_statistics_of_a_graph_do_not_depend_on_other_graphs() -> None:
    samples = [Sample("", KINDS[kind]) for kind in KINDS]
    together = statistics(PREPROCESSOR, samples)
    for row, sample in zip(together, samples, strict=True):
        np.testing.assert_array_equal(statistics(PREPROCESSOR, [sample])[0], row)


# -------------------------------------------------------------------------------------------------- families


def test_families_are_as_named_and_repeat() -> None:
    reader = Families(FamiliesConfig(size=200))
    seen: dict[str, list[RawGraph]] = {name: [] for name in FAMILIES}
    for index in range(len(reader)):
        sample = reader[index]
        seen[list(FAMILIES)[int(sample.targets["family"])]].append(sample.inputs)
        assert PREPROCESSOR.prepare(sample)[0].status == "ok"
    assert all(len(graphs) > 5 for graphs in seen.values())
    for graph in seen["tree"]:
        network = nx.Graph(graph.edge_index.T.tolist())
        assert nx.is_tree(network)
        assert len(network) == graph.num_nodes
    assert all(np.bincount(graph.edge_index[0]).max() <= 4 for graph in seen["rings"])
    again = Families(FamiliesConfig(size=200))[7].inputs
    np.testing.assert_array_equal(again.edge_index, reader[7].inputs.edge_index)


@pytest.mark.parametrize(("name", "value"), [("most_nodes", 2), ("size", 0)])
def test_impossible_families_are_refused(name: str, value: int) -> None:
    with pytest.raises(ConfigError, match="3 <= least <= most"):
        Families(replace(FamiliesConfig(), **{name: value}))


# ------------------------------------------------------------------------------------------------ files


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Model:
    pytest.importorskip("repcore_generic")
    settings = {"trainer.steps": 3, "dataset.size": 40, "data.batch_size": 16}
    where = tmp_path_factory.mktemp("runs")
    return repcore.train("graphs/gin", None, preset="tiny", out=where, name="r", report=False, **settings).model


EDGES = {
    "plain": "source,target\na,b\nb,c\nc,a\nc,d\n",
    "with weights": "source,target,weight\na,b,0.5\nb,c,2\nc,a,1\nc,d,7\n",
    "with words": "source,target,kind\na,b,road\nb,c,rail\nc,a,road\nc,d,sea\n",
    "many": "graph,source,target\n1,0,1\n1,1,2\n2,0,1\n",
}


@pytest.mark.parametrize("kind", EDGES)
def test_a_model_of_generated_graphs_reads_any_file(trained: Model, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "edges.csv"
    path.write_text(EDGES[kind])
    found = trained.embed(str(path))
    assert found.vectors.shape == (2 if kind == "many" else 1, trained.encoder.dim)
    assert np.isfinite(found.vectors).all()


def test_features_of_a_file_tell_graphs_apart(trained: Model, tmp_path: Path) -> None:
    same = write_tu(tmp_path / "plain")
    labelled = write_tu(tmp_path / "labelled", node_labels="0\n1\n1\n0\n2\n1\n")
    plain, changed = (np.asarray(trained.embed(str(one)).vectors) for one in (same, labelled))
    assert plain.shape == changed.shape
    assert np.abs(plain - changed).max() > 1e-4


def test_views_of_another_preprocessor_are_refused() -> None:
    settings = ["objective=generic/simclr", "views=graphs/graph-pair"]
    pytest.importorskip("repcore_generic")
    with pytest.raises(ConfigError, match="preprocessor graphs/signals takes graph"):
        resolve_run(registry.default(), "graphs/gin", overrides=settings)


def test_a_recipe_is_judged_by_the_name_of_its_objective() -> None:
    """The plugin of that objective need not be there: nothing is asked for it."""
    only_recipes = SimpleNamespace(recipe=registry.default().recipe)
    assert not learns_by_own_objective(only_recipes, "graphs/gin")  # type: ignore[arg-type]
    assert learns_by_own_objective(only_recipes, "graphs/graph-contrast")  # type: ignore[arg-type]
