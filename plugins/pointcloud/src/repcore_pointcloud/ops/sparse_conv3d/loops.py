"""Loops of the compiled CPU form of ``pointcloud/sparse-conv3d``: numba, with products in registers.

The innermost products are written as LLVM vectors, since a loop over channels that the compiler has to find by itself
keeps its sums in memory. A product touches pairs of voxels that exist and nothing else; rows are read where they lie.
Every output row is summed by one thread in one order, so that the bits do not depend on the number of threads.

Intrinsics and loops share this file because numba's cache on disk looks at the file of a loop only.

Symbols: N input voxels, M output voxels, K offsets, I and O channels, P pairs, B blocks of outputs, L lanes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from repcore.nn.compiled_loops import compiled

BLOCK = 128  # outputs of one block: their sums stay in a core's first cache
LANES_BYTES = 64  # of one vector: two registers with AVX2, one with AVX-512
INDEX = ir.IntType(64)


def lanes(bytes_of_number: int) -> int:
    """Numbers of one vector."""
    return LANES_BYTES // bytes_of_number


def _number(signature: Any) -> tuple[ir.Type, ir.VectorType]:
    """Type of a number and of a vector, by an intrinsic's first argument."""
    kind = ir.FloatType() if signature.args[0].dtype == types.float32 else ir.DoubleType()
    return kind, ir.VectorType(kind, lanes(4 if isinstance(kind, ir.FloatType) else 8))


def _fma(builder: Any, vector: ir.VectorType) -> Any:
    """The fused product and sum of three vectors."""
    name = f"llvm.fma.v{vector.count}f{32 if isinstance(vector.element, ir.FloatType) else 64}"
    known = builder.module.globals.get(name)
    return known or ir.Function(builder.module, ir.FunctionType(vector, [vector] * 3), name)


def _everywhere(builder: Any, number: Any, vector: ir.VectorType) -> Any:
    """A number in all lanes."""
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), number, ir.Constant(ir.IntType(32), 0))
    same = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(one, one, same)


def _summed(builder: Any, length: Any, places: list[Any], vector: ir.VectorType, terms: Callable[..., Any]) -> None:
    """Sums at ``places`` to which ``terms(step, sums)`` adds, for every step below ``length``; kept in registers."""
    pointers = [builder.inttoptr(place, vector.as_pointer()) for place in places]
    before = builder.block
    loop, after = builder.append_basic_block("products"), builder.append_basic_block("summed")
    first = [builder.load(pointer, align=4) for pointer in pointers]
    builder.cbranch(builder.icmp_signed(">", length, ir.Constant(INDEX, 0)), loop, after)
    builder.position_at_end(loop)
    step = builder.phi(INDEX)
    sums = [builder.phi(vector) for _ in pointers]
    added = terms(step, sums)
    following = builder.add(step, ir.Constant(INDEX, 1))
    step.add_incoming(ir.Constant(INDEX, 0), before)
    step.add_incoming(following, loop)
    for phi, start, new in zip(sums, first, added, strict=True):
        phi.add_incoming(start, before)
        phi.add_incoming(new, loop)
    builder.cbranch(builder.icmp_signed("<", following, length), loop, after)
    builder.position_at_end(after)
    last = [builder.phi(vector) for _ in pointers]
    for phi, start, new in zip(last, first, added, strict=True):
        phi.add_incoming(start, before)
        phi.add_incoming(new, loop)
    for pointer, total in zip(pointers, last, strict=True):
        builder.store(total, pointer, align=4)


