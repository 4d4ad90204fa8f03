"""Stable order of small whole numbers: on a CPU by digits, a tenth of the time of a comparison sort."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

DIGIT = 16  # bits that numpy sorts by counting


def stable_order(keys: Tensor, below: int) -> Tensor:
    """Positions in the order of ascending keys, equal ones as they stand: int64 (A,).

    Args:
        keys: int64 (A,), 0 to ``below`` - 1.
        below: as above; the work grows with the number of its digits.
    """
    if keys.device.type != "cpu" or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return torch.sort(keys, stable=True).indices
    values = keys.numpy()
    order = np.argsort(values.astype(np.uint16), kind="stable")
    for shift in range(DIGIT, max(below - 1, 1).bit_length(), DIGIT):
        digit = (values >> shift).astype(np.uint16)
        order = order[np.argsort(digit[order], kind="stable")]
    return torch.from_numpy(order)
