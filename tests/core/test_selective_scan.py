"""The scan: all implementations against the plain definition, the definition against scalar loops, and its limits."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from repcore import ops
from repcore.errors import ConfigError, ShapeError
from repcore.nn.compiled_loops import in_threads, numba_unusable
from repcore.nn.selective_scan import cases, chunked, compiled, mamba_ssm
from repcore.nn.selective_scan import torch as plain
from repcore.nn.selective_scan.selection import OP, selective_scan_op

# float32 sums over a few dozen steps in another order; both sides were measured below 4e-7
RELATIVE = 1e-5  # sums of float32 over the tokens in two orders; up to 7e-6 with AVX2, where a sum cancels
needs_numba = pytest.mark.skipif(bool(numba_unusable()), reason="the compiled form needs numba")
FORMS = [chunked.selective_scan, pytest.param(compiled.selective_scan, marks=needs_numba)]
FORM_NAMES = ["chunked", "compiled"]


def random_inputs(
    scans: int, items: int, tokens: int, channels: int, states: int, seed: int = 0, shift: float = -2.0
) -> list[Tensor]:
    """u, delta, A, B, C, D, delta_bias, all with gradients."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    made = [
        normal(scans, items, tokens, channels),
        normal(scans, items, tokens, channels),
        -torch.exp(normal(scans, channels, states)),
        normal(scans, items, tokens, states),
        normal(scans, items, tokens, states),
        normal(scans, channels),
        normal(scans, channels) + shift,
    ]
    return [one.requires_grad_() for one in made]


def values_and_gradients(
    function: Callable[..., Any], inputs: Sequence[Tensor], reverse: Sequence[bool], **options: Any
) -> list[Tensor]:
    y, last = function(*inputs[:6], delta_bias=inputs[6], reverse=reverse, return_last_state=True, **options)
    generator = torch.Generator().manual_seed(99)
    weight = torch.randn(y.shape, generator=generator, dtype=y.dtype)
    found = torch.autograd.grad((y * weight).sum(), inputs, allow_unused=True)  # unused where there is no token
    gradients = [
        torch.zeros_like(one) if gradient is None else gradient for one, gradient in zip(inputs, found, strict=True)
    ]
    return [y.detach(), last, *gradients]


def relative_error(got: Tensor, expected: Tensor) -> float:
    if expected.numel() == 0:
        return 0.0
    return float((got - expected).abs().max() / expected.abs().max().clamp(min=1e-6))


def scalar_scan(inputs: Sequence[np.ndarray], reverse: Sequence[bool]) -> np.ndarray:
    """One number at a time, straight from the recurrence."""
    u, delta, A, B, C, D, bias = inputs
    scans, items, tokens, channels = u.shape
    y = np.zeros_like(u)
    for s in range(scans):
        order = range(tokens - 1, -1, -1) if reverse[s] else range(tokens)
        for b in range(items):
            for d in range(channels):
                state = np.zeros(A.shape[2])
                for t in order:
                    step = math.log1p(math.exp(delta[s, b, t, d] + bias[s, d]))
                    for n in range(len(state)):
                        state[n] = math.exp(step * A[s, d, n]) * state[n] + step * B[s, b, t, n] * u[s, b, t, d]
                    y[s, b, t, d] = float(state @ C[s, b, t]) + D[s, d] * u[s, b, t, d]
    return y


def test_definition_follows_the_recurrence() -> None:
    inputs = [one.detach().double() for one in random_inputs(2, 2, 7, 3, 4)]
    got = plain.selective_scan(*inputs[:6], delta_bias=inputs[6], reverse=(False, True))
    expected = scalar_scan([one.numpy() for one in inputs], (False, True))
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-12, atol=1e-12)  # float64, same formula


@pytest.mark.parametrize("name", cases.NAMES)
@pytest.mark.parametrize("form", FORMS, ids=FORM_NAMES)
def test_every_form_equals_the_definition_on_every_case(name: str, form: Callable[..., Any]) -> None:
    _, arguments, options = next(case for case in cases.cases("cpu", "float32") if case[0] == name)
    inputs = [*arguments, options.pop("delta_bias").requires_grad_()]
    expected = values_and_gradients(plain.selective_scan, inputs, **options)
    got = values_and_gradients(form, inputs, **options)
    for one, two in zip(got, expected, strict=True):
        assert torch.isfinite(one).all()
        assert relative_error(one, two) < RELATIVE


