"""Encoders that read labels of the data beside the input (which domain a row is of): attribute ``columns``, names of
labels of items, and ``sees(targets)``, which is told what their numbers mean before batches come; and optional
``expected_columns``, what the encoder knows them to be, and ``doubts(targets, empty)``, sentences about what the data
lack, where ``empty`` says how many rows have no value of a column."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn

from repcore.data.cells import is_missing
from repcore.interfaces import DatasetReader
from repcore.specs import TargetSpec

MOST_COUNTED = 2_000_000  # rows whose empty cells are counted


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


def read_beside(networks: Iterable[nn.Module]) -> list[str]:
    """Names of the labels that encoders read, those of tasks too."""
    encoders = (getattr(one, "encoder", one) for one in networks)
    return list(dict.fromkeys(name for one in encoders for name in getattr(one, "columns", ())))


def column_doubts(encoders: Sequence[nn.Module], reader: DatasetReader) -> list[str]:
    """What a user is to know of data whose labels the encoders read: each sentence once."""
    found: dict[str, None] = {}
    for one in encoders:
        doubts: Any = getattr(one, "doubts", None)
        if doubts is not None:
            found |= dict.fromkeys(doubts(reader.targets, _empty(reader, getattr(one, "columns", ()))))
    return list(found)


def _empty(reader: DatasetReader, columns: Sequence[str]) -> dict[str, int]:
    """How many rows have no value of a column, for readers that give whole columns."""
    values: Any = getattr(reader, "values", None)
    there = {one.name for one in reader.targets}
    if values is None or len(reader) > MOST_COUNTED:
        return {}
    return {name: sum(map(is_missing, values(name))) for name in columns if name in there}


def columns_read(encoders: Sequence[nn.Module], targets: Sequence[TargetSpec]) -> tuple[TargetSpec, ...]:
    """The labels that any of the encoders reads, each once; batches carry them."""
    return tuple({one.name: one for encoder in encoders for one in tell(encoder, targets)}.values())
