"""Molecules in the users' own tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from repcore.data.tables import Table, number, table_suffix
from repcore.errors import DataError, ItemError, closest
from repcore.interfaces import Sample
from repcore.specs import TargetSpec
from repcore_molecules.configs.data import MoleculeTableConfig
from repcore_molecules.datasets.columns import TargetColumn, guess_smiles_column, guess_target_columns

SAMPLED_ROWS = 500
SPLIT_NAMES = {"train": "train", "valid": "validation", "val": "validation", "validation": "validation", "test": "test"}


def table_files(path: Path) -> dict[str, Path]:
    """The table behind a path: ``{"": file}``, or one file a split.

    Raises:
        DataError: the path does not exist, or a folder holds no table or several that are not splits.
    """
    if not path.is_dir():
        return {"": path}
    tables = sorted(one for one in path.iterdir() if one.is_file() and table_suffix(one) not in ("", ".txt"))
    named = {SPLIT_NAMES.get(one.name.split(".")[0].lower(), ""): one for one in tables}
    if len(tables) == 1:
        return {"": tables[0]}
    if tables and len(named) == len(tables) and "" not in named and "train" in named:
        return named
    names = ", ".join(one.name for one in tables[:8])
    raise DataError(
        f"folder {str(path)!r} holds {len(tables)} tables" if tables else f"folder {str(path)!r} holds no table",
        found=names,
        hint="name one file, or call the files train, valid and test" if tables else "",
    )


def sniff_table(path: Path) -> float:
    """How surely a path is a table of molecules: its name, then its columns."""
    file = next(iter(table_files(path).values()))
    suffix = table_suffix(file)
    if not suffix:
        return 0.0
    if suffix in (".smi", ".smiles"):
        return 0.9
    table = Table(file)
    guess_smiles_column(_sampled(table))
    return 0.8


def _sampled(table: Table) -> dict[str, list[Any]]:
    return {name: table.slice(0, SAMPLED_ROWS, name) for name in table.columns}


class MoleculeTable:
    """Rows of a table as samples whose input is the SMILES text as written.

    Raises:
        DataError: no SMILES column, or a named column does not exist.
    """

    def __init__(self, config: MoleculeTableConfig) -> None:
        self.config = config
        self._tables = {split: Table(file) for split, file in table_files(Path(config.path)).items()}
        first = next(iter(self._tables.values()))
        cells = _sampled(first)
        self.column = first.require(config.column) if config.column else guess_smiles_column(cells)
        self.id_column = first.require(config.id_column) if config.id_column else None
        self._labels = self._choose_labels(first, cells)
        self.targets: Sequence[TargetSpec] = tuple(_target_spec(one, config.label_kind) for one in self._labels)
        self._class_index = [{name: i for i, name in enumerate(spec.names)} for spec in self.targets]
        for table in self._tables.values():
            for name in (self.column, *(label.name for label in self._labels)):
                table.require(name)
        sizes = [len(table) for table in self._tables.values()]
        self._starts = np.concatenate([[0], np.cumsum(sizes)])
        self._row_of: dict[str, int] | None = None

    def _choose_labels(self, table: Table, cells: Mapping[str, Sequence[object]]) -> list[TargetColumn]:
        guessed = {one.name: one for one in guess_target_columns(cells, self.column)}
        if self.config.labels is None:
            return list(guessed.values())
        chosen = []
        for label in self.config.labels:
            name = table.require(label)
            if name not in guessed and self.config.label_kind == "auto":
                raise DataError(
                    f"column {name!r} does not look like a label (one value, running numbers, or free text)",
                    did_you_mean=closest(name, guessed),
                    labels_found=", ".join(guessed) or "none",
                    hint="label_kind=class or label_kind=regression if it is one",
                )
            chosen.append(guessed.get(name) or TargetColumn(name, "regression"))
        return chosen

    @property
    def fingerprint(self) -> str:
        parts = [f"{split}:{table.fingerprint}" for split, table in self._tables.items()]
        return sha256("|".join([self.column, *parts]).encode()).hexdigest()

    @property
    def splits(self) -> Mapping[str, Sequence[int]]:
        """Declared by files called train, valid and test; empty for one file."""
        if "" in self._tables:
            return {}
        return {split: range(int(self._starts[i]), int(self._starts[i + 1])) for i, split in enumerate(self._tables)}

    def __len__(self) -> int:
        return int(self._starts[-1])

    def _locate(self, index: int) -> tuple[Table, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        which = int(np.searchsorted(self._starts, index, side="right")) - 1
        return list(self._tables.values())[which], index - int(self._starts[which])

    def __getitem__(self, index: int) -> Sample:
        table, row = self._locate(index)
        smiles = table.value(row, self.column)
        targets: dict[str, float] = {}
        unreadable = []
        for spec, known in zip(self.targets, self._class_index, strict=True):
            cell = table.value(row, spec.name)
            try:
                targets[spec.name] = _label(cell, known)
            except ValueError:
                targets[spec.name] = float("nan")
                unreadable.append(f"{spec.name}={cell!r}")
        meta = {"unreadable_labels": ", ".join(unreadable)} if unreadable else {}
        return Sample(self.id_of(index), smiles, targets, meta=meta)

    def cells(self, start: int, stop: int) -> list[Any]:
        """SMILES cells of rows [start, stop) as written, for conversion in bulk; malformed rows give None."""
        found: list[Any] = []
        for table, first in zip(self._tables.values(), self._starts, strict=False):
            low, high = max(start - int(first), 0), min(stop - int(first), len(table))
            if low < high:
                column = table.slice(low, high, self.column)
                for row in table.problems():
                    if low <= row < high:
                        column[row - low] = None
                found.extend(column)
        return found

    def values(self, name: str) -> list[Any]:
        """All cells of any column, for ``--split column:NAME``."""
        return [cell for table in self._tables.values() for cell in table.slice(0, len(table), table.require(name))]

    def id_of(self, index: int) -> str:
        """The id column's value, or the row number."""
        if self.id_column is None:
            return str(index)
        table, row = self._locate(index)
        try:
            value = table.value(row, self.id_column)
        except ItemError:
            value = None
        return str(index) if value in (None, "") else str(value)

    def by_id(self, sample_id: str) -> Sample:
        if self.id_column is None:
            return self[int(sample_id)]
        if self._row_of is None:
            self._row_of = {self.id_of(row): row for row in reversed(range(len(self)))}
        return self[self._row_of[sample_id]]


def _label(cell: Any, known: Mapping[str, int]) -> float:
    """A cell as a label; classes become their index.

    Raises:
        ValueError: it is neither missing nor readable.
    """
    text = None if cell is None else str(cell).strip()
    if known and text in known:
        return float(known[text])
    value = number(cell)
    if value is None:
        return float("nan")
    if known:
        whole = str(int(value)) if value == int(value) else str(value)
        if whole not in known:
            raise ValueError(f"class {cell!r} was not seen before")
        return float(known[whole])
    return value


def _target_spec(column: TargetColumn, kind: str) -> TargetSpec:
    chosen = column.kind if kind == "auto" else kind
    return TargetSpec(column.name, "class" if chosen == "class" else "regression", names=column.classes)
