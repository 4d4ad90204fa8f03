"""The reader: rows of a CSV file, or generated ones."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from repcore.data.number_tables import NumberTable, share_of_numbers
from repcore.interfaces import Sample
from repcore.specs import TargetSpec

from repcore_timeseries.configs import RowTableConfig

KINDS = ("a", "b", "c")
COLUMNS = 8
CHANGE = "label=COLUMN (--read, or dataset.label= in train)"


class RowTable:
    """Columns of numbers are inputs; columns of words, and the one that ``label`` names, are labels."""

    def __init__(self, config: RowTableConfig) -> None:
        self.config = config
        self.splits: Mapping[str, Sequence[int]] = {}
        self.table = None if config.path is None else NumberTable(config.path, label=config.label, change=CHANGE)
        if self.table is not None:
            self.account = self.table.account  # what was taken for what: inspect, train and embed show it

    @property
    def fingerprint(self) -> str:
        """Of the file's content, or of the settings that generate the rows."""
        if self.table is not None:
            return self.table.table.fingerprint
        return hashlib.sha256(repr(self.config).encode()).hexdigest()

    @property
    def targets(self) -> Sequence[TargetSpec]:
        """The labels, if there are any."""
        if self.table is None:
            return (TargetSpec("kind", "class", names=KINDS),)
        return self.table.targets

    def __len__(self) -> int:
        return self.config.items if self.table is None else len(self.table)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._generated(index) if self.table is None else self.table.sample(index, self.id_of(index))

    def id_of(self, index: int) -> str:
        """What a row is called, also where it cannot be read."""
        return f"row-{index}"

    def by_id(self, sample_id: str) -> Sample:
        """The row with an id of ours."""
        return self[int(sample_id.removeprefix("row-"))]

    def _generated(self, index: int) -> Sample:
        """Two hidden causes spread over all columns; the kind says how they go together."""
        drawn = np.random.default_rng([self.config.seed, index])
        kind = index % len(KINDS)
        causes = drawn.normal(size=2)
        causes[1] = (causes[1], causes[0] ** 2, -causes[0])[kind] + 0.1 * drawn.normal()
        spread = np.random.default_rng(self.config.seed).normal(size=(2, COLUMNS))
        values = causes @ spread + 0.1 * drawn.normal(size=COLUMNS)
        return Sample(self.id_of(index), values.astype(np.float32), {"kind": kind})


def sniff(path: Path) -> float:
    """How surely a path is a table with columns of numbers: by its suffix and its first rows."""
    return 0.3 * share_of_numbers(path) if path.suffix.lower() in (".csv", ".tsv") else 0.0
