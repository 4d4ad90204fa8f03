"""Rows as the domain draws them, for what a notebook shows of a result."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence

import numpy as np

from repcore.config.matching import reads_for
from repcore.data.guard import draw_sample, read_sample
from repcore.errors import ItemError, RepcoreError
from repcore.interfaces import DatasetReader, Sample
from repcore.markup import safe_markup
from repcore.registry import Registry


class Drawn:
    """Pictures of the rows of a result, each drawn when it is looked at.

    It stays in its process: a pickled result comes back without pictures, since its data may be gone by then.

    Args:
        reader: what the rows were read from.
        render: ``DatasetSpec.render``.
        rows: of the reader, in the result's order; all of them if None.
    """

    def __init__(
        self, reader: DatasetReader, render: Callable[[Sample], object], rows: Sequence[int] | np.ndarray | None = None
    ) -> None:
        self._reader, self._render = reader, render
        self._rows = np.arange(len(reader)) if rows is None else np.asarray(rows)

    def picture(self, row: int) -> str:
        """The allowed HTML of a row's picture; empty where it cannot be drawn."""
        try:
            picture = draw_sample(self._render, read_sample(self._reader, int(self._rows[row])))
        except ItemError:
            return ""
        return f'<div role="img" aria-label="{html.escape(picture.alt)}">{safe_markup(picture.html)}</div>'

    def some(self, chosen: np.ndarray) -> Drawn:
        """The pictures of some of the rows."""
        return Drawn(self._reader, self._render, self._rows[chosen])

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return nothing, ()


def nothing() -> None:
    """What a pickled :class:`Drawn` is read as."""


def drawn_by(registry: Registry, domain: str, preprocessor: str, reader: DatasetReader) -> Drawn | None:
    """The pictures of rows that a model's preprocessor takes, by the first of the domain's renderers that is for them.

    Args:
        preprocessor: full name; readers whose samples it takes draw the same kind of sample.
    """
    consumer = registry.preprocessor(preprocessor, domain)
    for entry in registry.entries("dataset", domain):
        if entry.spec.render and reads_for(entry, consumer):
            try:
                return Drawn(reader, entry.load("render"))
            except RepcoreError:
                continue
    return None
