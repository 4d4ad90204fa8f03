"""Molecules converted once: SELFIES symbols of every distinct molecule in memory-mapped files.

symbols.json   symbol texts; a symbol's place is its number (independent of any vocabulary)
ids.npy        uint16, all symbols of all distinct molecules one after another
offsets.npy    int64 (N + 1), where each molecule begins
rows.npy       int64 (N,), first row of the data set that holds the molecule
rejected.json  rows that cannot be used: row, status, reason
summary.json   counts
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import rdkit
import selfies

from repcore.data.batching import Rejected
from repcore.errors import DataError
from repcore.interfaces import DatasetReader, Sample
from repcore.specs import TargetSpec
from repcore_molecules.configs.smiles import SmilesConfig
from repcore_molecules.smiles.convert import ConversionSummary, convert_smiles
from repcore_molecules.tokenisation.symbols import split_symbols

FORMAT = 1
BLOCK_ROWS = 8192


class CellReader(DatasetReader, Protocol):
    """A reader that gives SMILES cells in bulk."""

    def cells(self, start: int, stop: int) -> list[Any]: ...


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
        ids, offsets, rows = array("H"), array("q", [0]), array("q")
        rejected: list[tuple[int, str, str]] = []
        seen: set[str] = set()
        for row, result in enumerate(results):
            if result.status != "ok":
                rejected.append((row, result.status, result.reason))
                continue
            if self.deduplicate:
                if result.canonical in seen:
                    continue
                seen.add(result.canonical)
            ids.extend(numbers.setdefault(symbol, len(numbers)) for symbol in split_symbols(result.selfies))
            offsets.append(len(ids))
            rows.append(row)
        progress(total, total)
        if not rows:
            reasons = ", ".join(f"{reason} ({count})" for reason, count in summary.reasons.most_common(3))
            raise DataError(f"none of {total:,} rows holds a usable molecule", reasons=reasons)
        np.save(folder / "ids.npy", np.frombuffer(ids, np.uint16))
        np.save(folder / "offsets.npy", np.frombuffer(offsets, np.int64))
        np.save(folder / "rows.npy", np.frombuffer(rows, np.int64))
        _write(folder / "symbols.json", list(numbers))
        _write(folder / "rejected.json", rejected)
        counts = {"rows": total, "distinct": len(rows), "rejected": len(rejected), "status": dict(summary.status)}
        _write(folder / "summary.json", counts)

    def open(self, reader: DatasetReader, folder: Path) -> PreparedMolecules:
        return PreparedMolecules(reader, folder)


def _all_cells(reader: DatasetReader) -> Sequence[Any] | Iterator[Any]:
    """Cells of all rows in order; in bulk where the reader can."""
    bulk = getattr(reader, "cells", None)
    for start in range(0, len(reader), BLOCK_ROWS):
        stop = min(start + BLOCK_ROWS, len(reader))
        if bulk is not None:
            yield from bulk(start, stop)
        else:
            for row in range(start, stop):
                yield reader[row].inputs


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


class PreparedMolecules:
    """Distinct molecules of a data set as symbol numbers, memory-mapped; without labels, for pre-training."""

    def __init__(self, reader: DatasetReader, folder: Path) -> None:
        self._reader, self._folder = reader, folder
        self.table = tuple(json.loads((folder / "symbols.json").read_text(encoding="utf-8")))
        self._ids = np.load(folder / "ids.npy", mmap_mode="r")
        self._offsets = np.load(folder / "offsets.npy", mmap_mode="r")
        self._rows = np.load(folder / "rows.npy", mmap_mode="r")
        self.targets: Sequence[TargetSpec] = ()
        self.costs = np.diff(self._offsets) + 2
        counts = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        self.summary = (
            f"{counts['distinct']:,} distinct molecules in {counts['rows']:,} rows; "
            f"{counts['rejected']:,} rows cannot be used"
        )

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
        places = {}
        for name, rows in self._reader.splits.items():
            places[name] = np.flatnonzero(np.isin(self._rows, np.asarray(rows))).tolist()
        return places

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Sample:
        numbers = self._ids[self._offsets[index] : self._offsets[index + 1]]
        return Sample(str(int(self._rows[index])), PreparedSymbols(numbers, self.table))

    def id_of(self, index: int) -> str:
        return str(int(self._rows[index]))

    def by_id(self, sample_id: str) -> Sample:
        return self[int(np.searchsorted(self._rows, int(sample_id)))]

    def symbol_counts(self, indices: np.ndarray) -> dict[str, int]:
        """How often each symbol occurs in the molecules at ``indices``."""
        chosen = np.zeros(len(self), bool)
        chosen[indices] = True
        mask = np.repeat(chosen, np.diff(self._offsets))
        counts = np.bincount(self._ids[mask], minlength=len(self.table))
        return {symbol: int(count) for symbol, count in zip(self.table, counts, strict=True) if count}
