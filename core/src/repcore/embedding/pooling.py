"""Vectors from features: the encoder's default, its own named poolings, or generic ones over tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from repcore.errors import ConfigError, closest
from repcore.interfaces import Features, Tokens

GENERIC = ("mean", "max", "first")


def pool(encoder: nn.Module, features: Features, name: str | None, level: str | None, known: tuple[str, ...]) -> Tensor:
    """Pooled vectors, float (B, D).

    Args:
        name: a pooling that the encoder's spec names (``known``) or a generic one; None = the encoder's default.
        level: token level; None = the first.

    Raises:
        ConfigError: unknown pooling or level.
    """
    if name is None and level is None:
        return features.pooled
    if level is not None:
        check_level(level, list(features.tokens))
    if level is None and (name or known[0]) in known:
        chosen = name or known[0]
        own = getattr(encoder, "pool", None)
        if own is not None:
            result: Tensor = own(features, chosen)
            return result
        if chosen == default_pooling(encoder, known):
            return features.pooled
    chosen = of_tokens(name, level, known)
    if not features.tokens:
        raise ConfigError(f"--pool {chosen}: this encoder gives no tokens", poolings=", ".join(known))
    tokens = features.tokens[level] if level is not None else next(iter(features.tokens.values()))
    return pool_tokens(tokens, chosen, len(features.pooled))


def check_level(level: str, levels: Sequence[str]) -> None:
    """Refuse a token level that the encoder does not give.

    Raises:
        ConfigError: names those that it gives.
    """
    if level not in levels:
        raise ConfigError(f"--level {level!r} is not a token level of this encoder", levels=", ".join(levels) or "none")


def of_tokens(name: str | None, level: str | None, known: tuple[str, ...]) -> str:
    """The generic pooling that is meant; of a level without any, the encoder's own where it is generic, else the mean.

    Args:
        level: asked for, or None.

    Raises:
        ConfigError: no such pooling, or one of the encoder's own, which is of whole items, with a level.
    """
    chosen = name or (known[0] if known[0] in GENERIC else GENERIC[0])
    if chosen in GENERIC:
        return chosen
    if level is not None and chosen in known:
        raise ConfigError(
            f"--pool {chosen!r} is of whole items, not of the tokens of a level", poolings=", ".join(GENERIC),
            hint="leave --level out",
        )  # fmt: skip
    options = [*known, *(one for one in GENERIC if one not in known)]
    raise ConfigError(
        f"--pool {chosen!r} is unknown", did_you_mean=closest(chosen, options), poolings=", ".join(options)
    )


def default_pooling(encoder: nn.Module, known: tuple[str, ...]) -> str:
    """Name of the pooling in ``Features.pooled``: the encoder's own word where a setting chooses it, else the first."""
    return str(getattr(encoder, "pooling", known[0]))


def pool_tokens(tokens: Tokens, name: str, items: int) -> Tensor:
    """Mean, max or first token of each item; items without a token get zeros.

    Args:
        items: B, needed for ragged tokens.
    """
    values = tokens.values
    if tokens.owner is not None:
        return _pool_ragged(values, tokens.owner, name, items)
    if name == "first":
        return values[:, 0]
    if tokens.valid is None:
        return values.mean(1) if name == "mean" else values.amax(1)
    valid = tokens.valid[..., None]  # (B, T, 1)
    if name == "mean":
        return (values * valid).sum(1) / valid.sum(1).clamp(min=1)
    largest = values.masked_fill(~valid, float("-inf")).amax(1)
    return torch.where(valid.any(1), largest, torch.zeros_like(largest))


def _pool_ragged(values: Tensor, owner: Tensor, name: str, items: int) -> Tensor:
    width = values.shape[-1]
    index = owner[:, None].expand(-1, width)
    if name == "mean":
        sums = values.new_zeros(items, width).scatter_add_(0, index, values)
        return sums / torch.bincount(owner, minlength=items)[:, None].clamp(min=1)
    if name == "max":
        return values.new_zeros(items, width).scatter_reduce_(0, index, values, "amax", include_self=False)
    starts = torch.searchsorted(owner, torch.arange(items, device=owner.device))
    present = torch.bincount(owner, minlength=items) > 0
    first = values[starts.clamp(max=max(0, len(values) - 1))] if len(values) else values.new_zeros(items, width)
    return torch.where(present[:, None], first, torch.zeros_like(first))