@settings(max_examples=25, deadline=None)
@given(
    tokens=st.integers(1, 40),
    steps=st.integers(1, 45),
    items=st.integers(1, 3),
    reverse=st.lists(st.booleans(), min_size=1, max_size=3),
    shift=st.sampled_from([-12.0, -3.0, 0.0, 8.0]),
)
def test_chunk_length_never_changes_the_result(
    tokens: int, steps: int, items: int, reverse: list[bool], shift: float
) -> None:
    inputs = random_inputs(len(reverse), items, tokens, 3, 4, seed=tokens, shift=shift)
    expected = values_and_gradients(plain.selective_scan, inputs, reverse)
    got = values_and_gradients(chunked.selective_scan, inputs, reverse, steps=steps)
    for one, two in zip(got, expected, strict=True):
        assert relative_error(one, two) < RELATIVE


def test_large_batches_are_split_without_changing_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = random_inputs(2, 5, 11, 4, 4)
    whole = values_and_gradients(chunked.selective_scan, inputs, (False, True))
    monkeypatch.setattr(chunked, "ROW", 2 * 2 * 4 * 4)  # two items at a time, the last group has one
    split = values_and_gradients(chunked.selective_scan, inputs, (False, True))
    for one, two in zip(split, whole, strict=True):
        assert relative_error(one, two) < RELATIVE


def test_chunked_gradients_by_finite_differences() -> None:
    inputs = [one.detach().double().requires_grad_() for one in random_inputs(2, 2, 5, 3, 2)]

    def run(*given: Tensor) -> Tensor:
        return chunked.selective_scan(*given[:6], delta_bias=given[6], reverse=(False, True), steps=2)  # type: ignore[return-value]

    assert torch.autograd.gradcheck(run, inputs)


@needs_numba
@settings(max_examples=25, deadline=None)
@given(
    tokens=st.integers(1, 70),
    items=st.integers(1, 3),
    channels=st.integers(1, 40),
    states=st.integers(1, 18),
    reverse=st.lists(st.booleans(), min_size=1, max_size=3),
    shift=st.sampled_from([-12.0, -3.0, 0.0, 8.0]),
)
def test_no_size_has_to_fit_vectors_or_chunks(
    tokens: int, items: int, channels: int, states: int, reverse: list[bool], shift: float
) -> None:
    inputs = random_inputs(len(reverse), items, tokens, channels, states, seed=tokens, shift=shift)
    state = torch.randn(len(reverse), items, channels, states, generator=torch.Generator().manual_seed(3))
    expected = values_and_gradients(plain.selective_scan, inputs, reverse, initial_state=state)
    got = values_and_gradients(compiled.selective_scan, inputs, reverse, initial_state=state)
    for one, two in zip(got, expected, strict=True):
        assert relative_error(one, two) < RELATIVE


@needs_numba
@pytest.mark.parametrize("sizes", [(1, 1, 70, 80), (2, 1, 40, 48), (2, 5, 33, 20)])
def test_bits_do_not_depend_on_threads(sizes: tuple[int, int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "WORTH_A_THREAD", 1)
    inputs = random_inputs(*sizes, 16)
    reverse = [bool(scan % 2) for scan in range(sizes[0])]
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 4, 2, 1):
            torch.set_num_threads(threads)
            found.append(values_and_gradients(compiled.selective_scan, inputs, reverse))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))


def test_work_is_shared_out_whole_and_an_error_of_a_thread_is_raised() -> None:
    seen: list[int] = []
    in_threads(lambda first, last: seen.extend(range(first, last)), [(0, 3), (3, 4), (4, 9)], "test")
    assert sorted(seen) == list(range(9))

    def fails(first: int, last: int) -> None:
        if first == 0:
            raise ValueError("in the other thread")

    with pytest.raises(ValueError, match="in the other thread"):
        in_threads(fails, [(0, 3), (3, 9)], "test")


@needs_numba
def test_the_exponential_on_vectors_is_that_of_the_library() -> None:
    """One token of an identity step of 25, from a state of one: y = exp(25 A)."""
    exponents = torch.cat([torch.linspace(-87.0, 5.0, 5000), torch.tensor([0.0, -1e-7, -90.0, -1e4, -math.inf])])
    D = len(exponents)
    ones, zeros, rates = torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, D), exponents.view(1, D, 1) / 25.0
    y = compiled.selective_scan(
        zeros, zeros + 25.0, rates, ones, ones, torch.zeros(1, D), delta_bias=torch.zeros(1, D),
        initial_state=torch.ones(1, 1, D, 1),
    )  # fmt: skip
    assert isinstance(y, Tensor)
    exact = torch.exp((exponents / 25.0 * 25.0).double()).view_as(y)
    # relative: an ulp of float32, or what float32 has lost below 1e-38
    assert ((y - exact).abs() <= 2e-7 * exact + 1.2e-38).all()


