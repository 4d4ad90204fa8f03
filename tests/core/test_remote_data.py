"""Data at addresses: listed, fetched when they are read, in a bounded cache; dropped connections are tried again."""

from __future__ import annotations

import functools
import http.server
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from repcore.cli.main import run
from repcore.data.given_inputs import names_a_file
from repcore.data.readers import local_path, open_data
from repcore.data.shards import bounded_cache, connections
from repcore.data.shards.addresses import is_address, whole_address
from repcore.data.shards.parquet_table import ShardedTable, parquet_shards
from repcore.data.stream import Blocks, StreamOrder
from repcore.errors import DataError, PluginError
from repcore.interfaces import Progress
from repcore.registry import default

ADDRESS = "memory://bucket/shards"


@pytest.fixture(autouse=True)
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("REPCORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(connections, "FIRST_WAIT", 0.001)
    system = fsspec.filesystem("memory")
    for number in range(3):
        with system.open(f"/bucket/shards/part-{number:05}.parquet", "wb") as file:
            rows = range(100 * number, 100 * number + 100)
            pq.write_table(pa.table({"smiles": ["C" * (1 + row % 7) + "O" for row in rows], "row": list(rows)}), file)
    yield system
    system.store.clear()


def table() -> ShardedTable:
    return ShardedTable(parquet_shards(local_path(ADDRESS))[""])


def fetched(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "remote" / "shards").glob("*.parquet"))


def test_shards_are_fetched_when_they_are_read(tmp_path: Path) -> None:
    one = table()
    assert len(one) == 300
    assert not fetched(tmp_path), "the index needs footers only"
    assert one.value(150, "row") == 150
    assert len(fetched(tmp_path)) == 1
    assert one.slice(95, 205, "row") == list(range(95, 205))
    assert len(fetched(tmp_path)) == 3


