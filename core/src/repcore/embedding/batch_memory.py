"""How large a batch may be that fits into memory: measured on a few items, by the largest operation of the network."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from repcore.embedding.windows import PreparedRow
from repcore.interfaces import Preprocessor
from repcore.memory import total_memory

COPIES = 4  # of what the largest operation takes and gives: what its kernel needs, and results that are kept meanwhile
SHARE = 0.5  # of the memory; the rest is for data, weights and others


class _Largest(TorchDispatchMode):
    """Bytes of the tensors that the largest operation takes and gives, as far as operations made them: weights and
    views of them do not grow with a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0
        self._made: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        taken, given = _places((args, kwargs)), _places(found)
        self._made |= given.keys() - taken.keys()
        self.bytes = max(self.bytes, sum(size for at, size in {**taken, **given}.items() if at in self._made))
        return found


def _places(values: Any) -> dict[int, int]:
    """Address -> bytes of the tensors in a value."""
    tensors = [one for one in tree_iter(values) if isinstance(one, torch.Tensor) and one.layout == torch.strided]
    return {one.untyped_storage().data_ptr(): one.numel() * one.element_size() for one in tensors}


def cost_budget(
    function: Callable[[list[PreparedRow]], Any],
    rows: Sequence[PreparedRow],
    preprocessor: Preprocessor,
    device: str,
) -> int:
    """Most padded cost of a batch, from what a few items need.

    Each processor of the machine has the same share of its memory, whether it is used or not: batches, and with them
    the last digits of results, do not depend on how many processes work. A GPU's free memory is shared with nobody.

    Args:
        function: of prepared rows, run once.
        rows: with at least one item, few enough for one batch.
    """
    with _Largest() as largest:
        function(list(rows))
    costs = [preprocessor.cost(item.meta) for row in rows for item in row.items]
    a_unit = COPIES * largest.bytes / (len(costs) * max(1, *costs))
    return max(1, int(SHARE * _room(device) / max(a_unit, 1e-9)))


def _room(device: str) -> float:
    """Bytes for the batches of one process."""
    if torch.device(device).type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return total_memory() / (os.cpu_count() or 1)
