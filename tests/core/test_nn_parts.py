"""Masks, positions, losses and the self-distillation head against plain formulas."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from repcore.errors import ConfigError, ShapeError
from repcore.nn.dino_head import DinoHead
from repcore.nn.losses import centred_teacher, info_nce, masked_mean, soft_cross_entropy
from repcore.nn.masking import exact_count_mask, independent_mask
from repcore.nn.positions import grid_coordinates, interpolate_positions, sinusoidal_positions


def test_independent_mask_follows_draws_and_eligibility() -> None:
    draws = torch.tensor([[0.1, 0.15, 0.149, 0.9]])
    eligible = torch.tensor([[False, True, True, True]])
    assert independent_mask(draws, 0.15, eligible).tolist() == [[False, False, True, False]]
    with pytest.raises(ConfigError, match=r"probability=1\.2"):
        independent_mask(draws, 1.2)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 5), st.integers(1, 12), st.data())
def test_exact_count_mask_takes_the_smallest_draws(rows: int, length: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, length))
    seed = data.draw(st.integers(0, 1000))
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(rows, length, generator=generator)
    eligible = torch.rand(rows, length, generator=generator) < 0.7
    mask = exact_count_mask(draws, count, eligible)
    for row in range(rows):
        allowed = [t for t in range(length) if eligible[row, t]]
        expected = sorted(allowed, key=lambda t: float(draws[row, t]))[:count]
        assert sorted(expected) == mask[row].nonzero().flatten().tolist()


def test_exact_count_mask_with_a_count_a_row_and_ties() -> None:
    mask = exact_count_mask(torch.zeros(2, 4), torch.tensor([1, 3]))
    assert mask.tolist() == [[True, False, False, False], [True, True, True, False]]
    with pytest.raises(ConfigError, match="5 places"):
        exact_count_mask(torch.zeros(2, 4), 5)


@pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 3, 2)])
def test_sinusoidal_positions_equal_the_formula(shape: tuple[int, ...]) -> None:
    places = grid_coordinates(shape)
    width = 4 * len(shape)
    table = sinusoidal_positions(places, width)
    for row, place in enumerate(places.tolist()):
        expected: list[float] = []
        for x in place:
            angles = [x / 10_000 ** (i / 2) for i in range(2)]
            expected += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
        assert table[row].tolist() == pytest.approx(expected, abs=1e-6)
    assert places.tolist()[-1] == [size - 1 for size in shape]
    with pytest.raises(ConfigError, match="width"):
        sinusoidal_positions(places, width + 1)


@pytest.mark.parametrize(("old", "new"), [((4,), (8,)), ((3, 4), (6, 4)), ((2, 3, 2), (4, 3, 2))])
def test_interpolated_positions(old: tuple[int, ...], new: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    table = torch.randn(math.prod(old), 5)
    assert interpolate_positions(table, old, old) is table
    out = interpolate_positions(table, old, new)
    assert out.shape == (math.prod(new), 5)
    constant = interpolate_positions(torch.ones_like(table), old, new)
    torch.testing.assert_close(constant, torch.ones_like(constant))
    along_last = torch.arange(old[-1]).float().expand(*old).reshape(-1, 1)
    if len(old) > 1:  # only the first axis grows, so what varies along the last one alone stays
        stretched = interpolate_positions(along_last, old, new).reshape(*new)
        torch.testing.assert_close(stretched, torch.arange(old[-1]).float().expand(*new))
    with pytest.raises(ShapeError, match="rows"):
        interpolate_positions(table[:-1], old, new)


def test_interpolation_in_one_dimension_is_linear() -> None:
    table = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    out = interpolate_positions(table, (4,), (8,)).flatten().tolist()
    centres = [(i + 0.5) / 2 - 0.5 for i in range(8)]
    assert out == pytest.approx([min(3.0, max(0.0, x)) for x in centres], abs=1e-6)


def test_masked_mean_ignores_what_is_masked_and_survives_nothing() -> None:
    values = torch.tensor([[1.0, float("nan")], [3.0, float("inf")]], requires_grad=True)
    mask = torch.tensor([[True, False], [True, False]])
    assert float(masked_mean(values.detach(), mask)) == 2.0
    assert masked_mean(values.detach(), mask, 0).tolist() == [2.0, 0.0]
    empty = masked_mean(values, torch.zeros(1, 1, dtype=torch.bool))
    empty.backward()
    assert float(empty.detach()) == 0.0
    assert not values.grad.any()


def slow_info_nce(queries: torch.Tensor, keys: torch.Tensor, temperature: float) -> float:
    total = 0.0
    for i in range(len(queries)):
        scores = [math.exp(float(queries[i] @ key) / temperature) for key in keys]
        total -= math.log(scores[i] / sum(scores))
    return total / len(queries)


def test_info_nce_equals_slow_formula_within_the_batch_and_with_a_queue() -> None:
    torch.manual_seed(0)
    queries, keys, queue = (torch.nn.functional.normalize(torch.randn(n, 6).double(), dim=1) for n in (5, 5, 7))
    assert float(info_nce(queries, keys, temperature=0.2)) == pytest.approx(slow_info_nce(queries, keys, 0.2), abs=1e-9)
    expected = sum(slow_info_nce(queries[i : i + 1], torch.cat([keys[i : i + 1], queue]), 0.2) for i in range(5)) / 5
    assert float(info_nce(queries, keys, negatives=queue, temperature=0.2)) == pytest.approx(expected, abs=1e-9)


def test_info_nce_limits_and_guards() -> None:
    unit = torch.eye(4)
    assert float(info_nce(unit, unit, temperature=0.001)) == pytest.approx(0.0, abs=1e-6)
    assert float(info_nce(torch.ones(4, 2), torch.ones(4, 2))) == pytest.approx(math.log(4), abs=1e-6)
    huge = info_nce(unit * 1e4, unit * 1e4, negatives=unit * -1e4, temperature=0.01)
    assert huge.isfinite()
    with pytest.raises(ConfigError, match="temperature=0"):
        info_nce(unit, unit, temperature=0.0)
    with pytest.raises(ShapeError, match="pairs of rows"):
        info_nce(unit, unit[:3])


def test_info_nce_gradient_by_finite_differences() -> None:
    torch.manual_seed(0)
    queries = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    keys = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda q, k: info_nce(q, k, temperature=0.5), (queries, keys))
    assert torch.autograd.gradcheck(lambda q, k: info_nce(q, k, negatives=k.flip(0), temperature=0.5), (queries, keys))


def test_soft_cross_entropy_equals_formula_and_is_safe() -> None:
    torch.manual_seed(0)
    student, logits, centre = torch.randn(4, 9), torch.randn(4, 9), torch.randn(9)
    teacher = centred_teacher(logits, centre, 0.05)
    for row in range(4):
        scaled = [(float(logits[row, k]) - float(centre[k])) / 0.05 for k in range(9)]
        weights = [math.exp(value - max(scaled)) for value in scaled]
        assert teacher[row].tolist() == pytest.approx([w / sum(weights) for w in weights], abs=1e-5)
    expected = -(teacher * (student / 0.1).log_softmax(-1)).sum(-1)
    torch.testing.assert_close(soft_cross_entropy(student, teacher, 0.1), expected, rtol=1e-5, atol=1e-5)
    assert soft_cross_entropy(student * 1e6, teacher, 0.1).isfinite().all()
    assert not centred_teacher(logits.requires_grad_(), centre, 0.05).requires_grad


def test_dino_head_equals_formula() -> None:
    torch.manual_seed(0)
    head = DinoHead(5, hidden_width=7, bottleneck_width=4, prototypes=6)
    x = torch.randn(3, 5)
    hidden = x
    for index in (0, 2, 4):
        hidden = hidden @ head.mlp[index].weight.T + head.mlp[index].bias
        hidden = torch.nn.functional.gelu(hidden) if index < 4 else hidden
    unit = hidden / hidden.norm(dim=1, keepdim=True)
    prototypes = head.last_layer.weight_v / head.last_layer.weight_v.norm(dim=1, keepdim=True)
    logits, bottleneck = head(x)
    torch.testing.assert_close(bottleneck, unit)
    torch.testing.assert_close(logits, unit @ prototypes.T)
    assert not head.last_layer.weight_g.requires_grad
    assert set(head.state_dict()) == {
        *(f"mlp.{i}.{part}" for i in (0, 2, 4) for part in ("weight", "bias")),
        "last_layer.weight_g", "last_layer.weight_v",
    }  # fmt: skip


def test_dino_head_scale_counts_when_it_is_free() -> None:
    head = DinoHead(5, hidden_width=7, bottleneck_width=4, prototypes=6, is_scale_frozen=False, use_batch_norm=True)
    with torch.no_grad():
        head.last_layer.weight_g[2] = 3.0
    head.eval()
    x = torch.randn(3, 5)
    before = head(x)[0]
    with torch.no_grad():
        head.last_layer.weight_g[2] = 1.0
    torch.testing.assert_close(head(x)[0][:, 2] * 3.0, before[:, 2])
    with pytest.raises(ConfigError, match="layers=0"):
        DinoHead(5, layers=0)
