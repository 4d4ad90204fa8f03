"""Attention of a few windows at a time against all windows at once: values and every gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from repcore_medical3d.encoders import window_attention
from repcore_medical3d.encoders.nnformer_blocks import WindowAttention, shift_mask, window_order

KINDS = {
    "shifted": {"window": 2, "shift": 1},
    "with a skip map": {"window": 2, "is_skip": True},
    "without biases": {"window": 2, "use_bias": False, "legacy_index": True},
    "one window": {"window": 4},
    "windows of one token": {"window": 1},
}


def random_layer(**settings: object) -> WindowAttention:
    torch.manual_seed(0)
    layer = WindowAttention(6, int(settings.pop("window")), 3, **settings).double()  # type: ignore[arg-type]
    torch.nn.init.normal_(layer.position_bias)
    return layer


def found(layer: WindowAttention, *, is_at_once: bool) -> list[Tensor]:
    """What the layer gives and the gradients of maps and parameters."""
    torch.manual_seed(1)
    maps = [torch.randn(2, 4, 4, 4, 6, dtype=torch.float64, requires_grad=True) for _ in range(1 + layer.is_skip)]
    tokens, skip = maps[0], maps[1] if layer.is_skip else None
    out = layer._at_once(tokens, skip, (4, 4, 4)) if is_at_once else layer(tokens, skip)
    layer.zero_grad()
    out.backward(torch.randn_like(out))
    given = [*maps, *(one for one in layer.parameters() if one.requires_grad)]
    assert all(one.grad is not None for one in given)
    return [out.detach(), *(one.grad for one in given if one.grad is not None)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("tokens", "logits"), [(8192, 2**19), (24, 200), (8, 1)])
def test_few_windows_give_what_all_at_once_give(
    kind: str, tokens: int, logits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window_attention, "CHUNK_TOKENS", tokens)
    monkeypatch.setattr(window_attention, "CACHED_LOGITS", logits)
    layer = random_layer(**KINDS[kind])
    expected = found(layer, is_at_once=True)
    for one, other in zip(found(layer, is_at_once=False), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_without_gradients_the_values_are_the_same() -> None:
    layer = random_layer(window=2, shift=1)
    tokens = torch.randn(2, 4, 4, 4, 6, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(layer(tokens), layer._at_once(tokens, None, (4, 4, 4)), rtol=0, atol=1e-12)


def test_a_layer_learns_and_is_exported_whoever_came_first() -> None:
    """What is made once a shape serves inference mode, training and tracing in any order."""
    layer = random_layer(window=2, shift=1)
    for first in ("inference", "export"):
        shift_mask.cache_clear()
        window_order.cache_clear()
        tokens = torch.randn(1, 4, 4, 4, 6, dtype=torch.float64)
        if first == "inference":
            with torch.inference_mode():
                layer(tokens)
        exported = torch.export.export(layer, (tokens,), strict=False).module()
        layer(tokens).sum().backward()
        torch.testing.assert_close(exported(tokens), layer(tokens), rtol=0, atol=1e-12)
