"""Loops of the compiled CPU form of ``selective-scan``: numba, with vectors over channels.

A vector holds one state of 16 channels. For a chunk of time and such a block of channels, the loop over states is
outermost, so that the state, or its gradient, stays in a register while time runs; rows of the chunk (step, input,
output) stay in the first cache. Sums over states are sums of vectors; sums over channels (gradients of B and C) are
taken once a chunk. The exponential is a polynomial on vectors, since a call of the library for every number would be
nine tenths of the time. A scan from right to left only changes the address of a step.

Intrinsics and loops share this file because numba's cache on disk looks at the file of a loop only.

Symbols: S scans, B items, P = S x B pairs, L tokens, D channels (a multiple of 16), N states, K steps of a chunk.
Arrays are float32, contiguous and flat; their layout is written (P, L, D).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

from repcore.nn.compiled_loops import compiled

LANES = 16  # channels of a vector: one register with AVX-512, two with AVX2
STEPS = 32  # K: states at borders take half the memory of u with 16 states, rows of a chunk fit the first cache
WHOLE = ir.VectorType(ir.IntType(32), LANES)
VECTOR = ir.VectorType(ir.FloatType(), LANES)
ALIGNED = 4  # bytes; rows of an array begin anywhere
LINEAR_ABOVE = 20.0  # where softplus is the identity

# exp(r) = 1 + r + r^2 (c0 + c1 r + ...) for |r| <= log(2) / 2, highest power first; error of the fit 3e-9
EXPONENTIAL = (0.00138145, 0.00836875, 0.04166839, 0.1666652, 0.49999993, 1.0, 1.0)
# artanh(s) = s + s^3 (c0 + c1 s^2 + ...) for s <= 1 / 3, highest power first; error of the fit 1e-10
INVERSE_TANGENT = (0.12150836, 0.10713739, 0.1430845, 0.19999439, 0.33333338)
LOG2_E = 1.4426950408889634
LOG_2_HIGH, LOG_2_LOW = 0.693359375, -2.12194440e-4  # their sum is log 2; products of the first with n are exact
ROUNDING = 12582912.0  # 1.5 x 2^23: added to a float32, it leaves the nearest whole number in the lowest bits
LOWEST, HIGHEST = -88.0, 88.8  # where 2^n has run down to 0 and up to infinity


class _Vector(types.Type):
    """Sixteen float32 in registers."""

    def __init__(self) -> None:
        super().__init__(name="vector of float32")


vector = _Vector()
_instruction: Callable[..., Any] = intrinsic  # loops call what it returns without the first argument


@register_model(_Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, VECTOR)


def _lanes(number: float) -> Any:
    return ir.Constant(VECTOR, [number] * LANES)


def _fused(builder: Any, a: Any, b: Any, c: Any) -> Any:
    name = f"llvm.fmuladd.v{LANES}f32"  # in one instruction where the processor has it, otherwise in two
    known = builder.module.globals.get(name)
    return builder.call(known or ir.Function(builder.module, ir.FunctionType(VECTOR, [VECTOR] * 3), name), [a, b, c])


def _powers(builder: Any, x: Any, factors: tuple[float, ...]) -> Any:
    """A polynomial by Horner's rule, highest power first."""
    found = _lanes(factors[0])
    for factor in factors[1:]:
        found = _fused(builder, found, x, _lanes(factor))
    return found


def _place(context: Any, builder: Any, kind: Any, array: Any, offset: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [offset]), VECTOR.as_pointer())


@_instruction
def load(typing: Any, array: Any, offset: Any) -> Any:
    """Sixteen numbers of an array."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.load(_place(context, builder, signature.args[0], *given), align=ALIGNED)

    return vector(array, types.int64), generate


@_instruction
def store(typing: Any, array: Any, offset: Any, value: Any) -> Any:
    """Write sixteen numbers."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        builder.store(given[2], _place(context, builder, signature.args[0], *given[:2]), align=ALIGNED)
        return context.get_dummy_value()

    return types.void(array, types.int64, value), generate


@_instruction
def everywhere(typing: Any, number: Any) -> Any:
    """One number in all lanes."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        one = builder.insert_element(ir.Constant(VECTOR, ir.Undefined), given[0], ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(one, one, ir.Constant(WHOLE, [0] * LANES))

    return vector(types.float32), generate


@_instruction
def total(typing: Any, x: Any) -> Any:
    """Sum of the lanes."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        found, width = given[0], LANES
        while width > 1:
            width //= 2
            half = ir.VectorType(ir.IntType(32), width)
            low, high = (ir.Constant(half, list(range(first, first + width))) for first in (0, width))
            found = builder.fadd(builder.shuffle_vector(found, found, low), builder.shuffle_vector(found, found, high))
        return builder.extract_element(found, ir.Constant(ir.IntType(32), 0))

    return types.float32(x), generate


