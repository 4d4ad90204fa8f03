"""Encoders that read labels of the data beside the input (which domain a row is of): attribute ``columns``, names of
labels of items, and ``sees(targets)``, which is told what their numbers mean before batches come; and optional
``expected_columns``, what the encoder knows them to be, and ``doubts(targets)``, sentences about what the data lack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from repcore.specs import TargetSpec


def tell(encoder: nn.Module, targets: Sequence[TargetSpec]) -> tuple[TargetSpec, ...]:
    """Tell an encoder of the labels that it reads; returns those that are there."""
    names = getattr(encoder, "columns", ())
    if not names:
        return ()
    found = tuple(one for one in targets if one.name in names and one.level == "item")
    sees: Any = getattr(encoder, "sees", None)
    if sees is not None:
        sees(found)
    return found


def expected_columns(encoder: nn.Module) -> tuple[TargetSpec, ...]:
    """Labels as the encoder knows them: so they are read, however few rows there are."""
    return tuple(getattr(encoder, "expected_columns", ()))


def column_doubts(encoders: Sequence[nn.Module], targets: Sequence[TargetSpec]) -> list[str]:
    """What a user is to know of data whose labels the encoders read: each sentence once."""
    asked: list[Any] = [getattr(one, "doubts", None) for one in encoders]
    return list(dict.fromkeys(words for doubts in asked if doubts is not None for words in doubts(targets)))


def columns_read(encoders: Sequence[nn.Module], targets: Sequence[TargetSpec]) -> tuple[TargetSpec, ...]:
    """The labels that any of the encoders reads, each once; batches carry them."""
    return tuple({one.name: one for encoder in encoders for one in tell(encoder, targets)}.values())
