"""Transformer layers against a layer written with plain loops, packed against padded, and their guards."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from repcore.errors import ConfigError
from repcore.nn.drop_path import DropPath
from repcore.nn.initialisation import initialise_normal
from repcore.nn.packing import plan_packing
from repcore.nn.transformer import FeedForward, SelfAttention, TransformerLayer


@pytest.fixture(autouse=True)
def fixed_seed() -> None:
    torch.manual_seed(3)


def random_layer(**settings: object) -> TransformerLayer:
    layer = TransformerLayer(12, 3, 20, **settings).double()  # type: ignore[arg-type]
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return layer.eval()


def slow_attention(attention: SelfAttention, hidden: Tensor, valid: Tensor) -> Tensor:
    """One query at a time, softmax over real keys only."""
    items, length, width = hidden.shape
    size = width // attention.heads
    query, key, value = (hidden @ w.T + b for w, b in zip(
        attention.qkv.weight.chunk(3), attention.qkv.bias.chunk(3), strict=True
    ))  # fmt: skip
    mixed = torch.zeros_like(hidden)
    for item in range(items):
        real = [t for t in range(length) if valid[item, t]]
        for head in range(attention.heads):
            part = slice(head * size, (head + 1) * size)
            for t in range(length):
                scores = [float((query[item, t, part] @ key[item, s, part]).detach()) / math.sqrt(size) for s in real]
                largest = max(scores)
                weights = [math.exp(score - largest) for score in scores]
                for s, weight in zip(real, weights, strict=True):
                    mixed[item, t, part] += weight / sum(weights) * value[item, s, part]
    return mixed @ attention.output.weight.T + attention.output.bias


def slow_norm(norm: torch.nn.LayerNorm, x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    variance = centred.square().mean(-1, keepdim=True)
    return centred / (variance + norm.eps).sqrt() * norm.weight + norm.bias


def slow_feed_forward(part: FeedForward, x: Tensor) -> Tensor:
    inner = x @ part.expand.weight.T + part.expand.bias
    inner = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
    return inner @ part.contract.weight.T + part.contract.bias


VALID = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 1, 0], [1, 1, 0, 0, 0]], dtype=torch.bool)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_layer_equals_slow_formula(norm: str) -> None:
    layer = random_layer(norm=norm, norm_epsilon=1e-6)
    x = torch.randn(4, 5, 12, dtype=torch.float64)
    if norm == "post":
        y = slow_norm(layer.attention_norm, x + slow_attention(layer.attention, x, VALID))
        expected = slow_norm(layer.feed_forward_norm, y + slow_feed_forward(layer.feed_forward, y))
    else:
        y = x + slow_attention(layer.attention, slow_norm(layer.attention_norm, x), VALID)
        expected = y + slow_feed_forward(layer.feed_forward, slow_norm(layer.feed_forward_norm, y))
    torch.testing.assert_close(layer(x, VALID), expected, rtol=0, atol=1e-12)  # float64 rounding


def test_packed_equals_padded_in_values_and_gradients() -> None:
    layer = random_layer(norm="post")
    x = torch.randn(4, 5, 12, dtype=torch.float64, requires_grad=True)
    packing = plan_packing(VALID)
    packed = packing.unpack(layer(packing.pack(x), None, packing))
    padded = layer(x, VALID) * VALID[..., None]
    torch.testing.assert_close(packed, padded, rtol=0, atol=1e-12)
    weight = torch.randn_like(packed)
    (grad_packed,) = torch.autograd.grad((packed * weight).sum(), x, retain_graph=True)
    (grad_padded,) = torch.autograd.grad((padded * weight).sum(), x)
    torch.testing.assert_close(grad_packed, grad_padded, rtol=0, atol=1e-11)


def test_packing_orders_by_length_and_keeps_every_token() -> None:
    packing = plan_packing(VALID)
    assert packing.runs == ((2, 2), (1, 4), (1, 5))
    assert packing.owner.tolist() == [1, 1, 3, 3, 2, 2, 2, 2, 0, 0, 0, 0, 0]
    values = torch.arange(20).reshape(4, 5)
    assert torch.equal(packing.unpack(packing.pack(values)), values * VALID)


def test_packing_with_holes_and_with_an_empty_item() -> None:
    valid = torch.tensor([[0, 0, 0], [1, 0, 1]], dtype=torch.bool)
    packing = plan_packing(valid)
    assert packing.runs == ((1, 2),)
    layer = random_layer()
    x = torch.randn(2, 3, 12, dtype=torch.float64)
    packed = packing.unpack(layer(packing.pack(x), None, packing))
    torch.testing.assert_close(packed[1, [0, 2]], layer(x, valid)[1, [0, 2]], rtol=0, atol=1e-12)
    assert torch.equal(packed[0], torch.zeros(3, 12, dtype=torch.float64))


def test_batch_without_any_token_passes_through_packed() -> None:
    valid = torch.zeros(2, 3, dtype=torch.bool)
    packing = plan_packing(valid)
    layer = random_layer()
    out = packing.unpack(layer(packing.pack(torch.randn(2, 3, 12, dtype=torch.float64)), None, packing))
    assert out.shape == (2, 3, 12)
    assert not out.any()


def test_item_without_real_tokens_stays_finite_when_padded() -> None:
    layer = random_layer()
    out = layer(torch.randn(2, 3, 12, dtype=torch.float64), torch.tensor([[False] * 3, [True] * 3]))
    assert out.isfinite().all()


@pytest.mark.parametrize("is_frozen", [False, True])
def test_feed_forward_in_pieces_equals_whole(is_frozen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("repcore.nn.feed_forward.CPU_FEED_FORWARD_TOKENS", 4)
    part = FeedForward(6, 10).eval().double()
    x = torch.randn(3, 7, 6, dtype=torch.float64, requires_grad=not is_frozen)
    given = [*([] if is_frozen else [x]), *part.parameters()]
    whole = part.contract(torch.nn.functional.gelu(part.expand(x)))
    weights = torch.randn_like(whole)
    expected = torch.autograd.grad((whole * weights).sum(), given)
    pieces = part(x)
    torch.testing.assert_close(pieces, whole, rtol=0, atol=1e-12)
    for one, other in zip(torch.autograd.grad((pieces * weights).sum(), given), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(part(x), whole, rtol=0, atol=1e-12)


def test_separate_matrices_load_by_the_documented_row_order() -> None:
    attention = random_layer().attention
    query, key, value = (torch.randn(12, 12, dtype=torch.float64) for _ in range(3))
    with torch.no_grad():
        attention.qkv.weight.copy_(torch.cat([query, key, value]))
    x = torch.randn(1, 4, 12, dtype=torch.float64)
    bias = attention.qkv.bias.chunk(3)
    q, k, v = (
        (x @ w.T + b).unflatten(-1, (3, 4)).transpose(1, 2) for w, b in zip((query, key, value), bias, strict=True)
    )
    mixed = (q @ k.transpose(-1, -2) / 2.0).softmax(-1) @ v
    expected = mixed.transpose(1, 2).flatten(2) @ attention.output.weight.T + attention.output.bias
    torch.testing.assert_close(attention(x), expected, rtol=0, atol=1e-12)


def test_heads_that_do_not_divide_are_refused_with_a_remedy() -> None:
    with pytest.raises(ConfigError, match=r"5 attention heads do not divide a width of 12[\s\S]*heads: 4"):
        SelfAttention(12, 5)


def test_unknown_norm_place_is_refused() -> None:
    with pytest.raises(ConfigError, match="norm='middle'"):
        TransformerLayer(4, 2, 8, norm="middle")  # type: ignore[arg-type]


def test_drop_path_drops_whole_items_and_keeps_the_mean() -> None:
    drop = DropPath(0.25).train()
    kept = drop(torch.ones(4000, 3, 2))
    per_item = kept.flatten(1)
    assert per_item.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert (per_item == per_item[:, :1]).all()
    assert abs(float((per_item[:, 0] == 0).float().mean()) - 0.25) < 0.03  # 4 deviations of 4000 coin flips
    assert torch.equal(drop.eval()(kept), kept)


def test_drop_path_of_packed_tokens_follows_their_item() -> None:
    drop = DropPath(0.5).train()
    owner = torch.arange(200).repeat_interleave(3)
    kept = drop(torch.ones(600, 2), owner, 200).reshape(200, 6)
    assert (kept == kept[:, :1]).all()
    assert 0 < int((kept[:, 0] == 0).sum()) < 200


def test_drop_path_rate_is_checked() -> None:
    with pytest.raises(ConfigError, match=r"rate=1\.0"):
        DropPath(1.0)


def test_initialisation_is_explicit() -> None:
    layer = TransformerLayer(64, 4, 256)
    table = torch.nn.Embedding(50, 64, padding_idx=3)
    generator = torch.Generator().manual_seed(0)
    initialise_normal(layer, 0.02, generator=generator)
    initialise_normal(table, 0.02, truncated=True, generator=generator)
    weight = layer.feed_forward.expand.weight
    assert abs(float(weight.detach().std()) - 0.02) < 0.001  # 16384 values: relative deviation 0.6 %
    assert not layer.attention.qkv.bias.any()
    assert (layer.attention_norm.weight == 1).all()
    assert not table.weight[3].any()
    assert float(table.weight.detach().abs().max()) <= 0.04
    assert float(weight.detach().abs().max()) > 0.04  # not truncated
