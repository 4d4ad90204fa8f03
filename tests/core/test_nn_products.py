"""Products of linear layers without a gradient equal the ordinary ones, and give way to them wherever more is asked."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from repcore.nn import products
from repcore.nn.products import ONEDNN_LINEAR, linear, onednn_operations

needs_onednn = pytest.mark.skipif(ONEDNN_LINEAR is None, reason="this build of torch has no oneDNN")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(0, 6), (1, 6), (9, 6), (2, 3, 6)])
def test_products_equal_the_layer(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    layer, values = nn.Linear(6, 5, bias=bias), torch.randn(shape)
    with torch.inference_mode():
        torch.testing.assert_close(linear(values, layer), layer(values), rtol=0, atol=1e-6)
        torch.testing.assert_close(linear(values, layer, after="gelu"), F.gelu(layer(values)), rtol=0, atol=1e-6)
        turned = torch.randn(6, 9).t()  # strides of any kind
        torch.testing.assert_close(linear(turned, layer), layer(turned), rtol=0, atol=1e-6)


@needs_onednn
@pytest.mark.parametrize("learns", ["values", "weight", "bias", "nothing"])
def test_what_learns_takes_the_ordinary_product(learns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def counted(*given: object) -> torch.Tensor:
        calls.append("oneDNN")
        found: torch.Tensor = ONEDNN_LINEAR(*given)
        return found

    monkeypatch.setattr(products, "ONEDNN_LINEAR", counted)
    layer = nn.Linear(6, 5).requires_grad_(False)
    values = torch.randn(3, 6, requires_grad=learns == "values")
    if learns in ("weight", "bias"):
        getattr(layer, learns).requires_grad_(True)
    found = linear(values, layer)
    assert found.requires_grad == (learns != "nothing")
    assert calls == ([] if found.requires_grad else ["oneDNN"])


@needs_onednn
def test_numbers_of_another_kind_take_the_ordinary_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "ONEDNN_LINEAR", pytest.fail)
    layer, values = nn.Linear(6, 5).double(), torch.randn(3, 6, dtype=torch.float64)
    with torch.no_grad():
        assert torch.equal(linear(values, layer, after="gelu"), F.gelu(layer(values)))
        with torch.autocast("cpu", torch.bfloat16):
            assert linear(values.float(), layer.float()).dtype == torch.bfloat16


@needs_onednn
def test_operations_are_counted_as_those_of_the_layer() -> None:
    layer, values = nn.Linear(6, 5), torch.randn(2, 3, 6)
    counted = []
    for function in (layer, lambda one: linear(one, layer)):
        with torch.no_grad(), FlopCounterMode(display=False, custom_mapping={ONEDNN_LINEAR: onednn_operations}) as mode:
            function(values)
        counted.append(mode.get_total_flops())
    assert counted[0] == counted[1] == 2 * 6 * 6 * 5
