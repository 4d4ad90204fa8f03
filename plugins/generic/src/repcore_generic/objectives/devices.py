"""Values of all devices of a run, in the order of their ranks."""

from __future__ import annotations

import torch
from torch import Tensor


def from_all_devices(own: Tensor) -> Tensor:
    """(devices, ...) of a tensor that has one shape everywhere; without graph."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return own[None]
    parts = [torch.empty_like(own) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, own.contiguous())
    return torch.stack(parts)
