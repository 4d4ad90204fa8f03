"""Data sets of the Hub, through the real client, against a server of this test that speaks the Hub's protocol."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from repcore.cli.main import run
from repcore.data.readers import local_path, open_data
from repcore.data.shards import connections
from repcore.data.shards.parquet_table import ShardedTable, parquet_shards
from repcore.errors import DataError
from repcore.registry import default

huggingface_hub = pytest.importorskip("huggingface_hub", reason="the hub is an extra: pip install repcore[remote]")
ROWS, FIRST, SECOND = 30, "a" * 40, "b" * 40
SHARDS = [f"data/train-{number:05}-of-00002.parquet" for number in range(2)]


def shard(number: int, atom: str = "O") -> bytes:
    file = io.BytesIO()
    rows = range(ROWS * number, ROWS * (number + 1))
    cells = {"smiles": ["C" * (1 + row % 7) + atom for row in rows], "row": list(rows)}
    pq.write_table(pa.table({**cells, "noise": [np.random.default_rng(row).bytes(300) for row in rows]}), file)
    return file.getvalue()


class Hub(http.server.ThreadingHTTPServer):
    """The data set ``someone/molecules``: commits and where ``main`` points; ``broken`` answers are statuses."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        table = {name: shard(number) for number, name in enumerate(SHARDS)}
        self.commits: dict[str, dict[str, bytes]] = {
            FIRST: {**table, "m.csv": b"smiles\nCCO\nCCN\n", "README.md": b"#"}
        }
        self.main = FIRST
        self.broken: list[int] = []
        self.asked: list[str] = []


class Answers(http.server.BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        return None

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def told(self, value: Any) -> None:
        self.answer(200, json.dumps(value).encode(), Content_Type="application/json")

    def missing(self, what: str, status: int = 404) -> None:
        self.answer(status, b"{}", X_Error_Code=what, X_Error_Message=what)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.server.broken:
            return self.answer(self.server.broken.pop(), b"")
        is_api, words = self.path.startswith("/api/"), unquote(self.path.partition("?")[0]).strip("/").split("/")
        kind, *name, verb = [*words[is_api:], "", "", ""][:4]
        after = words[is_api + 4 :]
        if [kind, *name] != ["datasets", "someone", "molecules"]:
            return self.missing("RepoNotFound", 401)
        revision = after[0] if after else "main"
        commit = self.server.main if revision == "main" else {"v1": FIRST}.get(revision, revision)
        if commit not in self.server.commits:
            return self.missing("RevisionNotFound")
        files, path = self.server.commits[commit], "/".join(after[1:])
        if verb == "tree":
            return self.tree(files, path, is_deep="recursive=True" in self.path or "recursive=true" in self.path)
        if is_api:
            return self.told({"id": "someone/molecules", "sha": commit, "siblings": []})
        if path not in files:
            return self.missing("EntryNotFound")
        asked, content = self.headers.get("Range"), files[path]
        if asked is None:
            return self.answer(200, content, ETag=f'"{tag(content)}"', X_Repo_Commit=commit)
        first, last = asked.removeprefix("bytes=").split("-")
        part = content[int(first) : int(last or len(content)) + 1]
        return self.answer(206, part, Content_Range=f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}")

    def tree(self, files: dict[str, bytes], path: str, *, is_deep: bool) -> None:
        prefix = f"{path}/" if path else ""
        below = {name: body for name, body in files.items() if name.startswith(prefix)}
        folders = {prefix + name.removeprefix(prefix).partition("/")[0] for name in below if "/" in name[len(prefix) :]}
        if not below:
            return self.missing("EntryNotFound")
        entries: list[dict[str, Any]] = [{"type": "directory", "path": one, "oid": "c" * 40} for one in sorted(folders)]
        for name, body in below.items():
            if is_deep or "/" not in name[len(prefix) :]:
                entries.append({"type": "file", "path": name, "size": len(body), "oid": tag(body)})
        return self.told(entries)


def tag(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    import huggingface_hub.constants as constants

    monkeypatch.setenv("REPCORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(connections, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with Hub() as one:
        for name in ("HUGGINGFACE_CO_URL_TEMPLATE", "ENDPOINT"):  # made of HF_ENDPOINT when it is imported
            text = getattr(constants, name).replace(constants.ENDPOINT, f"http://127.0.0.1:{one.server_port}")
            monkeypatch.setattr(constants, name, text)
        huggingface_hub.HfFileSystem.clear_instance_cache()
        threading.Thread(target=one.serve_forever, args=(0.01,), daemon=True).start()
        yield one
        one.shutdown()
    huggingface_hub.HfFileSystem.clear_instance_cache()


def rows_at(address: str) -> ShardedTable:
    return ShardedTable(parquet_shards(local_path(address))[""])


def test_shards_are_read_and_a_file_is(hub: Hub) -> None:
    table = rows_at("hf://datasets/someone/molecules/data")
    assert not [one for one in hub.asked if "resolve" in one and "Range" in one]
    assert table.cells("row") == list(range(2 * ROWS))
    for address in ("hf://datasets/someone/molecules/m.csv", "hf://datasets/someone/molecules@v1/m.csv"):
        part, reader = open_data(default(), address, domain="molecules")
        assert [one.inputs for one in reader] == ["CCO", "CCN"]
        assert part.plain()["path"] == address


def test_a_new_commit_is_new_data_but_not_for_a_pinned_revision(hub: Hub, tmp_path: Path) -> None:
    pinned = [f"hf://datasets/someone/molecules@{revision}/data" for revision in (FIRST, "v1")]
    names = ["hf://datasets/someone/molecules/data", *pinned]
    before = [open_data(default(), name, domain="molecules")[1].fingerprint for name in names]
    opened = rows_at(names[0])
    hub.commits[SECOND] = {**hub.commits[FIRST], SHARDS[1]: shard(1, "N")}
    hub.main = SECOND
    shutil.rmtree(tmp_path / "cache" / "remote" / "shards")
    with pytest.raises(DataError, match=r"train-00001-of-00002\.parquet has changed since the data were opened"):
        opened.value(ROWS, "row")
    readers = [open_data(default(), name, domain="molecules")[1] for name in names]
    assert [one.fingerprint == old for one, old in zip(readers, before, strict=True)] == [False, True, True]
    assert [one[ROWS].inputs[-1] for one in readers] == ["N", "O", "O"]


def test_what_fails_is_named(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    base = "hf://datasets/someone/molecules"
    for address, words in {
        f"{base}/none.csv": "does not exist",
        f"{base}@v9/data": "does not exist",
        "hf://datasets/someone/private/x.csv": r"may not be read \(status 401\): .*private",
        "hf://molecules": "cannot be read: .*namespace/name",
    }.items():
        with pytest.raises(DataError, match=f"^{address} {words}"):
            local_path(address)
    hub.broken = [503, 500]
    assert run(["inspect", f"{base}/m.csv"]) == 0
    hub.broken = [403] * 3
    with pytest.raises(DataError, match=r"m\.csv may not be read \(status 403\)"):
        local_path(f"{base}/m.csv")
    hub.broken = []
    del hub.commits[FIRST][SHARDS[0]]
    assert run(["inspect", f"{base}/data"]) == 2
    assert "1 of 2 shards of 'hf://datasets/someone/molecules/data' are missing" in capsys.readouterr().err
