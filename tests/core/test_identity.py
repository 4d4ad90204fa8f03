"""Data are known by their content; outputs are looked at before work begins; processes know who they are."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from repcore.cli.main import run
from repcore.config import TrainerConfig
from repcore.data import identity
from repcore.data.differences import difference
from repcore.data.identity import file_identity
from repcore.errors import ConfigError, DataError
from repcore.launching import place
from repcore.outputs import local_output, sole_writer
from repcore.training.data_record import with_data
from repcore.training.processes import process_grid
from repcore.untrusted import markdown


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPCORE_CACHE", str(tmp_path / "cache"))
    identity._memory.cache_clear()


def test_touch_and_copy_change_nothing_a_byte_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "BLOCK", 1000)
    monkeypatch.setattr(identity, "READ", 300)
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(range(256)) * 20)
    first = file_identity(path)
    os.utime(path, (1, 1))
    assert file_identity(path) == first
    shutil.copy(path, tmp_path / "b.bin")
    assert file_identity(tmp_path / "b.bin") == first
    content = bytearray(path.read_bytes())
    content[4000] ^= 1
    path.write_bytes(content)
    changed = file_identity(path)
    assert changed != first
    before = path.stat()
    content[4000] ^= 2
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file_identity(path) not in (first, changed), "the time was put back"
    assert file_identity(tmp_path / "none") == "absent"


def test_a_file_that_gzip_packs_anew_is_the_same(tmp_path: Path) -> None:
    """gzip notes time and name of what it packs; flags of RFC 1952 put more into the header."""
    rows = b"id,y\n" + b"".join(b"%d,%d\n" % (row, row * row) for row in range(500))

    def packed(name: str, content: bytes, time: int, inner: str = "", flags: int = 0, header: bytes = b"") -> str:
        made = io.BytesIO()
        with gzip.GzipFile(inner, "wb", fileobj=made, mtime=time) as file:
            file.write(content)
        data = bytearray(made.getvalue())
        if flags:
            data[3:4], data[10:10] = bytes([data[3] | flags]), header
        (tmp_path / name).write_bytes(data)
        assert gzip.decompress(bytes(data)) == content
        return file_identity(tmp_path / name)

    first = packed("a.gz", rows, 0)
    assert packed("b.gz", rows, 1_700_000_000) == first
    assert packed("c.gz", rows, 5, "table.csv") == first
    assert packed("d.gz", rows, 5, flags=4 | 16, header=b"\x03\0a\0bnote\0") == first
    assert packed("e.gz", rows.replace(b"9,81", b"9,82"), 0) != first
    (tmp_path / "cut.gz").write_bytes(b"\x1f\x8b\x08\x08" + b"x" * 40)  # a name without end: all bytes count
    (tmp_path / "cut2.gz").write_bytes(b"\x1f\x8b\x08\x08" + b"y" + b"x" * 39)
    assert file_identity(tmp_path / "cut.gz") != file_identity(tmp_path / "cut2.gz")


def test_a_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    hashed = identity._hashed
    monkeypatch.setattr(identity, "_hashed", lambda path: read.append(path) or hashed(path))  # type: ignore[func-returns-value]
    path = tmp_path / "a.bin"
    path.write_bytes(b"x" * 100)
    first = file_identity(path)
    identity._memory.cache_clear()  # as in another process
    assert file_identity(path) == first
    assert read == [path]
    monkeypatch.setenv("REPCORE_HASH_LIMIT", "0.00000001")
    identity._memory.cache_clear()
    assert file_identity(path).startswith("100-")


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("REPCORE_CACHE", str(tmp_path / "file" / "cache"))
    assert file_identity(tmp_path / "file") == file_identity(tmp_path / "file")


def test_differences_are_named() -> None:
    words = difference({"a": "1", "b": "2", "c": "3"}, {"b": "2", "c": "4", "d": "5"})
    assert words == "1 new (d); 1 gone (a); 1 changed (c)"
    assert "not recorded" in difference(None, {})


@pytest.mark.parametrize("address", ["s3://bucket/v.parquet", "gs://b/v.npz", "https://x/v.npz", "hdfs:/x/v.npz"])
def test_addresses_are_no_local_files(address: str) -> None:
    with pytest.raises(ConfigError, match="files of this machine"):
        local_output(Path(address))


def test_outputs_are_looked_at_before_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("x")
    os.mkfifo(tmp_path / "pipe.npz")
    for path, words in (
        (tmp_path, "is a folder"),
        (tmp_path / "file" / "v.npz", "is a file"),
        (tmp_path / "pipe.npz", "device, pipe or socket"),
    ):
        with pytest.raises(DataError, match=words):
            local_output(path)
    assert local_output(tmp_path / "new" / "v.npz") == tmp_path / "new" / "v.npz"
    assert not (tmp_path / "new").exists()
    assert run(["embed", "no-model", "no-data", "-o", "s3://bucket/v.parquet"]) == 2
    assert "s3://bucket/v.parquet: output goes to files of this machine" in capsys.readouterr().err
    assert not Path("s3:").exists()


def test_two_commands_on_one_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("repcore.outputs.WAIT_SECONDS", 0.3)
    source = (
        "import sys, time\nfrom pathlib import Path\nfrom repcore.outputs import sole_writer\n"
        "with sole_writer(Path(sys.argv[1])):\n    Path(sys.argv[1] + '.held').touch(); time.sleep(60)\n"
    )
    first = subprocess.Popen([sys.executable, "-c", source, str(tmp_path / "v")], env=dict(os.environ))
    try:
        while not (tmp_path / "v.held").exists():
            assert first.poll() is None
            time.sleep(0.02)
        said: list[str] = []
        with pytest.raises(DataError, match=f"process {first.pid}"), sole_writer(tmp_path / "v", said.append):
            pass
        assert len(said) == 1
        with (
            pytest.raises(DataError, match=r"the run '.*r' is being trained by another command .*\n.*stop that one"),
            sole_writer(tmp_path / "v", said.append, tmp_path / "r"),
        ):
            pass
        assert "write to another file" not in said[-1]
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    with sole_writer(tmp_path / "v"):  # the system has let go of it
        assert (tmp_path / ".v.lock").read_text().strip() == str(os.getpid())
    assert not (tmp_path / ".v.lock").exists()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ("", 0, 0, 0)),
        ({"LOCAL_RANK": "1", "WORLD_SIZE": "2"}, ("lightning", 1, 1, 0)),
        ({"NODE_RANK": "1"}, ("lightning", 1, 0, 0)),
        ({"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "a"},
         ("torchrun", 3, 1, 4)),
        ({"SLURM_PROCID": "2", "SLURM_STEP_ID": "0", "SLURM_LOCALID": "0", "SLURM_STEP_NUM_TASKS": "4",
          "SLURM_JOB_NAME": "train"}, ("slurm", 2, 0, 4)),
        ({"SLURM_PROCID": "0", "SLURM_JOB_NAME": "bash", "SLURM_NTASKS": "4"}, ("", 0, 0, 0)),
        ({"SLURM_PROCID": "0", "SLURM_STEP_ID": "4294967290", "SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "4",
          "SLURM_JOB_NAME": "mine"}, ("", 0, 0, 0)),  # the shell of salloc, in which Lightning may start more
        ({"RANK": "0", "WORLD_SIZE": "1"}, ("", 0, 0, 0)),
        ({"WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, ("", 0, 0, 0)),  # Lightning has started others
        ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_LOCAL_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"},
         ("mpi", 1, 1, 2)),
        ({"PMI_RANK": "1", "PMI_SIZE": "2"}, ("mpi", 1, 1, 2)),
        ({"PMI_RANK": "5", "PMI_SIZE": "6", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2"}, ("mpi", 5, 1, 6)),
    ],
)  # fmt: skip
def test_a_process_knows_who_it_is(environment: dict[str, str], expected: tuple[str, int, int, int]) -> None:
    here = place(environment)
    assert (here.launcher, here.rank, here.local_rank, here.world) == expected
    assert here.wrong == ""


TORCHRUN = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "a"}


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        (TORCHRUN | {"RANK": "one"}, "torchrun, but RANK='one' is no number from 0 on"),
        (TORCHRUN | {"RANK": "-1"}, "RANK='-1' is no number"),
        (TORCHRUN | {"RANK": "2"}, "this is process 2 (counted from 0) of 2"),
        (TORCHRUN | {"WORLD_SIZE": "0"}, "this is process 0 (counted from 0) of 0"),
        (TORCHRUN | {"LOCAL_RANK": "2", "RANK": "1"}, "this is process 2 (counted from 0) of 2 on this machine"),
        (TORCHRUN | {"MASTER_PORT": "http"}, "MASTER_PORT='http' is no number"),
        ({"OMPI_COMM_WORLD_RANK": "4", "OMPI_COMM_WORLD_SIZE": "4"}, "mpi, but this is process 4"),
        ({"OMPI_COMM_WORLD_RANK": "1"}, "mpi, but this is process 1 (counted from 0) of 1"),
        ({"RANK": "1"}, "several processes, but it says RANK=1 without WORLD_SIZE, MASTER_ADDR"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "it says RANK=0, WORLD_SIZE=2 without MASTER_ADDR"),
        ({"SLURM_PROCID": "7", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4"}, "slurm, but this is process 7"),
    ],
)
def test_an_environment_that_cannot_be_is_refused(environment: dict[str, str], words: str) -> None:
    """With such numbers a run waits for ever for processes that do not exist, or all of them write."""
    with pytest.raises(ConfigError) as told:
        process_grid(TrainerConfig(), place(environment))
    assert words in str(told.value)


def test_resume_by_content(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run on files: re-staged data go on, a changed byte does not unless told so, and it is said what differs."""
    from repcore import registry

    if "molecules" not in registry.default().domains():
        pytest.skip("the molecules plugin is not installed")
    from repcore.training.listeners import ProgressShow

    table = tmp_path / "m.csv"
    table.write_text("smiles\n" + "".join(f"{'C' * (1 + i % 9)}{'O' * (1 + i // 9)}\n" for i in range(60)))

    def stop(self: ProgressShow, state: object, record: object) -> None:
        if state.step == 1:  # type: ignore[attr-defined]
            signal.raise_signal(signal.SIGTERM)

    words = ["molecules", "train", "selformer", "--out", str(tmp_path / "runs"), "--name", "r", "--device", "cpu",
             "--data", str(table), "trainer.steps=3", "data.batch_size=4"]  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(ProgressShow, "step", stop)
        assert run(words) == 143, capsys.readouterr().err
    resume = ["molecules", "train", "--resume", "r", "--out", str(tmp_path / "runs"), "--device", "cpu"]
    staged = tmp_path / "staged" / "m.csv"
    staged.parent.mkdir()
    staged.write_text(table.read_text().replace("CCO\n", "CCN\n", 1))
    assert run([*resume, "--data", str(staged)]) == 2
    assert "have changed since the run began" in capsys.readouterr().err
    shutil.copy(table, staged)
    table.unlink()
    assert run([*resume, "--data", str(staged)]) == 0, capsys.readouterr().err
    model = tmp_path / "runs" / "r" / "model"
    card = json.loads((model / "config.json").read_text())["card"]
    assert card["steps"] == 3
    first, then = card["data"]["steps 1 to 1"], card["data"]["steps 2 to 3"]
    assert (first["path"], then["path"]) == (str(table), str(staged))
    assert first["fingerprint"] == then["fingerprint"]
    assert then["rows"]["all"] == 60
    assert f"path: {markdown(str(staged))}" in (model / "README.md").read_text()


