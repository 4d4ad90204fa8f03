"""Top-k edge pooling and soft clusters: batches, ties, degenerate graphs, heads, padding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from repcore.errors import ConfigError
from repcore_graphs.layers.hyper_cluster import SeedAttention
from repcore_graphs.ops.cluster_pooling import cluster_assignment, cluster_pool, cluster_unpool, dense_assignment
from repcore_graphs.ops.edge_pooling import topk_edges
from tests.graphs.slow_formula import ranked


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0])), max_size=30),
    st.sampled_from([0.1, 0.5, 0.65, 0.9, 1.0]),
)
@settings(max_examples=80, deadline=None)
def test_keeps_what_a_loop_over_graphs_keeps(edges: list[tuple[int, float]], ratio: float) -> None:
    owner = torch.tensor([graph for graph, _ in edges], dtype=torch.long)
    score = torch.tensor([value for _, value in edges])
    chosen = topk_edges(score, owner, ratio, num_graphs=4)
    assert chosen.kept().tolist() == ranked(score, owner.tolist(), ratio)
    assert chosen.keep.nonzero().flatten().tolist() == sorted(chosen.kept().tolist())


def test_ratio_one_keeps_every_edge() -> None:
    owner = torch.tensor([0, 0, 0, 2, 2])
    assert topk_edges(torch.randn(5), owner, 1.0, num_graphs=3).keep.all()


def test_single_edge_and_no_edge() -> None:
    one = topk_edges(torch.tensor([-0.3]), torch.tensor([1]), 0.5, num_graphs=3)
    assert one.kept().tolist() == [0]
    none = topk_edges(torch.zeros(0), torch.zeros(0, dtype=torch.long), 0.5, num_graphs=2)
    assert none.kept().numel() == 0


def test_equal_scores_go_to_the_smaller_number() -> None:
    chosen = topk_edges(torch.zeros(7), torch.zeros(7, dtype=torch.long), 0.5, num_graphs=1)
    assert chosen.kept().tolist() == [0, 1, 2, 3]


def test_edges_dropped_before_stay_dropped_and_do_not_count() -> None:
    alive = torch.tensor([True, False, True, True, False])
    score = torch.tensor([0.1, 0.9, 0.3, 0.2, 0.8])
    chosen = topk_edges(score, torch.zeros(5, dtype=torch.long), 0.5, num_graphs=1, alive=alive)
    assert chosen.kept().tolist() == [2, 3]  # ceil(0.5 * 3) of the living ones
    assert chosen.keep.tolist() == [False, False, True, True, False]


@pytest.mark.parametrize("ratio", [0.0, -0.1, 1.01, 3])
def test_ratios_that_are_no_share_are_refused(ratio: float) -> None:
    with pytest.raises(ConfigError, match=str(ratio)):
        topk_edges(torch.zeros(2), torch.zeros(2, dtype=torch.long), ratio, num_graphs=1)


def test_top_k_compiles_as_one_graph() -> None:
    torch._dynamo.reset()
    score, owner = torch.randn(12, generator=torch.Generator().manual_seed(0)), torch.arange(12) // 4
    compiled = torch.compile(topk_edges, fullgraph=True, backend="eager")
    assert torch.equal(
        compiled(score, owner, 0.65, num_graphs=3).keep, topk_edges(score, owner, 0.65, num_graphs=3).keep
    )


# ---------------------------------------------------------------------------------------------------- clusters


def _dense(queries, keys, values, owner, heads, over):
    """Clusters graph by graph and head by head, with matrices."""
    width = queries.shape[1]
    part = width // heads
    pooled, restored = [], torch.zeros(len(keys), width)
    for graph in range(int(owner.max()) + 1):
        mine = (owner == graph).nonzero().flatten()
        columns, shares = [], []
        for head in range(heads):
            cut = slice(head * part, (head + 1) * part)
            scores = queries[:, cut] @ keys[mine][:, cut].T / width**0.5  # (S, E_g)
            share = scores.softmax(0 if over == "clusters" else 1)
            columns.append(share @ values[mine][:, cut])
            shares.append(share)
        pooled.append(torch.cat(columns, dim=1))
        restored[mine] = torch.stack(shares).mean(0).T @ pooled[-1]
    return torch.stack(pooled), restored


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("over", ["clusters", "elements"])
def test_clusters_equal_a_loop_over_graphs_and_heads(heads: int, over: str) -> None:
    generator = torch.Generator().manual_seed(heads)
    owner = torch.tensor([0, 0, 0, 1, 2, 2, 2, 2])
    queries = torch.randn(3, 8, generator=generator)
    keys, values = torch.randn(8, 8, generator=generator), torch.randn(8, 8, generator=generator)
    share = cluster_assignment(queries, keys, owner, num_graphs=3, heads=heads, softmax_over=over)  # type: ignore[arg-type]
    pooled = cluster_pool(share, values, owner, num_graphs=3)
    expected, restored = _dense(queries, keys, values, owner, heads, over)
    torch.testing.assert_close(pooled, expected)
    torch.testing.assert_close(cluster_unpool(share, pooled, owner), restored)


@pytest.mark.parametrize("over", ["clusters", "elements"])
def test_one_element_of_multiplicity_two_is_two_elements(over: str) -> None:
    generator = torch.Generator().manual_seed(0)
    attention = SeedAttention(8, 3, heads=2, softmax_over=over)  # type: ignore[arg-type]
    keys, values = torch.randn(4, 8, generator=generator), torch.randn(4, 8, generator=generator)
    owner, counts = torch.tensor([0, 0, 1, 1]), torch.tensor([2.0, 1.0, 2.0, 2.0])
    once = attention(keys, values, owner, num_graphs=2, multiplicity=counts)
    twice = counts.long()
    full = attention(
        keys.repeat_interleave(twice, 0),
        values.repeat_interleave(twice, 0),
        owner.repeat_interleave(twice),
        num_graphs=2,
    )
    torch.testing.assert_close(once.values, full.values, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(once.unpool().repeat_interleave(twice, 0), full.unpool(), rtol=1e-5, atol=1e-6)


def test_a_graph_without_elements_gets_its_queries() -> None:
    attention = SeedAttention(4, 2)
    found = attention(torch.zeros(0, 4), torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), num_graphs=2)
    assert torch.isfinite(found.values).all()
    torch.testing.assert_close(found.values[0], found.values[1])


def test_padding_of_the_dense_view() -> None:
    share = torch.full((3, 1, 2), 0.5)
    dense = dense_assignment(share, torch.tensor([0, 0, 1]), num_graphs=2, longest=2, padding=0.25)
    assert dense.shape == (2, 2, 2)
    assert dense[1].tolist() == [[0.5, 0.25], [0.5, 0.25]]


def test_clusters_compile_as_one_graph() -> None:
    torch._dynamo.reset()
    attention = SeedAttention(8, 3, heads=2)
    compiled = torch.compile(attention, fullgraph=True, backend="eager")
    keys, owner = torch.randn(5, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 0, 1, 1, 1])
    torch.testing.assert_close(
        compiled(keys, keys, owner, num_graphs=2).values, attention(keys, keys, owner, num_graphs=2).values
    )