def _rows_kernel(rows: int) -> Any:
    """sums[r][:L] += sum over c of source[r][c] * panel[c][:L] for so many rows at once; all are addresses."""

    @intrinsic
    def add_products(typing: Any, like: Any, source: Any, sums: Any, panel: Any, depth: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
            kind, vector = _number(signature)
            _, source, sums, panel, depth = given
            read = [builder.inttoptr(builder.extract_value(source, row), kind.as_pointer()) for row in range(rows)]
            kernel, fma = builder.inttoptr(panel, vector.as_pointer()), _fma(builder, vector)

            def terms(step: Any, sums: list[Any]) -> list[Any]:
                weights = builder.load(builder.gep(kernel, [step]), align=4)
                found = [builder.load(builder.gep(one, [step])) for one in read]
                return [
                    builder.call(fma, [_everywhere(builder, one, vector), weights, total])
                    for one, total in zip(found, sums, strict=True)
                ]

            places = [builder.extract_value(sums, row) for row in range(rows)]
            _summed(builder, depth, places, vector, terms)
            return context.get_dummy_value()

        return types.void(like, source, sums, panel, depth), generate

    return add_products


def _outer_kernel(rows: int) -> Any:
    """sums[r][:L] += sum over pairs p of grad[outputs[p]][r] * source[inputs[p]][:L]; all are addresses."""

    @intrinsic
    def add_outer(
        typing: Any, like: Any, grad: Any, grad_row: Any, source: Any, source_row: Any, outputs: Any, inputs: Any,
        sums: Any, sums_row: Any, pairs: Any,
    ) -> Any:  # fmt: skip
        def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
            kind, vector = _number(signature)
            _, grad, grad_row, source, source_row, outputs, inputs, sums, sums_row, pairs = given
            short, fma = ir.IntType(32), _fma(builder, vector)
            outs, ins = (builder.inttoptr(one, short.as_pointer()) for one in (outputs, inputs))

            def row(start: Any, length: Any, index: Any) -> Any:
                return builder.add(start, builder.mul(length, builder.zext(index, INDEX)))

            def terms(step: Any, totals: list[Any]) -> list[Any]:
                given = row(grad, grad_row, builder.load(builder.gep(outs, [step])))
                seen = row(source, source_row, builder.load(builder.gep(ins, [step])))
                features = builder.load(builder.inttoptr(seen, vector.as_pointer()), align=4)
                numbers = builder.inttoptr(given, kind.as_pointer())
                found = [builder.load(builder.gep(numbers, [ir.Constant(INDEX, one)])) for one in range(rows)]
                return [
                    builder.call(fma, [_everywhere(builder, one, vector), features, total])
                    for one, total in zip(found, totals, strict=True)
                ]

            places = [builder.add(sums, builder.mul(sums_row, ir.Constant(INDEX, one))) for one in range(rows)]
            _summed(builder, pairs, places, vector, terms)
            return context.get_dummy_value()

        arguments = (like, grad, grad_row, source, source_row, outputs, inputs, sums, sums_row, pairs)
        return types.void(*arguments), generate

    return add_outer


_six_rows, _two_rows, _one_row = _rows_kernel(6), _rows_kernel(2), _rows_kernel(1)
_four_outer, _one_outer = _outer_kernel(4), _outer_kernel(1)


@compiled
def pairs_by_block(table: Any, num_inputs: int, block: int) -> Any:
    """Pairs in the order of (block of outputs, offset, output).

    Args:
        table: int64 (K, M), as :class:`~repcore_pointcloud.ops.sparse_conv3d.rulebook.Rulebook` has it.

    Returns:
        input rows int32 (P,), output rows int32 (P,), first pair of every block and offset int64 (B, K + 1).
    """
    volume, num_outputs = table.shape
    blocks = (num_outputs + block - 1) // block
    total = 0
    for offset in range(volume):
        for output in range(num_outputs):
            total += table[offset, output] < num_inputs
    inputs, outputs = np.empty(total, np.int32), np.empty(total, np.int32)
    starts = np.empty((blocks, volume + 1), np.int64)
    pair = 0
    for number in range(blocks):
        first = number * block
        last = min(num_outputs, first + block)
        for offset in range(volume):
            starts[number, offset] = pair
            for output in range(first, last):
                if table[offset, output] < num_inputs:
                    inputs[pair] = table[offset, output]
                    outputs[pair] = output
                    pair += 1
        starts[number, volume] = pair
    return inputs, outputs, starts


@compiled
def pack(weight: Any, panels: Any) -> None:
    """Kernels as vectors over the output channels.

    Args:
        weight: (O, K, I), contiguous.
        panels: (K, ceil(O / L), I, L); lanes without a channel keep what they have.
    """
    width, volume, depth = weight.shape
    lanes = panels.shape[3]
    for offset in range(volume):
        for column in range(panels.shape[1]):
            first = column * lanes
            for lane in range(min(lanes, width - first)):
                for channel in range(depth):
                    panels[offset, column, channel, lane] = weight[first + lane, offset, channel]


@compiled
def products(
    source: Any, panels: Any, mirrored: bool, inputs: Any, outputs: Any, starts: Any, first: int, last: int, out: Any
) -> None:
    """Add to ``out`` the products of the blocks from ``first`` to ``last``.

    Args:
        source: (N, I), contiguous.
        panels: (K, O / L, I, L), contiguous.
        mirrored: whether offset k is multiplied with panel K - 1 - k.
        inputs / outputs / starts: of :func:`pairs_by_block`.
        out: (M, O), contiguous, float32 or float64 as the others.
    """
    size = source.itemsize
    depth = source.shape[1]
    volume, columns = panels.shape[0], panels.shape[1]
    read, written, kernel = source.ctypes.data, out.ctypes.data, panels.ctypes.data
    row_in, row_out, panel = depth * size, out.shape[1] * size, depth * LANES_BYTES
    for number in range(first, last):
        for offset in range(volume):
            begin, end = starts[number, offset], starts[number, offset + 1]
            if begin == end:
                continue
            for column in range(columns):
                weights = kernel + ((volume - 1 - offset if mirrored else offset) * columns + column) * panel
                sums = written + column * LANES_BYTES
                p = begin
                while p + 6 <= end:
                    _six_rows(
                        source,
                        (
                            read + inputs[p] * row_in, read + inputs[p + 1] * row_in, read + inputs[p + 2] * row_in,
                            read + inputs[p + 3] * row_in, read + inputs[p + 4] * row_in, read + inputs[p + 5] * row_in,
                        ),
                        (
                            sums + outputs[p] * row_out, sums + outputs[p + 1] * row_out,
                            sums + outputs[p + 2] * row_out, sums + outputs[p + 3] * row_out,
                            sums + outputs[p + 4] * row_out, sums + outputs[p + 5] * row_out,
                        ),
                        weights,
                        depth,
                    )  # fmt: skip
                    p += 6
                while p + 2 <= end:
                    _two_rows(
                        source,
                        (read + inputs[p] * row_in, read + inputs[p + 1] * row_in),
                        (sums + outputs[p] * row_out, sums + outputs[p + 1] * row_out),
                        weights,
                        depth,
                    )
                    p += 2
                if p < end:
                    _one_row(source, (read + inputs[p] * row_in,), (sums + outputs[p] * row_out,), weights, depth)


@compiled
def outer_products(
    grad: Any, source: Any, outputs: Any, inputs: Any, starts: Any, first: int, last: int, sums: Any
) -> None:
    """Add to ``sums`` the outer products of the output channels from ``first`` to ``last`` with all input channels.

    Args:
        grad: (M, O), contiguous.
        source: (N, I), contiguous, I a multiple of L.
        outputs / inputs / starts: of :func:`pairs_by_block`.
        sums: (O, K, I), contiguous.
    """
    size = grad.itemsize
    width = grad.shape[1]
    blocks, volume, columns = starts.shape[0], sums.shape[1], source.shape[1] * size // LANES_BYTES
    given, seen, written = grad.ctypes.data, source.ctypes.data, sums.ctypes.data
    left, right = outputs.ctypes.data, inputs.ctypes.data
    row_out, row_in = width * size, source.shape[1] * size
    row = volume * row_in
    for number in range(blocks):
        for offset in range(volume):
            begin = starts[number, offset]
            count = starts[number, offset + 1] - begin
            if count == 0:
                continue
            for column in range(columns):
                place = written + offset * row_in + column * LANES_BYTES
                vectors = seen + column * LANES_BYTES
                c = first
                while c + 4 <= last:
                    _four_outer(
                        grad, given + c * size, row_out, vectors, row_in, left + begin * 4, right + begin * 4,
                        place + c * row, row, count,
                    )  # fmt: skip
                    c += 4
                while c < last:
                    _one_outer(
                        grad, given + c * size, row_out, vectors, row_in, left + begin * 4, right + begin * 4,
                        place + c * row, row, count,
                    )  # fmt: skip
                    c += 1


@compiled
def find_neighbours(
    keys: Any, rows: Any, firsts: Any, counts: Any, shifts: Any, step: int, volume: int, table: Any
) -> None:
    """Fill the first half of a table of neighbours and its mirror image, in one walk over the sorted keys a column.

    Args:
        keys: int64 (V,), ascending, none twice.
        rows: int64 (V,), row of each of them.
        firsts / counts / shifts: int64 (G,), of every column of offsets along z: its first offset, how many of its
            offsets belong to the half, and what the first one adds to a key.
        step: what one offset along z adds to a key.
        table: int64 (K, V), all V where nothing is found.
    """
    size = len(keys)
    for group in range(len(firsts)):
        low = 0
        for one in range(size):
            wanted = keys[one] + shifts[group]
            while low < size and keys[low] < wanted:
                low += 1
            place = low
            for along in range(counts[group]):
                while place < size and keys[place] < wanted:
                    place += 1
                if place < size and keys[place] == wanted:
                    offset = firsts[group] + along
                    table[offset, rows[one]] = rows[place]
                    table[volume - 1 - offset, rows[place]] = rows[one]
                wanted += step