def test_the_model_card_names_the_data_really_used(toys: None, tmp_path: Path) -> None:
    """A registered set by its name, and the model that a run began with, with its own data."""
    words = ["pairs", "train", "set-net", "--out", str(tmp_path), "--device", "cpu", "trainer.steps=2"]
    assert run([*words, "--name", "first", "dataset.items=40"]) == 0
    assert run([*words, "--name", "second", "--init-from", str(tmp_path / "first" / "model")]) == 0
    tune = ["pairs", "finetune", str(tmp_path / "second" / "model"), "--data", "pairs/blobs", "--label", "kind"]
    told = ["--no-twin", "--device", "cpu", "--out", str(tmp_path), "--name", "third", "trainer.epochs=1"]
    assert run([*tune, *told]) == 0
    cards = {
        name: json.loads((tmp_path / name / "model" / "config.json").read_text())["card"]
        for name in ("first", "second", "third")
    }
    data = cards["first"]["data"]
    assert (data["name"], data["items"], data["rows"]["all"], data["licence"]) == ("pairs/blobs", 40, 40, "not known")
    assert len(data["fingerprint"]) == 64
    assert "began_with" not in cards["first"]
    assert cards["second"]["began_with"]["data"] == data
    assert cards["third"]["began_with"]["began_with"]["data"] == data
    content = json.loads((tmp_path / "second" / "model" / "config.json").read_text())["content"]
    assert cards["third"]["began_with"]["weights"] == content["weights.safetensors"]
    text = (tmp_path / "second" / "model" / "README.md").read_text().partition("## Training")[0]
    for words_of_card in ("began with:", "items: 40", f"fingerprint: {data['fingerprint']}", "licence: not known"):
        assert words_of_card in text


def test_data_whose_steps_are_made_again_are_not_named() -> None:
    one, other = {"path": "a", "fingerprint": "1"}, {"path": "b", "fingerprint": "2"}
    records = with_data(with_data([], one, 0), other, 4)
    assert records == [{**one, "step": 0}, {**other, "step": 4}]
    assert with_data(records, other, 6) == records
    assert with_data(records, one, 4) == records[:1]  # killed before a checkpoint of the other data
    assert with_data(records, one, 6) == [*records, {**one, "step": 6}]
