"""A disk that fills while something is written: a plain error, nothing half-written, and the same command again works.

The limit of a file's size stands for the disk: numpy, safetensors and Arrow then meet a real end of it, each with its
own words, and no file system has to be mounted.
"""

from __future__ import annotations

import dataclasses
import errno
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from repcore.cli.ending import machine_problem
from repcore.data.pseudonyms import Pseudonyms
from repcore.data.split_files import write_split
from repcore.embedding.export_program import FORMATS, export_program
from repcore.embedding.prediction_files import TableWriter
from repcore.embedding.writers import NpzWriter, ParquetWriter
from repcore.errors import DataError, RunError
from repcore.estimation.folder import FACTS as NOTES
from repcore.estimation.folder import STATE, build_estimator, save_estimator
from repcore.explore.index import VectorIndex, append_index, build_index
from repcore.explore.rows import Gathered, Origin
from repcore.files import append_line, is_disk_full, read_lines, written_whole
from repcore.interfaces import EmbeddingRows, ProbeSplit
from repcore.registry import default
from repcore.training.run_folder import RunFolder
from repcore.training.way_on import making_room
from tests.core.test_export import Lines, program


@contextmanager
def room_for(size: int) -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def gathered(count: int, first: int = 0) -> Gathered:
    generator = np.random.default_rng(count)
    vectors = generator.standard_normal((count, 8)).astype(np.float32)
    ids = [f"r{first + row}" for row in range(count)]
    return Gathered(ids, vectors, [""] * count, {}, Origin("m", "1" * 64), None, np.arange(count))


def embedded(count: int) -> EmbeddingRows:
    vectors = np.random.default_rng(0).standard_normal((count, 8)).astype(np.float32)
    return EmbeddingRows([str(one) for one in range(count)], vectors, ["ok"] * count, [""] * count)


def test_the_words_of_every_library_are_known(tmp_path: Path) -> None:
    with room_for(4096):
        with pytest.raises(OSError, match="requested and") as of_numpy, (tmp_path / "a.npy").open("wb") as file:
            np.save(file, np.zeros(10_000))
        from safetensors.numpy import save_file

        with pytest.raises(SafetensorError) as of_safetensors:
            save_file({"a": np.zeros(10_000)}, tmp_path / "a.safetensors")
        with pytest.raises(RuntimeError) as of_torch:
            torch.save(torch.zeros(10_000), tmp_path / "a.pt")
    assert of_numpy.value.errno is None
    for error in (of_numpy.value, of_safetensors.value, of_torch.value, OSError(errno.EDQUOT, "quota")):
        assert is_disk_full(error)
        assert "free some" in machine_problem(error) or "no file of that size" in machine_problem(error)
    for other in (OSError(errno.EACCES, "no"), ValueError("12 requested"), PermissionError("no")):
        assert not is_disk_full(other)


def test_a_file_is_whole_or_the_one_before_and_the_error_names_it(tmp_path: Path) -> None:
    target = tmp_path / "a.npy"
    target.write_bytes(b"before")
    with (
        pytest.raises(OSError, match="No space left") as told,
        room_for(4096),
        written_whole(target) as place,
        place.open("wb") as file,
    ):
        np.save(file, np.zeros(10_000))
    assert (told.value.errno, told.value.filename) == (errno.ENOSPC, str(target))
    assert target.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [target]
    with pytest.raises(ZeroDivisionError), written_whole(target) as place:
        place.write_text("x")
        raise ZeroDivisionError  # another error stays itself
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("size", [256, 2048, 9000])  # of 9,728 bytes numpy's own writer loses the last without a word
def test_an_index_is_there_or_not(size: int, tmp_path: Path) -> None:
    """The leftovers of a failed build were no index, and in the way of the next."""
    folder, rows = tmp_path / "i", gathered(300)
    with pytest.raises(OSError, match=r"No space|too large"), room_for(size):
        build_index(folder, rows)
    assert not folder.exists()
    assert build_index(folder, rows).rows == 300
    names = sorted(one.name for one in folder.iterdir())
    with pytest.raises(OSError, match=r"No space|too large"), room_for(size):
        append_index(folder, gathered(400, first=1000))
    assert sorted(one.name for one in folder.iterdir()) == names
    assert append_index(folder, gathered(400, first=1000)).rows == 400
    opened = VectorIndex(folder)
    assert len(opened) == 700
    assert opened.nearest(rows.vectors[7], 1)[0].tolist() == [7]


