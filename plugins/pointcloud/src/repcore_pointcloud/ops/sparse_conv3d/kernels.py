"""Triton kernels of ``pointcloud/sparse-conv3d``: implicit GEMM over a neighbour table, no scatter, no atomics."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def product_kernel(  # type: ignore[no-untyped-def]
    source, kernels, table, out, num_outputs, num_inputs,
    VOLUME: tl.constexpr, WIDTH_IN: tl.constexpr, WIDTH_OUT: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, SUMS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """out[m] = sum over offsets k of source[table[m, k]] @ kernels[k]; one program a block of rows and columns."""
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    row_real, column_real = rows < num_outputs, columns < WIDTH_OUT
    total = tl.zeros((BLOCK_M, BLOCK_N), dtype=SUMS)
    for offset in range(VOLUME):
        found = tl.load(table + rows.to(tl.int64) * VOLUME + offset, mask=row_real, other=num_inputs)
        present = found < num_inputs
        if tl.sum(present.to(tl.int32), axis=0) > 0:  # an offset that no row of the block has costs one load
            for part in range((WIDTH_IN + BLOCK_K - 1) // BLOCK_K):
                channels = part * BLOCK_K + tl.arange(0, BLOCK_K)
                inside = channels < WIDTH_IN
                left = tl.load(
                    source + found[:, None] * WIDTH_IN + channels[None, :],
                    mask=present[:, None] & inside[None, :], other=0.0,
                )  # fmt: skip
                right = tl.load(
                    kernels + (offset * WIDTH_IN + channels[:, None]) * WIDTH_OUT + columns[None, :],
                    mask=inside[:, None] & column_real[None, :], other=0.0,
                )  # fmt: skip
                total += tl.dot(left, right, input_precision=PRECISION).to(SUMS)
    place = out + rows.to(tl.int64)[:, None] * WIDTH_OUT + columns[None, :]
    tl.store(place, total.to(out.dtype.element_ty), mask=row_real[:, None] & column_real[None, :])


@triton.jit
def weight_kernel(  # type: ignore[no-untyped-def]
    features, grad, table, partial, num_outputs, num_inputs,
    VOLUME: tl.constexpr, WIDTH_IN: tl.constexpr, WIDTH_OUT: tl.constexpr, STEPS: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, SUMS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """partial[part, k] = features[table[rows of part, k]]^T @ grad[rows of part]; summed over parts afterwards."""
    offset, part = tl.program_id(1), tl.program_id(2)
    column_blocks = tl.cdiv(WIDTH_OUT, BLOCK_N)
    channels = tl.program_id(0) // column_blocks * BLOCK_K + tl.arange(0, BLOCK_K)
    columns = tl.program_id(0) % column_blocks * BLOCK_N + tl.arange(0, BLOCK_N)
    inside, column_real = channels < WIDTH_IN, columns < WIDTH_OUT
    total = tl.zeros((BLOCK_K, BLOCK_N), dtype=SUMS)
    for step in range(STEPS):
        rows = ((part * STEPS + step) * BLOCK_M + tl.arange(0, BLOCK_M)).to(tl.int64)
        found = tl.load(table + rows * VOLUME + offset, mask=rows < num_outputs, other=num_inputs)
        present = found < num_inputs
        if tl.sum(present.to(tl.int32), axis=0) > 0:
            left = tl.load(
                features + found[None, :] * WIDTH_IN + channels[:, None],
                mask=present[None, :] & inside[:, None], other=0.0,
            )  # fmt: skip
            right = tl.load(
                grad + rows[:, None] * WIDTH_OUT + columns[None, :],
                mask=present[:, None] & column_real[None, :], other=0.0,
            )  # fmt: skip
            total += tl.dot(left, right, input_precision=PRECISION).to(SUMS)
    base = ((part * VOLUME + offset) * WIDTH_IN + channels[:, None]) * WIDTH_OUT + columns[None, :]
    tl.store(partial + base, total, mask=inside[:, None] & column_real[None, :])
