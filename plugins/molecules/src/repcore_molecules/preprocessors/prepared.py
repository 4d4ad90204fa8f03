"""Molecules converted once: numbers of every distinct molecule, symbols or a graph, in memory-mapped files.

symbols.json   symbol texts; a symbol's place is its number (independent of any vocabulary); empty for graphs
ids.bin        uint16, all numbers of all distinct molecules one after another (written as they come)
offsets.npy    int64 (N + 1), where each molecule begins
rows.npy       int64 (N,), first row of the data set that holds the molecule
rejected.json  rows that cannot be used: row, status, reason
summary.json   counts
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

import numpy as np
import rdkit
import selfies

from repcore.data.batching import Rejected
from repcore.data.guard import read_sample
from repcore.errors import DataError, ItemError
from repcore.files import save_array
from repcore.interfaces import DatasetReader, Sample
from repcore.specs import TargetSpec
from repcore_molecules.configs.smiles import SmilesConfig
from repcore_molecules.smiles.convert import ConversionSummary, convert_smiles
from repcore_molecules.smiles.pipeline import SmilesResult
from repcore_molecules.tokenisation.symbols import split_symbols

FORMAT = 4  # 4: what the numbers are is part of the key
IDS_FILE = "ids.bin"


@dataclass(frozen=True, slots=True)
class PreparedSymbols:
    """A sample's input after preparation: numbers into ``table``."""

    numbers: np.ndarray  # uint16 (T,)
    table: tuple[str, ...]

    def text(self) -> str:
        """The SELFIES."""
        return "".join(self.table[number] for number in self.numbers)


class MoleculePreparation:
    """Converts a whole data set; implements :class:`repcore.interfaces.BlockPreparation`.

    A block holds the files of the head of this module for its own rows, with the reasons in ``summary.json`` and, where
    each molecule is kept once, ``keys.npy``: 128 bits of a hash of each canonical SMILES, uint64 (n, 2). What a
    molecule becomes is said by a subclass.

    Args:
        config: cleaning before it.
        deduplicate: keep each distinct molecule once.
    """

    with_selfies = True  # whether SELFIES are made

    least_rows = 1024

    def __init__(self, config: SmilesConfig, *, deduplicate: bool) -> None:
        self.config, self.deduplicate = config, deduplicate

    @property
    def key(self) -> str:
        parts = [FORMAT, self.made(), asdict(self.config), self.deduplicate, rdkit.__version__]
        return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def made(self) -> list[Any]:
        """What the files hold, by name and version."""
        raise NotImplementedError

    def numbers(self, result: SmilesResult, number_of: Callable[[str], int]) -> Sequence[int] | np.ndarray:
        """Of one molecule, each below 65,536.

        Args:
            number_of: the number of a symbol, the next one where it is new.

        Raises:
            ItemError: it cannot be used.
        """
        raise NotImplementedError

    def block(self, reader: DatasetReader, rows: range, folder: Path, progress: Callable[[int, int], None]) -> None:
        summary = ConversionSummary()
        results = convert_smiles(
            _cells(reader, rows),
            self.config,
            selfies=self.with_selfies,
            progress=lambda done, _: progress(done, len(rows)),
            summary=summary,
        )
        written = _Written(folder)
        rejected: list[tuple[int, str, str]] = []
        keys: dict[str, None] = {}  # canonical SMILES in their order
        with written:
            for row, result in zip(rows, results, strict=True):
                if result.status != "ok":
                    rejected.append((row, *_why(reader, row, result)))
                elif not self.deduplicate or result.canonical not in keys:
                    try:
                        written.add(row, self.numbers(result, written.number_of))
                    except ItemError as error:
                        rejected.append((row, error.status, error.reason))
                        summary.refuse(error)
                    else:
                        keys.setdefault(result.canonical)
        written.finish()
        if self.deduplicate:
            hashes = b"".join(blake2b(one.encode(), digest_size=16).digest() for one in keys)
            save_array(folder / "keys.npy", np.frombuffer(hashes, np.uint64).reshape(-1, 2))
        _write(folder / "rejected.json", rejected)
        _write(folder / "summary.json", {"status": dict(summary.status), "reasons": dict(summary.reasons)})

    def join(self, reader: DatasetReader, blocks: Sequence[Path], folder: Path) -> None:
        kept = _first_of_each([np.load(block / "keys.npy") for block in blocks]) if self.deduplicate else None
        rejected: list[Any] = []
        status, reasons = Counter[str](), Counter[str]()
        written = _Written(folder)
        with written:
            before = 0
            for block in blocks:
                count = written.add_block(block, kept, before)
                before += count
                rejected += _read(block / "rejected.json")
                counts = _read(block / "summary.json")
                status.update(counts["status"])
                reasons.update(counts["reasons"])
        if not written.rows:
            said = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common(3))
            raise DataError(f"none of {len(reader):,} rows holds a usable molecule", reasons=said)
        written.finish()
        _write(folder / "rejected.json", rejected)
        counts = {
            "rows": len(reader), "distinct": len(written.rows), "rejected": len(rejected), "status": dict(status)
        }  # fmt: skip
        _write(folder / "summary.json", counts)

    def open(self, reader: DatasetReader, folder: Path) -> PreparedMolecules:
        raise NotImplementedError


