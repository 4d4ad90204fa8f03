"""``--overwrite`` clears what its own output has left, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from repcore.cli.main import run
from repcore.embedding.parts import PartFolder, remove_parts
from tests.toys.toy_run import make_run

ROWS = 12
READ = ["pairs/blobs", "--read", f"items={ROWS}", "--device", "cpu"]


def leftovers(output: Path) -> list[Path]:
    """Parts of another run beside an output, and files that are none of its business; returns the latter."""
    parts = output.with_name(f"{output.name}.parts")
    parts.mkdir()
    (parts / "header.json").write_text(json.dumps({"model": "another"}))
    (parts / "part-000000.parquet").write_bytes(b"rows of another run")
    (parts / "part-000001.partial").write_bytes(b"half of a part")
    neighbour = output.with_name(f"other-{output.name}.parts")
    neighbour.mkdir()
    kept = [
        parts / "notes.txt",
        neighbour / "part-000000.parquet",
        output.with_name(f"{output.name}.backup"),
        output.with_name(f"{output.stem}-2{output.suffix}"),
    ]
    for path in kept:
        path.write_text("mine")
    return kept


def has_one_of_each(output: Path, kept: list[Path]) -> None:
    assert pq.read_table(output).column("id").to_pylist() == [f"blob-{number}" for number in range(ROWS)]
    assert [path.read_text() for path in kept] == ["mine"] * len(kept)
    assert [one.name for one in output.with_name(f"{output.name}.parts").iterdir()] == ["notes.txt"]


def test_embed_and_predict_clear_their_own_parts_only(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "m")
    tune = ["pairs", "finetune", "m/model", "--data", "pairs/blobs", "--label", "kind", "--no-twin", "--name", "f"]
    assert run([*tune, "--device", "cpu", "trainer.epochs=1"]) == 0
    for command, model in (("embed", "m/model"), ("predict", "runs/f")):
        output = tmp_path / f"{command}.parquet"
        kept = leftovers(output)
        output.write_text("an earlier result")
        words = [command, model, *READ, "-o", output.name]
        assert run(words) == 2  # it is there
        assert output.read_text() == "an earlier result"
        output.unlink()
        capsys.readouterr()
        assert run(words) == 2  # parts of another run are not taken for its own
        assert "holds parts of another" in capsys.readouterr().err
        output.write_text("an earlier result")
        assert run([*words, "--overwrite"]) == 0, capsys.readouterr().err
        has_one_of_each(output, kept)
        assert run([*words, "--overwrite"]) == 0
        has_one_of_each(output, kept)


def test_elements_too(toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of files a sample: its index is begun again, other files of the folder stay."""
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "m")
    words = ["embed", "m/model", *READ, "--level", "point", "-o", "points"]
    assert run(words) == 0
    (tmp_path / "points" / "mine.txt").write_text("mine")
    parts = tmp_path / "points" / "index.csv.parts"
    parts.mkdir()
    (parts / "header.json").write_text(json.dumps({"model": "another"}))
    assert run(words) == 2
    assert run([*words, "--overwrite"]) == 0
    assert (tmp_path / "points" / "mine.txt").read_text() == "mine"
    assert len((tmp_path / "points" / "index.csv").read_text().splitlines()) == ROWS + 1
    assert not parts.exists()


def test_own_parts_are_gone_on_with(tmp_path: Path) -> None:
    header = {"model": "this one"}
    folder = tmp_path / "v.parquet.parts"
    PartFolder(tmp_path / "v.parquet", header)
    (folder / "part-000007.parquet").write_bytes(b"rows")
    PartFolder.clear_others(tmp_path / "v.parquet", header)
    assert (folder / "part-000007.parquet").read_bytes() == b"rows"
    PartFolder.clear_others(tmp_path / "v.parquet", {"model": "another"})
    assert not folder.exists()
    remove_parts(folder)  # nothing there: nothing to do


def test_where_no_row_has_a_vector_embed_says_why_and_ends_with_1(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "m")
    words = ["embed", "m/model", "pairs/blobs", "--read", "items=3", "--device", "cpu"]
    assert run([*words, "--read", "broken=[0,1,2]", "-o", "none.parquet"]) == 1
    said = capsys.readouterr()
    assert "no row has a vector" in said.out + said.err
    assert "(first: blob-0)" in said.out + said.err
    assert run([*words, "--read", "broken=[0,2]", "-o", "one.parquet"]) == 0
    assert "no row has a vector" not in capsys.readouterr().err
