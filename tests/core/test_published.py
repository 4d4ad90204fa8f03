"""Published weights: imported from Python, and pulled by name from a server that may lie."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

import repcore
from repcore import registry
from repcore.checkpoints.reading import file_sha256
from repcore.cli.main import run
from repcore.errors import CheckpointError, PluginError, RegistryError, RepcoreError
from repcore.specs import Published
from tests.conftest import MakeDistribution
from tests.toys.toy_run import make_run

SETS = np.random.default_rng(0).normal(size=(3, 6, 2)).astype(np.float32)
PLUGIN = """
from repcore.hooks import API_VERSION, hookimpl
from repcore.specs import CheckpointSpec, PluginInfo, Published


@hookimpl
def repcore_plugin_info():
    return PluginInfo(title="Old sets", domain="oldsets", api_version=API_VERSION, summary="Weights of toys")


@hookimpl
def repcore_checkpoints():
    weights = Published(files={"sets.pt": "ADDRESS/sets.pt"}, sha256={"sets.pt": "DIGEST"}, size=SIZE,
                        source="the page", licence="MIT")
    return [CheckpointSpec(name="old", target="toy_weights._plugin:convert", sniff="toy_weights._plugin:sniff",
                           encoder="pairs/set-net", options={"centre": ("yes", "no")},
                           published={"sets-16": weights}, summary="Toy weights")]


def sniff(keys):
    return float(all(key.startswith("net.") for key in keys))


def convert(state, source, options):
    from repcore.checkpoints.imported import Imported
    from repcore.checkpoints.keymap import KeyMap, Rename
    from tests.toys.toy_pairs.code import SetNet, Sets
    from tests.toys.toy_pairs.configs import SetNetConfig, SetsConfig

    net, sets = SetNetConfig(point_width=2), SetsConfig(centre=options.get("centre") == "yes")
    map_of = KeyMap((Rename("net.{name*}", "{name}"),))
    ours, report = map_of.apply(state, source=source.name, target="set-net", expected=SetNet(net).state_dict())
    return Imported(encoder_config=net, state=ours, report=report, preprocessor=Sets(sets),
                    preprocessor_name="pairs/sets", preprocessor_config=sets)
"""


class Quiet(SimpleHTTPRequestHandler):
    asked: list[str] = []  # noqa: RUF012

    def log_message(self, *words: object) -> None:
        self.asked.append(self.path)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    Quiet.asked.clear()
    folder = tmp_path / "served"
    folder.mkdir()
    held = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=held.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{held.server_port}"
    held.shutdown()
    held.server_close()


@pytest.fixture
def weights(
    server: tuple[Path, str], toys: None, tmp_path: Path, make_distribution: MakeDistribution
) -> tuple[repcore.Model, Path, str]:
    """A model, its weights as somebody published them, and the address they are served at."""
    folder, address = server
    make_run(tmp_path / "run", "preprocessor.centre=false")
    model = repcore.load(tmp_path / "run")
    torch.save({f"net.{name}": value for name, value in model.module.state_dict().items()}, folder / "sets.pt")
    text = PLUGIN.replace("ADDRESS", address).replace("DIGEST", file_sha256(folder / "sets.pt"))
    make_distribution("toy-weights", text.replace("SIZE", str((folder / "sets.pt").stat().st_size)), entry="oldsets")
    registry.refresh()
    return model, folder / "sets.pt", address


def test_published_weights_from_python(weights: tuple[repcore.Model, Path, str], tmp_path: Path) -> None:
    model, file, _ = weights
    found = repcore.import_checkpoint(file, tmp_path / "imported", centre="no")
    np.testing.assert_allclose(found.embed(SETS).vectors, model.embed(SETS).vectors, atol=1e-6)
    assert found.folder.card["imported"]["layout"] == "oldsets/old"
    with pytest.raises(RepcoreError, match="'center'"):
        repcore.import_checkpoint(file, tmp_path / "other", center="no")


def test_pulled_once_verified_and_imported(
    weights: tuple[repcore.Model, Path, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, _, _ = weights
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REPCORE_CACHE", str(tmp_path / "cache"))
    assert run(["pull"]) == 0
    assert "oldsets/sets-16" in capsys.readouterr().out
    assert not Quiet.asked, "a list downloads nothing"
    assert run(["pull", "sets-16", "--yes"]) == 0, capsys.readouterr().err
    assert "verified: sets.pt" in capsys.readouterr().out
    found = repcore.load("models/sets-16")
    np.testing.assert_allclose(found.embed(SETS).vectors, model.embed(SETS).vectors, atol=1e-6)
    assert len(Quiet.asked) == 1
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert repcore.pull("oldsets/sets-16", "again").identity() == found.identity()
    assert len(Quiet.asked) == 1, "the second time it is in the cache"
    with pytest.raises(RegistryError, match="no published weights 'sets-17'") as told:
        repcore.pull("sets-17")
    assert "oldsets/sets-16" in str(told.value)


def test_another_content_is_refused(
    weights: tuple[repcore.Model, Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, file, _ = weights
    monkeypatch.setenv("REPCORE_CACHE", str(tmp_path / "cache"))
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(CheckpointError, match=r"sets\.pt of oldsets/sets-16 is not what was published: SHA-256"):
        repcore.pull("sets-16", tmp_path / "model")
    file.write_bytes(whole + b"more")
    with pytest.raises(CheckpointError, match="gives more than the"):
        repcore.pull("sets-16", tmp_path / "model")
    file.unlink()
    with pytest.raises(CheckpointError, match="oldsets/sets-16 could not be downloaded: File not found"):
        repcore.pull("sets-16", tmp_path / "model")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointError, match="is not in the cache, and HF_HUB_OFFLINE is set"):
        repcore.pull("sets-16", tmp_path / "model")
    assert not (tmp_path / "model").exists()
    assert not [one for one in (tmp_path / "cache").rglob("*") if one.is_file()]


def test_published_weights_need_a_hash() -> None:
    facts = {"size": 5, "source": "page", "licence": "MIT"}
    with pytest.raises(PluginError, match=r"no SHA-256 of 'a\.pt'"):
        Published(files={"a.pt": "https://example.org/a.pt"}, sha256={"a.pt": "12"}, **facts)
    with pytest.raises(PluginError, match=r"'\.\./a.pt' is no plain file name"):
        Published(files={"../a.pt": "https://example.org/a.pt"}, sha256={"../a.pt": "a" * 64}, **facts)