@needs_numba
def test_the_step_on_vectors_is_that_of_the_library() -> None:
    """With rate 0, and ones elsewhere, y of one token is softplus(delta)."""
    raw = torch.cat([torch.linspace(-80.0, 40.0, 5000), torch.tensor([0.0, 19.999, 20.0, 20.001, -1e4, 1e4])])
    delta = raw.view(1, 1, 1, -1).clone().requires_grad_()
    D, ones = raw.numel(), torch.ones(1, 1, 1, 1)
    y = compiled.selective_scan(
        torch.ones(1, 1, 1, D), delta, torch.zeros(1, D, 1), ones, ones, torch.zeros(1, D), delta_bias=torch.zeros(1, D)
    )
    assert isinstance(y, Tensor)
    (slope,) = torch.autograd.grad(y.sum(), delta)
    exact = delta.detach().double().requires_grad_()
    expected = torch.nn.functional.softplus(exact)
    (expected_slope,) = torch.autograd.grad(expected.sum(), exact)
    torch.testing.assert_close(y.detach().double(), expected.detach(), rtol=5e-7, atol=1e-37)
    torch.testing.assert_close(slope.double(), expected_slope, rtol=5e-7, atol=1e-37)


@pytest.mark.parametrize("form", FORMS, ids=FORM_NAMES)
@pytest.mark.parametrize("poisoned", [0, 1, 3, 4])
def test_a_value_that_is_no_number_is_not_hidden(form: Callable[..., Any], poisoned: int) -> None:
    inputs = [one.detach() for one in random_inputs(1, 1, 40, 5, 3)]
    inputs[poisoned][0, 0, 7, 0] = math.nan
    y = form(*inputs[:6], delta_bias=inputs[6])
    assert y[0, 0, :7].isfinite().all()
    assert y[0, 0, 7].isnan().any()


@needs_numba
def test_what_the_compiled_form_does_not_do_is_done_by_the_chunked_one(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = random_inputs(2, 2, 45, 6, 4)
    double = [one.detach().double().requires_grad_() for one in inputs]
    monkeypatch.setattr(compiled._CompiledScan, "apply", lambda *_: pytest.fail("loops ran"))
    for arguments in (double, inputs):
        expected = values_and_gradients(chunked.selective_scan, arguments, (False, True))
        got = values_and_gradients(compiled.selective_scan, arguments, (False, True))
        assert all(torch.equal(one, two) for one, two in zip(got, expected, strict=True))
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)


@needs_numba
def test_a_program_with_the_scan_is_captured() -> None:
    class Scan(torch.nn.Module):
        def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, Tensor]:
            return compiled.selective_scan(*inputs[:6], delta_bias=inputs[6])

    inputs = tuple(one.detach() for one in random_inputs(1, 2, 9, 5, 3))
    expected = plain.selective_scan(*inputs[:6], delta_bias=inputs[6])
    assert isinstance(expected, Tensor)
    with torch.no_grad():
        program = torch.export.export(Scan(), inputs).module()
    assert relative_error(program(*inputs), expected) < RELATIVE


