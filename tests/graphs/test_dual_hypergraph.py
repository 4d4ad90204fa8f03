"""DHT and the dual hypergraph convolution: definitions, equality of forms, gradients, compilation."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.nn import HypergraphConv

from repcore.errors import ConfigError, DataError, ShapeError
from repcore_graphs.ops.dht import dht, inverse_dht, pair_arcs
from repcore_graphs.ops.dual_hypergraph_conv import endpoints
from repcore_graphs.ops.dual_hypergraph_conv import torch as definition
from repcore_graphs.ops.dual_hypergraph_conv.cases import cases
from tests.graphs.conftest import random_graph, undirected
from tests.graphs.slow_formula import dense_conv

FORMS = {"definition": definition.dual_hypergraph_conv, "endpoints": endpoints.dual_hypergraph_conv}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("seed", range(4))
def test_both_forms_equal_the_dense_formula(form, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    ends = torch.randint(8, (2, 15), generator=generator)  # self edges, parallel edges and leaves included
    features = torch.randn(15, 4, generator=generator, dtype=torch.float64)
    weight = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    bias = torch.randn(6, generator=generator, dtype=torch.float64)
    expected = dense_conv(features, [tuple(end) for end in ends.T.tolist()], weight, bias, 8)
    torch.testing.assert_close(form(features, ends, weight, bias, 8), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_forms_agree_on_all_cases_with_gradients(dtype: str) -> None:
    tolerance = 1e-5 if dtype == "float32" else 1e-12  # rounding of sums of up to 2 * 120 terms
    seen = 0
    for name, arguments, options in cases("cpu", dtype):
        results = []
        for form in FORMS.values():
            own = [one.detach().clone().requires_grad_() if _is_float(one) else one for one in arguments]
            out = form(*own, **options)
            leaves = [one for one in own if _is_float(one)]
            mix = torch.arange(out.numel(), dtype=out.dtype).cos().reshape(out.shape)
            results.append([out, *torch.autograd.grad((out * mix).sum(), leaves)])
        for first, second in zip(*results, strict=True):
            scale = max(1.0, float(first.detach().abs().max()) if first.numel() else 0.0)
            torch.testing.assert_close(first / scale, second / scale, rtol=0, atol=tolerance, msg=name)
        seen += 1
    assert seen >= 15


def _is_float(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def test_gradients_by_finite_differences() -> None:
    _, arguments, _ = next(cases("cpu", "float64"))
    features, ends, weight, bias, nodes = arguments
    features, weight = features[:20, :5].contiguous(), weight[:5, :7].contiguous()
    inputs = [one.detach().clone().requires_grad_() for one in (features, weight, bias[:7])]
    counts = torch.arange(20, dtype=torch.float64) % 3

    def run(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return endpoints.dual_hypergraph_conv(a, ends[:, :20], b, c, nodes, multiplicity=counts, self_term=True)

    assert torch.autograd.gradcheck(run, inputs)
    assert torch.autograd.gradgradcheck(run, inputs)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize(("wide", "narrow"), [(3, 9), (9, 3)])
def test_compiles_as_one_graph_with_the_same_gradients(backend: str, wide: int, narrow: int) -> None:
    torch._dynamo.reset()
    ends = torch.randint(10, (2, 30), generator=torch.Generator().manual_seed(0))
    results = []
    for form in (
        endpoints.dual_hypergraph_conv,
        torch.compile(endpoints.dual_hypergraph_conv, fullgraph=True, backend=backend),
    ):
        generator = torch.Generator().manual_seed(1)
        features = torch.randn(30, wide, generator=generator, requires_grad=True)
        weight = torch.randn(wide, narrow, generator=generator, requires_grad=True)
        out = form(features, ends, weight, None, 10)
        results.append([out, *torch.autograd.grad(out.cos().sum(), [features, weight])])
    for plain, compiled in zip(*results, strict=True):
        assert float(plain.detach().abs().max()) > 0
        torch.testing.assert_close(plain, compiled)


def test_dht_as_stored_compiles_as_one_graph() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(dht, fullgraph=True, backend="eager")
    edge_index = undirected([(0, 1), (1, 2)])
    assert torch.equal(compiled(edge_index, 3).ends, edge_index)


def test_incidence_equals_torch_geometrics_convolution() -> None:
    data = random_graph(5)
    dual = dht(data.edge_index, data.num_nodes)
    conv = HypergraphConv(3, 7)
    ours = endpoints.dual_hypergraph_conv(data.edge_attr, dual.ends, conv.lin.weight.t(), conv.bias, data.num_nodes)
    incidence = dual.incidence()
    theirs = conv(data.edge_attr, incidence, num_edges=int(incidence[1].max()) + 1)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_transforming_twice_is_the_identity() -> None:
    data = random_graph(2)
    dual = dht(data.edge_index, data.num_nodes)
    assert torch.equal(inverse_dht(dual.incidence(private=False), dual.ends.shape[1]), data.edge_index)


def test_inverse_refuses_what_is_no_dual_of_a_graph() -> None:
    with pytest.raises(DataError, match="dual node 1 has 1 hyperedges"):
        inverse_dht(torch.tensor([[0, 0, 1], [0, 1, 2]]), 2)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=25),
    st.integers(0, 2),
)
@settings(max_examples=60, deadline=None)
def test_pairing_joins_each_arc_with_one_equal_reverse(arcs: list[tuple[int, int]], kinds: int) -> None:
    edge_index = torch.tensor(arcs, dtype=torch.long).reshape(-1, 2).t()
    features = torch.tensor([[(u + v) % (kinds + 1)] for u, v in arcs]).reshape(-1, 1) if kinds else None
    first, arc_edge = pair_arcs(edge_index, 6, features)
    assert first.tolist() == sorted(first.tolist())
    for edge, arc in enumerate(first.tolist()):
        members = (arc_edge == edge).nonzero().flatten().tolist()
        assert members[0] == arc
        assert len(members) <= 2
        if len(members) == 2:
            assert arcs[members[0]] == arcs[members[1]][::-1]
            assert arcs[members[0]][0] != arcs[members[0]][1]
    # as many pairs as possible: of any (u, v) and (v, u), the rarer direction is used up
    for u, v in itertools.combinations(range(6), 2):
        forward, backward = arcs.count((u, v)), arcs.count((v, u))
        alone = sum(
            1 for edge, arc in enumerate(first.tolist())
            if set(arcs[arc]) == {u, v} and int((arc_edge == edge).sum()) == 1
        )  # fmt: skip
        assert alone == abs(forward - backward)


def test_directions_with_different_features_stay_apart() -> None:
    edge_index = undirected([(0, 1), (1, 2)])
    features = torch.tensor([[1.0], [2.0], [3.0], [3.0]])
    assert dht(edge_index, 3, edges="once", edge_attr=features).ends.shape[1] == 3
    assert dht(edge_index, 3, edges="once").ends.shape[1] == 2


@pytest.mark.parametrize("self_term", [False, True])
def test_undirected_once_gives_what_both_directions_give(self_term: bool) -> None:
    data = random_graph(7, nodes=12, pairs=13)
    weight = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    once = dht(data.edge_index, 12, edges="once", edge_attr=data.edge_attr)
    both = dht(data.edge_index, 12)
    half = endpoints.dual_hypergraph_conv(
        data.edge_attr[::2], once.ends, weight, None, 12, multiplicity=once.multiplicity, self_term=self_term
    )
    full = endpoints.dual_hypergraph_conv(data.edge_attr, both.ends, weight, None, 12, self_term=self_term)
    torch.testing.assert_close(half[once.arc_edge], full, rtol=1e-5, atol=1e-6)


def test_constant_features_stay_constant_without_the_self_term() -> None:
    """The averaging operator is row-stochastic: why missing edge features must not be ones."""
    data = random_graph(3)
    out = endpoints.dual_hypergraph_conv(torch.ones(24, 1), data.edge_index, torch.eye(1), None, data.num_nodes)
    torch.testing.assert_close(out, torch.ones(24, 1))


def test_renumbered_nodes_and_shuffled_edges_give_shuffled_results() -> None:
    data = random_graph(4)
    generator = torch.Generator().manual_seed(0)
    shuffle, rename = torch.randperm(24, generator=generator), torch.randperm(9, generator=generator)
    weight = torch.randn(3, 4, generator=generator)
    plain = endpoints.dual_hypergraph_conv(data.edge_attr, data.edge_index, weight, None, 9)
    moved = endpoints.dual_hypergraph_conv(
        data.edge_attr[shuffle], rename[data.edge_index[:, shuffle]], weight, None, 9
    )
    torch.testing.assert_close(plain[shuffle], moved, rtol=1e-5, atol=1e-6)


def test_wrong_arguments_name_the_value() -> None:
    with pytest.raises(ShapeError, match=r"\(3, 4\)"):
        dht(torch.zeros(3, 4, dtype=torch.long), 2)
    with pytest.raises(ConfigError, match="'twice'"):
        dht(torch.zeros(2, 0, dtype=torch.long), 2, edges="twice")  # type: ignore[arg-type]
