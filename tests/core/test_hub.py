"""Models on the Hub, through the real client, against a server of this test that speaks the Hub's protocol."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import repcore
from repcore.checkpoints.hub import card_metadata, hub_name, is_hub_name, with_metadata
from repcore.errors import CheckpointError, PluginError
from tests.toys.toy_run import make_run

pytest.importorskip("huggingface_hub", reason="the hub is an extra: pip install repcore[hub]")
SETS = np.random.default_rng(0).normal(size=(3, 6, 2)).astype(np.float32)


class Hub:
    """Repositories: commit -> files, and the branches of each."""

    def __init__(self) -> None:
        self.commits: dict[str, dict[str, bytes]] = {}
        self.branches: dict[str, dict[str, str]] = {}
        self.requests: list[str] = []

    def files(self, repo: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        commit = self.branches.get(repo, {}).get(revision, revision)
        return (commit, self.commits[commit]) if commit in self.commits else None


class Answers(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *words: Any) -> None:
        pass

    def answer(self, code: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def told(self, value: Any) -> None:
        self.answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def missing(self, what: str) -> None:
        self.answer(404, b"{}", {"X-Error-Code": what, "X-Error-Message": what})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.hub.requests.append(f"{self.command} {self.path}")
        words = self.path.partition("?")[0].strip("/").split("/")
        if words[:2] == ["api", "models"]:
            repo, rest = "/".join(words[2:4]), words[4:]
            if repo not in self.hub.branches:
                return self.missing("RepoNotFound")
            found = self.hub.files(repo, rest[1] if len(rest) > 1 else "main")
            if found is None:
                return self.missing("RevisionNotFound")
            commit, files = found
            listing = [
                {"type": "file", "path": name, "size": len(body), "oid": hashlib.sha1(body).hexdigest()}
                for name, body in files.items()
            ]
            if rest and rest[0] == "tree":
                return self.told(listing)
            return self.told({"id": repo, "sha": commit, "siblings": [{"rfilename": name} for name in files]})
        repo, revision, name = "/".join(words[:2]), words[3], "/".join(words[4:])
        found = self.hub.files(repo, revision)
        if found is None or name not in found[1]:
            return self.missing("EntryNotFound")
        tag = hashlib.sha1(found[1][name]).hexdigest()
        return self.answer(200, found[1][name], {"ETag": f'"{tag}"', "X-Repo-Commit": found[0]})

    def do_POST(self) -> None:
        self.hub.requests.append(f"POST {self.path}")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        words = self.path.partition("?")[0].strip("/").split("/")
        address = f"http://{self.headers['Host']}"
        if words == ["api", "repos", "create"]:
            asked = json.loads(body)
            repo = "/".join(one for one in (asked.get("organization"), asked["name"]) if one)
            self.hub.commits.setdefault("0" * 40, {})
            self.hub.branches.setdefault(repo, {"main": "0" * 40})
            return self.told({"url": f"{address}/{repo}", "name": repo})
        if words == ["api", "validate-yaml"]:
            return self.told({"errors": [], "warnings": []})
        repo = "/".join(words[2:4])
        if words[4] == "preupload":
            files = [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                     for one in json.loads(body)["files"]]  # fmt: skip
            return self.told({"files": files})
        lines = [json.loads(line) for line in body.decode().splitlines()]
        files = {
            one["value"]["path"]: base64.b64decode(one["value"]["content"]) for one in lines if one["key"] == "file"
        }
        commit = hashlib.sha1(repr(sorted(files)).encode()).hexdigest()
        self.hub.commits[commit] = files
        self.hub.branches[repo][words[5]] = commit
        return self.told({"success": True, "commitOid": commit, "commitUrl": f"{address}/{repo}/commit/{commit}",
                          "hookOutput": ""})  # fmt: skip


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    import huggingface_hub.constants as constants

    held = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Answers,), {"hub": held}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    yield held
    server.shutdown()
    server.server_close()


def test_a_model_goes_to_the_hub_and_comes_back(
    hub: Hub, toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "run")
    model = repcore.load(tmp_path / "run")
    name = model.push_to_hub("someone/sets")
    assert name.startswith("hf://someone/sets@")
    readme = next(iter(hub.commits[name.partition("@")[2]][one] for one in ("README.md",))).decode()
    head, body = yaml.safe_load(readme.split("---\n")[1]), readme.split("---\n", 2)[2]
    assert head["library_name"] == "repcore"
    assert head["pipeline_tag"] == "feature-extraction"
    assert head["repcore"] == {"encoder": "pairs/set-net", "sha256": model.identity()}
    assert "# pairs/set" in body
    assert not (tmp_path / "run" / "model" / "README.md").read_text().startswith("---")

    for text in ("hf://someone/sets", name, Path("hf://someone/sets")):
        again = repcore.load(text)
        assert again.identity() == model.identity()
    np.testing.assert_array_equal(again.embed(SETS).vectors, model.embed(SETS).vectors)

    asked = len(hub.requests)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert repcore.load(name).identity() == model.identity()
    assert len(hub.requests) == asked, "offline asks nobody"
    with pytest.raises(CheckpointError, match="hf://someone/other is not in the cache, and HF_HUB_OFFLINE is set"):
        repcore.load("hf://someone/other")
    with pytest.raises(CheckpointError, match="HF_HUB_OFFLINE is set, so nothing is sent"):
        model.push_to_hub("someone/sets")


def test_what_is_not_there_is_named(hub: Hub, toys: None, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="hf://someone/none: there is no such model, or it is private"):
        repcore.load("hf://someone/none")
    make_run(tmp_path / "run")
    model = repcore.load(tmp_path / "run")
    model.push_to_hub("someone/sets")
    with pytest.raises(CheckpointError, match="hf://someone/sets@v9: there is no such revision"):
        repcore.load("hf://someone/sets@v9")
    with torch.no_grad():
        next(iter(model.module.parameters())).add_(1.0)
    with pytest.raises(CheckpointError, match="was changed since it was loaded"):
        model.push_to_hub("someone/sets")


def test_names_and_cards() -> None:
    assert (hub_name("hf://a/b@v1.0").repo, hub_name("hf:/a/b@v1.0").revision) == ("a/b", "v1.0")
    assert not is_hub_name("runs/hf")
    for wrong in ("hf://a", "hf://a/b/c", "hf://a/b@", "hf://../b c"):
        with pytest.raises(CheckpointError, match="names no model of the Hub"):
            hub_name(wrong)
    card = card_metadata("audio/ssamba", licence="ASU, research only", domain="audio", predicts="", identity="ab")
    assert (card["license"], card["license_name"]) == ("other", "ASU, research only")
    known = card_metadata("a/b", licence="Apache-2.0 (this)", domain="a", predicts="kind", identity="ab")
    assert (known["license"], known["repcore"]["predicts"]) == ("apache-2.0", "kind")
    once = with_metadata("# Title\n", known)
    assert with_metadata(once, card).count("---\n") == 2


def test_without_the_client_its_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(PluginError, match=r'pip install "repcore\[hub\]"'):
        repcore.load("hf://someone/sets")
