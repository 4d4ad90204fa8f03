"""Molecules in the users' own tables and structure-data files.

The column with the molecules is found by reading cells (SMILES, InChI or SELFIES) and said; every other column that
core takes for a label becomes a target of its own. Two or more columns of zeros and ones (Tox21, SIDER, ClinTox, MUV)
are offered once more as one multilabel target, ``all-binary``: a probe or a fine-tuning run then reports the mean over
tasks. Missing labels stay missing; the reference counts them as negatives or zeros.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import Chem
from rdkit.rdBase import BlockLogs

from repcore.data.accounting import Accounting
from repcore.data.catalogue import rows_by
from repcore.data.cells import DECIMAL_SIGNS, Columns, is_missing, words_of
from repcore.data.companions import Meaning
from repcore.data.groups import group_column, useful_groups
from repcore.data.labels import LabelColumn, read_labels
from repcore.data.split_columns import parts_of, split_column
from repcore.errors import DataError, ItemError, closest
from repcore.interfaces import Sample
from repcore.specs import TargetSpec
from repcore_molecules.configs.data import MoleculeTableConfig
from repcore_molecules.configs.smiles import SmilesConfig
from repcore_molecules.datasets.molecule_column import MoleculeColumn
from repcore_molecules.datasets.sdf_table import SdfTable
from repcore_molecules.datasets.table_files import is_smi, molecules_in, open_table, table_files, with_extension
from repcore_molecules.smiles.notations import LONGEST_TRIED, to_smiles
from repcore_molecules.smiles.pipeline import SmilesPipeline

ALL_BINARY = "all-binary"
BLOCK_ROWS = 65_536
GROUP_WORDS = ("scaffold", "cluster", "series", "chemotype")
LABEL_CHANGE = "label_kind=class|regression|multilabel"
QUALIFIERS_CHANGE = "unit=TEXT, quantity=TEXT, qualifiers=ignore"
MOLECULE_GROUPS = "molecule"
MOST_SEARCHED = 2_000_000  # rows in which labels, groups and parts of a split are looked for unasked
TASK_VALUES = (("0", "1"), ("-1", "1"))  # of columns that are tasks of one multilabel set


class MoleculeTable:
    """Rows of a table as samples whose input is the SMILES text.

    A label that cannot be read counts as missing: the account names the cells, and the sample notes it in
    ``meta["unreadable_labels"]``.

    Raises:
        DataError: no column of molecules, or a named column does not exist or is no label.
    """

    def __init__(self, config: MoleculeTableConfig) -> None:
        self.config = config
        path = Path(config.path)
        files = table_files(path)
        self._splits = list(files)
        self._tables = [open_table(file) for file in files.values()]
        self.account = Accounting(root=path if path.is_dir() else path.parent)
        for table in self._tables:
            table.tell(self.account)
        if path.is_dir():
            self.account.cover(path, "not a table of this data set")
        self.molecules = molecules_in(self._tables[0], config.column, config.notation)
        self.column = self._in_every_table(self.molecules.name)
        self._is_smi = [is_smi(one) for one in self._tables]
        if not (config.column is None and isinstance(self._tables[0], SdfTable)):
            self.account.guess("molecules", *self.molecules.said(), "dataset.column=NAME (--read column=NAME)")
        self._starts = np.concatenate([[0], np.cumsum([len(table) for table in self._tables])])
        self._is_large = len(self) > MOST_SEARCHED
        if self._is_large:
            self.account.note(
                f"labels, groups and split columns are not looked for in more than {MOST_SEARCHED:,} rows; name them: "
                "labels=[NAME], group=NAME"
            )
        self.id_column = self._choose_ids()
        self._group_column = self._choose_groups()
        self._labels, self._joined = self._choose_labels()
        self._declared = self._declared_parts()
        self.targets: Sequence[TargetSpec] = self._targets()

    # ------------------------------------------------------------------------------------------- columns

    def _in_every_table(self, name: str) -> str:
        """The column's exact name; labels may be absent from some tables, other columns may not."""
        exact = self._tables[0].require(name)
        for table in self._tables[1:]:
            table.require(exact)
        return exact

    def _choose_ids(self) -> str | None:
        if self.config.id_column:
            return self._in_every_table(self.config.id_column)
        table = self._tables[0]
        if len(self._tables) > 1 or not (isinstance(table, SdfTable) or (self._is_smi[0] and not table.has_header)):
            return None
        column, where = "name", "names behind SMILES"
        if isinstance(table, SdfTable):
            column, where = SdfTable.NAME, "title lines"
        names = [] if self._is_large else [with_extension("", cell)[1] for cell in self.all_cells(column)]
        if names and all(names) and len(set(names)) == len(names):
            self.account.guess("ids", where, "every molecule has one of its own", "dataset.id_column=NAME")
            return column
        return None

    def _choose_groups(self) -> str | None:
        """The column that keeps rows together in splits, as the user says or by its name."""
        asked = self.config.group
        if asked == MOLECULE_GROUPS or not asked or (self._is_large and asked == "auto"):
            return None
        if asked != "auto":
            return self._in_every_table(asked)
        found = group_column(self._tables[0].columns, GROUP_WORDS)
        if found in (None, self.column, self.id_column) or any(found not in one.columns for one in self._tables):
            return None
        keys = [None if is_missing(cell) else str(cell) for cell in self.all_cells(str(found))]
        if not useful_groups(keys):
            return None
        self.account.guess(
            "groups", f"column {found!r}", f"{len(set(keys)):,} of them, by its name", "dataset.group=NAME"
        )
        return found

    def _declared_parts(self) -> dict[str, list[int]]:
        """Rows by the words of a column of parts; rows without a word belong to no part."""
        if len(self._tables) > 1 or self._is_large:
            return {}
        kept = {self.column, self.id_column, self._group_column}
        name = split_column([one for one in self._tables[0].columns if one not in kept], self.all_cells)
        if name is None:
            return {}
        parts = rows_by(parts_of(self.all_cells(name)))
        self.account.guess("declared splits", f"column {name!r}", "its words name parts of a split")
        return parts

    def _choose_labels(self) -> tuple[list[LabelColumn], list[LabelColumn]]:
        """Labels of their own, and the tasks of ``all-binary``."""
        config, table = self.config, self._tables[0]
        if self._is_large and config.labels is None:
            return [], []
        no_label = {self.column, self.id_column, self._group_column}
        no_label |= {"name"} if self._is_smi[0] and not table.has_header else set()
        names = [one for one in table.columns if one not in no_label]
        asked = None if config.labels is None else list(dict.fromkeys(config.labels))
        wanted = [self._exact(one, names) for one in asked or () if one != ALL_BINARY or one in table.columns]
        # names that nobody gave say nothing: where the table has none, only cells are judged
        kinds = dict.fromkeys(wanted if table.has_header else names, config.label_kind)
        read = names if asked is None or ALL_BINARY in asked else wanted
        found = {
            one.name: one
            for one in read_labels(
                self._columns(read),
                kinds=kinds,
                kind=config.label_kind,
                separator=config.label_separator,
                uncertain=config.uncertain,
                group_words=GROUP_WORDS,
                change=LABEL_CHANGE,
                id_change="" if self.id_column else "--id-column",
                account=self.account,
                beside=self._columns(self._others({})),
                decimal=DECIMAL_SIGNS[config.decimal],
                meaning=Meaning(config.qualifiers == "ignore", config.unit, config.quantity, QUALIFIERS_CHANGE),
            )
        }
        binary = [one for one in found.values() if one.target is not None and one.target.names in TASK_VALUES]
        if asked is None:
            own = [one for one in found.values() if one.target is not None]
            return own, binary if len(binary) > 1 and config.label_kind == "auto" else []
        own = [self._as_asked(found[name], found) for name in wanted]
        return own, _enough_tasks(binary) if ALL_BINARY in asked and ALL_BINARY not in wanted else []

    def _exact(self, name: str, names: Sequence[str]) -> str:
        exact = self._tables[0].require(name)
        if exact not in names:
            raise DataError(f"column {exact!r} is read as molecules, ids or groups, not as a label")
        return exact

    def _as_asked(self, one: LabelColumn, found: Mapping[str, LabelColumn]) -> LabelColumn:
        if one.target is None:
            others = [
                other.name for other in read_labels(self._columns(self._others(found))) if other.target is not None
            ]
            several = len({word for word in words_of(self._cells(one.name)) if word is not None}) > 1
            raise DataError(
                f"column {one.name!r} does not look like a label ({one.reason})",
                did_you_mean=closest(one.name, others),
                labels_found=", ".join(others) or "none",
                hint="label_kind=class or label_kind=regression if it is one"
                if several
                else "fill in labels of two values at least, or another --label",
            )
        return one

    def _others(self, found: Mapping[str, LabelColumn]) -> list[str]:
        taken = {self.column, self.id_column, self._group_column, *found}
        return [one for one in self._tables[0].columns if one not in taken]

    def _targets(self) -> tuple[TargetSpec, ...]:
        own = tuple(one.target for one in self._labels if one.target is not None)
        if not self._joined:
            return own
        return (*own, TargetSpec(ALL_BINARY, "multilabel", names=tuple(one.name for one in self._joined)))

    def _columns(self, names: Sequence[str]) -> Columns:
        return Columns(names, self._cells)

    def _cells(self, name: str) -> list[Any]:
        """All cells of a column, None for each row of a table without it."""
        found: list[Any] = []
        for table in self._tables:
            found += table.slice(0, len(table), name) if name in table.columns else repeat(None, len(table))
        return found

    def all_cells(self, name: str, *, absent: bool = False) -> Iterator[Any]:
        """Cells of a column in row order; for a table without it nothing, or None for each row if ``absent``."""
        for table in self._tables:
            if name not in table.columns:
                yield from repeat(None, len(table) if absent else 0)
                continue
            for start in range(0, len(table), BLOCK_ROWS):
                yield from table.slice(start, min(start + BLOCK_ROWS, len(table)), name)

    # -------------------------------------------------------------------------------------------- reader

    @property
    def tables_read(self) -> Sequence[Any]:
        """The tables behind the rows, by which changed data are told apart."""
        return self._tables

    @property
    def fingerprint(self) -> str:
        parts = [f"{split}:{table.fingerprint}" for split, table in zip(self._splits, self._tables, strict=True)]
        notation = [] if self.molecules.notation == "smiles" else [self.molecules.notation]
        return sha256("|".join([self.column, *notation, *parts]).encode()).hexdigest()

    @property
    def splits(self) -> Mapping[str, Sequence[int]]:
        """Declared by files called train, valid and test, or by a column of one file whose words are such names."""
        if self._splits == [""]:
            return self._declared
        return {split: range(int(self._starts[i]), int(self._starts[i + 1])) for i, split in enumerate(self._splits)}

    @cached_property
    def groups(self) -> Sequence[str | None] | None:
        """Leakage keys: of the group column, or the canonical molecule with ``group=molecule``."""
        if self.config.group == MOLECULE_GROUPS:
            pipeline = SmilesPipeline(SmilesConfig())
            return [pipeline.run(cell).canonical or None for cell in self.cells(0, len(self))]
        if self._group_column is None:
            return None
        return [None if is_missing(cell) else str(cell).strip() for cell in self.all_cells(self._group_column)]

    def __len__(self) -> int:
        return int(self._starts[-1])

    def _locate(self, index: int) -> tuple[int, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        which = int(np.searchsorted(self._starts, index, side="right")) - 1
        return which, index - int(self._starts[which])

    def __getitem__(self, index: int) -> Sample:
        which, row = self._locate(index)
        table = self._tables[which]
        cell = table.value(row, self.column)
        if self._is_smi[which] and "name" in table.columns:
            cell = with_extension(cell, table.value(row, "name"))[0]
        smiles: Any = to_smiles(cell, self.molecules.notation)
        targets: dict[str, Any] = {one.name: one.value(index) for one in self._labels}
        if self._joined:
            targets[ALL_BINARY] = np.asarray([one.values[index] for one in self._joined], np.float32)
        group = None if self.groups is None else self.groups[index]
        return Sample(self.id_of(index), smiles, targets, group, meta=self._unread(which, row, index))

    def _unread(self, which: int, row: int, index: int) -> dict[str, Any]:
        """Filled label cells of a row that count as missing."""
        bad = []
        for one in (*self._labels, *self._joined):
            if np.isnan(one.values[index]).all() and one.name in self._tables[which].columns:
                cell = self._tables[which].slice(row, row + 1, one.name)[0]
                if not is_missing(cell):
                    bad.append(f"{one.name}={cell!r}")
        return {"unreadable_labels": ", ".join(dict.fromkeys(bad))} if bad else {}

    def describe(self, sample: Sample) -> dict[str, Any]:
        """Facts of a molecule that people look for: heavy atoms, and fragments (2 or more: a salt or a mixture)."""
        if not isinstance(sample.inputs, str) or len(sample.inputs) > LONGEST_TRIED:
            return {}  # of millions of atoms RDKit would tell after hours
        silence = BlockLogs()
        mol: Any = Chem.MolFromSmiles(sample.inputs)
        del silence
        if mol is None or not mol.GetNumAtoms():
            return {}
        return {"heavy atoms": mol.GetNumHeavyAtoms(), "fragments": len(Chem.GetMolFrags(mol))}

    def cells(self, start: int, stop: int) -> list[Any]:
        """SMILES of rows [start, stop), for conversion in bulk; rows that cannot be read give None."""
        found: list[Any] = []
        for which, (table, first) in enumerate(zip(self._tables, self._starts, strict=False)):
            low, high = max(start - int(first), 0), min(stop - int(first), len(table))
            if low < high:
                found.extend(self._block(which, low, high))
        return found

    def _block(self, which: int, low: int, high: int) -> list[Any]:
        table, problems = self._tables[which], self._problems[which]
        column = table.slice(low, high, self.column)
        if self._is_smi[which] and "name" in table.columns:
            names = table.slice(low, high, "name")
            column = [with_extension(cell, name)[0] for cell, name in zip(column, names, strict=True)]
        for row in problems[np.searchsorted(problems, low) : np.searchsorted(problems, high)]:
            column[row - low] = None
        if self.molecules.notation == "smiles":
            return column
        return [_or_none(cell, self.molecules) for cell in column]

    @cached_property
    def _problems(self) -> list[np.ndarray]:
        """Numbers of malformed rows, one ascending array a table."""
        return [np.asarray(sorted(table.problems()), np.int64) for table in self._tables]

    def values(self, name: str) -> list[Any]:
        """All cells of any column, for ``--split column:NAME``."""
        return list(self.all_cells(self._in_every_table(name)))

    def id_of(self, index: int) -> str:
        """The id column's value, or the row number."""
        if self.id_column is None:
            return str(index)
        which, row = self._locate(index)
        table = self._tables[which]
        value = table.slice(row, row + 1, self.id_column)[0]
        if self._is_smi[which] and self.id_column == "name":
            value = with_extension("", value)[1]
        return str(index) if value in (None, "") else str(value)

    def by_id(self, sample_id: str) -> Sample:
        """The first row with this id.

        Raises:
            DataError: no row has it.
        """
        if self.id_column is None:  # row numbers: no need of a table of all of them
            row = int(sample_id) if sample_id.isdecimal() and int(sample_id) < len(self) else None
        else:
            row = self._row_of.get(sample_id)
        if row is None:
            raise DataError(f"no row has the id {sample_id!r}", id_column=self.id_column or "row numbers")
        return self[row]

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {self.id_of(row): row for row in reversed(range(len(self)))}


def _or_none(cell: Any, molecules: MoleculeColumn) -> Any:
    try:
        return to_smiles(cell, molecules.notation)
    except ItemError:
        return None


def _enough_tasks(binary: list[LabelColumn]) -> list[LabelColumn]:
    if len(binary) < 2:
        found = ", ".join(one.name for one in binary) or "none"
        raise DataError(f"label {ALL_BINARY!r} needs two or more columns of 0 and 1", found=found)
    return binary