class SelfiesPreparation(MoleculePreparation):
    """SELFIES symbols."""

    def made(self) -> list[Any]:
        return ["symbols", selfies.__version__]

    def numbers(self, result: SmilesResult, number_of: Callable[[str], int]) -> Sequence[int]:
        return [number_of(symbol) for symbol in split_symbols(result.selfies)]

    def open(self, reader: DatasetReader, folder: Path) -> PreparedMolecules:
        return PreparedMolecules(reader, folder)


class _Written:
    """Numbers of molecules one after another; symbols numbered first that come first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.symbols: dict[str, int] = {}
        self.offsets, self.rows = array("q", [0]), array("q")

    def __enter__(self) -> _Written:
        self._file = (self.folder / IDS_FILE).open("wb")
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def number_of(self, symbol: str) -> int:
        return self.symbols.setdefault(symbol, len(self.symbols))

    def add(self, row: int, numbers: Sequence[int] | np.ndarray) -> None:
        array("H", numbers).tofile(self._file)
        self.offsets.append(self.offsets[-1] + len(numbers))
        self.rows.append(row)

    def add_block(self, block: Path, kept: np.ndarray | None, before: int) -> int:
        """The molecules of a block that are kept.

        Args:
            kept: bool, for the molecules of all blocks; None = all.
            before: molecules of earlier blocks.

        Returns:
            how many the block holds, kept or not.
        """
        table = _read(block / "symbols.json")
        ids = np.fromfile(block / IDS_FILE, np.uint16)
        lengths, rows = np.diff(np.load(block / "offsets.npy")), np.load(block / "rows.npy")
        chosen = np.ones(len(rows), bool) if kept is None else kept[before : before + len(rows)]
        ids = ids[np.repeat(chosen, lengths)]
        if table:
            found, first = np.unique(ids, return_index=True)
            for symbol in found[np.argsort(first)]:
                self.number_of(table[symbol])
            ids = np.asarray([self.symbols.get(symbol, 0) for symbol in table], np.uint16)[ids]
        self._file.write(ids.tobytes())
        self.offsets.extend((self.offsets[-1] + np.cumsum(lengths[chosen])).tolist())
        self.rows.extend(rows[chosen].tolist())
        return len(rows)

    def finish(self) -> None:
        save_array(self.folder / "offsets.npy", np.frombuffer(self.offsets, np.int64))
        save_array(self.folder / "rows.npy", np.frombuffer(self.rows, np.int64))
        _write(self.folder / "symbols.json", list(self.symbols))


def _first_of_each(keys: Sequence[np.ndarray]) -> np.ndarray:
    """Whether each key (n, 2), through all blocks, is the first of its kind."""
    whole = np.concatenate(keys)
    order = np.lexsort(whole.T)  # stable: of equal ones the first comes first
    is_first = np.ones(len(whole), bool)
    is_first[order[1:]] = (whole[order[1:]] != whole[order[:-1]]).any(1)
    return is_first


def _why(reader: DatasetReader, row: int, result: SmilesResult) -> tuple[str, str]:
    """Status and reason of an unusable row; what came as an empty cell may be a row that the reader cannot read."""
    if result.status == "empty":
        try:
            read_sample(reader, row)
        except ItemError as error:
            return error.status, error.reason
    return result.status, result.reason


def _cells(reader: DatasetReader, rows: range) -> Iterable[Any]:
    """Cells of rows in order; in bulk where the reader can."""
    bulk = getattr(reader, "cells", None)
    if bulk is not None:
        found: Iterable[Any] = bulk(rows.start, rows.stop)
        return found
    return (_cell(reader, row) for row in rows)


def _cell(reader: DatasetReader, row: int) -> Any:  # whatever stands in the place of a SMILES
    try:
        return read_sample(reader, row).inputs
    except ItemError:
        return None


def _read(path: Path) -> Any:  # what was written by `_write`, whose checksums core has compared
    return json.loads(path.read_text(encoding="utf-8"))


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


class PreparedMolecules:
    """Distinct molecules of a data set as symbols, memory-mapped; without labels, for pre-training.

    Ids are those of the data set; ``source_rows`` says which of its rows each molecule is.
    """

    def __init__(self, reader: DatasetReader, folder: Path) -> None:
        self._reader, self._folder = reader, folder
        self.table = tuple(json.loads((folder / "symbols.json").read_text(encoding="utf-8")))
        # Plain views of the maps: slicing a numpy.memmap itself costs several times as much.
        self._ids = np.asarray(np.memmap(folder / IDS_FILE, np.uint16, mode="r"))
        self._offsets = np.asarray(np.load(folder / "offsets.npy", mmap_mode="r"))
        self.source_rows = np.asarray(np.load(folder / "rows.npy", mmap_mode="r"))
        self.targets: Sequence[TargetSpec] = ()
        self.costs = np.diff(self._offsets) + 2
        counts = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        self.summary = (
            f"{counts['distinct']:,} distinct molecules in {counts['rows']:,} rows; "
            f"{counts['rejected']:,} rows cannot be used"
        )

    def __reduce__(self) -> tuple[object, ...]:  # a spawned loader worker opens the files itself
        return (type(self), (self._reader, self._folder))

    @property
    def prepared_from(self) -> DatasetReader:
        """The data set as it was read, whose rows or files are named where they have changed."""
        return self._reader

    @property
    def fingerprint(self) -> str:
        return self._reader.fingerprint

    @property
    def rejected(self) -> list[Rejected]:
        """Rows of the data set that hold no usable molecule."""
        stored = json.loads((self._folder / "rejected.json").read_text(encoding="utf-8"))
        return [Rejected(row, status, reason) for row, status, reason in stored]

    @property
    def splits(self) -> Mapping[str, Sequence[int]]:
        """The data set's own splits, in places of distinct molecules."""
        return {
            name: np.flatnonzero(np.isin(self.source_rows, np.asarray(rows))).tolist()
            for name, rows in self._reader.splits.items()
        }

    @property
    def groups(self) -> Sequence[str | None] | None:
        """Leakage key of the row that each molecule was first found in; None where the data set has none."""
        own = getattr(self._reader, "groups", None)
        return None if own is None else [own[row] for row in self.source_rows.tolist()]

    def __len__(self) -> int:
        return len(self.source_rows)

    def __getitem__(self, index: int) -> Sample:
        return Sample(self.id_of(index), PreparedSymbols(self.numbers(index), self.table))

    def numbers(self, index: int) -> np.ndarray:
        """Those of one molecule, uint16."""
        return self._ids[self._offsets[index] : self._offsets[index + 1]]

    def id_of(self, index: int) -> str:
        """Id of the first row that holds the molecule."""
        row = int(self.source_rows[index])
        named = getattr(self._reader, "id_of", None)
        return str(row) if named is None else str(named(row))

    def by_id(self, sample_id: str) -> Sample:
        """The first molecule with this id.

        Raises:
            DataError: none has it.
        """
        place = next((place for place in range(len(self)) if self.id_of(place) == sample_id), None)
        if place is None:
            raise DataError(f"no prepared molecule has the id {sample_id!r}")
        return self[place]

    def symbol_counts(self, indices: np.ndarray) -> dict[str, int]:
        """How often each symbol occurs in the molecules at ``indices``."""
        chosen = np.zeros(len(self), bool)
        chosen[indices] = True
        mask = np.repeat(chosen, np.diff(self._offsets))
        counts = np.bincount(self._ids[mask], minlength=len(self.table))
        return {symbol: int(count) for symbol, count in zip(self.table, counts, strict=True) if count}
