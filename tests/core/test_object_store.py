"""An S3-compatible server on this machine (moto) serves shards to train and embed; connections drop, shards vanish."""

from __future__ import annotations

import contextlib
import io
import logging
import socket
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from repcore.cli.main import run
from repcore.data.readers import local_path, open_data
from repcore.data.shards import bounded_cache, connections
from repcore.data.shards.parquet_table import ShardedTable, parquet_shards
from repcore.embedding.writers import read_embeddings
from repcore.errors import DataError
from repcore.files import read_json_file
from repcore.registry import default

moto_server = pytest.importorskip("moto.server", reason="moto, a server that speaks S3, is not installed")
s3fs = pytest.importorskip("s3fs", reason="s3fs, the client, is not installed")
soundfile = pytest.importorskip("soundfile", reason="soundfile, which the sounds are written with, is not installed")

TINY = (
    "encoder.hidden_width=16", "encoder.layers=1", "encoder.attention_heads=2", "encoder.feed_forward_width=16",
    "data.batch_size=16", "trainer.steps=3", "trainer.validate_every=3",
)  # fmt: skip
FIRST, ROWS = "part-00000-of-00003.parquet", 40


class Dropping:
    """A way to the server on which connections break off.

    Args:
        port: of the server.
        cut: the first so many connections end after ``after`` bytes have come back.
    """

    def __init__(self, port: int, cut: int, after: int) -> None:
        self.target, self.left, self.after, self.dropped = port, cut, after, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            drops = self.left > 0
            self.left -= 1
            server = socket.create_connection(("127.0.0.1", self.target))
            threading.Thread(target=self._pass, args=(client, server, None), daemon=True).start()
            threading.Thread(
                target=self._pass, args=(server, client, self.after if drops else None), daemon=True
            ).start()

    def _pass(self, source: socket.socket, target: socket.socket, most: int | None) -> None:
        passed = 0
        try:
            while data := source.recv(1024):
                passed += len(data)
                if most is not None and passed > most:
                    self.dropped += 1
                    break
                target.sendall(data)
        except OSError:
            pass
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    """Its port."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    one = moto_server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    one.start()
    yield one.get_host_and_port()[1]
    one.stop()


def point_to(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def store(server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Three shards of molecules in a bucket, and the same files in a folder."""
    monkeypatch.setenv("REPCORE_CACHE", str(tmp_path / "cache"))
    for name, value in {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setattr(connections, "FIRST_WAIT", 0.01)
    point_to(server, monkeypatch)
    (tmp_path / "shards").mkdir()
    system = s3fs.S3FileSystem()
    system.mkdir("bucket")
    for number in range(3):
        rows = range(ROWS * number, ROWS * (number + 1))
        cells: dict[str, list[Any]] = {
            "smiles": ["C" * (1 + row % 9) + "ONF"[row % 3] for row in rows],
            "y": [row / 7 for row in rows],
        }
        path = tmp_path / "shards" / f"part-{number:05}-of-00003.parquet"
        cells["noise"] = [np.random.default_rng(row).bytes(400) for row in rows]  # which does not pack
        pq.write_table(pa.table(cells), path)
        system.put_file(str(path), f"bucket/shards/{path.name}")
    yield system
    point_to(server, monkeypatch)
    system.rm("bucket", recursive=True)


def test_a_bucket_trains_and_embeds_as_a_folder_does(
    store: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["molecules", "train", "selformer", "--data", "s3://bucket/shards", "--out", str(tmp_path), "--name", "r"]
    assert run(["molecules", "prepare", "selformer", "--data", "s3://bucket/shards"]) == 0
    assert run([*words, *TINY]) == 0
    assert read_json_file(tmp_path / "r" / "config.json")["dataset"]["path"] == "s3://bucket/shards"
    for name, data in (("here", str(tmp_path / "shards")), ("there", "s3://bucket/shards")):
        assert run(["embed", str(tmp_path / "r"), data, "-o", str(tmp_path / f"{name}.parquet")]) == 0
    said = capsys.readouterr()
    assert "files: 3 used" in said.err
    assert "ignored" not in said.err
    here, there = (read_embeddings(tmp_path / f"{name}.parquet")[0] for name in ("here", "there"))
    assert there.ids == here.ids
    assert len(there.ids) == 3 * ROWS
    assert set(there.status) == {"ok"}
    np.testing.assert_allclose(there.vectors, here.vectors, atol=1e-6)


def test_dropped_connections_are_tried_again(
    store: Any, server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    way = Dropping(server, cut=4, after=6000)
    point_to(way.port, monkeypatch)
    table = ShardedTable(parquet_shards(local_path("s3://bucket/shards"))[""])
    assert table.cells("y") == [row / 7 for row in range(3 * ROWS)]
    assert way.dropped >= 1
    for name in (FIRST, "part-00001-of-00003.parquet"):
        own = (tmp_path / "shards" / name).read_bytes()
        assert own in [one.read_bytes() for one in (tmp_path / "cache" / "remote" / "shards").iterdir()]
    way.listener.close()


def test_a_missing_shard_is_named(store: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = ShardedTable(parquet_shards(local_path("s3://bucket/shards"))[""])
    store.rm(f"bucket/shards/{FIRST}")
    with pytest.raises(DataError, match=f"^s3://bucket/shards/{FIRST} does not exist"):
        table.value(0, "y")
    assert table.value(ROWS, "y") == ROWS / 7
    assert run(["inspect", "s3://bucket/shards"]) == 2
    told = capsys.readouterr().err
    assert "1 of 3 shards of 's3://bucket/shards' are missing" in told
    assert FIRST in told
    assert run(["inspect", "s3://other/shards"]) == 2
    assert "s3://other/shards does not exist" in capsys.readouterr().err


def test_a_shard_that_was_written_anew_is_not_mixed_with_the_others(store: Any, tmp_path: Path) -> None:
    table = ShardedTable(parquet_shards(local_path("s3://bucket/shards"))[""])
    path = tmp_path / "shards" / FIRST
    content = path.read_bytes()
    store.pipe_file(f"bucket/shards/{FIRST}", content[:100] + bytes([content[100] ^ 1]) + content[101:])
    with pytest.raises(DataError, match=f"{FIRST} has changed since the data were opened"):
        table.value(0, "y")


def test_answers_to_a_bucket_are_refused_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more in (["-o", "s3://bucket/v.parquet"], ["-o", "s3://bucket/v", "--engine", "ray"]):
        assert run(["embed", str(tmp_path), str(tmp_path), *more]) == 2
        assert "output goes to files of this machine" in capsys.readouterr().err


def test_tar_archives_in_a_bucket(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    sounds = [0.1 * rng.standard_normal(800).astype(np.float32) for _ in range(6)]
    for shard in range(2):
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as archive:
            for number in range(3 * shard, 3 * shard + 3):
                file = io.BytesIO()
                soundfile.write(file, sounds[number], 16_000, format="WAV", subtype="FLOAT")
                member = tarfile.TarInfo(f"{number:06}.wav")
                member.size = file.tell()
                file.seek(0)
                archive.addfile(member, file)
        store.pipe_file(f"bucket/sounds/{shard:05}.tar", content.getvalue())
    _, reader = open_data(default(), "s3://bucket/sounds", domain="audio")
    assert [reader[row].id for row in range(6)] == [f"{row // 3:05}/{row:06}" for row in range(6)]
    assert len(reader) == 6
    assert not any("data.block_rows" in one for one in reader.account.notes)
    monkeypatch.setenv(bounded_cache.LIMIT_VARIABLE, "0.00001")
    _, reader = open_data(default(), "s3://bucket/sounds", domain="audio")
    assert any("train with data.block_rows=3" in one for one in reader.account.notes)
