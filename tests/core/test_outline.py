"""A received model is compared with its weights before memory is taken for what its settings announce."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from repcore.checkpoints import outline
from repcore.checkpoints.folder_facts import settings_content
from repcore.checkpoints.model_folder import read_model
from repcore.checkpoints.saving import save_model
from repcore.errors import CheckpointError
from repcore.hooks import API_VERSION
from repcore.plugins import PluginRecord
from repcore.registry import Registry
from repcore.specs import EncoderSpec, PluginInfo, PreprocessorSpec

BUILT: list[str] = []  # devices on which networks were put together


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    width: int = field(default=4, metadata={"help": "width"})
    layers: int = field(default=1, metadata={"help": "layers"})
    places: int = field(default=8, metadata={"help": "rows of a table that is not stored"})
    reads: bool = field(default=False, metadata={"help": "looks at its numbers while it is put together"})


class Network(nn.Module):
    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.dim = config.width
        self.layers = nn.ModuleList(nn.Linear(3, config.width) for _ in range(config.layers))
        self.register_buffer("table", torch.zeros(config.places, 1024), persistent=False)
        if config.reads and float(self.layers[0].bias[0]) > 9:
            raise ValueError("odd")
        BUILT.append(self.table.device.type)


@dataclass(frozen=True, kw_only=True)
class PlainConfig:
    pass


class Plain:
    def __init__(self, config: PlainConfig) -> None:
        pass

    def save(self, folder: Path) -> dict[str, Any]:
        return {}

    @classmethod
    def load(cls, config: PlainConfig, folder: Path) -> Plain:
        return cls(config)


@pytest.fixture
def registry() -> Registry:
    info = PluginInfo(title="Toy", domain="toy", api_version=API_VERSION)
    record = PluginRecord("toy", "x", distribution="repcore-toy", version="2.5", info=info)
    record.specs = [
        EncoderSpec(name="net", target=f"{__name__}:Network", config=f"{__name__}:NetworkConfig"),
        PreprocessorSpec(name="plain", target=f"{__name__}:Plain", config=f"{__name__}:PlainConfig"),
    ]
    return Registry([record])


@pytest.fixture
def folder(registry: Registry, tmp_path: Path) -> Path:
    config = NetworkConfig()
    path = save_model(
        tmp_path / "model", encoder=Network(config), encoder_name="toy/net", encoder_config=config,
        preprocessor=Plain(PlainConfig()), preprocessor_name="toy/plain", preprocessor_config=PlainConfig(),
        card={}, extra={}, registry=registry, widths={"poolings": {"mean": 4}, "levels": {}, "layers": {}},
    )  # fmt: skip
    BUILT.clear()
    return path


def changed(folder: Path, *, forged: bool, **settings: Any) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["encoder"] |= settings
    if forged:
        config["content"] |= settings_content(config, json.loads((folder / "preprocessing.json").read_text()))
    path.write_text(json.dumps(config))


def test_changed_settings_are_refused_before_anything_is_built(folder: Path, registry: Registry) -> None:
    changed(folder, forged=False, width=2**24)
    with pytest.raises(CheckpointError, match="was changed since"):
        read_model(folder).build(registry)
    assert BUILT == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"width": 2**24}, r"layers.0.weight \(4, 3\) for \(16777216, 3\)"),
        ({"width": 2**62}, "larger than any memory"),
        ({"layers": 3}, r"missing: +layers"),
        ({"layers": 10**9}, "far larger network"),
        ({"places": 2**40}, "announces .* MiB"),
    ],
)
def test_settings_of_a_larger_network_take_no_memory(
    settings: dict[str, int], words: str, folder: Path, registry: Registry
) -> None:
    """Whoever changes a file can write its hash as well."""
    changed(folder, forged=True, **settings)
    with pytest.raises(CheckpointError, match=words):
        read_model(folder).build(registry)
    assert "cpu" not in BUILT


def test_a_network_that_needs_numbers_is_built_and_stopped(
    folder: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed(folder, forged=True, reads=True)
    encoder, _ = read_model(folder).build(registry)
    assert BUILT == ["cpu"]
    assert encoder.layers[0].weight.shape == (4, 3)
    monkeypatch.setattr(outline, "MORE_PARAMETERS", 10)
    changed(folder, forged=True, reads=True, layers=10**9)
    with pytest.raises(CheckpointError, match="far larger network"):
        read_model(folder).build(registry)


def test_config_json_is_for_strict_readers(folder: Path, registry: Registry) -> None:
    model = read_model(folder)
    encoder, preprocessor = model.build(registry)
    card = {"diagnostics": {"alpha-req": float("nan"), "worst": [float("inf")]}}
    save_model(
        folder, encoder=encoder, encoder_name="toy/net", encoder_config=NetworkConfig(), preprocessor=preprocessor,
        preprocessor_name="toy/plain", preprocessor_config=PlainConfig(), card=card, extra=card, registry=registry,
    )  # fmt: skip
    written = json.loads((folder / "config.json").read_text(), parse_constant=pytest.fail)
    expected = {"diagnostics": {"alpha-req": None, "worst": [None]}}
    assert (written["card"], written["origin"]) == (expected, expected)
    read_model(folder).build(registry)


def test_an_outline_draws_no_number(folder: Path, registry: Registry) -> None:
    torch.manual_seed(3)
    expected = Network(NetworkConfig()).state_dict()
    torch.manual_seed(3)
    twin = read_model(folder).build_encoder(registry).state_dict()
    assert BUILT == ["cpu", "meta", "cpu"]
    assert all(torch.equal(twin[name], value) for name, value in expected.items())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"widths": {"poolings": {"mean": 5}, "levels": {}, "layers": {}}}, "widths of vectors by pooling"),
        ({"widths": None}, "widths of vectors by pooling"),
        ({"dim": 5}, "width of the vectors"),
        ({"dim": None}, "width of the vectors"),
    ],
)
def test_declared_widths_are_those_of_the_run(
    change: dict[str, Any], words: str, folder: Path, registry: Registry
) -> None:
    config = json.loads((folder / "config.json").read_text()) | change
    (folder / "config.json").write_text(json.dumps({key: one for key, one in config.items() if one is not None}))
    with pytest.raises(CheckpointError, match=words):
        read_model(folder).build(registry)


def test_a_removed_width_is_missed_without_its_hash(folder: Path, registry: Registry) -> None:
    config = json.loads((folder / "config.json").read_text())
    del config["dim"], config["content"]["config.json#dim"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="says dim None"):
        read_model(folder).build(registry)