def _arithmetic(count: int, body: Callable[..., Any]) -> Any:
    """An intrinsic from ``count`` vectors to one."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return body(builder, *given)

    def one(typing: Any, a: Any) -> Any:
        return vector(vector), generate

    def two(typing: Any, a: Any, b: Any) -> Any:
        return vector(vector, vector), generate

    def three(typing: Any, a: Any, b: Any, c: Any) -> Any:
        return vector(vector, vector, vector), generate

    return _instruction({1: one, 2: two, 3: three}[count])


def _exponential(builder: Any, x: Any) -> Any:
    """exp(x): 2^n by the exponent's bits times a polynomial; 0 below -87.7, where float32 loses digits. NaN stays."""
    x = builder.select(builder.fcmp_ordered("<", x, _lanes(LOWEST)), _lanes(LOWEST), x)
    x = builder.select(builder.fcmp_ordered(">", x, _lanes(HIGHEST)), _lanes(HIGHEST), x)
    shifted = _fused(builder, x, _lanes(LOG2_E), _lanes(ROUNDING))
    n = builder.fsub(shifted, _lanes(ROUNDING))
    rest = _fused(builder, n, _lanes(-LOG_2_HIGH), x)
    rest = _fused(builder, n, _lanes(-LOG_2_LOW), rest)
    bits = builder.shl(builder.bitcast(shifted, WHOLE), ir.Constant(WHOLE, [23] * LANES))
    power = builder.bitcast(builder.add(bits, ir.Constant(WHOLE, [127 << 23] * LANES)), VECTOR)
    return builder.fmul(_powers(builder, rest, EXPONENTIAL), power)


def _decay_of(builder: Any, x: Any) -> Any:
    """exp(-|x|)."""
    positive = builder.fcmp_ordered(">", x, _lanes(0.0))
    return _exponential(builder, builder.select(positive, builder.fsub(_lanes(0.0), x), x))


def _softplus(builder: Any, x: Any) -> Any:
    """max(x, 0) + log(1 + z) with z = exp(-|x|), and log(1 + z) = 2 artanh(z / (2 + z)): exact for small z, too."""
    z = _decay_of(builder, x)
    s = builder.fdiv(z, builder.fadd(z, _lanes(2.0)))
    square = builder.fmul(s, s)
    half = _fused(builder, builder.fmul(_powers(builder, square, INVERSE_TANGENT), square), s, s)
    positive = builder.select(builder.fcmp_ordered(">", x, _lanes(0.0)), x, _lanes(0.0))
    soft = builder.fadd(positive, builder.fadd(half, half))
    return builder.select(builder.fcmp_ordered(">", x, _lanes(LINEAR_ABOVE)), x, soft)


def _slope(builder: Any, x: Any) -> Any:
    """Derivative of :func:`_softplus`."""
    z, one = _decay_of(builder, x), _lanes(1.0)
    upper = builder.select(builder.fcmp_ordered(">", x, _lanes(0.0)), one, z)
    curved = builder.fdiv(upper, builder.fadd(one, z))
    return builder.select(builder.fcmp_ordered(">", x, _lanes(LINEAR_ABOVE)), one, curved)


plus = _arithmetic(2, lambda builder, a, b: builder.fadd(a, b))
times = _arithmetic(2, lambda builder, a, b: builder.fmul(a, b))
fused = _arithmetic(3, _fused)  # a b + c
exponential, softplus, slope = _arithmetic(1, _exponential), _arithmetic(1, _softplus), _arithmetic(1, _slope)


class Given(NamedTuple):
    """Inputs of a scan."""

    u: Any  # (P, L, D)
    delta: Any  # (P, L, D)
    A: Any  # (S, N, D)
    B: Any  # (P, L, N)
    C: Any  # (P, L, N)
    skip: Any  # (S, D)
    bias: Any  # (S, D)
    reverse: Any  # bool (S,)


class Sizes(NamedTuple):
    """Of a scan; ``groups``: parts of the channels that have sums of their own for the gradients of B and C."""

    batch: int
    L: int
    D: int
    N: int
    groups: int


