"""Numbers are watched: the hash of weights, declared widths and dtypes, and half precision that overflows."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from safetensors.torch import load_file, save_file

from repcore import registry
from repcore.checkpoints.content import content_sha256
from repcore.checkpoints.folder_facts import SETTINGS_KEY
from repcore.checkpoints.model_folder import read_model
from repcore.config.resolve import resolve_run
from repcore.errors import CheckpointError, RunError
from repcore.files import read_lines
from repcore.reporting import LogReporter
from repcore.training.assembly import assemble
from repcore.training.run import start_run
from tests.toys.toy_run import make_run


def test_the_hash_is_of_the_content_alone(tmp_path: Path) -> None:
    tensors = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.tensor(3, dtype=torch.int64)}
    once = content_sha256(tensors)
    save_file(tensors, tmp_path / "one.safetensors", metadata={"x": "1", "y": "2", "z": "3"})
    save_file(dict(reversed(tensors.items())), tmp_path / "two.safetensors", metadata={"other": "words"})
    assert content_sha256(load_file(tmp_path / "one.safetensors")) == once
    assert content_sha256(load_file(tmp_path / "two.safetensors")) == once
    assert content_sha256({**tensors, "b": tensors["b"].T.contiguous().T}) == once  # another memory layout
    for other in (
        {**tensors, "b": tensors["b"].reshape(3, 2)},
        {**tensors, "b": tensors["b"].double()},
        {**tensors, "b": tensors["b"] * -1},
        {"b": tensors["b"], "c": tensors["a"]},
    ):
        assert content_sha256(other) != once


def test_a_flipped_bit_is_refused(toys: None, tmp_path: Path) -> None:
    make_run(tmp_path / "r")
    weights = tmp_path / "r" / "model" / "weights.safetensors"
    before = read_model(tmp_path / "r").identity()
    content = bytearray(weights.read_bytes())
    content[-5] ^= 4
    weights.write_bytes(content)
    with pytest.raises(CheckpointError, match="does not hold the tensors that the model was saved with"):
        read_model(tmp_path / "r").build()
    content[-5] ^= 4
    weights.write_bytes(content)
    save_file(load_file(weights), weights, metadata={"another": "container", "of": "the same"})
    assert read_model(tmp_path / "r").identity() == before
    read_model(tmp_path / "r").build()


def test_declared_width_and_dtypes_are_compared(toys: None, tmp_path: Path) -> None:
    make_run(tmp_path / "r")
    folder = tmp_path / "r" / "model"
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "dim": 99}))
    with pytest.raises(CheckpointError, match=r"was changed since the model was saved: width of the vectors"):
        read_model(folder).build()
    earlier = {name: value for name, value in config["content"].items() if name != SETTINGS_KEY.format("dim")}
    assert len(earlier) < len(config["content"])
    (folder / "config.json").write_text(json.dumps({**config, "dim": 99, "content": earlier}))  # saved before the hash
    with pytest.raises(CheckpointError, match="says dim 99"):
        read_model(folder).build()
    doubles = {
        name: value.double() if value.is_floating_point() else value
        for name, value in load_file(folder / "weights.safetensors").items()
    }
    save_file(doubles, folder / "weights.safetensors")
    content = {**config["content"], "weights.safetensors": content_sha256(doubles)}
    (folder / "config.json").write_text(json.dumps({**config, "content": content}))
    with pytest.raises(CheckpointError, match="float64 for float32"):
        read_model(folder).build()


def half_precision(monkeypatch: pytest.MonkeyPatch, scale: float, **more: Any) -> None:
    """Let a run on the CPU use the loss scaler that 16-mixed has on a GPU."""

    def trainer(**given: Any) -> pl.Trainer:
        scaler = torch.amp.GradScaler("cpu", init_scale=scale, **more)
        given["plugins"] = [*given.pop("plugins"), MixedPrecision("16-mixed", device="cpu", scaler=scaler)]
        given.pop("precision")
        return real(**given)

    real = pl.Trainer
    monkeypatch.setattr("repcore.training.run.pl.Trainer", trainer)


def train(root: Path, *overrides: str) -> list[dict[str, Any]]:
    parts = assemble(resolve_run(registry.default(), "pairs/set-net", overrides=overrides), LogReporter())
    run = start_run(registry.default(), parts, LogReporter(), root=root, name="r", device="cpu")
    return [line for line in read_lines(run.folder / "metrics.jsonl") if line["split"] == "train"]


def test_gradients_are_unscaled_before_they_are_clipped(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a scale of 1024 the norms are those of full precision, not a thousand times larger."""
    plain = train(tmp_path / "plain", "trainer.steps=4")
    half_precision(monkeypatch, 1024.0)
    scaled = train(tmp_path / "half", "trainer.steps=4")
    assert all("skipped_steps" not in line for line in scaled)
    first, second = ([line["grad_norm"] for line in lines] for lines in (plain, scaled))
    np.testing.assert_allclose(second, first, rtol=0.1)


def test_overflowing_steps_are_skipped_and_counted(toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    half_precision(monkeypatch, 2.0**30)
    lines = train(tmp_path, "trainer.steps=24", "trainer.validate_every=100")
    skipped = [line.get("skipped_steps", 0) for line in lines]
    assert skipped[0] == 1
    assert 3 <= sum(skipped) < 24
    assert math.isfinite(lines[-1]["loss"])
    saved = torch.load(tmp_path / "r" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.isfinite(value).all() for value in saved.values() if value.is_floating_point())


def test_overflow_at_every_scale_ends_the_run(toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    half_precision(monkeypatch, 2.0**100, backoff_factor=0.999)
    with pytest.raises(RunError, match="gradient norm is"):
        train(tmp_path, "trainer.steps=60", "trainer.validate_every=100")
