"""Tables of numbers as people have them: columns of numbers are inputs, columns of words are labels.

For readers whose rows are vectors, such as the one that ``repcore new-plugin`` writes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from repcore.data.accounting import Accounting
from repcore.data.cells import NumberColumn, TableNumbers, numbers_as_written
from repcore.data.labels import LEAST_NUMBERS, LabelColumn, LabelKind, read_labels
from repcore.data.tables import Table
from repcore.errors import DataError, ItemError
from repcore.interfaces import Sample
from repcore.specs import TargetSpec

SNIFFED_ROWS = 100


class NumberTable:
    """The rows of a table as vectors with labels.

    Args:
        path: a file that :class:`repcore.data.tables.Table` reads.
        label: a column that is a label though it holds numbers.
        change: how a user sets ``label``, for the announcement.

    Attributes:
        inputs: columns of numbers by name, decimal commas understood.
        labels: columns of words that are labels, and the one asked for.
        account: what every column was taken for; identifiers, groups and free text are neither, with the reason.

    Raises:
        DataError: the file is no table, has no column of numbers, or ``label`` names a column that can be no label.
    """

    def __init__(self, path: Path, *, label: str | None = None, change: str = "label=COLUMN") -> None:
        self.table = Table(path)
        self.account = Accounting()
        self.table.tell(self.account)
        self.inputs: dict[str, NumberColumn] = {}
        self.labels: dict[str, LabelColumn] = {}
        self._sort_columns(None if label is None else self.table.require(label), change)
        if not self.inputs:
            columns = ", ".join(self.table.columns)
            raise DataError(f"{path.name} has no column of numbers to learn from", columns=columns)

    def _sort_columns(self, asked: str | None, change: str) -> None:
        columns = {name: self.table.cells(name) for name in self.table.columns}
        as_numbers = TableNumbers(columns)
        read = {name: as_numbers.read(name) for name in columns}
        numbers = {name: column for name, (column, _) in read.items()}
        are_numbers = {name for name, one in numbers.items() if one.number_share >= LEAST_NUMBERS}
        kinds: dict[str, LabelKind] = {} if asked is None else {asked: "auto" if asked in are_numbers else "class"}
        for one in read_labels(columns, kinds=kinds, change=change):
            if one.name in are_numbers and one.name != asked and not one.by_name:
                self.inputs[one.name] = numbers[one.name]
                chosen, _, why = read[one.name][1].partition(": ")
                if chosen:
                    self.account.guess(f"numbers of column {one.name!r}", chosen, why)
                continue
            one.tell(self.account)
            if one.target is not None:
                self.labels[one.name] = one
            elif one.name == asked:
                raise DataError(f"column {asked!r} of {self.table.path.name} can be no label", reason=one.reason)

    def __len__(self) -> int:
        return len(self.table)

    @property
    def targets(self) -> tuple[TargetSpec, ...]:
        """The labels."""
        return tuple(one.target for one in self.labels.values() if one.target is not None)

    def sample(self, row: int, sample_id: str) -> Sample:
        """Row ``row``: inputs float32 (C,), labels by name.

        Raises:
            ItemError: the row is malformed, or a cell of an input is empty or no number.
        """
        cells = {name: self.table.value(row, name) for name in self.inputs}
        values = np.array([column.values[row] for column in self.inputs.values()], np.float32)
        for (name, cell), value in zip(cells.items(), values, strict=True):
            if not np.isfinite(value):
                raise ItemError("no_number", f"column {name!r}: {cell!r} is no number")
        return Sample(sample_id, values, {name: one.value(row) for name, one in self.labels.items()})


def share_of_numbers(path: Path) -> float:
    """Share of a table's columns that hold numbers, by its first rows; 0 for what is no table. For sniffers."""
    try:
        table = Table(path)
    except DataError:
        return 0.0
    columns = [numbers_as_written(name, table.slice(0, SNIFFED_ROWS, name))[0] for name in table.columns]
    return sum(one.number_share >= LEAST_NUMBERS for one in columns) / len(columns)
