"""Tables of very many columns: names, sniffing and reading take time by their number, not by its square."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from repcore import registry
from repcore.data.accounting import Accounting
from repcore.data.header_row import column_names
from repcore.data.readers import recognise
from repcore.data.tables import Table
from repcore_audio.configs.recordings import ManifestConfig
from repcore_audio.datasets.manifests import ManifestReader
from repcore_timeseries.configs.series import SeriesTableConfig
from repcore_timeseries.formats.lines import Lines
from repcore_timeseries.formats.wide import series_of_rows

WIDE = 20_000


def calls(work: Callable[[], Any]) -> int:
    """Calls of Python and C functions in it."""
    count = 0

    def look(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(look)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def wide(folder: Path, columns: int) -> Path:
    rng = np.random.default_rng(0)
    path = folder / f"w{columns}.csv"
    lines = [",".join(f"{one:.3f}" for one in rng.normal(size=columns)) for _ in range(6)]
    path.write_text("\n".join([",".join(f"f{one}" for one in range(columns)), *lines]) + "\n")
    return path


@pytest.mark.parametrize("name", ["x", "", "f{}"], ids=["one name", "no name", "own names"])
def test_names_of_many_columns(name: str) -> None:
    head = [name.format(one) for one in range(WIDE)]
    begun = time.process_time()
    names, _, said = column_names([head, ["1"] * WIDE], WIDE, True)
    assert time.process_time() - begun < 2.0  # 20 s and more, where each name is looked for in a list
    assert len(set(names)) == WIDE
    assert len(said) == (name == "x")
    assert names[-1] == {"x": f"x.{WIDE - 1}", "": f"column{WIDE - 1}"}.get(name, f"f{WIDE - 1}")


def test_a_copy_never_takes_the_name_of_another_column() -> None:
    names, _, _ = column_names([["a", "a.1", "a", "a", "a.1"], ["1"] * 5], 5, True)
    assert names == ("a", "a.1", "a.2", "a.3", "a.1.1")


def test_lines_of_units_and_steps_are_looked_for_once(tmp_path: Path) -> None:
    table = Table(wide(tmp_path, WIDE))
    begun = time.process_time()
    lines = Lines(table, Accounting())
    assert series_of_rows(lines, SeriesTableConfig(path="x"), Accounting()) is None
    assert time.process_time() - begun < 12.0  # 2 s; 20 s where each column is looked for in a list


def test_every_reader_looks_at_a_column_a_bounded_number_of_times(tmp_path: Path) -> None:
    known = registry.default()
    recognise(known, wide(tmp_path, 50))  # imports
    few, many = (calls(lambda size=size: recognise(known, wide(tmp_path, size))) for size in (1000, 2000))
    assert many < 2.5 * few
    assert many < 4_000 * 2000  # calls a column


def test_labels_beside_recordings_are_judged_in_one_pass(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for row in range(6):
        soundfile.write(tmp_path / f"r{row}.wav", np.sin(np.arange(4000) / (row + 5.0)), 8000)

    def manifest(columns: int) -> int:
        lines = [",".join([f"r{row}.wav", *(f"{one:.3f}" for one in rng.normal(size=columns))]) for row in range(6)]
        path = tmp_path / f"m{columns}.csv"
        path.write_text("\n".join([",".join(["file", *(f"f{one}" for one in range(columns))]), *lines]) + "\n")
        read = ManifestReader(ManifestConfig(path=str(path)))
        assert len(read.targets) == columns
        return columns

    manifest(10)
    few, many = (calls(lambda size=size: manifest(size)) for size in (300, 600))
    assert many < 2.5 * few
