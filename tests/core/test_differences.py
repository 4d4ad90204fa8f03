"""Changed data are refused with what differs: rows of tables by number, rows of catalogues by id, files by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from repcore.cli.main import run
from repcore.data import differences
from repcore.data.accounting import Accounting
from repcore.data.differences import Stamps, data_stamps, difference
from repcore.data.tables import Table


def stamped(path: Path, rows: list[str], header: str = "a,b") -> Stamps:
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n")
    found = data_stamps(SimpleNamespace(tables_read=[Table(path)]))
    assert found is not None
    read_back: Stamps = json.loads(json.dumps(found))
    return read_back


ROWS = [f"{row},x{row}" for row in range(20)]
EDITS: list[tuple[Callable[[list[str]], list[str]], str]] = [
    (lambda rows: rows, "no row: the way in which they are read"),
    (lambda rows: [*rows[:7], "7,changed", *rows[8:]], "1 row differs in m.csv (row 7)"),
    (lambda rows: ["z,z"] * 7 + rows[7:], "7 rows differ in m.csv (rows 0, 1, 2, 3, 4, ...)"),
    (lambda rows: [*rows[:3], "new,new", *rows[3:]], "m.csv has 21 rows, had 20: new row 3"),
    (lambda rows: [*rows, "1,2", "3,4"], "m.csv has 22 rows, had 20: new rows 20 to 21"),
    (lambda rows: rows[:4] + rows[6:], "m.csv has 18 rows, had 20: gone rows 4 to 5"),
    (lambda rows: [*rows[:4], "n,n", *rows[6:]], "m.csv has 19 rows, had 20: rows 4 to 5 became row 4"),
]


@pytest.mark.parametrize(("edit", "words"), EDITS)
def test_rows_of_a_table_are_told_by_number(edit: Callable[[list[str]], list[str]], words: str, tmp_path: Path) -> None:
    before = stamped(tmp_path / "m.csv", ROWS)
    assert difference(before, stamped(tmp_path / "m.csv", edit(list(ROWS)))) == words


def test_large_tables_are_told_by_blocks_and_larger_ones_by_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(differences, "MOST_STAMPS", 5)
    monkeypatch.setattr(differences, "AT_ONCE", 8)
    before = stamped(tmp_path / "m.csv", ROWS)
    assert len(before["tables"]["m.csv"]["stamps"]) == 5 * differences.DIGITS
    after = stamped(tmp_path / "m.csv", [*ROWS[:9], "9,z", *ROWS[10:18], "18,z", "19,z"])
    assert difference(before, after) == "rows differ in 2 of 5 blocks of 4 rows of m.csv (rows 8 to 11, 16 to 19)"
    longer = stamped(tmp_path / "m.csv", [*ROWS[:9], "n,z", *ROWS[9:19]])
    assert (
        difference(before, longer)
        == "rows differ in 3 of 5 blocks of 4 rows of m.csv (rows 8 to 11, 12 to 15, 16 to 19)"
    )
    monkeypatch.setattr(differences, "MOST_CELLS", 39)
    account = Accounting(root=tmp_path)
    account.use(tmp_path / "m.csv")
    reader = SimpleNamespace(tables_read=[Table(tmp_path / "m.csv")], account=account)
    assert list((data_stamps(reader) or {})["files"]) == ["m.csv"]


def test_columns_and_names_of_tables_are_told(tmp_path: Path) -> None:
    before = stamped(tmp_path / "m.csv", ROWS)
    assert difference(before, stamped(tmp_path / "m.csv", ROWS, "a,c")) == "columns of m.csv: 1 new (c); 1 gone (b)"
    staged = stamped(tmp_path / "staged.csv", [*ROWS[:-1], "19,z"])  # another name for one table is no difference
    assert difference(before, staged) == "1 row differs in staged.csv (row 19)"
    both = {"tables": {**before["tables"], "k.csv": before["tables"]["m.csv"]}}
    assert difference(both, before) == "1 gone tables (k.csv)"


def test_files_are_told_by_name(tmp_path: Path) -> None:
    def files() -> Stamps | None:
        account = Accounting(root=tmp_path)
        account.use(*(tmp_path / name for name in sorted(one.name for one in tmp_path.iterdir())))
        return data_stamps(SimpleNamespace(account=account))

    for name in ("a.bin", "b.bin", "c.bin"):
        (tmp_path / name).write_bytes(name.encode())
    before = files()
    (tmp_path / "a.bin").write_bytes(b"other")
    (tmp_path / "b.bin").unlink()
    (tmp_path / "d.bin").write_bytes(b"new")
    assert difference(before, files()) == "1 new files (d.bin); 1 gone files (b.bin); 1 changed files (a.bin)"
    assert "read in another way" in difference(before, {"id": "hash"})
    assert "not recorded" in difference(before, data_stamps(object()))


def test_a_resume_and_a_fine_tuning_name_the_rows(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole way, with molecules; ``--allow-changed-data`` says the same and goes on."""
    from repcore import registry
    from tests.core.test_checkpointing import stop_at

    if "molecules" not in registry.default().domains():
        pytest.skip("the molecules plugin is not installed")
    table = tmp_path / "m.csv"
    rows = [f"{'C' * (1 + i % 9)}{'O' * (1 + i // 9)}" for i in range(60)]
    table.write_text("\n".join(["smiles", *rows]) + "\n")
    begin = ["molecules", "train", "selformer", "--out", str(tmp_path / "runs"), "--name", "r", "--device", "cpu",
             "--data", str(table), "trainer.steps=2", "data.batch_size=4"]  # fmt: skip
    with monkeypatch.context() as patch:
        stop_at(patch, 1)
        assert run(begin) == 143
    table.write_text("\n".join(["smiles", *rows[:5], "CCN", *rows[6:]]) + "\n")
    resume = ["molecules", "train", "--resume", "r", "--out", str(tmp_path / "runs"), "--device", "cpu"]
    capsys.readouterr()
    assert run(resume) == 2
    assert "differs: 1 row differs in m.csv (row 5)" in " ".join(capsys.readouterr().err.split())
    assert run([*resume, "--allow-changed-data"]) == 0
    assert "going on with other data than the run began with: 1 row differs in m.csv (row 5)" in capsys.readouterr().err
