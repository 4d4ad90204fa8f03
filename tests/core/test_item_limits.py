"""One item never ends a run: memory that headers announce, files that hang, processes that crash."""

from __future__ import annotations

import os
import signal
import struct
import time
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from repcore import registry
from repcore.cli.ending import machine_problem
from repcore.cli.main import run
from repcore.data import allocation
from repcore.data.accounting import walk
from repcore.data.allocation import check_allocation, largest_item, load_array, open_arrays, special_kind
from repcore.data.catalogue import Catalogue, CatalogueReader, Row
from repcore.data.guard import as_item_error
from repcore.data.inspection import inspect_reader
from repcore.data.item_processes import apart
from repcore.embedding.windows import prepared_windows
from repcore.errors import ItemError
from repcore.interfaces import Item, Sample
from repcore.reporting import LogReporter


def lying_header(shape: tuple[int, ...], kind: str = "<f8") -> bytes:
    """An ``.npy`` header without values."""
    buffer = BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"shape": shape, "fortran_order": False, "descr": kind})
    return buffer.getvalue()


def test_a_header_is_believed_only_as_far_as_the_file_goes(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(lying_header((10**12, 3)) + bytes(240))
    with pytest.raises(ItemError, match=r"a\.npy holds 240 bytes.*24,000,000,000,000"):
        load_array(tmp_path / "a.npy")
    (tmp_path / "b.npy").write_bytes(lying_header((10, 3)) + bytes(240))
    assert load_array(tmp_path / "b.npy").shape == (10, 3)
    with zipfile.ZipFile(tmp_path / "c.npz", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("xyz.npy", lying_header((2**40, 3)) + bytes(240))
    with pytest.raises(ItemError, match=r"corrupt.*header announces"), open_arrays(tmp_path / "c.npz"):
        pass
    with pytest.raises(ValueError, match="magic"):
        (tmp_path / "d.npy").write_bytes(b"something else")
        load_array(tmp_path / "d.npy")


def test_a_bomb_is_refused_before_it_unpacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "a.npz", xyz=np.zeros((1 << 20, 3)), more=np.zeros(1 << 20))  # 32 MiB
    with open_arrays(tmp_path / "a.npz") as arrays:
        assert arrays["xyz"].shape == (1 << 20, 3)
    monkeypatch.setenv("REPCORE_ITEM_MIB", "28")
    with pytest.raises(ItemError, match=r"too_large.*REPCORE_ITEM_MIB"), open_arrays(tmp_path / "a.npz"):
        pass  # neither array is larger, both together are
    np.save(tmp_path / "a.npy", np.zeros(4 << 20))
    with pytest.raises(ItemError, match=r"32 MiB; the limit is 28 MiB"):
        load_array(tmp_path / "a.npy")
    monkeypatch.setenv("REPCORE_ITEM_MIB", "a lot")
    assert largest_item() <= 8192 * 2**20
    monkeypatch.setattr(allocation, "total_memory", lambda: 2.0**20)
    with pytest.raises(ItemError, match="limit is 0 MiB"):
        check_allocation(2**20, "x")


def test_member_sizes_that_no_packed_bytes_can_hold(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("xyz.npy", lying_header((30,)) + bytes(240))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    place = content.rindex(b"PK\x01\x02") + 24  # the size in the directory
    content[place : place + 4] = struct.pack("<I", 2**31)
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ItemError, match=r"corrupt.*more than its packed bytes"), open_arrays(tmp_path / "a.npz"):
        pass


def test_torch_says_out_of_memory_in_its_own_words() -> None:
    for make in (lambda: torch.empty(1 << 60, dtype=torch.uint8), lambda: torch.empty(1 << 40, 1 << 40)):
        with pytest.raises(RuntimeError) as real:
            make()
        assert as_item_error(real.value, Path, "preparing").status == "too_large"
        assert machine_problem(real.value).startswith("out of memory")
    assert as_item_error(RuntimeError("shapes do not fit"), Path, "preparing").status == "failed"


class Texts(CatalogueReader[Path, str]):
    """Rows that are text files; what they say is what reading them does."""

    def read(self, row: Row[Path]) -> str:
        text = row.source.read_text()
        if text == "hang":
            time.sleep(600)
        if text == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        if text == "fill":
            np.ones(1 << 34)
        return text

    def size_of(self, content: str) -> int:
        return len(content)


class Letters:
    def prepare(self, sample: Sample) -> list[Item]:
        return [Item(np.frombuffer(sample.inputs.encode(), np.uint8))]

    def cost(self, meta: Mapping[str, Any]) -> int:
        return 1


def texts(folder: Path) -> Texts:
    for number, text in enumerate(("good", "hang", "fine", "crash", "fill", "well")):
        (folder / f"{number}.txt").write_text(text)
    os.mkfifo(folder / "6.txt")
    rows = [Row(path.name, path, files=(path,)) for path in sorted(folder.iterdir())]
    return Texts(Catalogue(rows), folder)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_row_that_hangs_crashes_or_fills_the_memory_is_a_row(
    tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPCORE_ITEM_MIB", "1024")
    reader = texts(tmp_path)
    started = time.monotonic()
    windows = prepared_windows(reader, Letters(), range(7), workers=workers, item_timeout=1.0)  # type: ignore[arg-type]
    rows = [row for window in windows for row in window]
    assert [row.id for row in rows] == [f"{number}.txt" for number in range(7)]
    assert [row.status for row in rows] == ["ok", "timeout", "ok", "crashed", "too_large", "ok", "special_file"]
    assert [bytes(row.items[0].values).decode() for row in rows if row.items] == ["good", "fine", "well"]
    assert "more than 1 s (--item-timeout)" in rows[1].reason
    assert "SIGKILL (out of memory?)" in rows[3].reason
    assert "6.txt is a named pipe" in rows[6].reason
    assert time.monotonic() - started < 20


def test_inspect_goes_on_after_a_row_that_hangs(tmp_path: Path) -> None:
    reader = texts(tmp_path)
    found = inspect_reader(reader, Letters(), LogReporter(), item_timeout=1.0)  # type: ignore[arg-type]
    assert found.status["ok"] == 3
    assert found.examples["timeout"][0].startswith("row 1 (1.txt): ")
    assert found.read == 7


def test_no_process_is_left(tmp_path: Path) -> None:
    import multiprocessing

    rows = apart(lambda row: row * row, range(100), 5.0, lambda row, error: -1, processes=2)
    assert [next(rows) for _ in range(3)] == [0, 1, 4]
    rows.close()  # type: ignore[attr-defined]
    assert multiprocessing.active_children() == []
    assert list(apart(_unpicklable, [1, 2], 5.0, lambda row, error: error.status)) == ["failed", "failed"]  # type: ignore[arg-type]


def _unpicklable(row: int) -> Any:
    return lambda: row


SUFFIXES = (
    "npy npz ply pcd off obj xyz txt pts bin h5 hdf5 nii nii.gz png jpg dcm tif wav flac csv tsv parquet smi sdf json "
    "jsonl yaml graphml edges pt pkl mat zip"
)


def test_no_sniffer_waits_for_a_pipe_among_the_files(tmp_path: Path) -> None:
    """Opening a named pipe that nobody writes to waits for ever."""
    for suffix in SUFFIXES.split():
        os.mkfifo(tmp_path / f"a.{suffix}")
    for name in ("labels.csv", "dataset.json", "train", "esc50.csv", "wav.scp", "meta"):
        os.mkfifo(tmp_path / name)

    def ring(number: int, frame: object) -> None:
        raise AssertionError("a sniffer has opened a named pipe")

    before = signal.signal(signal.SIGALRM, ring)
    try:
        for entry in registry.default().entries("dataset"):
            if entry.spec.sniff:
                signal.alarm(30)
                score = entry.load("sniff")(tmp_path)  # of names alone, where it looks at names
                assert 0.0 <= float(score or 0.0) <= 1.0, entry.full_name
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_special_files_are_left_out_by_name_and_refused_when_named(
    tmp_path: Path, toys: None, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    os.mkfifo(data / "a.npy")
    (data / "b.npy").write_bytes(b"")
    found = {one.path.name: one.left_out for one in walk(data)}
    assert found == {"a.npy": "no regular file (a named pipe)", "b.npy": ""}
    assert special_kind(Path("/dev/zero")) == "a character device"
    assert run(["inspect", str(data / "a.npy")]) == 2
    assert "is a named pipe, no file or folder" in capsys.readouterr().err
    (data / "c.npy").symlink_to("nowhere.npy")
    (data / "d.npy").symlink_to("d.npy")  # a circle
    for name, target in (("c.npy", "nowhere.npy"), ("d.npy", "d.npy")):
        assert run(["inspect", str(data / name)]) == 2
        told = capsys.readouterr().err
        assert "is a link that leads nowhere" in told
        assert f"target: {target}" in told
    with pytest.raises(ItemError, match="special_file"):
        load_array(Path("/dev/zero"))