def test_the_cache_is_bounded(tmp_path: Path, bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    size = bucket.size("/bucket/shards/part-00000.parquet")
    monkeypatch.setenv(bounded_cache.LIMIT_VARIABLE, str(1.5 * size / 2**30))
    one = table()
    assert [one.value(row, "row") for row in (5, 105, 205, 6, 106)] == [5, 105, 205, 6, 106]
    assert len(fetched(tmp_path)) == 1


def test_a_dropped_connection_is_tried_again(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: dict[str, Counter[Any]] = {"cat_file": Counter(), "get_file": Counter()}

    def shaky(name: str) -> Any:
        real = getattr(bucket, name)

        def call(path: str, *given: Any, **more: Any) -> Any:
            what = (path, more.get("start"))
            calls[name][what] += 1
            if calls[name][what] == 1:
                raise ConnectionResetError("the other side has gone")
            return real(path, *given, **more)

        return call

    for name in calls:
        monkeypatch.setattr(bucket, name, shaky(name))
    assert table().value(250, "row") == 250
    assert len(calls["cat_file"]) >= 3
    assert min(calls["cat_file"].values()) >= 2
    assert calls["get_file"].total() == 2


def test_what_stays_away_is_named(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    one = table()
    bucket.rm("/bucket/shards/part-00001.parquet")
    with pytest.raises(DataError, match=r"^memory://bucket/shards/part-00001\.parquet does not exist"):
        one.value(150, "row")
    with pytest.raises(DataError, match="memory://bucket/nothing does not exist"):
        local_path("memory://bucket/nothing")

    def refused(*_: Any, **__: Any) -> Any:
        raise ConnectionRefusedError("nobody listens")

    monkeypatch.setattr(bucket, "get_file", refused)
    for patience, times in ((60.0, 5), (0.0, 2)):
        monkeypatch.setattr(connections, "PATIENCE", patience)
        words = rf"part-00002\.parquet cannot be reached: ConnectionRefusedError(.|\n)*{times} times"
        with pytest.raises(DataError, match=words):
            one.value(250, "row")


@pytest.mark.parametrize(
    ("address", "absent", "command"),
    [
        ("s3://bucket/x", "s3fs", r'pip install "repcore\[remote\]"'),
        ("gs://bucket/x", "gcsfs", r'pip install "repcore\[remote\]"'),
        ("http://host/x", "aiohttp", r'pip install "repcore\[remote\]"'),
        ("abfs://container@account/x", "adlfs", "pip install adlfs$"),
        ("sftp://host/x", "paramiko", "pip install paramiko$"),
        ("lakefs://repository/x", "lakefs_spec", "pip install lakefs-spec$"),
    ],
)
def test_a_missing_package_is_named_with_its_command(
    address: str, absent: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_: str) -> Any:  # as fsspec raises it
        raise ImportError("Install it") from ModuleNotFoundError(f"No module named {absent!r}", name=absent)

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    scheme = address.partition(":")[0]
    with pytest.raises(PluginError, match=rf"addresses like {scheme}:// need a package(.|\n)*{command}"):
        local_path(address)


@pytest.mark.parametrize(
    "words",
    [
        ["inspect", "s4://x/y.csv"],
        ["molecules", "train", "selformer", "--data", "s4://x/y.csv"],
        ["molecules", "prepare", "selformer", "--data", "s4://x/y.csv"],
        ["molecules", "train", "selformer", "dataset.name=molecules/smiles-table", "dataset.path=s4://x/y.csv"],
    ],
)
def test_an_unknown_kind_of_address_is_named(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) == 2
    assert "addresses of the kind s4:// are not known\n  commonly used: s3://, gs://" in capsys.readouterr().err


def test_nothing_is_written_to_a_folder_that_is_called_like_an_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.csv").write_text("smiles\nCCO\n")
    train = ["molecules", "train", "selformer", "--data", "m.csv"]
    for words in (
        [*train, "--out", "s3://bucket/runs"],
        ["new-plugin", "mine", "--dest", "gs://bucket"],
        ["explore", "m.csv", "--export", "https://host/site"],
        ["probe", "m.csv", "--data", "m.csv", "--label", "y", "-o", "s4://bucket/p"],
    ):
        assert run(words) == 2
        assert "output goes to files of this machine" in capsys.readouterr().err
    monkeypatch.setenv("REPCORE_CACHE", "s3://bucket/cache")
    assert run([*train[:1], "prepare", *train[2:]]) == 2
    assert "REPCORE_CACHE s3://bucket/cache: output goes to files of this machine" in capsys.readouterr().err
    assert [one.name for one in tmp_path.iterdir()] == ["m.csv"]


def test_readers_open_addresses_and_runs_record_them(bucket: Any, tmp_path: Path) -> None:
    part, reader = open_data(default(), ADDRESS, domain="molecules")
    assert part.plain()["path"] == ADDRESS
    assert len(reader) == 300
    assert reader[150].inputs == "C" * (1 + 150 % 7) + "O"
    with bucket.open("/bucket/one.csv", "wb") as file:
        file.write(b"smiles,y\nCCO,1\nCCN,2\nCCC,3\n")
    assert [reader.inputs for reader in open_data(default(), "memory://bucket/one.csv", domain="molecules")[1]] == [
        "CCO", "CCN", "CCC",
    ]  # fmt: skip
    (tmp_path / "one.csv").write_bytes(b"smiles\nCCO\nCCN\nCC\n")
    assert len(open_data(default(), f"file://{tmp_path}/one.csv", domain="molecules")[1]) == 3


def test_other_files_are_fetched_whole_if_they_fit(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.txt", "deep/b.txt"):
        with bucket.open(f"/bucket/plain/{name}", "wb") as file:
            file.write(name.encode())
    folder = local_path("memory://bucket/plain")
    assert sorted(one.read_text() for one in folder.rglob("*.txt")) == ["a.txt", "deep/b.txt"]
    monkeypatch.setenv(bounded_cache.LIMIT_VARIABLE, "0.000000001")
    with pytest.raises(DataError, match=r"2 files of .* that are no shards"):
        local_path("memory://bucket/plain")


def test_which_texts_are_addresses() -> None:
    assert is_address("s3://a/b")
    assert is_address(Path("s3://a/b"))
    assert whole_address(Path("s3://a/b")) == "s3://a/b"
    assert whole_address("file:///a") == "file:///a"
    assert not is_address("C:/data")
    assert not is_address("CC(=O)O")
    assert names_a_file("gs://bucket/folder")


def test_a_file_of_a_web_server(tmp_path: Path) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "m.csv").write_text("smiles\nCCO\nCCN\nCC\n")
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        _, reader = open_data(default(), f"{base}/m.csv", domain="molecules")
        assert [one.inputs for one in reader] == ["CCO", "CCN", "CC"]
        with pytest.raises(DataError, match=r"missing\.csv does not exist"):
            local_path(f"{base}/missing.csv")
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        return None


def test_in_an_order_by_blocks_a_small_cache_fetches_each_shard_once(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3, 8):
        with bucket.open(f"/bucket/shards/part-{number:05}.parquet", "wb") as file:
            pq.write_table(pa.table({"smiles": ["C"] * 100, "row": list(range(100))}), file)
    size = bucket.size("/bucket/shards/part-00000.parquet")
    monkeypatch.setenv(bounded_cache.LIMIT_VARIABLE, str(2.5 * size / 2**30))
    fetched_now: list[str] = []
    real = bucket.get_file
    monkeypatch.setattr(
        bucket, "get_file", lambda path, *more, **named: (fetched_now.append(path), real(path, *more, **named))
    )
    one = table()
    here = Progress(step=0, total_steps=1)
    counts = []
    for blocks in (Blocks(100, 2), None):
        fetched_now.clear()
        order = StreamOrder(range(800), 80, 0, blocks=blocks)
        for number in range(10):
            for key in order.keys(number, here):
                one.store.whole(one.store.shards[one.index.shard_of(key.index)[0]]).close()
        counts.append(len(fetched_now))
    assert counts[0] <= 8
    assert counts[1] > 200
