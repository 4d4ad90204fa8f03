"""Peers' SwinUNETR weights: every layout gives the same transformer, and every key is accounted for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from repcore.errors import CheckpointError
from repcore_medical3d.checkpoints.swin import convert, sniff
from repcore_medical3d.configs.nnformer import SwinUnetrConfig
from repcore_medical3d.encoders.swin_monai import SwinUnetr

pytest.importorskip("einops", reason="MONAI's Swin transformer needs it")
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def network() -> SwinUnetr:
    torch.manual_seed(0)
    return SwinUnetr(SwinUnetrConfig(crop_edge=64, width=12, heads=(1, 2, 2, 4), window=4))


def ssl_names(state: State) -> State:
    """MONAI's encoder-only file."""
    inner = {name.removeprefix("swinViT."): value for name, value in state.items() if name.startswith("swinViT.")}
    renamed = {name.replace("linear1", "fc1").replace("linear2", "fc2"): value for name, value in inner.items()}
    return {f"module.{name}": value for name, value in renamed.items()} | {"module.rotation_head.weight": torch.ones(1)}


LAYOUTS: dict[str, Callable[[State], State]] = {
    "ssl": ssl_names,
    "voco": lambda s: {f"module.{name.replace('swinViT', 'swin_vit')}": value for name, value in s.items()},
    "whole": lambda s: s,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_transformer(network: SwinUnetr, layout: str) -> None:
    published = LAYOUTS[layout]({name: value.clone() for name, value in network.network.state_dict().items()})
    assert sniff(frozenset(published)) == 1.0
    found = convert(published, Path("swin.pt"), {"crop_edge": "64"})
    assert found.encoder_config == dataclasses.replace(network.config, input_channels=1)  # read off the stem
    assert found.report.total == len(published)
    expected = network.state_dict()
    transformer = [name for name in expected if "swinViT" in name]
    assert all(torch.equal(found.state[name], expected[name]) for name in transformer)
    assert any("decoder" in name for name in found.report.missing) == (layout == "ssl")


def test_a_key_without_a_place_is_named(network: SwinUnetr) -> None:
    state = {**network.network.state_dict(), "surprise.weight": torch.ones(1)}
    with pytest.raises(CheckpointError, match="surprise"):
        convert(state, Path("swin.pt"), {"crop_edge": "64"})