class Gradients(NamedTuple):
    """Outputs of :func:`backward`; those of A, skip and bias begin as zeros."""

    u: Any  # (P, L, D)
    delta: Any  # (P, L, D)
    A: Any  # (P, N, D)
    B: Any  # (groups, P, L, N)
    C: Any  # (groups, P, L, N)
    skip: Any  # (P, D)
    bias: Any  # (P, D)


class _Rows(NamedTuple):
    """Of a chunk and a block of channels, (K, 16) each."""

    step: Any
    drive: Any
    grad: Any
    gain: Any
    before: Any
    inner: Any
    rated: Any


@numba.njit
def _empty() -> Any:
    return np.empty(STEPS * LANES, np.float32)


@numba.njit
def _row(first: int, back: bool, L: int, k: int) -> int:
    """Token that is step ``first + k`` of a scan."""
    return L - 1 - first - k if back else first + k


@compiled
def forward(given: Given, sizes: Sizes, state: Any, borders: Any, y: Any, first: int, last: int) -> None:
    """Scan the blocks of channels from ``first`` to ``last``, counted over all pairs.

    Args:
        state: (P, N, D), what is there before the first step; afterwards what the last one left.
        borders: (L / K rounded up, P, N, D), filled with the states before every chunk; empty = not kept.
        y: (P, L, D), filled.
    """
    batch, L, D, N, _ = sizes
    step, drive, out = _empty(), _empty(), _empty()
    for unit in range(first, last):
        pair, column = unit // (D // LANES), unit % (D // LANES) * LANES
        scan = pair // batch
        back = given.reverse[scan]
        shift, weight = load(given.bias, scan * D + column), load(given.skip, scan * D + column)
        for begin in range(0, L, STEPS):
            count = min(STEPS, L - begin)
            for k in range(count):
                place = (pair * L + _row(begin, back, L, k)) * D + column
                x = load(given.u, place)
                d = softplus(plus(load(given.delta, place), shift))
                store(step, k * LANES, d)
                store(drive, k * LANES, times(d, x))
                store(out, k * LANES, times(weight, x))
            for n in range(N):
                rate = load(given.A, (scan * N + n) * D + column)
                at = (pair * N + n) * D + column
                s = load(state, at)
                if len(borders) > 0:
                    store(borders, begin // STEPS * len(state) + at, s)
                for k in range(count):
                    narrow = (pair * L + _row(begin, back, L, k)) * N + n
                    gain = exponential(times(load(step, k * LANES), rate))
                    s = fused(gain, s, times(load(drive, k * LANES), everywhere(given.B[narrow])))
                    store(out, k * LANES, fused(s, everywhere(given.C[narrow]), load(out, k * LANES)))
                store(state, at, s)
            for k in range(count):
                store(y, (pair * L + _row(begin, back, L, k)) * D + column, load(out, k * LANES))


@compiled
def backward(given: Given, sizes: Sizes, borders: Any, grad: Any, found: Gradients, first: int, last: int) -> None:
    """Gradients of the groups of channels from ``first`` to ``last``, counted over all pairs; from right to left.

    Args:
        borders: of :func:`forward`.
        grad: of y, (P, L, D).
    """
    batch, L, D, N, groups = sizes
    width = (D // LANES + groups - 1) // groups * LANES
    rows = _Rows(_empty(), _empty(), _empty(), _empty(), _empty(), _empty(), _empty())
    sums_B, sums_C = np.empty(N * STEPS * LANES, np.float32), np.empty(N * STEPS * LANES, np.float32)
    carry = np.empty(N * D, np.float32)  # gradient of the state before the chunk that is done
    for unit in range(first, last):
        pair, group = unit // groups, unit % groups
        scan = pair // batch
        back = given.reverse[scan]
        carry[:] = 0.0
        for chunk in range((L + STEPS - 1) // STEPS - 1, -1, -1):
            begin = chunk * STEPS
            count = min(STEPS, L - begin)
            sums_B[:] = 0.0
            sums_C[:] = 0.0
            for column in range(group * width, min(D, (group + 1) * width), LANES):
                _prepare(given, sizes, grad, rows, pair, column, begin, count)
                for n in range(N):
                    at = (pair * N + n) * D + column
                    start = load(borders, chunk * len(found.A) + at)
                    rate = load(given.A, (scan * N + n) * D + column)
                    narrow = (pair * L + _row(begin, back, L, 0)) * N + n
                    jump = -N if back else N
                    sums = n * STEPS * LANES
                    _states(given.B, rows, sums_C, start, rate, narrow, jump, sums, count)
                    share, left = _adjoint(
                        given, rows, sums_B, load(carry, n * D + column), rate, narrow, jump, sums, count
                    )
                    store(carry, n * D + column, left)
                    store(found.A, at, plus(load(found.A, at), share))
                _finish(given, sizes, rows, found, pair, column, begin, count)
            for k in range(count):
                for n in range(N):
                    narrow = group * len(given.B) + (pair * L + _row(begin, back, L, k)) * N + n
                    found.B[narrow] = total(load(sums_B, (n * STEPS + k) * LANES))
                    found.C[narrow] = total(load(sums_C, (n * STEPS + k) * LANES))


@numba.njit
def _prepare(
    given: Given, sizes: Sizes, grad: Any, rows: _Rows, pair: int, column: int, begin: int, count: int
) -> None:
    """Rows of a chunk that all states share."""
    _, L, D, _, _ = sizes
    scan = pair // sizes.batch
    shift = load(given.bias, scan * D + column)
    for k in range(count):
        place = (pair * L + _row(begin, given.reverse[scan], L, k)) * D + column
        d = softplus(plus(load(given.delta, place), shift))
        store(rows.step, k * LANES, d)
        store(rows.drive, k * LANES, times(d, load(given.u, place)))
        store(rows.grad, k * LANES, load(grad, place))
        store(rows.inner, k * LANES, everywhere(np.float32(0.0)))
        store(rows.rated, k * LANES, everywhere(np.float32(0.0)))


@numba.njit
def _states(B: Any, rows: _Rows, sums_C: Any, s: Any, rate: Any, narrow: int, jump: int, sums: int, count: int) -> None:
    """Left to right: gains and the states before every step of one state's chunk, and its share of C's gradient."""
    for k in range(count):
        v = k * LANES
        gain = exponential(times(load(rows.step, v), rate))
        store(rows.before, v, s)
        store(rows.gain, v, gain)
        s = fused(gain, s, times(load(rows.drive, v), everywhere(B[narrow + k * jump])))
        store(sums_C, sums + v, fused(load(rows.grad, v), s, load(sums_C, sums + v)))


@numba.njit
def _adjoint(
    given: Given, rows: _Rows, sums_B: Any, g: Any, rate: Any, narrow: int, jump: int, sums: int, count: int
) -> Any:
    """Right to left, ``g_t = gy_t C_t + a_(t+1) g_(t+1)``: shares of every gradient but C's.

    Returns:
        the chunk's share of the gradient of A, and what goes on to the chunk to the left.
    """
    share = everywhere(np.float32(0.0))
    for k in range(count - 1, -1, -1):
        v = k * LANES
        g = fused(load(rows.grad, v), everywhere(given.C[narrow + k * jump]), g)
        store(sums_B, sums + v, fused(load(rows.drive, v), g, load(sums_B, sums + v)))
        store(rows.inner, v, fused(g, everywhere(given.B[narrow + k * jump]), load(rows.inner, v)))
        g = times(g, load(rows.gain, v))
        towards = times(g, load(rows.before, v))  # dL/d(step A)
        store(rows.rated, v, fused(towards, rate, load(rows.rated, v)))
        share = fused(towards, load(rows.step, v), share)
    return share, g


@numba.njit
def _finish(
    given: Given, sizes: Sizes, rows: _Rows, found: Gradients, pair: int, column: int, begin: int, count: int
) -> None:
    """Gradients of u, delta, skip and bias from the sums over states."""
    _, L, D, _, _ = sizes
    scan = pair // sizes.batch
    shift, weight = load(given.bias, scan * D + column), load(given.skip, scan * D + column)
    skip = bias = everywhere(np.float32(0.0))
    for k in range(count):
        v = k * LANES
        place = (pair * L + _row(begin, given.reverse[scan], L, k)) * D + column
        x, grad, inner = load(given.u, place), load(rows.grad, v), load(rows.inner, v)
        store(found.u, place, fused(inner, load(rows.step, v), times(grad, weight)))
        raw = times(fused(inner, x, load(rows.rated, v)), slope(plus(load(given.delta, place), shift)))
        store(found.delta, place, raw)
        skip, bias = fused(grad, x, skip), plus(bias, raw)
    at = pair * D + column
    store(found.skip, at, plus(load(found.skip, at), skip))
    store(found.bias, at, plus(load(found.bias, at), bias))
