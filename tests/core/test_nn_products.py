"""Products of linear layers without a gradient equal the ordinary ones, and give way to them wherever more is asked."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from repcore.nn import products
from repcore.nn.products import ONEDNN_LINEAR, bare_product, linear, onednn_operations, product

needs_onednn = pytest.mark.skipif(ONEDNN_LINEAR is None, reason="this build of torch has no oneDNN")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(0, 6), (1, 6), (9, 6), (2, 3, 6)])
def test_products_equal_the_layer(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    layer, values = nn.Linear(6, 5, bias=bias), torch.randn(shape)
    with torch.inference_mode():
        torch.testing.assert_close(linear(values, layer), layer(values), rtol=0, atol=1e-6)
        turned = torch.randn(6, 9).t()  # strides of any kind
        torch.testing.assert_close(linear(turned, layer), layer(turned), rtol=0, atol=1e-6)
        if ONEDNN_LINEAR is not None:
            found = bare_product(values, layer.weight, layer.bias, after="gelu")
            torch.testing.assert_close(found, F.gelu(layer(values)), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "learns", [(True, True, True), (True, False, False), (False, True, False), (False, False, True)]
)
@pytest.mark.parametrize("turned", [False, True])
def test_gradients_of_any_order_equal_those_of_the_layer(
    learns: tuple[bool, bool, bool], turned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "LEAST_WORK", 0)
    torch.manual_seed(0)
    weight = torch.randn(6, 5).t() if turned else torch.randn(5, 6)
    given = [torch.randn(2, 3, 6), weight, torch.randn(5)]
    for one, wants in zip(given, learns, strict=True):
        one.requires_grad_(wants)
    wanted, weights = [one for one in given if one.requires_grad], torch.randn(2, 3, 5)
    results = []
    for function in (product, F.linear):
        found = function(*given)
        first = torch.autograd.grad((found * weights).sin().sum(), wanted, create_graph=True)
        second = torch.autograd.grad(sum((one**2).sum() for one in first), wanted)
        results.append([found, *first, *second])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@needs_onednn
@pytest.mark.parametrize("dense", [False, True])
def test_a_part_of_a_wider_weight_is_left_to_torch(dense: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(products, "ONEDNN_LINEAR", lambda *given: calls.append(given) or ONEDNN_LINEAR(*given))
    wide, values = torch.randn(6, 8), torch.randn(3, 5)
    for part in (wide[:, :5], wide[:5, :4].t()):
        weight, asked = part.contiguous() if dense else part, values[:, : part.shape[1]]
        with torch.no_grad():
            torch.testing.assert_close(product(asked, weight), asked @ weight.t())
    assert len(calls) == (2 if dense else 0)


@needs_onednn
def test_small_products_that_learn_and_other_numbers_are_ordinary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "ONEDNN_LINEAR", pytest.fail)
    layer, values = nn.Linear(6, 5), torch.randn(3, 6)
    assert torch.equal(linear(values, layer), layer(values))
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            assert linear(values, layer).dtype == torch.bfloat16
        assert torch.equal(linear(values.double(), layer.double()), layer(values.double()))


def test_a_layer_of_another_class_is_called_as_it_is() -> None:
    class Doubled(nn.Linear):
        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(values)

    layer, values = Doubled(6, 5), torch.randn(3, 6)
    assert torch.equal(linear(values, layer), layer(values))


@needs_onednn
def test_operations_are_counted_as_those_of_the_layer() -> None:
    layer, values = nn.Linear(6, 5), torch.randn(2, 3, 6)
    counted = []
    for function in (layer, lambda one: linear(one, layer)):
        with torch.no_grad(), FlopCounterMode(display=False, custom_mapping={ONEDNN_LINEAR: onednn_operations}) as mode:
            function(values)
        counted.append(mode.get_total_flops())
    assert counted[0] == counted[1] == 2 * 6 * 6 * 5
