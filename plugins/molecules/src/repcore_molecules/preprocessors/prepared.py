"""Molecules converted once: SELFIES symbols of every distinct molecule in memory-mapped files.

symbols.json   symbol texts; a symbol's place is its number (independent of any vocabulary)
ids.bin        uint16, all symbols of all distinct molecules one after another (written as they come)
offsets.npy    int64 (N + 1), where each molecule begins
rows.npy       int64 (N,), first row of the data set that holds the molecule
rejected.json  rows that cannot be used: row, status, reason
summary.json   counts
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
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

FORMAT = 3  # 3: atom maps are stripped
IDS_FILE = "ids.bin"
BLOCK_ROWS = 8192


@dataclass(frozen=True, slots=True)
class PreparedSymbols:
    """A sample's input after preparation: numbers into ``table``."""

    numbers: np.ndarray  # uint16 (T,)
    table: tuple[str, ...]

    def text(self) -> str:
        """The SELFIES."""
        return "".join(self.table[number] for number in self.numbers)


class SelfiesPreparation:
    """Converts a whole data set; implements :class:`repcore.interfaces.Preparation`.

    Args:
        config: cleaning before SELFIES.
        deduplicate: keep each distinct molecule once.
        workers: conversion processes.
    """

    def __init__(self, config: SmilesConfig, *, deduplicate: bool, workers: int) -> None:
        self.config, self.deduplicate, self.workers = config, deduplicate, workers

    @property
    def key(self) -> str:
        parts = [FORMAT, asdict(self.config), self.deduplicate, selfies.__version__, rdkit.__version__]
        return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def run(self, reader: DatasetReader, folder: Path, progress: Callable[[int, int], None]) -> None:
        """Fill ``folder``.

        Raises:
            DataError: no row holds a usable molecule.
        """
        summary = ConversionSummary()
        total = len(reader)
        results = convert_smiles(
            _all_cells(reader),
            self.config,
            workers=self.workers,
            progress=lambda done, _: progress(done, total),
            summary=summary,
        )
        numbers: dict[str, int] = {}
        offsets, rows = array("q", [0]), array("q")
        rejected: list[tuple[int, str, str]] = []
        with (folder / IDS_FILE).open("wb") as file:
            for row, symbols in self._distinct(reader, results, rejected):
                array("H", [numbers.setdefault(symbol, len(numbers)) for symbol in symbols]).tofile(file)
                offsets.append(offsets[-1] + len(symbols))
                rows.append(row)
        progress(total, total)
        if not rows:
            reasons = ", ".join(f"{reason} ({count})" for reason, count in summary.reasons.most_common(3))
            raise DataError(f"none of {total:,} rows holds a usable molecule", reasons=reasons)
        save_array(folder / "offsets.npy", np.frombuffer(offsets, np.int64))
        save_array(folder / "rows.npy", np.frombuffer(rows, np.int64))
        _write(folder / "symbols.json", list(numbers))
        _write(folder / "rejected.json", rejected)
        counts = {"rows": total, "distinct": len(rows), "rejected": len(rejected), "status": dict(summary.status)}
        _write(folder / "summary.json", counts)

    def _distinct(
        self, reader: DatasetReader, results: Iterable[SmilesResult], rejected: list[tuple[int, str, str]]
    ) -> Iterator[tuple[int, list[str]]]:
        """Row and symbols of each molecule to keep; rows that cannot be used are added to ``rejected``."""
        seen: set[str] = set()
        for row, result in enumerate(results):
            if result.status != "ok":
                rejected.append((row, *_why(reader, row, result)))
            elif not self.deduplicate or result.canonical not in seen:
                if self.deduplicate:
                    seen.add(result.canonical)
                yield row, split_symbols(result.selfies)

    def open(self, reader: DatasetReader, folder: Path) -> PreparedMolecules:
        return PreparedMolecules(reader, folder)


def _why(reader: DatasetReader, row: int, result: SmilesResult) -> tuple[str, str]:
    """Status and reason of an unusable row; what came as an empty cell may be a row that the reader cannot read."""
    if result.status == "empty":
        try:
            read_sample(reader, row)
        except ItemError as error:
            return error.status, error.reason
    return result.status, result.reason


def _all_cells(reader: DatasetReader) -> Iterator[Any]:
    """Cells of all rows in order; in bulk where the reader can."""
    bulk = getattr(reader, "cells", None)
    for start in range(0, len(reader), BLOCK_ROWS):
        stop = min(start + BLOCK_ROWS, len(reader))
        if bulk is not None:
            yield from bulk(start, stop)
        else:
            yield from (_cell(reader, row) for row in range(start, stop))


def _cell(reader: DatasetReader, row: int) -> Any:  # whatever stands in the place of a SMILES
    try:
        return read_sample(reader, row).inputs
    except ItemError:
        return None


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


class PreparedMolecules:
    """Distinct molecules of a data set as symbol numbers, memory-mapped; without labels, for pre-training.

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
        return (PreparedMolecules, (self._reader, self._folder))

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

    def __len__(self) -> int:
        return len(self.source_rows)

    def __getitem__(self, index: int) -> Sample:
        numbers = self._ids[self._offsets[index] : self._offsets[index + 1]]
        return Sample(self.id_of(index), PreparedSymbols(numbers, self.table))

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
