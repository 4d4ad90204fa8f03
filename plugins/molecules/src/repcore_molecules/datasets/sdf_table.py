"""A structure-data file seen as a table: a column with the structure as SMILES, one with names, one a property."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from repcore.data.accounting import Accounting, TableCount
from repcore.data.tables import file_fingerprint
from repcore.errors import DataError, ItemError, closest
from repcore_molecules.formats.sdf import read_records

STRUCTURE = "structure"  # the mol block, as SMILES
SHOWN = 3


class SdfTable:
    """Random access to the records of a file; the same methods as :class:`repcore.data.tables.Table`.

    Raises:
        DataError: missing, empty or damaged.
    """

    NAME = "title"
    has_header = True

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise DataError(f"{str(path)!r} is not a file" if path.exists() else f"{str(path)!r} does not exist")
        if path.stat().st_size == 0:
            raise DataError(f"{str(path)!r} is empty (0 bytes)")
        self.fingerprint = file_fingerprint(path)
        records = list(read_records(path))
        if not records:
            raise DataError(f"{str(path)!r} holds no record")
        properties = dict.fromkeys(name for one in records for name in one.properties)
        self._cells: dict[str, list[Any]] = {
            STRUCTURE: [one.smiles for one in records],
            self.NAME: [one.name or None for one in records],
        }
        for name in properties:
            unique = name if name not in self._cells else f"{name}.1"
            self._cells[unique] = [one.properties.get(name) for one in records]
        self._problems = {row: one.problem for row, one in enumerate(records) if one.problem}
        self._repeated = [(row, name) for row, one in enumerate(records) for name in one.repeated]
        self.columns = list(self._cells)

    def __len__(self) -> int:
        return len(self._cells[STRUCTURE])

    def tell(self, account: Accounting) -> None:
        """Put the file and its records into an account."""
        account.use(self.path)
        account.tables.append(TableCount(self.path.name, len(self), malformed=len(self._problems)))
        for row, problem in list(self._problems.items())[:SHOWN]:
            account.note(f"{self.path.name}: record {row} cannot be read: {problem}")
        if self._repeated:
            row, name = self._repeated[0]
            account.note(
                f"{self.path.name}: {len(self._repeated):,} properties stand more than once in their record, first "
                f"{name!r} in record {row}; the last value counts"
            )

    def require(self, name: str) -> str:
        """A column name that exists, found exactly or without regard to case.

        Raises:
            DataError: no such column; lists the columns.
        """
        found = next((one for one in self.columns if one == name), None)
        found = found or next((one for one in self.columns if one.lower() == name.lower()), None)
        if found is None:
            raise DataError(
                f"{self.path.name} has no property {name!r}",
                did_you_mean=closest(name, self.columns),
                properties=", ".join(self.columns[:40]),
            )
        return found

    def value(self, row: int, column: str) -> Any:
        """One cell.

        Raises:
            ItemError: the mol block cannot be read.
        """
        if row in self._problems:
            raise ItemError("invalid_mol_block", self._problems[row])
        return self._cells[column][row]

    def slice(self, start: int, stop: int, column: str) -> list[Any]:
        """Cells [start, stop) of a column, also of records that cannot be read."""
        return self._cells[column][start:stop]

    def problems(self) -> dict[int, str]:
        """Records that cannot be read: number -> why."""
        return dict(self._problems)
