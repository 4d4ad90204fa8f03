"""Mean over the tokens of a layer, dense or ragged, as one vector an item."""

from __future__ import annotations

import torch
from torch import Tensor

from repcore.errors import ShapeError
from repcore.interfaces import Tokens


def token_mean(tokens: Tokens, items: int) -> Tensor:
    """Mean of each item's real tokens, (items, D); an item without tokens gets zeros.

    Args:
        tokens: dense (B, T, D) with ``valid``, or ragged (S, D) with ``owner``.
        items: B.

    Raises:
        ShapeError: ragged tokens without owners.
    """
    values = tokens.values
    if values.ndim == 3:
        if tokens.valid is None:
            return values.mean(1)
        weight = tokens.valid.to(values.dtype)[..., None]
        return (values * weight).sum(1) / weight.sum(1).clamp(min=1.0)
    if tokens.owner is None:
        raise ShapeError(
            f"tokens of shape {tuple(values.shape)} have no owner", expected="owner (S,) for ragged tokens"
        )
    total = values.new_zeros(items, values.shape[-1]).index_add(0, tokens.owner, values)
    count = torch.bincount(tokens.owner, minlength=items).to(values.dtype).clamp(min=1.0)
    return total / count[:, None]
