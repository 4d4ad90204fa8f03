"""Items of several data sets on one page, drawn by the domain's renderer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from repcore.data.readers import entry_of, open_data, renderer_of
from repcore.errors import DataError, RepcoreError
from repcore.estimation.report import write_estimator_report
from repcore.explore.rows import Origin
from repcore.interfaces import DatasetReader, ReportItem, ReportSection, Sample
from repcore.registry import Registry

Render = Callable[[Sample], object]


class Album:
    """Rows of any readers as one reader: what :func:`write_estimator_report` draws from.

    A row without a reader (its data are gone) is named only.
    """

    def __init__(self) -> None:
        self._rows: list[tuple[DatasetReader | None, int]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Sample:
        reader, row = self._rows[index]
        if reader is None or row < 0:
            raise DataError("the item's data are not at hand")
        return reader[row]

    def item(self, reader: DatasetReader | None, row: int, caption: str) -> ReportItem:
        """An item of the page."""
        self._rows.append((reader, row))
        return ReportItem(len(self._rows) - 1, caption)


class Sources:
    """Data behind vectors, opened when the first of their items is drawn.

    Args:
        tell: is told once why items of a source cannot be drawn.
    """

    def __init__(self, registry: Registry, tell: Callable[[str], None]) -> None:
        self._registry, self._tell = registry, tell
        self._open: dict[tuple[str, str | None], DatasetReader | None] = {}

    def reader(self, origin: Origin) -> DatasetReader | None:
        """The data as they were; None where they are gone or have changed."""
        if not origin.data:
            return None
        key = (origin.data, origin.reader)
        if key not in self._open:
            self._open[key] = self._opened(origin)
        return self._open[key]

    def _opened(self, origin: Origin) -> DatasetReader | None:
        try:
            _, reader = open_data(
                self._registry, origin.data, domain=origin.domain, reader=origin.reader, options=origin.options,
                preprocessor=origin.preprocessor or None,
            )  # fmt: skip
        except RepcoreError as error:
            self._tell(f"items of {origin.data} are not drawn: {error.summary}")
            return None
        if reader.fingerprint != origin.fingerprint:
            self._tell(f"items of {origin.data} are not drawn: the data have changed since they were embedded")
            return None
        return reader

    def render(self, origin: Origin) -> Render | None:
        """The domain's renderer for these data."""
        if not origin.data:
            return None
        try:
            entry = entry_of(
                self._registry, origin.data, domain=origin.domain, reader=origin.reader,
                preprocessor=origin.preprocessor or None,
            )  # fmt: skip
            return renderer_of(entry)
        except RepcoreError:
            return None


def write_page(
    path: Path, title: str, facts: Sequence[tuple[str, str]], sections: Sequence[ReportSection], album: Album,
    render: Render | None,
) -> int:  # fmt: skip
    """One self-contained page; returns the number of drawn items."""
    reader: Any = album
    return write_estimator_report(path, title, facts, sections, reader, render)
