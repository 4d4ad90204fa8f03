"""Molecules in the users' own tables.

Every column that looks like a label becomes a target of its own. Two or more columns of zeros and ones (Tox21, SIDER,
ClinTox, MUV) are offered once more as one multilabel target, ``all-binary``: a probe or a fine-tuning run then reports
the mean over tasks. Missing labels stay missing; the reference counts them as negatives or zeros.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

from repcore.data.headers import head
from repcore.data.tables import Table, table_suffix
from repcore.errors import DataError, ItemError, closest
from repcore.interfaces import Sample
from repcore.specs import TargetSpec
from repcore_molecules.configs.data import MoleculeTableConfig
from repcore_molecules.datasets.columns import (
    TargetColumn,
    as_classes,
    guess_smiles_column,
    guess_target_columns,
    seen_whole,
)
from repcore_molecules.datasets.labels import ReadLabels, read_labels

ALL_BINARY = "all-binary"
SAMPLED_ROWS = 500
BLOCK_ROWS = 65_536
SMILES_WORD = re.compile(r"(\[[^\]]+\]|Br|Cl|[BCNOSPFIbcnosp]|[0-9%()=#$/\\+\-.@:~*])+")
UNREADABLE_TABLE = 0.05  # sniffed: opening it says what is wrong, which beats "no reader recognises it"
SPLIT_NAMES = {"train": "train", "valid": "validation", "val": "validation", "validation": "validation", "test": "test"}


def table_files(path: Path) -> dict[str, Path]:
    """The table behind a path: ``{"": file}``, or one file a split, train first.

    Raises:
        DataError: a folder holds no table, or several that are not splits.
    """
    if not path.is_dir():
        return {"": path}
    tables = _tables_in(path)
    named = {SPLIT_NAMES.get(one.name.split(".")[0].lower(), ""): one for one in tables}
    if len(tables) == 1:
        return {"": tables[0]}
    if tables and len(named) == len(tables) and "" not in named and "train" in named:
        return {split: named[split] for split in dict.fromkeys(SPLIT_NAMES.values()) if split in named}
    raise DataError(
        f"folder {str(path)!r} holds {len(tables)} tables" if tables else f"folder {str(path)!r} holds no table",
        found=", ".join(one.name for one in tables[:8]),
        hint="name one file, or call the files train, valid and test" if tables else "",
    )


def _tables_in(folder: Path) -> list[Path]:
    return sorted(one for one in folder.iterdir() if one.is_file() and table_suffix(one) not in ("", ".txt"))


def sniff_table(path: Path) -> float:
    """How surely a path is a table of molecules: its name, then its columns."""
    if not (_tables_in(path) if path.is_dir() else table_suffix(path)):
        return 0.0
    try:
        file = next(iter(table_files(path).values()))
        if table_suffix(file) in (".smi", ".smiles"):
            return 0.9 if _is_smiles(head(file)) else 0.0
        guess_smiles_column(_sampled(Table(file)))
    except DataError:
        return 0.0 if path.suffix == ".txt" else UNREADABLE_TABLE
    return 0.8


def _is_smiles(first: bytes) -> bool:
    """Whether the first words of most lines are written with the atoms and signs of SMILES; compressed text is not
    looked into."""
    if first.startswith(b"\x1f\x8b"):
        return True
    lines = first.decode("utf-8", errors="replace").splitlines()[:SAMPLED_ROWS]
    words = [line.split()[0] for line in lines if line.strip()]
    return 2 * sum(SMILES_WORD.fullmatch(word) is not None for word in words) > len(words)


def _sampled(table: Table) -> dict[str, list[Any]]:
    return {name: table.slice(0, SAMPLED_ROWS, name) for name in table.columns}


@dataclass(frozen=True, slots=True)
class _Labels:
    """Columns that are read for every row, those that are targets of their own, and the tasks of ``all-binary``."""

    read: list[TargetColumn]
    own: list[TargetColumn]
    joined: list[str]

    def targets(self) -> tuple[TargetSpec, ...]:
        own = tuple(TargetSpec(one.name, one.kind, names=one.classes) for one in self.own)
        joined = (TargetSpec(ALL_BINARY, "multilabel", names=tuple(self.joined)),) if self.joined else ()
        return own + joined


class MoleculeTable:
    """Rows of a table as samples whose input is the SMILES text as written.

    A label that cannot be read counts as missing: each column says so once (see :func:`read_labels`), and the sample
    notes it in ``meta["unreadable_labels"]``.

    Raises:
        DataError: no SMILES column, or a named column does not exist or is no label.
    """

    def __init__(self, config: MoleculeTableConfig) -> None:
        self.config = config
        files = table_files(Path(config.path))
        self._splits = list(files)
        self._tables = [Table(file) for file in files.values()]
        cells = _sampled(self._tables[0])
        self.column = self._in_every_table(config.column or guess_smiles_column(cells))
        self.id_column = self._in_every_table(config.id_column) if config.id_column else None
        self._labels = self._choose_labels(cells)
        self.targets: Sequence[TargetSpec] = self._labels.targets()
        self._starts = np.concatenate([[0], np.cumsum([len(table) for table in self._tables])])

    def _in_every_table(self, name: str) -> str:
        """The column's exact name; labels may be absent from some tables, other columns may not."""
        exact = self._tables[0].require(name)
        for table in self._tables[1:]:
            table.require(exact)
        return exact

    def _choose_labels(self, cells: Mapping[str, Sequence[object]]) -> _Labels:
        guessed = {one.name: one for one in self._guessed(cells)}
        binary = [name for name, one in guessed.items() if one.is_binary]
        if self.config.labels is None:
            own = [self._as_asked(name, guessed) for name in guessed]
            return _Labels(own, own, binary if len(binary) > 1 and self.config.label_kind == "auto" else [])
        own, joined = [], []
        for label in dict.fromkeys(self.config.labels):
            if label == ALL_BINARY and label not in cells:
                joined = _enough_tasks(binary)
            else:
                own.append(self._as_asked(self._tables[0].require(label), guessed))
        names = {one.name for one in own}
        return _Labels([*own, *(guessed[name] for name in joined if name not in names)], own, joined)

    def _guessed(self, cells: Mapping[str, Sequence[object]]) -> Iterator[TargetColumn]:
        for guess in guess_target_columns(cells, self.column):
            if guess.name != self.id_column:
                checked = seen_whole(guess, self._all_cells(guess.name))
                if checked is not None:
                    yield checked

    def _as_asked(self, name: str, guessed: Mapping[str, TargetColumn]) -> TargetColumn:
        """The label in a column, of the kind that the settings ask for."""
        if self.config.label_kind == "regression":
            return TargetColumn(name, "regression")
        if self.config.label_kind == "class":
            return as_classes(name, self._all_cells(name))
        if name in guessed:
            return guessed[name]
        raise DataError(
            f"column {name!r} does not look like a label (one value, running numbers, or free text)",
            did_you_mean=closest(name, guessed),
            labels_found=", ".join(guessed) or "none",
            hint="label_kind=class or label_kind=regression if it is one",
        )

    def _all_cells(self, name: str, *, absent: bool = False) -> Iterator[Any]:
        """Cells of a column in row order; for a table without it nothing, or None for each row if ``absent``."""
        for table in self._tables:
            if name not in table.columns:
                yield from repeat(None, len(table) if absent else 0)
                continue
            for start in range(0, len(table), BLOCK_ROWS):
                yield from table.slice(start, min(start + BLOCK_ROWS, len(table)), name)

    @property
    def fingerprint(self) -> str:
        parts = [f"{split}:{table.fingerprint}" for split, table in zip(self._splits, self._tables, strict=True)]
        return sha256("|".join([self.column, *parts]).encode()).hexdigest()

    @property
    def splits(self) -> Mapping[str, Sequence[int]]:
        """Declared by files called train, valid and test; empty for one file."""
        if self._splits == [""]:
            return {}
        return {split: range(int(self._starts[i]), int(self._starts[i + 1])) for i, split in enumerate(self._splits)}

    def __len__(self) -> int:
        return int(self._starts[-1])

    def _locate(self, index: int) -> tuple[Table, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        which = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self._tables[which], index - int(self._starts[which])

    def __getitem__(self, index: int) -> Sample:
        table, row = self._locate(index)
        smiles = table.value(row, self.column)
        values = {name: float(one.values[index]) for name, one in self._values.items()}
        targets: dict[str, Any] = {label.name: values[label.name] for label in self._labels.own}
        if self._labels.joined:
            targets[ALL_BINARY] = np.asarray([values[name] for name in self._labels.joined], np.float32)
        bad = [f"{name}={one.unreadable[index]!r}" for name, one in self._values.items() if index in one.unreadable]
        return Sample(self.id_of(index), smiles, targets, meta={"unreadable_labels": ", ".join(bad)} if bad else {})

    @cached_property
    def _values(self) -> dict[str, ReadLabels]:
        """Labels of all rows by column, read when the first row is asked for: far quicker than cell by cell."""
        return {label.name: read_labels(label, self._all_cells(label.name, absent=True)) for label in self._labels.read}

    def cells(self, start: int, stop: int) -> list[Any]:
        """SMILES cells of rows [start, stop) as written, for conversion in bulk; malformed rows give None."""
        found: list[Any] = []
        for table, problems, first in zip(self._tables, self._problems, self._starts, strict=False):
            low, high = max(start - int(first), 0), min(stop - int(first), len(table))
            if low < high:
                column = table.slice(low, high, self.column)
                for row in problems[np.searchsorted(problems, low) : np.searchsorted(problems, high)]:
                    column[row - low] = None
                found.extend(column)
        return found

    @cached_property
    def _problems(self) -> list[np.ndarray]:
        """Numbers of malformed rows, one ascending array a table."""
        return [np.asarray(sorted(table.problems()), np.int64) for table in self._tables]

    def values(self, name: str) -> list[Any]:
        """All cells of any column, for ``--split column:NAME``."""
        return list(self._all_cells(self._in_every_table(name)))

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
        """The first row with this id.

        Raises:
            DataError: no row has it.
        """
        row = self._row_of.get(sample_id)
        if row is None:
            raise DataError(f"no row has the id {sample_id!r}", id_column=self.id_column or "row numbers")
        return self[row]

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {self.id_of(row): row for row in reversed(range(len(self)))}


def _enough_tasks(binary: list[str]) -> list[str]:
    if len(binary) < 2:
        raise DataError(f"label {ALL_BINARY!r} needs two or more columns of 0 and 1", found=", ".join(binary) or "none")
    return binary
