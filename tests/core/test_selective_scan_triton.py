"""Triton kernels under the interpreter, in a process of their own: the switch must be set before triton is imported."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton")

SCRIPT = """
import torch
from repcore.nn.selective_scan import torch as plain
from repcore.nn.selective_scan import triton as kernels
from repcore.ops import triton_unusable
from tests.core.test_selective_scan import random_inputs, relative_error, values_and_gradients

assert triton_unusable() == ""
CASES = (  # scans, items, tokens, channels, states, reverse, steps of a chunk, shift of the step
    (2, 2, 19, 5, 4, (False, True), 8, -2.0),     # three chunks, the last one partly empty
    (2, 1, 16, 9, 3, (True, False), 8, -2.0),     # whole chunks, channels over two blocks
    (1, 1, 1, 1, 1, (True,), 4, 0.0),
    (1, 1, 5, 20, 16, (False,), 16, 12.0),        # stiff: decays underflow
    (1, 1, 9, 2, 2, (True,), 4, -25.0),           # steps around 1e-11: softplus must not round to 0
)
for scans, items, tokens, channels, states, reverse, steps, shift in CASES:
    inputs = random_inputs(scans, items, tokens, channels, states, shift=shift)
    expected = values_and_gradients(plain.selective_scan, inputs, reverse)
    got = values_and_gradients(kernels.selective_scan, inputs, reverse, steps=steps)
    for number, (one, two) in enumerate(zip(got, expected)):
        assert torch.isfinite(one).all()
        scale = two.abs().max()
        assert (one - two).abs().max() <= 5e-6 * scale + 1e-30, (tokens, number, float((one - two).abs().max() / scale))
whole = [one.detach() for one in random_inputs(1, 1, 6, 3, 2)]
half = [one.to(torch.bfloat16) if number in (0, 1, 3, 4) else one for number, one in enumerate(whole)]
y = kernels.selective_scan(*half[:6], delta_bias=half[6], steps=4)
assert y.dtype == torch.bfloat16
exact = plain.selective_scan(*[one.float() for one in half[:6]], delta_bias=half[6])
assert relative_error(y.float(), exact) < 0.01  # one rounding to bfloat16
print("kernels agree")
"""


def test_kernels_equal_the_definition_in_values_and_gradients() -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert "kernels agree" in run.stdout
