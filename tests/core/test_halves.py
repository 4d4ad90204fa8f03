"""Weights in half precision on disk: half the bytes, the network's own when loaded, and nothing lost in silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import repcore
from repcore.checkpoints.halves import halved, widened
from repcore.checkpoints.model_folder import read_model
from repcore.checkpoints.reading import read_file
from repcore.cli.main import run
from repcore.errors import CheckpointError, ConfigError
from tests.toys.toy_run import make_run

WIDE = "encoder.width=64"


def test_a_saved_half_is_smaller_loads_in_float32_and_gives_nearly_the_same(toys: None, tmp_path: Path) -> None:
    make_run(tmp_path / "run", WIDE)
    whole = repcore.load(tmp_path / "run")
    half = whole.save(tmp_path / "half", dtype="float16")
    kinds = {value.dtype for value in read_file(tmp_path / "half" / "weights.safetensors").values()}
    assert kinds == {torch.float16, torch.float32, torch.int64}  # small tensors and counts stay as they are
    own = {name: value.dtype for name, value in half.module.state_dict().items()}
    assert own == {name: value.dtype for name, value in whole.module.state_dict().items()}
    sizes = [(one / "weights.safetensors").stat().st_size for one in (tmp_path / "run" / "model", tmp_path / "half")]
    assert sizes[1] < 0.75 * sizes[0]
    found, expected = (one.embed("pairs/blobs").vectors for one in (half, whole))
    difference = np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert 0 < difference.max() < 1e-2
    assert half.identity() != whole.identity()
    assert half.identity() == read_model(tmp_path / "half").identity()
    assert not half.is_changed()
    assert "float16" in (tmp_path / "half" / "README.md").read_text()
    assert half.random_twin(0) is not None


def test_a_half_goes_on_as_any_model(toys: None, tmp_path: Path) -> None:
    """Saved again as it is, saved after training in float32, begun with, and fine-tuned with an ensemble."""
    make_run(tmp_path / "run", WIDE)
    half = repcore.load(tmp_path / "run").save(tmp_path / "half", dtype=torch.float16)
    assert half.save(tmp_path / "copy").identity() == half.identity()
    tuned = repcore.finetune(
        half, "pairs/blobs", label="kind", seeds=1, ensemble=2, twin=False, out=tmp_path / "runs", trainer__steps=2
    )
    answers = tuned.model.predict("pairs/blobs")
    small = tuned.model.save(tmp_path / "small", dtype="float16")
    members = read_file(tmp_path / "small" / "members" / "1.safetensors")
    assert torch.float16 in {value.dtype for value in members.values()}
    np.testing.assert_allclose(small.predict("pairs/blobs").outputs, answers.outputs, atol=2e-2)
    with torch.no_grad():
        next(half.module.parameters()).add_(1.0)
    changed = half.save(tmp_path / "changed")
    written = read_file(tmp_path / "changed" / "weights.safetensors")
    assert {value.dtype for value in written.values()} == {torch.float32, torch.int64}
    assert changed.identity() == half.identity() != read_model(tmp_path / "half").identity()


def test_what_would_lose_its_numbers_stays_as_it_is() -> None:
    many = torch.linspace(-1, 1, 2000)
    given = {
        "plain": many, "double": many.double(), "large": many * 1e6, "tiny": many * 1e-7, "few": many[:1000],
        "broken": torch.full((2000,), float("nan")), "whole": torch.arange(2000), "none": torch.zeros(0),
        "zeros": torch.zeros(2000), "brain": many.bfloat16(),
    }  # fmt: skip
    found = {name: value.dtype for name, value in halved(given).items()}
    rounded = {"plain", "double", "zeros"}
    assert {name for name, kind in found.items() if kind == torch.float16} == rounded
    assert all(found[name] == given[name].dtype for name in set(given) - rounded)


def test_only_rounded_tensors_are_widened() -> None:
    """A network that computes in half precision of its own keeps it; another kind of number is left to be refused."""
    half, other = torch.ones(4).half(), torch.ones(4, dtype=torch.int32)
    own = {"a": torch.zeros(4), "b": torch.zeros(4).half(), "c": torch.zeros(4), "d": torch.zeros(4).double()}
    found = widened({"a": half, "b": half, "c": other, "d": half, "e": half}, own)
    kinds = {name: value.dtype for name, value in found.items()}
    assert kinds == {
        "a": torch.float32, "b": torch.float16, "c": torch.int32, "d": torch.float64, "e": torch.float16
    }  # fmt: skip


def test_other_formats_and_places_are_refused(toys: None, tmp_path: Path) -> None:
    make_run(tmp_path / "run", WIDE)
    model = repcore.load(tmp_path / "run")
    with pytest.raises(ConfigError, match="bfloat16 keeps two digits"):
        model.save(tmp_path / "other", dtype="bfloat16")
    with pytest.raises(ConfigError, match="'int8' is none"):
        model.save(tmp_path / "other", dtype="int8")
    with pytest.raises(CheckpointError, match="not empty"):
        model.save(tmp_path / "run" / "model", dtype="float16")
    assert not (tmp_path / "other").exists()
    assert run(["embed", str(tmp_path / "run"), "pairs/blobs", "-o", str(tmp_path / "v.npz")]) == 0
