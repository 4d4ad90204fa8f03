"""Rows chosen by a file of ids: whichever command reads the data, ids are matched, and what is left out is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from repcore import registry
from repcore.cli.main import run
from repcore.data.accounting import account_of
from repcore.data.readers import open_data
from repcore.data.selection import SelectedRows, read_ids, selected
from repcore.embedding.writers import read_embeddings
from repcore.errors import DataError
from repcore.interfaces import Sample
from tests.toys.toy_run import make_run


class Listed:
    """Rows with everything that readers may know of a row."""

    fingerprint, targets, splits = "f", (), {"train": [0, 1, 2], "test": [3], "other": [4]}
    costs, groups = np.arange(5) * 10.0, list("aabbc")

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> Sample:
        return Sample(self.id_of(index), index)

    def id_of(self, index: int) -> str:
        return f"row {index}"

    def by_id(self, sample_id: str) -> Sample:
        return self[int(sample_id[-1])]

    def values(self, name: str) -> list[str]:
        return [f"{name}{row}" for row in range(5)]

    def cells(self, start: int, stop: int) -> list[int]:
        return list(range(start, stop))


def file_of(path: Path, *ids: str, head: str = "id") -> Path:
    path.write_text("\n".join([head, *ids]) + "\n", encoding="utf-8-sig")
    return path


def test_everything_that_is_told_by_row_is_of_the_chosen_rows(tmp_path: Path) -> None:
    whole = Listed()
    some = selected(whole, file_of(tmp_path / "some.csv", "row 4", "row 1", "row 3", "row 1"))
    assert isinstance(some, SelectedRows)
    assert [some[place].inputs for place in range(len(some))] == [1, 3, 4], "in the order of the data"
    assert some.splits == {"train": [0], "test": [1], "other": [2]}
    assert some.costs == [10.0, 30.0, 40.0]
    assert some.groups == ["a", "b", "c"]
    assert some.values("x") == ["x1", "x3", "x4"]
    assert some.cells(1, 3) == [3, 4]
    assert some.id_of(2) == "row 4"
    assert some.rows is None, "this reader keeps no records"
    assert account_of(some).sentences() == ["rows: the 3 of 5 that some.csv names; 2 left out"]
    other = selected(whole, file_of(tmp_path / "other.csv", "row 3", "row 4", "row 1"))
    fewer = selected(whole, file_of(tmp_path / "fewer.csv", "row 3", "row 4"))
    assert other.fingerprint == some.fingerprint, "the order of ids changes nothing"
    assert len({whole.fingerprint, some.fingerprint, fewer.fingerprint}) == 3
    assert "test" not in selected(whole, file_of(tmp_path / "one.csv", "row 0")).splits
    assert selected(whole, None) is whole


def test_a_file_that_selects_nothing_or_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    for file, words in (
        (file_of(tmp_path / "a.csv", "row 1", "row 7", "rwo 2"), "2 of 3 ids of a.csv are not in the data"),
        (file_of(tmp_path / "b.csv"), "names no id"),
        (file_of(tmp_path / "c.csv", "row 1", head="name"), "has no column 'id'"),
        (tmp_path / "none.csv", "is no file"),
    ):
        with pytest.raises(DataError, match=words):
            selected(Listed(), file)
    (tmp_path / "wide.csv").write_text('rank, id ,note\n1,"a,b",x\n2,,y\n3,c\n')
    assert read_ids(tmp_path / "wide.csv") == ["a,b", "c"]

    class Twice(Listed):
        def id_of(self, index: int) -> str:
            return "row 1"

    with pytest.raises(DataError, match="stand more than once"):
        selected(Twice(), file_of(tmp_path / "d.csv", "row 1"))


def test_commands_take_the_rows_of_a_selection(toys: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "run")
    model, out = str(tmp_path / "run"), tmp_path / "v.npz"
    chosen = ["blob-7", "blob-2", *(f"blob-{row}" for row in range(10, 50))]
    rows = str(file_of(tmp_path / "selected.csv", *chosen))
    assert run(["embed", model, "pairs/blobs", "-o", str(out), "--rows", rows]) == 0
    told = capsys.readouterr()
    assert "42 rows in, 42 rows out" in told.out
    assert "the 42 of 60 that selected.csv names; 18 left out" in told.err
    found, _ = read_embeddings(out)
    assert list(found.ids) == ["blob-2", "blob-7", *(f"blob-{row}" for row in range(10, 50))]

    given = ["--data", "pairs/blobs", "--label", "kind", "--rows", rows, "--seeds", "1", "--json"]
    for source in (model, str(out)):
        assert run(["probe", source, *given, "-o", str(tmp_path / "probes")]) == 0
        (table,) = json.loads(capsys.readouterr().out)
        assert table["rows_used"] + table["rows_unlabelled"] == 42

    assert run(["embed", model, "pairs/blobs", "-o", str(tmp_path / "w.npz"), "--rows", rows + "x"]) != 0
    assert "selected.csvx" in capsys.readouterr().err
    known = registry.default()
    _, reader = open_data(known, "pairs/blobs", domain="pairs", options={"selected_rows": rows})
    assert len(reader) == 42

    parts = make_run(tmp_path / "few", f"data.rows={rows}")
    assert len(parts.reader) == 42
    assert len(parts.train) + len(parts.validation) <= 42
    assert run(["pairs", "train", "set-net", "--rows", rows + "x", "--dry-run"]) != 0
    assert "is no file" in capsys.readouterr().err
