"""Methods that change the encoder (SHERL, experts): an interrupted run ends with the weights of an undisturbed one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import repcore
from repcore.checkpoints.reading import read_file
from repcore.cli.main import run
from tests.generic.resuming import check_that_it_goes_on

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
METHODS = {"sherl": ["--method", "sherl"], "experts": ["--method", "experts", "method.domain=assay"]}


@pytest.fixture
def molecules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    words = ["molecules", "train", "selformer", "--name", "r", "--device", "cpu", "trainer.steps=1", "data.limit=24"]
    words += ["encoder.hidden_width=16", "encoder.feed_forward_width=32", "encoder.layers=2", "data.batch_size=4"]
    assert run(words) == 0
    rows = [f"{'C' * (row + 1)}O,{'pq'[row // 2 % 2]},{'ab'[row % 2]}" for row in range(24)]
    Path("d.csv").write_text("\n".join(["smiles,kind,assay", *rows]) + "\n")
    return tmp_path


@pytest.mark.parametrize("method", METHODS)
def test_it_goes_on_exactly(molecules: Path, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def words(name: str) -> list[str]:
        told = ["molecules", "finetune", "runs/r", "--data", "d.csv", "--label", "kind", "--name", name, "--no-twin"]
        told += ["--no-plain", "data.batch_size=4", "trainer.accumulate=2", "optimiser.lr=0.02", *METHODS[method]]
        return [*told, "trainer.steps=6", "trainer.validate_every=2"]

    found = check_that_it_goes_on(words, "molecules", monkeypatch)
    start = read_file(Path("runs/r/model/weights.safetensors"))
    moved = {name for name, value in found.items() if name not in start or not torch.equal(value, start[name])}
    assert any(".experts." in name or name.startswith("side.") for name in moved)
    assert repcore.load("runs/cut").predict("d.csv").outputs.shape == (24, 2)