@needs_numba
def test_numba_is_asked_for_by_the_first_scan_only() -> None:
    code = """
import sys, torch
import repcore, repcore.nn.selective_scan.compiled
from repcore.nn.selective_scan.selection import OP, selective_scan_op
scan = selective_scan_op()
assert "numba" not in sys.modules
x, rate = torch.ones(1, 1, 4, 2), -torch.ones(1, 2, 3)
scan(x, x, rate, torch.ones(1, 1, 4, 3), torch.ones(1, 1, 4, 3), rate[..., 0], delta_bias=rate[..., 0])
assert "numba" in sys.modules
from repcore import ops
print(ops.chosen_implementations()[OP])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False)
    assert run.stdout.split() == ["compiled"], run.stderr[-2000:]


def test_stiff_decays_stay_finite() -> None:
    inputs = random_inputs(2, 1, 60, 4, 16, shift=15.0)
    with torch.no_grad():
        inputs[2].copy_(-torch.arange(1.0, 17.0).expand(2, 4, 16))
    for one in values_and_gradients(chunked.selective_scan, inputs, (False, True)):
        assert torch.isfinite(one).all()


@pytest.mark.parametrize("form", FORMS, ids=FORM_NAMES)
def test_reverse_is_the_forward_scan_of_reversed_input(form: Callable[..., Any]) -> None:
    u, delta, A, B, C, D, bias = (one.detach() for one in random_inputs(1, 2, 13, 4, 3))
    turned = form(u.flip(2), delta.flip(2), A, B.flip(2), C.flip(2), D, delta_bias=bias, reverse=(False,))
    straight = form(u, delta, A, B, C, D, delta_bias=bias, reverse=(True,))
    torch.testing.assert_close(straight, turned.flip(2), rtol=0, atol=0)  # the same operations in the same order


@pytest.mark.parametrize("function", [plain.selective_scan, *FORMS])
def test_pieces_with_the_state_between_them_are_the_whole(function: Callable[..., Any]) -> None:
    u, delta, A, B, C, D, bias = (one.detach() for one in random_inputs(2, 2, 50, 4, 3))
    for back in (False, True):
        whole, last = function(u, delta, A, B, C, D, delta_bias=bias, reverse=(back, back), return_last_state=True)
        pieces, state = [], None
        for first, stop in ((33, 50), (7, 33), (0, 7)) if back else ((0, 7), (7, 33), (33, 50)):
            cut = [one[:, :, first:stop] for one in (u, delta, B, C)]
            piece, state = function(
                cut[0], cut[1], A, cut[2], cut[3], D, delta_bias=bias, reverse=(back, back), initial_state=state,
                return_last_state=True,
            )  # fmt: skip
            pieces.append(piece)
        joined = torch.cat(pieces[::-1] if back else pieces, dim=2)
        assert relative_error(joined, whole) < RELATIVE
        assert relative_error(state, last) < RELATIVE


def test_what_a_state_adds_to_the_mamba_ssm_kernel() -> None:
    u, delta, A, B, C, D, bias = (one.detach() for one in random_inputs(1, 2, 20, 4, 3))
    state = torch.randn(1, 2, 4, 3, generator=torch.Generator().manual_seed(5))
    (plain_y, plain_last), (y, last) = (
        plain.selective_scan(u, delta, A, B, C, D, delta_bias=bias, initial_state=start, return_last_state=True)
        for start in (None, state)
    )
    added, left = mamba_ssm.carried(state[0], delta[0], A[0], C[0], bias[0])
    assert relative_error(plain_y[0] + added, y[0]) < RELATIVE
    assert relative_error(plain_last[0] + left, last[0]) < RELATIVE


def test_a_state_that_asks_for_a_gradient_is_refused() -> None:
    inputs = random_inputs(1, 1, 4, 2, 3)
    state = torch.zeros(1, 1, 2, 3, requires_grad=True)
    with pytest.raises(ConfigError, match="no gradient"):
        chunked.selective_scan(*inputs[:6], delta_bias=inputs[6], initial_state=state)
    with pytest.raises(ShapeError, match="initial_state has shape"):
        chunked.selective_scan(*inputs[:6], delta_bias=inputs[6], initial_state=state.detach()[..., :2])


@pytest.mark.parametrize("form", FORMS, ids=FORM_NAMES)
def test_half_precision_keeps_a_float32_state(form: Callable[..., Any]) -> None:
    inputs = random_inputs(2, 2, 50, 8, 16, shift=-4.0)
    exact = plain.selective_scan(*inputs[:6], delta_bias=inputs[6], reverse=(False, True))
    half = [one.to(torch.bfloat16) if index in (0, 1, 3, 4) else one for index, one in enumerate(inputs)]
    rounded = form(*half[:6], delta_bias=half[6], reverse=(False, True))
    assert rounded.dtype == torch.bfloat16
    assert [one.dtype for one in torch.autograd.grad(rounded.sum(), half)] == [one.dtype for one in half]
    # inputs and output are rounded to 8 bits once each; a bfloat16 state would lose about 50 times that
    assert relative_error(rounded.float(), exact) < 0.03


@pytest.mark.parametrize("form", FORMS, ids=FORM_NAMES)
def test_gradient_reaches_inputs_that_alone_require_it(form: Callable[..., Any]) -> None:
    inputs = [one.detach() for one in random_inputs(1, 1, 6, 2, 2)]
    inputs[0].requires_grad_()
    form(*inputs[:6], delta_bias=inputs[6]).sum().backward()
    assert inputs[0].grad is not None
    assert inputs[0].grad.abs().sum() > 0


@pytest.mark.parametrize("form", FORMS, ids=FORM_NAMES)
def test_memory_has_no_tensor_of_tokens_times_states(form: Callable[..., Any]) -> None:
    """A forward pass without gradients allocates far less than one (B, L, D, N) tensor."""
    tokens, channels, states = 2048, 32, 16
    inputs = [one.detach() for one in random_inputs(1, 1, tokens, channels, states)]
    largest = 0
    real = torch.empty

    def watched(*shape: Any, **options: Any) -> Tensor:
        nonlocal largest
        made = real(*shape, **options)
        largest = max(largest, made.numel())
        return made

    torch.empty = watched  # type: ignore[assignment]
    try:
        with torch.no_grad():
            form(*inputs[:6], delta_bias=inputs[6])
    finally:
        torch.empty = real
    assert 0 < largest <= tokens * channels * states / 16


def test_shapes_are_checked_by_name() -> None:
    inputs = [one.detach() for one in random_inputs(1, 1, 4, 2, 3)]
    inputs[3] = inputs[3][..., :2]
    with pytest.raises(ShapeError, match="B has shape"):
        chunked.selective_scan(*inputs[:6], delta_bias=inputs[6])
    fine = [one.detach() for one in random_inputs(2, 1, 4, 2, 3)]
    with pytest.raises(ShapeError, match="reverse has 1"):
        plain.selective_scan(*fine[:6], delta_bias=fine[6], reverse=(False,))


def test_core_compares_all_usable_implementations() -> None:
    rows = list(ops.compare(OP, repeats=1))
    for form in ("chunked", *(() if numba_unusable() else ("compiled",))):
        assert {row.case for row in rows if row.implementation == form} == set(cases.NAMES)
    assert all(row.agrees for row in rows), [row for row in rows if not row.agrees]


@pytest.fixture
def without_numba(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "numba", None)
    numba_unusable.cache_clear()
    yield
    numba_unusable.cache_clear()


@needs_numba
def test_the_choice_with_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REPCORE_OPS", raising=False)
    assert ops.choose(OP, device="cpu") == ops.choose(OP, device="cpu", dtype="bfloat16") == "compiled"
    assert ops.choose(OP, device="cpu", sizes={"tokens": 40, "step": 1 << 17}) == "compiled"
    assert ops.choose(OP, device="cpu", dtype="float64") == ops.choose(OP, device="cuda", dtype="float64") == "chunked"


@pytest.mark.usefixtures("without_numba")
def test_without_numba_the_chunked_form_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REPCORE_OPS", raising=False)
    assert ops.choose(OP, device="cpu") == "chunked"
    assert ops.choose(OP, device="cpu", sizes={"tokens": 40, "step": 1 << 17}) == "torch"  # short clips, large batch
    assert ops.choose(OP, device="cpu", sizes={"tokens": 40, "step": 1 << 12}) == "chunked"
    assert ops.choose(OP, device="cpu", sizes={"tokens": 4000, "step": 1 << 17}) == "chunked"
    inputs = random_inputs(1, 1, 4, 2, 3)
    chosen = values_and_gradients(selective_scan_op(), inputs, (False,))
    expected = values_and_gradients(chunked.selective_scan, inputs, (False,))
    assert all(torch.equal(one, two) for one, two in zip(chosen, expected, strict=True))
    monkeypatch.setenv("REPCORE_OPS", f"{OP}=compiled")
    with pytest.raises(ConfigError, match=r"pip install repcore\[fast\]"):
        ops.choose(OP, device="cpu")


def test_choice_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPCORE_OPS", f"{OP}=torch")
    assert ops.choose(OP, device="cpu") == "torch"
    inputs = [one.detach() for one in random_inputs(1, 1, 4, 2, 3)]
    forced = selective_scan_op()(*inputs[:6], delta_bias=inputs[6])
    torch.testing.assert_close(forced, plain.selective_scan(*inputs[:6], delta_bias=inputs[6]), rtol=0, atol=0)
    assert ops.why_unusable(OP, "mamba-ssm") or torch.cuda.is_available()
