"""Many SMILES: order, repeats, statuses, streaming."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from rdkit import RDConfig

from repcore.errors import ConfigError
from repcore_molecules.configs.smiles import SmilesConfig
from repcore_molecules.smiles import convert
from repcore_molecules.smiles.convert import ConversionSummary, convert_smiles, distinct_molecules
from repcore_molecules.smiles.pipeline import SmilesPipeline

MIXED: list[object] = ["CCO", None, "OCC", "CCO", "C1CC", float("nan"), "", " CCO ", 7, "*C", "CCO"]


def embedded(count: int) -> list[object]:
    path = Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi"
    return [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()][:count]


def test_one_result_per_row_in_order() -> None:
    summary = ConversionSummary()
    results = list(convert_smiles(MIXED, SmilesConfig(), chunk_rows=4, summary=summary))
    pipeline = SmilesPipeline(SmilesConfig())
    assert results == [pipeline.run(cell) for cell in MIXED]
    assert summary.rows == len(MIXED)
    assert summary.repeated == 2  # two later rows with the very text CCO
    assert dict(summary.status) == {"ok": 5, "empty": 3, "invalid_smiles": 2, "selfies_failed": 1}
    assert summary.reasons["ring 1 is not closed"] == 1


def test_chunk_size_changes_nothing() -> None:
    cells = [*embedded(120), *MIXED, *embedded(60)]
    expected = list(convert_smiles(cells, SmilesConfig()))
    for chunk_rows in (1, 7, 1000):
        assert list(convert_smiles(cells, SmilesConfig(), chunk_rows=chunk_rows)) == expected


def test_each_distinct_text_is_converted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    original = SmilesPipeline.run

    def counting(self: SmilesPipeline, cell: object) -> object:
        seen.append(str(cell))
        return original(self, cell)

    monkeypatch.setattr(SmilesPipeline, "run", counting)
    list(convert_smiles(["CC", "CO"] * 50, SmilesConfig(), chunk_rows=8))
    assert sorted(seen) == ["CC", "CO"]


def test_results_stream_without_reading_everything() -> None:
    taken = 0

    def endless() -> Iterator[object]:
        nonlocal taken
        while True:
            taken += 1
            yield "C" * (1 + taken % 5)

    first = list(islice(convert_smiles(endless(), SmilesConfig(), chunk_rows=10), 15))
    assert len(first) == 15
    assert taken == 20


def test_progress_is_reported_after_each_chunk() -> None:
    calls: list[tuple[int, int]] = []
    list(convert_smiles(["C"] * 25, SmilesConfig(), chunk_rows=10, progress=lambda *counts: calls.append(counts)))
    assert calls == [(10, 25), (20, 25), (25, 25)]
    calls.clear()
    list(convert_smiles(iter(["C"]), SmilesConfig(), progress=lambda *counts: calls.append(counts)))
    assert calls == [(1, -1)]


def test_memory_of_repeats_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "_REMEMBERED_TEXTS", 3)
    cells = embedded(30) * 2
    assert list(convert_smiles(cells, SmilesConfig(), chunk_rows=5)) == list(convert_smiles(cells, SmilesConfig()))


def test_distinct_molecules_fan_out() -> None:
    results = list(convert_smiles(["CCO", "C1CC", "OCC", "CN"], SmilesConfig()))
    distinct = distinct_molecules(results)
    assert distinct.rows == [0, 3]
    assert distinct.place == [0, -1, 0, 1]


def test_bad_settings_are_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="chunk_rows=0"):
        convert_smiles([], SmilesConfig(), chunk_rows=0)
    assert list(convert_smiles([], SmilesConfig())) == []
