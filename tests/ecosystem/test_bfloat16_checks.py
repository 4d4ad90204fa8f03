"""Checks in bfloat16 compute what a GPU computes, on a processor without instructions for it."""

from __future__ import annotations

import torch

from repcore.testing.bfloat16 import bfloat16_autocast, bfloat16_products


def _products(layer: torch.nn.Module, given: torch.Tensor) -> torch.Tensor:
    with bfloat16_autocast():
        return layer(given)


def test_each_product_is_a_float32_product_rounded_once() -> None:
    torch.manual_seed(0)
    layer, given = torch.nn.Linear(96, 40), torch.randn(8, 96)
    wide = torch.nn.functional.linear(*(one.bfloat16().float() for one in (given, layer.weight, layer.bias)))
    got = _products(layer, given)
    assert got.dtype == torch.bfloat16
    assert torch.equal(got, wide.bfloat16())


def test_convolutions_and_their_gradients_agree_with_torch() -> None:
    torch.manual_seed(0)
    layer, given = torch.nn.Conv2d(3, 5, 3), torch.randn(2, 3, 9, 9)
    got = _products(layer, given)
    with bfloat16_products():
        got.float().sum().backward()
    ours = layer.weight.grad
    layer.weight.grad = None
    with torch.autocast("cpu", torch.bfloat16):
        expected = layer(given)
    expected.float().sum().backward()
    assert torch.allclose(got.float(), expected.float(), rtol=2**-7, atol=1e-3)
    assert ours is not None
    assert layer.weight.grad is not None
    assert torch.allclose(ours, layer.weight.grad, rtol=2**-6, atol=1e-2)


def test_what_exceeds_bfloat16_is_still_infinite() -> None:
    largest = torch.full((1, 1), 3.4e38)  # rounds up beyond the largest bfloat16
    with bfloat16_autocast():
        assert torch.isinf(largest @ torch.ones(1, 1)).all()
