"""Names, copies and texts that nobody wished for: no file is lost, no value is dropped, nothing is read for another."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from repcore.cli.ending import unexpected
from repcore.data import tables
from repcore.data.allocation import array_header
from repcore.data.tables import Table
from repcore.embedding.parts import PartFolder
from repcore.errors import CheckpointError, ConfigError, ItemError
from repcore.files import parse_json, read_object, read_parquet
from repcore.memory import is_out_of_memory
from tests.conftest import ROOT

STRANGE = os.fsdecode(b"n\xff\xc3")  # bytes that are no UTF-8, as every name of another encoding in a C locale


class Rows(PartFolder):
    """Parts that are joined as they are."""

    word = "trial"

    def failures(self, table: pa.Table) -> int:
        return 0


def test_outputs_and_tables_have_any_name_that_the_system_knows(tmp_path: Path) -> None:
    """pyarrow takes paths for UTF-8: everything was computed, then the output could not be written."""
    table = pa.table({"id": ["a", "b"], "status": ["ok", "ok"], "reason": ["", ""]})
    for name in (f"{STRANGE}.parquet", "ü.parquet"):
        written = Rows(tmp_path / name, {"format": 1})
        written.append(table)
        again = Rows(tmp_path / name, {"format": 1})  # a restart counts the parts that are there
        assert again.rows_done == 2
        assert again.write_parquet() == tmp_path / name
        assert name in [one.name for one in tmp_path.iterdir()]
        assert read_parquet(tmp_path / name).to_pylist() == table.to_pylist()
        assert [Table(tmp_path / name).value(row, "id") for row in range(2)] == ["a", "b"]


def test_nothing_hands_a_path_to_pyarrow() -> None:
    """The kind of the test above: wherever pyarrow reads or writes, Python has opened the file."""
    names = "read_table|read_schema|ParquetFile|ParquetWriter|OSFile|memory_map|read_csv|CSVWriter"
    call = re.compile(rf"\b(?:pq|pa|pa_csv)\.(?:{names})\(\s*(\w+)")
    found = []
    for path in sorted((*(ROOT / "core" / "src").rglob("*.py"), *(ROOT / "plugins").glob("*/src/**/*.py"))):
        found += [f"{path.name}: {one.group(0)}" for one in call.finditer(path.read_text("utf-8"))
                  if one.group(1) not in ("file", "sink", "pa")]  # fmt: skip
    assert found == []


def test_a_damaged_copy_of_a_table_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was said of the user's own file that it is damaged, at every start."""
    monkeypatch.setattr(tables, "SMALL_FILE_BYTES", 0)
    monkeypatch.setenv("REPCORE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "a.csv").write_text("a,b\nx,1\ny,2\n")

    def cells() -> list[object]:
        tables._read_table.cache_clear()
        read = Table(tmp_path / "a.csv")
        return [read.value(row, "a") for row in range(len(read))]

    assert cells() == ["x", "y"]
    (copy,) = (tmp_path / "cache").rglob("*.arrow")
    for damage in (b"", copy.read_bytes()[:40], b"\0" * 400):
        copy.unlink()  # cells that are still in memory keep the old file
        copy.write_bytes(damage)
        assert cells() == ["x", "y"]
    copy.with_suffix(".json").write_text("{")
    assert cells() == ["x", "y"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": {"width": 64, "width": 32}}', "'width' stands twice"),
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ("9" * 5000, "4300"),
    ],
)
def test_json_of_others_is_a_value_error_whatever_it_holds(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        parse_json(text)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"cannot be read as JSON") as caught:
        read_object(tmp_path / "config.json")
    assert words in str(caught.value)


def test_json_of_others_is_read_in_one_place() -> None:
    """``json.loads`` of a file's text overflows the stack and drops doubled names: ``repcore.files`` does neither."""
    own = (
        "json.dumps",
        "to_json",
        "loads(line",
        "loads(file.read",
        "parse_constant",
        "stdout",
        "sys.stdin",
        "direct_url",
    )
    allowed = ("files.py", "golden.py", "capture.py", "prepared.py")
    found = []
    for path in sorted((*(ROOT / "core" / "src").rglob("*.py"), *(ROOT / "plugins").glob("*/src/**/*.py"))):
        for line in path.read_text("utf-8").splitlines():
            if (
                re.search(r"\bjson\.loads?\(", line)
                and not any(one in line for one in own)
                and path.name not in allowed
            ):
                found.append(f"{path.name}: {line.strip()}")
    assert found == []


@pytest.mark.parametrize("shape", [(-5, 3), (2**62, 0, 3)])
def test_a_header_of_no_array_is_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    from numpy.lib import format as layout

    with (tmp_path / "a.npy").open("wb") as file:
        layout.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    with (tmp_path / "a.npy").open("rb") as file, pytest.raises(ValueError, match="announces the shape"):
        array_header(file)


CLOSED = """
from repcore.cli.console import complain, is_terminal, open_missing_streams, say
open_missing_streams()
say("nobody reads this")
complain("nor this")
file = open("written", "w")
raise SystemExit(file.fileno() if file.fileno() <= 2 or is_terminal() else 0)
"""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_end_no_work_and_no_file_takes_their_place(closed: str, tmp_path: Path) -> None:
    """``>&-`` was "AttributeError: 'NoneType' object has no attribute 'write'", after the work was done."""
    (tmp_path / "script.py").write_text(CLOSED)
    command = ["bash", "-c", f'exec "$0" script.py {closed}', sys.executable]
    done = subprocess.run(command, cwd=tmp_path, check=False, timeout=60)
    assert done.returncode == 0
    assert (tmp_path / "written").read_bytes() == b""


def test_a_working_folder_that_is_gone_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(FileNotFoundError) as caught:
        Path("a").absolute()
    assert unexpected(caught.value).startswith("the working folder has been deleted\n  try:   cd into")


def test_a_library_that_finds_no_memory_is_no_fault_of_a_plugin() -> None:
    error = ImportError("libtorch_cuda.so: failed to map segment from shared object")
    assert is_out_of_memory(error)
    assert "out of memory" in unexpected(error)
    assert not is_out_of_memory(ImportError("no module named torch"))


def test_values_of_megabytes_do_not_fill_the_terminal() -> None:
    told = str(ConfigError(f"encoder.width={'9' * 10**6} is beyond 64 bits", field="encoder.width", got="x" * 10**6))
    assert len(told) < 10_000
    assert told.startswith("encoder.width=999")
    assert "is beyond 64 bits" in told
    assert "996,0" in told
    assert len(ItemError("corrupt", "page\n" * 10**5).reason) < 5000
