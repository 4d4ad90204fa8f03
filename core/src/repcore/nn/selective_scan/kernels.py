"""Triton kernels of ``selective-scan``; launched by :mod:`repcore.nn.selective_scan.triton`.

All work is parallel over chunks of time, blocks of channels, and (scan, item) pairs:

1. ``chunk_kernel`` with FINAL false: state at the end of every chunk from a zero start, and the sum of its steps;
2. ``carry_kernel``: the product of a chunk's gains is ``exp(A * sum of steps)``, so a short sweep over chunks turns the
   local ends into the state before every chunk, in place;
3. ``chunk_kernel`` with FINAL true: run every chunk from its true start and write the outputs.

The backward pass has the same shape: ``adjoint_kernel``, ``carry_kernel`` from right to left, ``gradient_kernel``. The
last recomputes the states of its chunk with an associative scan over time, so that it can use them in either order.
A scan from right to left only changes the address of a step; nothing is flipped in memory.

Symbols: a pair is scan * batch + item; L tokens, D channels, N states; T steps of a chunk (STEPS). State, decay and
sums are float32 whatever the inputs are.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _softplus(x):  # type: ignore[no-untyped-def]  # Triton reads the source, annotations would be types of its own
    """log(1 + exp(x)), exact for very negative x too (log1p by Kahan's quotient), identity above 20."""
    small = tl.exp(-tl.abs(x))
    whole = 1.0 + small
    lost = whole == 1.0
    log1p = tl.where(lost, small, tl.log(whole) * small / tl.where(lost, 1.0, whole - 1.0))
    return tl.where(x > 20.0, x, tl.maximum(x, 0.0) + log1p)


@triton.jit
def _after(gain_1, value_1, gain_2, value_2):  # type: ignore[no-untyped-def]
    """First (gain_1, value_1), then (gain_2, value_2) of the recurrence s -> gain s + value."""
    return gain_1 * gain_2, value_1 * gain_2 + value_2


@triton.jit
def chunk_kernel(  # type: ignore[no-untyped-def]
    u, delta, A, B, C, skip, bias, reverse, borders, totals, y,
    batch, L, D, N, chunks,
    STEPS: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_N: tl.constexpr, FINAL: tl.constexpr,
):  # fmt: skip
    """One chunk of one pair and channel block, step by step with the state in registers."""
    chunk, pair = tl.program_id(1), tl.program_id(2)
    scan = pair // batch
    d = tl.program_id(0) * BLOCK_D + tl.arange(0, BLOCK_D)
    n = tl.arange(0, BLOCK_N)
    d_ok, n_ok = d < D, n < N
    both = d_ok[:, None] & n_ok[None, :]
    back = tl.load(reverse + scan)
    rate = tl.load(A + (scan * D + d[:, None]) * N + n[None, :], mask=both, other=0.0)
    shift = tl.load(bias + scan * D + d, mask=d_ok, other=0.0)
    place = pair.to(tl.int64) * chunks + chunk
    border = borders + (place * D + d[:, None]) * N + n[None, :]
    if FINAL:
        state = tl.load(border, mask=both, other=0.0)
        weight = tl.load(skip + scan * D + d, mask=d_ok, other=0.0)
    else:
        state = tl.zeros((BLOCK_D, BLOCK_N), tl.float32)
    total = tl.zeros((BLOCK_D,), tl.float32)
    for k in range(STEPS):
        i = chunk * STEPS + k
        row = pair.to(tl.int64) * L + tl.where(back != 0, L - 1 - i, i)
        ok = i < L
        x = tl.load(u + row * D + d, mask=d_ok & ok, other=0.0).to(tl.float32)
        raw = tl.load(delta + row * D + d, mask=d_ok & ok, other=0.0).to(tl.float32) + shift
        drive = tl.load(B + row * N + n, mask=n_ok & ok, other=0.0).to(tl.float32)
        step = tl.where(d_ok & ok, _softplus(raw), 0.0)
        state = tl.exp(step[:, None] * rate) * state + (step * x)[:, None] * drive[None, :]
        if FINAL:
            readout = tl.load(C + row * N + n, mask=n_ok & ok, other=0.0).to(tl.float32)
            out = tl.sum(state * readout[None, :], axis=1) + weight * x
            tl.store(y + row * D + d, out.to(y.dtype.element_ty), mask=d_ok & ok)
        else:
            total += step
    if not FINAL:
        tl.store(border, state, mask=both)
        tl.store(totals + place * D + d, total, mask=d_ok)


@triton.jit
def carry_kernel(  # type: ignore[no-untyped-def]
    A, totals, borders, state, batch, D, N, chunks, BLOCK: tl.constexpr, BACKWARD: tl.constexpr
):
    """Turn what every chunk adds into what enters it, in place; so is ``state``, from what
    enters the first chunk to what leaves the last one."""
    pair = tl.program_id(1)
    j = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)  # channel and state, flat
    ok = j < D * N
    rate = tl.load(A + (pair // batch) * D * N + j, mask=ok, other=0.0)
    carried = tl.load(state + pair.to(tl.int64) * D * N + j, mask=ok, other=0.0)
    k = 0
    while k < chunks:
        place = pair.to(tl.int64) * chunks + ((chunks - 1 - k) if BACKWARD else k)
        added = tl.load(borders + place * D * N + j, mask=ok, other=0.0)
        total = tl.load(totals + place * D + j // N, mask=ok, other=0.0)
        tl.store(borders + place * D * N + j, carried, mask=ok)
        carried = tl.exp(rate * total) * carried + added
        k += 1
    tl.store(state + pair.to(tl.int64) * D * N + j, carried, mask=ok)


@triton.jit
def adjoint_kernel(  # type: ignore[no-untyped-def]
    delta, A, C, bias, reverse, grad, carries,
    batch, L, D, N, chunks,
    STEPS: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """What a chunk alone sends to its left neighbour: a_first dL/ds_first, from a zero adjoint on its right."""
    chunk, pair = tl.program_id(1), tl.program_id(2)
    scan = pair // batch
    d = tl.program_id(0) * BLOCK_D + tl.arange(0, BLOCK_D)
    n = tl.arange(0, BLOCK_N)
    d_ok, n_ok = d < D, n < N
    both = d_ok[:, None] & n_ok[None, :]
    back = tl.load(reverse + scan)
    rate = tl.load(A + (scan * D + d[:, None]) * N + n[None, :], mask=both, other=0.0)
    shift = tl.load(bias + scan * D + d, mask=d_ok, other=0.0)
    adjoint = tl.zeros((BLOCK_D, BLOCK_N), tl.float32)
    for k in range(STEPS):
        i = chunk * STEPS + (STEPS - 1 - k)
        row = pair.to(tl.int64) * L + tl.where(back != 0, L - 1 - i, i)
        ok = i < L
        raw = tl.load(delta + row * D + d, mask=d_ok & ok, other=0.0).to(tl.float32) + shift
        gy = tl.load(grad + row * D + d, mask=d_ok & ok, other=0.0).to(tl.float32)
        readout = tl.load(C + row * N + n, mask=n_ok & ok, other=0.0).to(tl.float32)
        step = tl.where(d_ok & ok, _softplus(raw), 0.0)
        adjoint = tl.exp(step[:, None] * rate) * (adjoint + gy[:, None] * readout[None, :])
    place = pair.to(tl.int64) * chunks + chunk
    tl.store(carries + (place * D + d[:, None]) * N + n[None, :], adjoint, mask=both)


@triton.jit
def _rows(source, row, width, column, ok):  # type: ignore[no-untyped-def]
    """(T, width) tile of a (rows, width) tensor in float32."""
    return tl.load(source + row[:, None] * width + column[None, :], mask=ok, other=0.0).to(tl.float32)


@triton.jit
def _states_before(  # type: ignore[no-untyped-def]
    u, delta, drive_before, rate, shift, start, D, row, d, k, earlier
):
    """State before every step of a chunk, (T, BLOCK_D, N): scan the inputs of the step before, from the border."""
    step = tl.where(earlier, _softplus(_rows(delta, row, D, d, earlier) + shift), 0.0)
    pushed = (step * _rows(u, row, D, d, earlier))[:, :, None] * drive_before[:, None, :]
    pushed = tl.where((k == 0)[:, None, None], start[None, :, :], pushed)
    _, state = tl.associative_scan((tl.exp(step[:, :, None] * rate[None, :, :]), pushed), 0, _after)
    return state


@triton.jit
def _adjoints(delta, received, enter, rate, shift, D, row, d, is_last, later):  # type: ignore[no-untyped-def]
    """dL/ds of every step, (T, BLOCK_D, N): g_t = gy_t C_t + a_(t+1) g_(t+1); ``enter`` joins at the last step."""
    step = tl.where(later, _softplus(_rows(delta, row, D, d, later) + shift), 0.0)
    received = tl.where(is_last[:, None, None], received + enter[None, :, :], received)
    gain = tl.exp(step[:, :, None] * rate[None, :, :])
    _, adjoint = tl.associative_scan((gain, received), 0, _after, reverse=True)
    return adjoint


@triton.jit
def gradient_kernel(  # type: ignore[no-untyped-def]
    u, delta, A, B, C, skip, bias, reverse, grad, borders, carries,
    grad_u, grad_delta, grad_B, grad_C,
    batch, L, D, N, chunks, pairs,
    STEPS: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_N: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    """All gradients of one chunk for BLOCKS blocks of channels, one after the other.

    ``borders`` holds the state before the chunk, ``carries`` the adjoint that enters from its right; the second is
    read once and then overwritten by this chunk's share of dL/dA, which saves a tensor of the same size.
    """
    group, chunk, pair = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    scan = pair // batch
    k, n = tl.arange(0, STEPS), tl.arange(0, BLOCK_N)
    n_ok = n < N
    i = chunk * STEPS + k
    back = tl.load(reverse + scan)
    first_row = pair.to(tl.int64) * L
    here = first_row + tl.where(back != 0, L - 1 - i, i)
    before = first_row + tl.where(back != 0, L - i, i - 1)
    following = first_row + tl.where(back != 0, L - 2 - i, i + 1)
    ok, before_ok, following_ok = i < L, (i < L + 1) & (k > 0), (i + 1 < L) & (k < STEPS - 1)
    place = pair.to(tl.int64) * chunks + chunk
    drive = _rows(B, here, N, n, ok[:, None] & n_ok[None, :])  # (T, N)
    drive_before = _rows(B, before, N, n, before_ok[:, None] & n_ok[None, :])
    readout = _rows(C, here, N, n, ok[:, None] & n_ok[None, :])
    sum_B, sum_C = tl.zeros((STEPS, BLOCK_N), tl.float32), tl.zeros((STEPS, BLOCK_N), tl.float32)
    for block in range(BLOCKS):
        d = (group * BLOCKS + block) * BLOCK_D + tl.arange(0, BLOCK_D)
        d_ok = d < D
        both = d_ok[:, None] & n_ok[None, :]
        tile = ok[:, None] & d_ok[None, :]
        rate = tl.load(A + (scan * D + d[:, None]) * N + n[None, :], mask=both, other=0.0)
        shift = tl.load(bias + scan * D + d, mask=d_ok, other=0.0)[None, :]
        weight = tl.load(skip + scan * D + d, mask=d_ok, other=0.0)[None, :]
        start = tl.load(borders + (place * D + d[:, None]) * N + n[None, :], mask=both, other=0.0)
        enter = tl.load(carries + (place * D + d[:, None]) * N + n[None, :], mask=both, other=0.0)
        x, gy = _rows(u, here, D, d, tile), _rows(grad, here, D, d, tile)  # (T, BLOCK_D)
        raw = _rows(delta, here, D, d, tile) + shift
        step = tl.where(tile, _softplus(raw), 0.0)
        gain = tl.exp(step[:, :, None] * rate[None, :, :])  # (T, BLOCK_D, N)
        earlier, later = before_ok[:, None] & d_ok[None, :], following_ok[:, None] & d_ok[None, :]
        decayed = gain * _states_before(u, delta, drive_before, rate, shift, start, D, before, d, k, earlier)
        state = decayed + (step * x)[:, :, None] * drive[:, None, :]
        received = gy[:, :, None] * readout[:, None, :]
        adjoint = _adjoints(delta, received, enter, rate, shift, D, following, d, k == STEPS - 1, later)
        sum_C += tl.sum(gy[:, :, None] * state, axis=1)
        sum_B += tl.sum((step * x)[:, :, None] * adjoint, axis=1)
        inner = tl.sum(adjoint * drive[:, None, :], axis=2)  # (T, BLOCK_D): dL/d(step u)
        exponent = adjoint * decayed  # dL/d(step A)
        grad_step = inner * x + tl.sum(exponent * rate[None, :, :], axis=2)
        slope = tl.where(raw > 20.0, 1.0, 1.0 / (1.0 + tl.exp(-raw)))
        target = here[:, None] * D + d[None, :]
        tl.store(grad_u + target, (inner * step + gy * weight).to(grad_u.dtype.element_ty), mask=tile)
        tl.store(grad_delta + target, grad_step * slope, mask=tile)
        share = tl.sum(exponent * step[:, :, None], axis=0)  # (BLOCK_D, N)
        tl.store(carries + (place * D + d[:, None]) * N + n[None, :], share, mask=both)
    target = (group.to(tl.int64) * pairs * L + here[:, None]) * N + n[None, :]
    tl.store(grad_B + target, sum_B, mask=ok[:, None] & n_ok[None, :])
    tl.store(grad_C + target, sum_C, mask=ok[:, None] & n_ok[None, :])
