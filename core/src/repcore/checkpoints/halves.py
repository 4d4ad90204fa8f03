"""Weights in half precision on disk: rounded where that loses next to nothing, and given back the network's own number
format when they are loaded.

Half of the bytes for a difference of at most 5e-4 of each number (11 bits). What would lose more stays as it is:
numbers beyond 65,504, tables of tiny numbers, and small tensors (statistics, biases, scales), which take no room.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

HALVES = (torch.float16, torch.bfloat16)
WHOLE = (torch.float32, torch.float64)
FEWEST = 1024  # numbers of a tensor that is rounded
MOST_LOST = 1e-3  # norm of the difference, as a share of the tensor's own


def halved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of any shape by name, float32 and float64 ones as float16 where they keep their numbers."""
    return {name: _halved(value) for name, value in tensors.items()}


def _halved(value: Tensor) -> Tensor:
    if value.dtype not in WHOLE or value.numel() < FEWEST:
        return value
    rounded = value.to(torch.float16)
    lost = (rounded.to(torch.float64) - value.to(torch.float64)).norm()
    return rounded if bool(lost <= MOST_LOST * value.to(torch.float64).norm()) else value  # False for NaN and infinity


def widened(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Stored tensors in the number formats of a network, where they were rounded for the disk; others as they are.

    Args:
        own: state of the network.
    """
    return {
        name: value.to(own[name].dtype) if value.dtype in HALVES and name in own and own[name].dtype in WHOLE else value
        for name, value in tensors.items()
    }
