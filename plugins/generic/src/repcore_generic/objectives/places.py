"""Which tokens of two networks stand for the same place of an item.

Symbols: B items, T and U tokens, D width, P coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from repcore.errors import ConfigError
from repcore.interfaces import Tokens

Align = Literal["auto", "order", "position"]


@dataclass(frozen=True, slots=True)
class DenseTokens:
    """Tokens side by side: values (B, T, D), valid bool (B, T), position (B, T, P) or None."""

    values: Tensor
    valid: Tensor
    position: Tensor | None


def dense(tokens: Tokens, items: int) -> DenseTokens:
    """Ragged tokens padded at the end, dense ones as they are."""
    if tokens.owner is None:
        valid = tokens.valid
        if valid is None:
            valid = torch.ones(tokens.values.shape[:2], dtype=torch.bool, device=tokens.values.device)
        return DenseTokens(tokens.values, valid, tokens.position)
    owner = tokens.owner
    counts = torch.bincount(owner, minlength=items)
    longest = int(counts.max()) if len(counts) else 0
    place = torch.arange(len(owner), device=owner.device) - (counts.cumsum(0) - counts)[owner]

    def padded(rows: Tensor) -> Tensor:
        empty = rows.new_zeros(items, longest, *rows.shape[1:])
        return empty.index_put((owner, place), rows)

    valid = torch.arange(longest, device=counts.device) < counts[:, None]
    return DenseTokens(padded(tokens.values), valid, None if tokens.position is None else padded(tokens.position))


def matched(student: DenseTokens, teacher: DenseTokens, how: Align) -> tuple[Tensor, Tensor]:
    """The teacher's token of each student token (B, T, D), and where there is one, bool (B, T).

    Args:
        how: ``order``: as many of each item, one after the other; ``position``: the nearest one, integer positions
            (cells of a grid) by their share of the grid, others as they are; ``auto``: by order where the numbers
            agree, else by position.

    Raises:
        ConfigError: neither fits.
    """
    same = student.valid.shape == teacher.valid.shape and bool((student.valid == teacher.valid).all())
    if how != "position" and same:
        return teacher.values, student.valid
    if how == "order" or student.position is None or teacher.position is None:
        raise ConfigError(
            f"the student has {_many(student)} tokens an item, the teacher {_many(teacher)}",
            expected="as many in the same order, or positions of both",
            hint="another objective.layer or objective.level",
        )
    one, two = _coordinates(student), _coordinates(teacher)
    if one.shape[-1] != two.shape[-1]:
        raise ConfigError(f"positions with {one.shape[-1]} and {two.shape[-1]} coordinates cannot be compared")
    distance = torch.cdist(one, two).masked_fill(~teacher.valid[:, None], float("inf"))
    nearest = distance.argmin(2)
    values = teacher.values.gather(1, nearest[..., None].expand(-1, -1, teacher.values.shape[-1]))
    return values, student.valid & teacher.valid.any(1, keepdim=True)


def _coordinates(tokens: DenseTokens) -> Tensor:
    assert tokens.position is not None  # asked before
    if tokens.position.is_floating_point():
        return tokens.position.float()
    real = tokens.position.masked_fill(~tokens.valid[..., None], 0)
    return (tokens.position.float() + 0.5) / (real.amax(1, keepdim=True).float() + 1.0)


def _many(tokens: DenseTokens) -> str:
    counts = tokens.valid.sum(1)
    low, high = int(counts.min()), int(counts.max())
    return str(low) if low == high else f"{low} to {high}"
