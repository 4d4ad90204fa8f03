"""Batches without padding: the real tokens of a padded batch side by side, items of equal length next to each other.

Linear layers then run over real tokens only, and attention runs on blocks of equal length without any mask. On a CPU
that saves all work on padding; on a GPU the many small attention calls would cost more than they save.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Packing:
    """Where each real token of a padded (B, T) batch lies in the packed one. S real tokens in all.

    Args:
        source: int64 (S,), position in the flattened batch, b * T + t.
        owner: int64 (S,), item b of each token.
        runs: (items, length) of each block of items with equal length, in packed order.
        shape: (B, T).
    """

    source: Tensor
    owner: Tensor
    runs: tuple[tuple[int, int], ...]
    shape: tuple[int, int]

    @property
    def sizes(self) -> list[int]:
        """Tokens of each run."""
        return [items * length for items, length in self.runs]

    def pack(self, padded: Tensor) -> Tensor:
        """(B, T, ...) to (S, ...)."""
        return padded.flatten(0, 1).index_select(0, self.source)

    def unpack(self, packed: Tensor) -> Tensor:
        """(S, ...) to (B, T, ...), zero where there is no token."""
        items, length = self.shape
        padded = packed.new_zeros(items * length, *packed.shape[1:])
        return padded.index_copy(0, self.source, packed).unflatten(0, (items, length))


def plan_packing(valid: Tensor) -> Packing:
    """Order the items of a batch by length and list their real tokens.

    Args:
        valid: bool (B, T), True = real token, at any place.

    Cost: reads ``valid`` back to the host; made once a batch, used by every layer.
    """
    items, length = valid.shape
    lengths = valid.sum(1)
    order = torch.argsort(lengths, stable=True)
    row, column = valid[order].nonzero(as_tuple=True)
    owner = order[row]
    sizes, counts = torch.unique_consecutive(lengths[order], return_counts=True)
    runs = tuple((count, size) for size, count in zip(sizes.tolist(), counts.tolist(), strict=True) if size)
    return Packing(source=owner * length + column, owner=owner, runs=runs, shape=(items, length))
