"""Embeddings and predictions into a folder of parts: the rows of one file, whatever was there before."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from repcore.cli.main import run
from repcore.embedding.engines.parts import Parts
from repcore.embedding.writers import read_embeddings
from repcore.errors import DataError
from tests.molecules.conftest import WriteTable

SMILES = ["C" * (1 + number % 9) + "ON"[number % 2] for number in range(70)]


@pytest.fixture
def molecules(write_table: WriteTable) -> Path:
    return write_table("molecules.csv", {"smiles": [*SMILES, "nothing"], "name": [f"m{n}" for n in range(71)]})


def embed(model: Path, data: Path, output: Path, *more: str) -> int:
    return run(["embed", str(model), str(data), "-o", str(output), "--id-column", "name", *more])


def test_parts_hold_the_rows_of_one_file(tiny_run: Path, molecules: Path, tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    assert embed(tiny_run, molecules, tmp_path / "one.parquet") == 0
    assert embed(tiny_run, molecules, folder) == 0
    one, _ = read_embeddings(tmp_path / "one.parquet")
    parts, header = read_embeddings(folder)
    assert parts.ids == one.ids
    assert parts.status == one.status
    np.testing.assert_allclose(parts.vectors, one.vectors, atol=1e-6)
    assert parts.columns["row"] == list(range(71))
    assert header["complete"] is True
    assert len(list(folder.glob("*.parquet"))) == 3


def test_a_probe_reads_parts_as_it_reads_a_file(
    tiny_run: Path, write_table: WriteTable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_table("labelled.csv", {"smiles": SMILES, "polar": [number % 2 for number in range(70)]})
    (tmp_path / "parts").mkdir()
    said = []
    for output in (tmp_path / "parts", tmp_path / "one.parquet"):
        assert run(["embed", str(tiny_run), str(data), "-o", str(output)]) == 0
        capsys.readouterr()
        words = ["probe", str(output), "--data", str(data), "--label", "polar", "--json"]
        assert run(words) == 0
        said.append(json.loads(capsys.readouterr().out))
    (parts,), (one,) = said
    assert parts["rows_used"] == one["rows_used"] == 70
    assert "parts" in {entry["features"] for entry in parts["entries"]}
    means = [[entry["mean"] for entry in found["entries"]] for found in (parts, one)]
    assert means[0] == pytest.approx(means[1], abs=1e-3)


def test_row_numbers_are_no_key_of_other_data(
    tiny_run: Path, write_table: WriteTable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Shuffled and shorter tables matched every id 0, 1, 2, ... without a word."""
    polar = [number % 2 for number in range(70)]
    data = write_table("labelled.csv", {"smiles": SMILES, "polar": polar})
    shuffled = write_table("shuffled.csv", {"smiles": SMILES[::-1], "polar": polar[::-1]})
    fewer = write_table("fewer.csv", {"smiles": SMILES[20:60], "polar": polar[20:60]})
    output = str(tmp_path / "one.parquet")
    assert run(["embed", str(tiny_run), str(data), "-o", output]) == 0
    capsys.readouterr()
    for other, rows in ((shuffled, 70), (fewer, 40)):
        for words in (
            ["probe", output, "--data", str(other)],
            ["audit", output, str(other), "-o", str(tmp_path / "a.csv")],
        ):
            assert run(words) == 2
            told = capsys.readouterr().err
            assert f"70 vectors and {rows} rows have row numbers for ids, which are no key" in told
            assert "--by-position" in told
    assert run(["probe", output, "--data", str(shuffled), "--label", "polar", "--by-position", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["rows_used"] == 70


def test_finished_parts_are_not_made_again(
    tiny_run: Path, molecules: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    assert embed(tiny_run, molecules, folder) == 0
    parts = sorted(folder.glob("*.parquet"))
    parts[1].unlink()
    before = [one.stat().st_mtime_ns for one in (parts[0], parts[2])]
    capsys.readouterr()
    with pytest.raises(DataError, match="misses parts"):
        read_embeddings(folder)
    assert embed(tiny_run, molecules, folder) == 0
    assert "32 rows by this command" in capsys.readouterr().out
    assert [one.stat().st_mtime_ns for one in (parts[0], parts[2])] == before
    assert read_embeddings(folder)[0].ids == [f"m{number}" for number in range(71)]
    assert embed(tiny_run, molecules, folder, "--normalise") == 2
    assert "holds parts of another result" in capsys.readouterr().err
    assert embed(tiny_run, molecules, folder, "--normalise", "--overwrite") == 0
    lengths = np.linalg.norm(read_embeddings(folder)[0].vectors[:70], axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-5)


def test_other_folders_and_options_are_refused(
    tiny_run: Path, molecules: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    assert embed(tiny_run, molecules, tmp_path / "mine") == 2
    assert "is a folder" in capsys.readouterr().err
    assert embed(tiny_run, molecules, tmp_path / "mine", "--engine", "ray") == 2
    assert "holds other files" in capsys.readouterr().err
    assert embed(tiny_run, molecules, tmp_path / "a.parquet", "--engine", "ray") == 2
    assert "writes a folder of parts" in capsys.readouterr().err
    assert embed(tiny_run, molecules, tmp_path / "a.parquet", "--actors", "2") == 2
    assert "--actors is for --engine ray" in capsys.readouterr().err
    with pytest.raises(DataError, match=r"1 parts of .* are missing"):
        Parts(tmp_path / "new", {"rows": 3}).complete()


def test_predictions_in_parts(
    tiny_run: Path, write_table: WriteTable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labelled = write_table("labelled.csv", {"smiles": SMILES, "polar": [number % 2 for number in range(70)]})
    command = [
        "molecules",
        "finetune",
        str(tiny_run),
        "--data",
        str(labelled),
        "--label",
        "polar",
        "--out",
        str(tmp_path),
    ]
    assert run([*command, "--name", "tuned", "trainer.epochs=1"]) == 0
    folder = tmp_path / "parts"
    folder.mkdir()
    for output in (folder, tmp_path / "one.parquet"):
        assert run(["predict", str(tmp_path / "tuned"), str(labelled), "-o", str(output)]) == 0
    parts = pq.read_table(folder)
    one = pq.read_table(tmp_path / "one.parquet")
    assert parts.column_names == ["row", *one.column_names]
    assert parts.column("polar").to_pylist() == one.column("polar").to_pylist()
    assert "70 rows in, 70 rows out" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "tuned")
