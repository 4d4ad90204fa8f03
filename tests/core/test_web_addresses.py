"""Web servers that refuse, send pages, halves, other places or no lengths; credentials of addresses stay unseen."""

from __future__ import annotations

import gzip
import http.server
import io
import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from repcore import credentials
from repcore.cli.main import run
from repcore.credentials import in_full, without_credentials
from repcore.data.readers import local_path, open_data
from repcore.data.shards import connections
from repcore.data.shards.parquet_table import ShardedTable, parquet_shards
from repcore.errors import DataError
from repcore.registry import default

ROWS = 40
CSV = b"smiles\nCCO\nCCN\nCC\n"
SECRETS = ("geheim", "0123abcd0123abcd0123")


def shard(number: int) -> bytes:
    file = io.BytesIO()
    rows = range(ROWS * number, ROWS * (number + 1))
    pq.write_table(pa.table({"smiles": ["C" * (1 + row % 9) for row in rows], "row": list(rows)}), file)
    return file.getvalue()


class Server(http.server.ThreadingHTTPServer):
    """``files`` by path, ``statuses`` that come first for a path, paths ``sent_on``, requests that were ``asked``.

    The first folder of a path says how it is answered: ``whole`` (no stretches), ``lengthless``, ``packed`` on the way,
    ``cut`` in the middle, ``sent-on`` to the rest of the path.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.statuses: dict[str, list[int]] = {}
        self.sent_on: dict[str, str] = {}
        self.asked = Counter[str]()
        self.base = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: Any) -> None:
        return None

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked[f"{self.command} {path}"] += 1
        if left := self.server.statuses.get(path):
            self.send_error(left.pop())
        elif path.startswith("/sent-on/") or path in self.server.sent_on:
            self.send_response(302)
            self.send_header("Location", self.server.sent_on.get(path, path.removeprefix("/sent-on")))
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif path not in self.server.files:
            self.send_error(404)
        else:
            self._answer(self.server.files[path], path.split("/")[1])

    def _answer(self, content: bytes, manner: str) -> None:
        asked, part = self.headers.get("Range"), content
        if asked and manner != "whole":
            first, last = asked.removeprefix("bytes=").split("-")
            part = content[int(first) : int(last) + 1]
        self.send_response(206 if asked and manner != "whole" else 200)
        kind = "text/html" if content.lower().startswith((b"<html", b"<!doctype")) else "application/octet-stream"
        self.send_header("Content-Type", kind)
        if manner == "packed":
            part = gzip.compress(part)
            self.send_header("Content-Encoding", "gzip")
        if manner != "lengthless":
            self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(part[: len(part) // 2] if manner == "cut" else part)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("REPCORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(connections, "FIRST_WAIT", 0.001)
    fsspec.filesystem("http").clear_instance_cache()
    with Server() as one:
        threading.Thread(target=one.serve_forever, args=(0.01,), daemon=True).start()
        yield one
        one.shutdown()


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, r"may not be read \(status 401\)"),
        (403, r"may not be read \(status 403\)"),
        (404, "does not exist"),
        (410, "does not exist"),
        (400, r"cannot be read \(status 400\)"),
        (503, r"cannot be reached: .*503(.|\n)*5 times"),
        (429, r"cannot be reached: .*429(.|\n)*5 times"),
    ],
)
def test_what_a_status_means(server: Server, status: int, words: str) -> None:
    server.statuses["/x.csv"] = [status] * 20
    with pytest.raises(DataError, match=rf"^{server.base}/x\.csv {words}"):
        local_path(f"{server.base}/x.csv")
    is_tried = "times" in words
    assert (server.asked["HEAD /x.csv"] == connections.TRIES) == is_tried


def test_nobody_listens(server: Server) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(DataError, match=r"x\.csv cannot be reached: ClientConnectorError(.|\n)*5 times"):
        local_path(f"{server.base}/x.csv")


@pytest.mark.parametrize("place", ["", "/whole", "/lengthless", "/packed", "/sent-on", "/sent-on/lengthless"])
def test_a_file_comes_whole(server: Server, place: str) -> None:
    server.files[f"{place.removeprefix('/sent-on')}/m.csv"] = CSV
    address = f"{server.base}{place}/m.csv?version=2"
    server.statuses[f"{place}/m.csv"] = [503, 500, 429]
    part, reader = open_data(default(), address, domain="molecules")
    assert [one.inputs for one in reader] == ["CCO", "CCN", "CC"]
    assert part.plain()["path"] == address


@pytest.mark.parametrize("address", ["/download?id=7&file=m.csv", "/file/7/download"])
def test_a_file_is_called_as_its_address_or_where_that_leads(server: Server, address: str) -> None:
    server.files |= {"/download": CSV, "/stored/m.csv": CSV}
    server.sent_on["/file/7/download"] = "/stored/m.csv?signature=abc"
    assert local_path(server.base + address).name == "m.csv"
    assert len(open_data(default(), server.base + address, domain="molecules")[1]) == 3


# A name of a test must be the same in every process: no time of packing in it.
@pytest.mark.parametrize(("place", "content"), [("/packed", CSV), ("", gzip.compress(CSV, mtime=0))])
def test_a_packed_file_is_one_whoever_unpacks_it(server: Server, place: str, content: bytes) -> None:
    server.files[f"{place}/m.csv.gz"] = content
    for _ in range(2):
        _, reader = open_data(default(), f"{server.base}{place}/m.csv.gz", domain="molecules")
        assert [one.inputs for one in reader] == ["CCO", "CCN", "CC"]


def test_half_a_file_is_none(server: Server, tmp_path: Path) -> None:
    server.files["/cut/m.csv"] = CSV
    with pytest.raises(DataError, match=r"cut/m\.csv cannot be reached: ClientPayloadError(.|\n)*5 times"):
        local_path(f"{server.base}/cut/m.csv")
    assert not [one for one in (tmp_path / "cache").rglob("*") if one.is_file() and "m.csv" in one.name]


def test_a_page_in_place_of_a_file_is_refused(server: Server) -> None:
    server.files["/m.csv"] = b"<!DOCTYPE html><title>log in</title>"
    with pytest.raises(DataError, match=r"m\.csv is answered with a web page, not with a file"):
        local_path(f"{server.base}/m.csv")


INDEX = b"""<html><a href="?C=N;O=D">Name</a> <a href="../">up</a> <a href="/">top</a> <a href="mailto:a@b.c">me</a>
<a href="./part-00000.parquet">0</a> <a href="part-00001.parquet">1</a> <a href="deep/">deep</a>
<a href="none/">none</a> <a href="https://elsewhere.org/x.parquet">x</a></html>"""


@pytest.mark.parametrize("place", ["/plain", "/whole"])
def test_a_folder_is_what_its_page_links_to(server: Server, place: str) -> None:
    server.files[f"{place}/"] = INDEX
    server.files[f"{place}/none/"] = b"<html>nothing</html>"
    server.files[f"{place}/deep/"] = b'<html><a href="part-00002.parquet">2</a> <a href="../">up</a></html>'
    for number, folder in enumerate(("", "", "deep/")):
        server.files[f"{place}/{folder}part-{number:05}.parquet"] = shard(number)
    table = ShardedTable(parquet_shards(local_path(f"{server.base}{place}/"))[""])
    assert len(table) == 3 * ROWS
    assert table.cells("row") == [*range(2 * ROWS, 3 * ROWS), *range(2 * ROWS)]  # deep/ comes first
    assert server.asked[f"GET {place}/part-00000.parquet"] <= 4


def test_a_page_without_files_and_one_that_cannot_be_listed(server: Server) -> None:
    server.files["/empty/"] = b"<html>nothing</html>"
    with pytest.raises(DataError, match="empty/ does not exist"):
        local_path(f"{server.base}/empty/")
    server.files["/half/"] = b'<html><a href="deep/">deep</a><a href="part-00000.parquet">0</a></html>'
    server.files["/half/part-00000.parquet"] = shard(0)
    server.statuses["/half/deep/"] = [500] * 20
    with pytest.raises(DataError, match=r"half/ cannot be reached(.|\n)*5 times"):
        local_path(f"{server.base}/half/")


def test_shards_of_unknown_length_are_named(server: Server) -> None:
    server.files["/lengthless/"] = b'<html><a href="part-00000.parquet">0</a></html>'
    server.files["/lengthless/part-00000.parquet"] = shard(0)
    with pytest.raises(DataError, match=r"part-00000\.parquet: the server does not say how many bytes it has"):
        local_path(f"{server.base}/lengthless/")


def test_a_changed_file_without_a_tag_is_fetched_by_the_next_process(server: Server) -> None:
    from repcore.data.shards import remote

    server.files["/m.csv"] = CSV
    assert local_path(f"{server.base}/m.csv").read_bytes() == CSV
    server.files["/m.csv"] = CSV.replace(b"CCN", b"CCF")
    assert local_path(f"{server.base}/m.csv").read_bytes() == CSV
    remote._fetched_now.clear()
    assert b"CCF" in local_path(f"{server.base}/m.csv").read_bytes()


def test_credentials_are_neither_shown_nor_written_down(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/m.csv"] = b"smiles,y\n" + b"".join(b"%s,%d\n" % (b"C" * (1 + row), row) for row in range(30))
    host = server.base.removeprefix("http://")
    address = f"http://me:{SECRETS[0]}@{host}/m.csv?X-Amz-Signature={SECRETS[1]}&version=2"
    shown = f"http://me:***@{host}/m.csv?X-Amz-Signature=***&version=2"
    words = [
        "molecules", "train", "selformer", "--data", address, "--out", str(tmp_path), "--name", "r",
        "encoder.hidden_width=16", "encoder.layers=1", "encoder.attention_heads=2", "encoder.feed_forward_width=16",
        "data.batch_size=8", "trainer.steps=2", "trainer.validate_every=2",
    ]  # fmt: skip
    assert run(words) == 0
    assert run(["embed", str(tmp_path / "r"), address, "-o", str(tmp_path / "v.parquet")]) == 0
    assert run(["inspect", address.replace("m.csv", "n.csv")]) == 2
    said = capsys.readouterr()
    texts = {"said": (said.out + said.err).encode()}
    texts |= {str(one): one.read_bytes() for one in tmp_path.rglob("*") if one.is_file()}
    assert not [(name, word) for name, text in texts.items() for word in SECRETS if word.encode() in text]
    assert json.loads(texts[str(tmp_path / "r" / "config.json")])["dataset"]["path"] == shown
    assert in_full(shown) == address
    credentials._full.clear()
    monkeypatch.delenv(credentials.VARIABLE)
    resumed = ["molecules", "train", "--resume", str(tmp_path / "r")]
    assert run(resumed) == 2
    assert f"{shown} was written down without its credentials" in capsys.readouterr().err
    run([*resumed, "--data", address])
    assert "has made all its 2 steps" in capsys.readouterr().err


def test_an_address_without_its_credentials_says_so() -> None:
    with pytest.raises(DataError, match=r"token=\*\*\* was written down without its credentials(.|\n)*--data"):
        local_path("https://nowhere.example/x.csv?token=***")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("abfs://container@account.dfs.core.windows.net/x", None),
        ("hf://datasets/a/b@0123456789abcdef0123456789abcdef01234567/x.csv", None),
        ("https://host:8080/x@y?file=molecules-train-000001.csv", None),
        ("dataset.path=ftp://u:p@ss@host/x", "dataset.path=ftp://u:***@host/x"),
        ("https://ghp0123456789abcdefghij@host/x", "https://***@host/x"),
        ("see https://h/x?id=1AbCdefGhijKLMnop12345).", "see https://h/x?id=***"),
        ("https://h/x?sv=2020&sig=ab%2Fc", "https://h/x?sv=2020&sig=***"),
        ("CC(=O)O C:/x", None),
    ],
)
def test_what_counts_as_credentials(text: str, shown: str | None) -> None:
    assert without_credentials(text) == (shown or text)
