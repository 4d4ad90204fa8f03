"""Which input voxel feeds which output voxel through which kernel offset; shared by all convolutions of one kind.

Symbols: N input voxels, M output voxels, K kernel offsets, P pairs (input, output) of all offsets together.
"""

from __future__ import annotations

import weakref
from functools import cached_property

import torch
from torch import Tensor


class Rulebook:
    """Pairs of voxels by kernel offset, in the two forms that the implementations want.

    Every (output, offset) has at most one input, and every (input, offset) at most one output; so a pass over the
    offsets in order writes each output row once an offset, in a fixed order: nothing here needs atomics.

    Args:
        table: int64 (K, M), the input row of each output under each offset, or ``num_inputs`` where there is none.
        num_inputs: N.
        back: the table with inputs and outputs exchanged, if it is known.
        is_symmetric: whether offset K - 1 - k leads back wherever offset k leads, as with submanifold convolutions.
    """

    def __init__(
        self, table: Tensor, num_inputs: int, *, is_symmetric: bool = False, back: Tensor | None = None
    ) -> None:
        self.by_offset = table
        self.num_inputs = num_inputs
        self.is_symmetric = is_symmetric
        self._back = back
        self.num_outputs = table.shape[1]
        self.kernel_volume = table.shape[0]
        self._origin: weakref.ref[Rulebook] | None = None

    @cached_property
    def pairs(self) -> tuple[Tensor, Tensor]:
        """Input rows and output rows, int64 (P,) each, by offset and then by output."""
        offset, output = (self.by_offset < self.num_inputs).nonzero(as_tuple=True)
        return self.by_offset[offset, output], output

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """First pair of every offset, and P: K + 1 numbers."""
        counts = (self.by_offset < self.num_inputs).sum(1)
        return (0, *torch.cumsum(counts, 0).tolist())

    @cached_property
    def neighbours(self) -> Tensor:
        """int64 (M, K): input row of each output under each offset; ``num_inputs`` means none."""
        return self.by_offset.T.contiguous()

    @property
    def reversed(self) -> Rulebook:
        """The same pairs with inputs and outputs exchanged, for gradients and for inverse convolution.

        It knows this one only weakly: a circle of the two would keep the tables of every scene until the next full
        collection of garbage.
        """
        origin = None if self._origin is None else self._origin()
        return self._exchanged if origin is None else origin

    @cached_property
    def _exchanged(self) -> Rulebook:
        back = Rulebook(self._table_back(), self.num_outputs, is_symmetric=self.is_symmetric)
        back._origin = weakref.ref(self)
        return back

    def _table_back(self) -> Tensor:
        if self._back is not None:
            return self._back
        if self.is_symmetric:
            return self.by_offset.flip(0)
        table = self.by_offset.new_full((self.kernel_volume, self.num_inputs), self.num_outputs)
        inputs, outputs = self.pairs
        counts = torch.tensor(self.starts, device=table.device).diff()
        offset = torch.repeat_interleave(torch.arange(self.kernel_volume, device=table.device), counts)
        table[offset, inputs] = outputs
        return table

    @cached_property
    def is_identity(self) -> bool:
        """One offset that maps every voxel onto itself: the convolution is a matrix product."""
        if self.kernel_volume != 1 or self.num_inputs != self.num_outputs:
            return False
        if self.is_symmetric:
            return True
        rows = torch.arange(self.num_outputs, device=self.by_offset.device)
        return bool((self.by_offset[0] == rows).all())

    @property
    def num_pairs(self) -> int:
        """P, the work of a convolution in units of (input width x output width)."""
        return self.starts[-1]
