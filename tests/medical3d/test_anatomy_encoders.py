"""Encoders of Adam-v2 in two and three dimensions: equal to torchvision's, published keys, resizing, tokens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from repcore.errors import ConfigError, ShapeError
from repcore.interfaces import Batch
from repcore_medical3d.configs.adam_v2 import ConvNextConfig, ResNetConfig
from repcore_medical3d.encoders.anatomy import AnatomyEncoder
from repcore_medical3d.encoders.convnext import ConvNext, ConvNextEncoder
from repcore_medical3d.encoders.resnet import ResNetEncoder, StagedResNet


def convnext(axes: int = 2, **changes: object) -> ConvNextEncoder:
    settings = {"depths": (1, 1), "widths": (8, 12), "kernel": 3, "layer_scale": 0.3, "spatial_dims": axes, **changes}
    return ConvNextEncoder(ConvNextConfig(**settings)).eval()  # type: ignore[arg-type]


def resnet(axes: int = 2, **changes: object) -> ResNetEncoder:
    settings = {"layers": (1, 1, 1, 1), "widths": (8, 8, 16, 16), "block": "basic", "spatial_dims": axes, **changes}
    return ResNetEncoder(ResNetConfig(**settings)).eval()  # type: ignore[arg-type]


def batch(axes: int, edge: int = 32, channels: int = 1) -> Batch:
    name = "image" if axes == 2 else "volume"
    values = torch.rand(2, channels, *[edge] * axes, generator=torch.Generator().manual_seed(0))
    return Batch(inputs={name: values}, size=2)


def test_the_2d_resnet_is_torchvisions() -> None:
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    theirs = torchvision.models.resnet50(weights=None).eval()
    theirs.fc = torch.nn.Identity()
    for part in theirs.modules():  # running statistics other than 0 and 1
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
    ours = StagedResNet(ResNetConfig(input_channels=3)).eval()
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(ours.pooled(ours.stages_of(images)[-1]), theirs(images))


@pytest.mark.parametrize(("name", "numbers"), [("convnext_base", 87_566_464), ("resnet50", 23_508_032)])
def test_full_size_networks_have_the_published_keys(shared: Path, name: str, numbers: int) -> None:
    listed = json.loads((shared / "golden" / "adam_v2" / f"checkpoint_keys_{name}.json").read_text())
    prefix = "module.student.backbone."
    published = {key.removeprefix(prefix): tuple(shape) for key, shape in listed.items() if key.startswith(prefix)}
    with torch.device("meta"):
        network = (
            StagedResNet(ResNetConfig(input_channels=3))
            if name == "resnet50"
            else ConvNext(ConvNextConfig(input_channels=3))
        )
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == published
    assert sum(one.numel() for one in network.parameters()) == numbers


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("make", [convnext, resnet])
def test_features_in_two_and_three_dimensions(axes: int, make: object) -> None:
    encoder: AnatomyEncoder = make(axes)  # type: ignore[operator]
    found = encoder(batch(axes), layers=(0, 1))
    assert found.pooled.shape == (2, encoder.dim)
    tokens = found.tokens["map"]
    assert tokens.values.shape[2] == encoder.dim
    assert tokens.position is not None
    assert tokens.position.shape == (*tokens.values.shape[:2], axes)
    assert tokens.position[0, -1].tolist() == tokens.position[0].amax(0).tolist()
    assert found.layers[0].values.shape[1] > found.tokens["map"].values.shape[1]


def test_the_resnets_vector_is_the_mean_of_its_map() -> None:
    found = resnet()(batch(2))
    assert torch.allclose(found.pooled, found.tokens["map"].values.mean(1), atol=1e-6)


def test_statistics_are_taken_off_each_channel() -> None:
    encoder = convnext(input_channels=3, mean=(0.1, 0.2, 0.3), deviation=(1.0, 2.0, 4.0))
    values = torch.full((1, 3, 2, 2), 0.5)
    assert torch.allclose(encoder.standardised(values)[0, :, 0, 0], torch.tensor([0.4, 0.15, 0.05]))


def test_whole_images_are_resized_to_the_input_size() -> None:
    encoder = convnext(input_size=16)
    plain = convnext()
    plain.load_state_dict(encoder.state_dict())
    small = Batch(inputs={"image": torch.nn.functional.avg_pool2d(batch(2).inputs["image"], 2)}, size=2)
    assert torch.allclose(encoder(batch(2)).pooled, plain(small).pooled, atol=1e-4)


@pytest.mark.parametrize("norm", ["group", "instance"])
def test_norms_without_batch_statistics_do_not_mix_items(norm: str) -> None:
    encoder = resnet(norm=norm).train()
    assert not any(isinstance(one, torch.nn.modules.batchnorm._BatchNorm) for one in encoder.modules())
    images = batch(2, edge=64).inputs["image"]
    together = encoder(Batch(inputs={"image": images}, size=2)).pooled
    alone = encoder(Batch(inputs={"image": images[:1]}, size=1)).pooled
    assert torch.allclose(together[:1], alone, atol=1e-5)


def test_drop_path_is_honoured() -> None:
    encoder = convnext(drop_path=0.5).train()
    torch.manual_seed(0)
    first, second = encoder(batch(2)).pooled, encoder(batch(2)).pooled
    assert (first != second).any()
    assert torch.equal(encoder.eval()(batch(2)).pooled, encoder(batch(2)).pooled)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: convnext(depths=(1,)), "one number a stage"),
        (lambda: convnext(kernel=4), "kernel=4"),
        (lambda: convnext(mean=(0.1, 0.2)), "do not fit 1 channels"),
        (lambda: convnext()(batch(2), layers=(7,)), "layers 0 to 2"),
    ],
)
def test_settings_outside_their_range_are_named(make: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make()  # type: ignore[operator]


@pytest.mark.parametrize("given", [batch(3), batch(2, channels=3), Batch(inputs={"other": torch.zeros(1)}, size=1)])
def test_inputs_of_another_kind_are_named(given: Batch) -> None:
    with pytest.raises(ShapeError, match="expects 1 channels and 2 axes"):
        convnext()(given)
