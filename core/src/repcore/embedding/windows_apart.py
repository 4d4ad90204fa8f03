"""A row a window: the windows of long samples as output rows of their own, with where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from repcore.embedding.windows import PreparedRow
from repcore.errors import ConfigError
from repcore.interfaces import Item

SOURCE = "source"


def windows_apart(rows: Sequence[PreparedRow]) -> tuple[list[PreparedRow], dict[str, list[Any]]]:
    """Every window as a row, and columns ``source`` (id of the sample), ``start``, ``end`` and ``part``.

    A row that cannot be used stays one row without times. Ids are written as media fragments:
    ``recording.wav#t=10,20``.

    Raises:
        ConfigError: items do not say which window they are.
    """
    apart: list[PreparedRow] = []
    columns: dict[str, list[Any]] = {SOURCE: [], "start": [], "end": [], "part": []}
    for row in rows:
        pieces: list[Item | None] = [*row.items] if row.items else [None]
        for item in pieces:
            window = None if item is None else item.window
            if item is not None and window is None:
                raise ConfigError(
                    "a row a window was asked for, but this domain does not cut its samples into windows",
                    hint="leave --windows out",
                )
            values = (row.id, float("nan"), float("nan"), "")
            one = row
            if item is not None and window is not None:
                values = (row.id, float(window.start), float(window.end), window.part)
                name = f"{row.id}#t={window.start:.10g},{window.end:.10g}" + (f"&{window.part}" if window.part else "")
                one = replace(row, id=name, items=[item], status=window.status, reason=window.reason)
            apart.append(one)
            for column, value in zip(columns.values(), values, strict=True):
                column.append(value)
    return apart, columns
