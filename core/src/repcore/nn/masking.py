"""Masks from uniform draws: the draws are made in ``Objective.draw``, so golden data can supply its own."""

from __future__ import annotations

import torch
from torch import Tensor

from repcore.errors import ConfigError


def independent_mask(draws: Tensor, probability: float, eligible: Tensor | None = None) -> Tensor:
    """Every place on its own: True where ``draws < probability``.

    Args:
        draws: float, any shape, uniform in [0, 1).
        probability: 0 to 1.
        eligible: bool of the same shape; False places are never chosen.

    Returns:
        bool of the same shape.
    """
    if not 0.0 <= probability <= 1.0:
        raise ConfigError(f"probability={probability} is outside 0 <= probability <= 1")
    chosen = draws < probability
    return chosen if eligible is None else chosen & eligible


def exact_count_mask(draws: Tensor, count: int | Tensor, eligible: Tensor | None = None) -> Tensor:
    """Exactly ``count`` places a row: those with the smallest draws.

    Args:
        draws: float (B, T), uniform; ties go to the earlier place.
        count: places a row, one number or int64 (B,).
        eligible: bool (B, T); a row with fewer eligible places than ``count`` has all of them chosen.

    Returns:
        bool (B, T).

    Raises:
        ConfigError: a single ``count`` is negative or above T.
    """
    if isinstance(count, int) and not 0 <= count <= draws.shape[1]:
        raise ConfigError(f"{count} places cannot be masked in rows of {draws.shape[1]}")
    if eligible is not None:
        draws = draws.masked_fill(~eligible, torch.inf)
    order = torch.argsort(draws, dim=1, stable=True)
    place = torch.arange(order.shape[1], device=order.device).expand_as(order)
    rank = torch.empty_like(order).scatter_(1, order, place)
    limit = count[:, None] if isinstance(count, Tensor) else count
    chosen = rank < limit
    return chosen if eligible is None else chosen & eligible
