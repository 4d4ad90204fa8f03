"""Any number of channels in a vector of one width.

The first channels stand side by side. Features of a channel that no longer fits are added to slots drawn for it, with a
sign drawn for each, as in feature hashing (Weinberger et al. 2009, arXiv 0902.2206), so that in expectation inner
products are those of the channels side by side. Where a feature of a channel goes depends on the channel's number
alone, so that channels without values, such as those that fill up a batch, change nothing.

Symbols: C channels, F features of a channel, S slots.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

MIX = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D)  # odd constants of xxHash


@lru_cache(maxsize=64)
def places(channels: int, features: int, slots: int) -> tuple[np.ndarray, np.ndarray]:
    """Slot int64 (C F,) and sign float32 (C F,) of every feature."""
    number = np.arange(channels * features, dtype=np.uint64)
    mixed = _mixed(number)
    beside = (number // np.uint64(features) + np.uint64(1)) * np.uint64(features) <= slots
    place = np.where(beside, number, mixed % np.uint64(slots)).astype(np.int64)
    sign = np.where(beside | (mixed >> np.uint64(31) == 0), 1.0, -1.0).astype(np.float32)
    return place, sign


def _mixed(number: np.ndarray) -> np.ndarray:
    """Numbers below 2^32 that look random."""
    most = np.uint64(0xFFFFFFFF)
    found = (number * np.uint64(MIX[0])) & most
    for shift, factor in ((15, MIX[1]), (13, MIX[2])):
        found = ((found ^ (found >> np.uint64(shift))) * np.uint64(factor)) & most
    mixed: np.ndarray = found ^ (found >> np.uint64(16))
    return mixed


def in_slots(values: Tensor, slots: int) -> Tensor:
    """Features (..., C, F) of channels in (..., S)."""
    channels, features = values.shape[-2:]
    place, sign = places(channels, features, slots)
    flat = values.flatten(-2) * torch.from_numpy(sign).to(values)
    found = values.new_zeros(*values.shape[:-2], slots)
    return found.index_add(-1, torch.from_numpy(place).to(values.device), flat)