def test_what_a_killed_build_has_left_is_replaced_when_asked(tmp_path: Path) -> None:
    folder, rows = tmp_path / "i", gathered(20)
    folder.mkdir()
    for name in ("vectors-000.npy", ".rows-000.parquet.partial"):
        (folder / name).write_bytes(b"half")
    with pytest.raises(DataError, match="parts of an unfinished index") as told:
        build_index(folder, rows)
    assert "--overwrite" in str(told.value)
    assert build_index(folder, rows, overwrite=True).rows == 20
    assert sorted(one.name for one in folder.iterdir()) == ["index.json", "rows-001.parquet", "vectors-001.npy"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x")
    with pytest.raises(DataError, match="is no index"):  # nobody else's files, whatever is asked
        build_index(tmp_path / "mine", rows, overwrite=True)


def test_a_fitted_estimator_is_there_or_not(tmp_path: Path) -> None:
    fitted = build_estimator(default(), "generic/gaussian-anomaly", {}, "toys")

    class Large:
        def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
            return {"mean": np.arange(5000.0)}, {"rows": 1}

    large = dataclasses.replace(fitted, estimator=Large(), model="m", identity="1" * 64)  # type: ignore[arg-type]
    folder = tmp_path / "d"
    with pytest.raises(OSError, match="No space left"), room_for(4096):
        save_estimator(folder, large)
    assert not folder.exists()
    save_estimator(folder, large)
    before = {one.name: one.read_bytes() for one in folder.iterdir()}
    assert sorted(before) == sorted([NOTES, STATE])
    with pytest.raises(OSError, match="No space left"), room_for(4096):
        save_estimator(folder, dataclasses.replace(large, model="other"))
    assert {one.name: one.read_bytes() for one in folder.iterdir()} == before  # never one file of each


@pytest.mark.parametrize("kind", [ParquetWriter, NpzWriter])
def test_embeddings_go_on_with_the_parts_that_are_whole(kind: Any, tmp_path: Path) -> None:
    path, rows = tmp_path / f"e.{'npz' if kind is NpzWriter else 'parquet'}", embedded(64)
    with pytest.raises(DataError, match="cannot be written"), room_for(4):
        kind(path, {"model": "m"})
    assert list(tmp_path.iterdir()) == []
    writer = kind(path, {"model": "m"})
    writer.write(rows)
    with pytest.raises(OSError, match=r"part-000001\.parquet"), room_for(256):
        writer.write(rows)
    assert sorted(one.name for one in writer.folder.iterdir()) == ["header.json", "part-000000.parquet"]
    again = kind(path, {"model": "m"})
    assert again.rows_done == 64
    again.write(rows)
    with pytest.raises(OSError, match=r"e\.(npz|parquet)"), room_for(1024):
        again.finish()
    assert sorted(one.name for one in tmp_path.iterdir()) == [f"{path.name}.parts"]
    last = kind(path, {"model": "m"})
    assert last.rows_done == 128
    assert last.finish() == path
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".npz"])
def test_predictions_leave_no_half_table(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"p{suffix}"
    names = [f"row-{one}" for one in range(900)]

    def opened() -> TableWriter:
        return TableWriter(path, {"model": "m"}, "y")

    with pytest.raises(DataError, match="cannot be written"), room_for(4):
        opened()
    assert list(tmp_path.iterdir()) == []
    writer = opened()
    values = np.random.default_rng(0).standard_normal(900).tolist()
    writer.write(names, ["ok"] * 900, [""] * 900, {"y": values})
    with pytest.raises(OSError, match=rf"p\{suffix}"), room_for(1024):
        writer.finish()
    assert [one.name for one in tmp_path.iterdir()] == [f"{path.name}.parts"]
    assert opened().finish() == path
    assert list(tmp_path.iterdir()) == [path]


def test_a_line_is_whole_and_a_cut_one_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    append_line(path, '{"a": 1}')
    with pytest.raises(OSError, match="too large"), room_for(16):
        append_line(path, '{"b": "' + "x" * 100 + '"}')
    append_line(path, '{"c": 3}')
    assert list(read_lines(path)) == [{"a": 1}, {"c": 3}]
    path.write_text('{"a": 1}\n{"b": ')  # a kill
    append_line(path, '{"c": 3}')
    assert path.read_text() == '{"a": 1}\n{"b": \n{"c": 3}\n'


def test_split_and_key_files_are_whole_or_absent(tmp_path: Path) -> None:
    ids = [f"row-{one}" for one in range(400)]
    rows = np.arange(400)
    split = ProbeSplit(rows[:200], rows[200:300], rows[300:])
    with pytest.raises(OSError, match=r"No space|too large"), room_for(512):
        write_split(tmp_path / "s.json", split, ids)
    keys = Pseudonyms(tmp_path / "keys.csv")
    with pytest.raises(DataError, match="cannot be written"), room_for(512):
        keys.of("item", ids)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_can_be_gone_on_with_says_how_and_another_leaves_nothing(tmp_path: Path) -> None:
    earlier = RunFolder.create(tmp_path, "a")
    earlier.write_json("config.json", {})
    run = RunFolder.create(tmp_path, "r")
    with pytest.raises(OSError, match="full"), making_room(run, lambda: False, lambda: "x"):
        raise OSError(errno.ENOSPC, "full")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a", "latest"]
    assert (tmp_path / "latest").resolve().name == "a"
    run = RunFolder.create(tmp_path, "r")  # and no r-2
    assert run.path.name == "r"
    with pytest.raises(RunError) as told, making_room(run, lambda: True, lambda: "repcore toys train --resume r"):
        raise RunError("the checkpoint cannot be written", kept="step 2", hint="?") from OSError(errno.ENOSPC, "full")
    assert str(told.value).splitlines()[0] == "the checkpoint cannot be written"
    assert str(told.value).endswith("free some space, then repcore toys train --resume r")
    assert run.path.is_dir()
    with pytest.raises(ValueError, match="mine"), making_room(run, lambda: False, lambda: "x"):
        raise ValueError("mine")
    assert run.path.is_dir()


@pytest.mark.parametrize("form", ["torch-export", "onnx"])
@pytest.mark.parametrize("size", [100, 1024])  # within the first record of torch's archive, and behind it
def test_an_exported_model_is_whole_or_the_one_before(form: str, size: int, tmp_path: Path) -> None:
    """torch's own writer of archives ends the process where a disk is full."""
    if form == "onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    target = tmp_path / f"m{FORMATS[form]}"
    target.write_bytes(b"before")
    made, _ = program("", Lines())
    with pytest.raises(OSError, match=r"No space|too large") as told, room_for(size):
        export_program(made, target, form, {})
    assert told.value.filename == str(target)
    assert target.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [target]
    assert export_program(made, target, form, {}).path.stat().st_size > size
