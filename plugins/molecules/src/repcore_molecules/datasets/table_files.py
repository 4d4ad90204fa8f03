"""Which files are a table of molecules, and where in it the molecules are."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from repcore.data.first_files import first_files
from repcore.data.headers import head
from repcore.data.misfits import HARDLY
from repcore.data.shards.parquet_table import ShardedTable, Shards, is_sharded, parquet_shards
from repcore.data.tables import Table, table_suffix
from repcore.errors import DataError
from repcore_molecules.datasets.molecule_column import (
    MoleculeColumn,
    UnclearMoleculesError,
    column_as,
    find_molecules,
    reads_as_molecule,
    searched,
)
from repcore_molecules.datasets.sdf_table import STRUCTURE, SdfTable
from repcore_molecules.formats.sdf import is_sdf

SAMPLED_ROWS = 500
LOOKED_AT = 400  # files of a folder
UNCLEAR = 0.8  # molecules in several columns: theirs as surely as in one, and opening asks for the column
SPLIT_NAMES = {"train": "train", "valid": "validation", "val": "validation", "validation": "validation", "test": "test"}
SMI_SUFFIXES = (".smi", ".smiles")
MoleculeRows = Table | SdfTable | ShardedTable
COUNTS_LINE = re.compile(rb"V[23]000")  # of every molecule of an SD or MOL file


def is_smi(table: MoleculeRows) -> bool:
    """Whether lines are a SMILES and its name."""
    return isinstance(table, Table) and table_suffix(table.path) in SMI_SUFFIXES


def table_files(path: Path) -> dict[str, Path | Shards]:
    """The table behind a path: ``{"": file}``, or one file a split, train first; many parquet files are one table.

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
    if all(table_suffix(one) == ".parquet" for one in tables) and (shards := parquet_shards(path)):
        return dict(shards)
    below = [] if tables else _molecules_below(path)
    if below:
        raise DataError(
            f"folder {str(path)!r} holds no table, but its subfolders do",
            found=", ".join(one.relative_to(path).as_posix() for one in below[:8]),
            hint=f"one file as --data, or all of them joined in one (cat */*{below[0].suffix} > all{below[0].suffix})",
        )
    raise DataError(
        f"folder {str(path)!r} holds {len(tables)} tables" if tables else f"folder {str(path)!r} holds no table",
        found=", ".join(one.name for one in tables[:8]),
        hint="name one file, or call the files train, valid and test" if tables else "",
    )


def _tables_in(folder: Path) -> list[Path]:
    return sorted(
        one for one in folder.iterdir() if one.is_file() and (table_suffix(one) not in ("", ".txt") or is_sdf(one))
    )


def _molecules_below(folder: Path) -> list[Path]:
    """Files of molecules in subfolders, such as the tranches of ZINC: as far as the first files tell."""
    return [one for one in first_files(folder, LOOKED_AT) if table_suffix(one) in SMI_SUFFIXES or is_sdf(one)]


def sniff_table(path: Path) -> float:
    """How surely a path is a table of molecules: what its cells are, whatever its names say."""
    if not (_tables_in(path) or is_sharded(path) if path.is_dir() else table_suffix(path) or is_sdf(path)):
        return HARDLY if path.is_dir() and _molecules_below(path) else 0.0
    try:
        file = next(iter(table_files(path).values()))
        if isinstance(file, Path) and is_sdf(file):
            return 0.95 if COUNTS_LINE.search(head(path, 1 << 16)) or path.suffix.lower() == ".gz" else 0.0
        table = open_table(file)
        molecules_in(table, None, None)
    except UnclearMoleculesError:
        return UNCLEAR
    except DataError:
        return 0.0 if path.suffix == ".txt" else HARDLY
    return 0.9 if is_smi(table) else 0.8


def open_table(file: Path | Shards) -> MoleculeRows:
    """A table, or an SDF or shards seen as one; the last one is kept, since what was recognised is opened next."""
    if isinstance(file, Shards):
        return ShardedTable(file)
    try:
        facts = file.stat()
    except OSError:
        return _opened(file, 0, 0)
    return _opened(file, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=1)
def _opened(file: Path, size: int, time: int) -> Table | SdfTable:
    del size, time  # tell a changed file from the one that was opened before
    return SdfTable(file) if is_sdf(file) else Table(file, is_data=reads_as_molecule)


def molecules_in(table: MoleculeRows, column: str | None, notation: str | None) -> MoleculeColumn:
    """The column with the molecules: as the user says, as the format says, or as the cells say."""
    asked: Any = None if notation in (None, "auto") else notation
    if isinstance(table, SdfTable) and column is None:
        return MoleculeColumn(STRUCTURE, "smiles", 1.0)
    if column is not None:
        name = table.require(column)
        return column_as(name, table.slice(0, SAMPLED_ROWS, name), asked)
    # a folder kind=C means no methane
    names = table.own_columns if isinstance(table, ShardedTable) else table.columns
    cells = {name: table.slice(0, SAMPLED_ROWS, name) for name in searched(names)}
    if is_smi(table) and "smiles" in cells:
        cells = {"smiles": [with_extension(*pair)[0] for pair in zip(cells["smiles"], cells["name"], strict=True)]}
    found = find_molecules(cells, names_count=table.has_header or "smiles" in cells)
    return column_as(found.name, cells[found.name], asked) if asked else found


def with_extension(smiles: Any, name: Any) -> tuple[Any, Any]:
    """A .smi line's SMILES and name, where an extension (``CCO |$;;OH$| ethanol``) stands between the two."""
    if not isinstance(name, str) or not name.startswith("|") or "|" not in name[1:]:
        return smiles, name
    end = name.index("|", 1) + 1
    return f"{smiles} {name[:end]}", name[end:].strip()
