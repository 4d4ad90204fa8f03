"""Activation checkpointing changes what is kept, not what is learned."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from repcore.cli.main import run
from repcore.errors import ConfigError
from repcore.training.recomputing import recompute_activations
from tests.molecules.conftest import TINY, WriteTable, train

DEEP = ("encoder.layers=4", "encoder.hidden_dropout=0.1", "encoder.attention_dropout=0.1")
ON = "trainer.activation_checkpointing=true"


def test_the_same_parameters_are_learned(tmp_path: Path) -> None:
    """With dropout, whose draws are repeated."""
    found = []
    for name, more in (("kept", ()), ("again", (ON,))):
        folder = train(tmp_path, name, "trainer.steps=2", *DEEP, *more)
        found.append(torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"])
    assert found[0].keys() == found[1].keys()
    assert {name for name, one in found[0].items() if not torch.equal(one, found[1][name])} == set()


def test_less_is_kept_for_the_way_back(
    write_table: WriteTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    data = write_table("m.csv", {"smiles": ["C" * (1 + number) + "O" for number in range(30)]})
    kept = []
    for more in ((), (ON,)):
        assert run(["plan", "molecules/selformer", "--data", str(data), *TINY, *DEEP, *more, "--json"]) == 0
        kept.append(json.loads(capsys.readouterr().out)["measured"]["kept_bytes"])
    assert kept[1] < 0.5 * kept[0]


class Block(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(3, 3), nn.ReLU())


class Normed(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(3, 3), nn.BatchNorm1d(3))


class Parts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.step = nn.Linear(3, 3)


class Holding(nn.Module):
    """A block that reads the parameters of parts which are never called, as both directions of a Mamba block are."""

    def __init__(self) -> None:
        super().__init__()
        self.directions = nn.ModuleList(Parts() for _ in range(2))

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden @ torch.stack([one.get_parameter("step.weight") for one in self.directions]).sum(0)


def test_blocks_with_running_statistics_are_left_alone_and_said() -> None:
    with pytest.raises(ConfigError, match="no repeated blocks without"):
        recompute_activations(nn.Sequential(nn.Sequential(Normed(), Normed())), "mine")
    layers = nn.ModuleList(nn.Sequential(nn.Linear(3, 3), nn.ReLU()) for _ in range(3))
    assert recompute_activations(nn.ModuleDict({"layers": layers}), "mine") == 3
    stages = nn.Sequential(*(nn.Sequential(Block(), Block()) for _ in range(2)))
    assert recompute_activations(nn.ModuleDict({"stages": stages}), "mine") == 4
    assert [isinstance(one.forward, partial) for one in stages] == [False, False]
    assert [isinstance(one.forward, partial) for stage in stages for one in stage.children()] == [True] * 4
    holders = nn.ModuleList(Holding() for _ in range(2))
    assert recompute_activations(nn.ModuleDict({"layers": holders}), "mine") == 2
    assert [isinstance(one.forward, partial) for one in holders] == [True, True], "and not what they hold"
    once = nn.ModuleList(nn.TransformerEncoderLayer(4, 2, 8) for _ in range(3))
    shared = nn.ModuleDict({"task": nn.ModuleDict({"encoder": once}), "method": nn.ModuleDict({"encoder": once})})
    assert recompute_activations(shared, "mine") == 3, "known by two names, computed again once"
