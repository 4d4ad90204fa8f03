"""From steps to longer stretches of time.

Symbols: B series, T steps, D features.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def pooled_steps(values: Tensor, valid: Tensor, how: str) -> Tensor:
    """One vector a series (B, D) from steps (B, T, D): ``max``, ``mean`` or ``last`` of the valid ones; 0 without any.

    Args:
        valid: bool (B, T).
    """
    some = valid.any(1, keepdim=True)
    if how == "mean":
        return values.masked_fill(~valid[..., None], 0.0).sum(1) / valid.sum(1, keepdim=True).clamp(min=1)
    if how == "last":
        place = (valid * torch.arange(1, valid.shape[1] + 1, device=valid.device)).argmax(1)
        found = values[torch.arange(len(values), device=values.device), place]
    else:
        found = values.masked_fill(~valid[..., None], -torch.inf).amax(1)
    return torch.where(some, found, torch.zeros_like(found))


def sliding_max(values: Tensor, window: int) -> Tensor:
    """Maximum over ``window`` steps round each step, (B, T, D); an even window reaches one step further back.

    Source: `zhihanyue/ts2vec`, ``encode`` with an integer ``encoding_window``.
    """
    found = F.max_pool1d(values.transpose(1, 2), window, stride=1, padding=window // 2)
    return found[..., : values.shape[1]].transpose(1, 2)


def centred(values: Tensor) -> Tensor:
    """Series (B, T, C) moved in time so that the missing stretches (all channels NaN) at both ends are equally long.

    An odd missing step goes to the end, as in the published code.
    """
    gone = values.isnan().all(-1)
    length = values.shape[1]
    first = (~gone).int().argmax(1)
    last = (~gone).flip(1).int().argmax(1)
    shift = torch.where(gone.all(1), 0, (first + last) // 2 - first)
    steps = (torch.arange(length, device=values.device)[None] - shift[:, None]) % length
    return values.gather(1, steps[..., None].expand_as(values))
