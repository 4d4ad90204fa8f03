"""One vector a clip from its tokens: the mean, or the means of stretches of time side by side.

Symbols: B clips, T columns of time, E width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from repcore.interfaces import Tokens
from repcore.nn.losses import masked_mean


def mean_tokens(tokens: Tokens) -> Tensor:
    """Mean over the real tokens of each clip, (B, E)."""
    if tokens.valid is None:
        return tokens.values.mean(1)
    return masked_mean(tokens.values, tokens.valid[..., None], dim=1)


def pool_segments(columns: Tokens, segments: int) -> Tensor:
    """Means of ``segments`` equal stretches of a clip's columns, side by side: (B, segments * E).

    Stretch s of a clip with n columns covers columns floor(s n / segments) up to ceil((s + 1) n / segments), so that a
    clip with fewer columns than stretches repeats some.
    """
    total = columns.values.shape[1]
    place = torch.arange(total, device=columns.values.device)
    if columns.valid is None:
        count = torch.full((len(columns.values), 1), total, device=place.device)
    else:
        count = columns.valid.sum(1, keepdim=True)
    parts = []
    for number in range(segments):
        first = number * count // segments
        stop = ((number + 1) * count + segments - 1) // segments
        inside = (place >= first) & (place < stop)  # (B, T)
        parts.append(masked_mean(columns.values, inside[..., None], dim=1))
    return torch.cat(parts, dim=1)
