"""Sparse U-Net: batches of scenes of any size, levels, published layouts and kernel orders."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from repcore.errors import CheckpointError, ConfigError, DataError
from repcore.interfaces import Batch
from repcore_pointcloud.checkpoints.sparse_unet import (
    convert_minkowski,
    convert_pointcept,
    sniff_minkowski,
    sniff_pointcept,
)
from repcore_pointcloud.checkpoints.sparse_weights import from_minkowski, from_spconv1, from_spconv_pointwise, from_zyx
from repcore_pointcloud.configs.sparse_unet import NARROW, RES16UNET34C, SPUNET, SparseUNetConfig
from repcore_pointcloud.encoders.sparse_unet import SparseUNet
from repcore_pointcloud.examples import scenes as scenes_examples
from repcore_pointcloud.layers.sparse_tensor import SparseTensor, merge_duplicates
from repcore_pointcloud.ops.sparse_conv3d.cases import random_coordinates
from repcore_pointcloud.ops.sparse_conv3d.sites import Sites
from repcore_pointcloud.ops.sparse_conv3d.torch import sparse_conv3d

SMALL = SparseUNetConfig(
    input_width=3, stem_width=4, stem_kernel=3, stage_widths=(6, 8, 8, 5), stage_blocks=(1, 2, 1, 1)
)


def unet(config: SparseUNetConfig = SMALL, seed: int = 0) -> SparseUNet:
    torch.manual_seed(seed)
    return SparseUNet(config).eval()


def scene(voxels: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    coordinates = random_coordinates(voxels, 7, generator)
    coordinates[:, 0] = 0
    coordinates = torch.unique(coordinates, dim=0)
    return coordinates, torch.randn(len(coordinates), 3, generator=generator)


def joined(*scenes: tuple[Tensor, Tensor]) -> Batch:
    parts = []
    for number, (coordinates, _) in enumerate(scenes):
        parts.append(coordinates + torch.tensor([number, 0, 0, 0]))
    inputs = {"coordinates": torch.cat(parts), "features": torch.cat([one[1] for one in scenes])}
    return Batch(inputs=inputs, size=len(scenes))


def test_scenes_do_not_see_each_other() -> None:
    network, one, two = unet(), scene(60, 0), scene(5, 1)
    both = network(joined(one, two)).tokens["voxel"].values
    assert torch.allclose(both[: len(one[0])], network(joined(one)).tokens["voxel"].values, atol=1e-6)
    assert torch.allclose(both[len(one[0]) :], network(joined(two)).tokens["voxel"].values, atol=1e-6)


def test_moving_a_scene_by_whole_strides_changes_nothing() -> None:
    network, (coordinates, features) = unet(), scene(60, 0)
    moved = coordinates + torch.tensor([0, -8, 4, 12])
    one, two = network(joined((coordinates, features))), network(joined((moved, features)))
    assert torch.allclose(one.tokens["voxel"].values, two.tokens["voxel"].values, atol=1e-6)


def test_one_voxel_and_no_voxel() -> None:
    single = (torch.zeros(1, 4, dtype=torch.long), torch.ones(1, 3))
    for training in (False, True):
        assert torch.isfinite(unet().train(training)(joined(single)).pooled).all()
    with pytest.raises(DataError, match="no voxel"):
        unet()(joined((torch.zeros(0, 4, dtype=torch.long), torch.zeros(0, 3))))


def test_levels_lead_back_to_points() -> None:
    config, batch = scenes_examples.sparse_unet()
    network = unet(config)
    found = network(batch, layers=(0, 1, 2))
    voxel, region = found.tokens["voxel"], found.tokens["region"]
    assert voxel.source is not None
    assert region.source is not None
    number = 3
    rows = batch.inputs["region"] == number
    assert torch.allclose(region.values[number], voxel.values[rows].mean(0), atol=1e-6)
    assert (region.source == batch.inputs["region"][voxel.source]).all()
    assert len(found.layers[0].values) == len(voxel.values)
    assert len(found.layers[1].values) < len(found.layers[2].values)


def test_published_sizes() -> None:
    with torch.device("meta"):
        counts = {
            name: sum(one.numel() for one in SparseUNet(dataclasses.replace(config, input_width=3)).parameters()) / 1e6
            for name, config in (("spunet", SPUNET), ("res16", RES16UNET34C), ("narrow", NARROW))
        }
    assert abs(counts["spunet"] - 39.1) < 0.2
    assert abs(counts["res16"] - 37.9) < 0.2
    assert abs(counts["narrow"] - 1.2) < 0.1


@pytest.mark.parametrize("changes", [{"input_width": None}, {"stage_widths": (4, 4, 4)}, {"stage_blocks": (1, 1)}])
def test_settings_that_do_not_fit_are_named(changes: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        SparseUNet(dataclasses.replace(SMALL, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("rule", ["mean", "sum", "max", "first"])
def test_duplicates_are_merged_by_the_rule(rule: str) -> None:
    coordinates = torch.tensor([[0, 2, 0, 0], [0, -1, 0, 0], [0, 2, 0, 0]])
    features = torch.tensor([[1.0, 5.0], [7.0, 7.0], [3.0, 2.0]])
    merged, index = merge_duplicates(coordinates, features, rule)  # type: ignore[arg-type]
    expected = {"mean": [2.0, 3.5], "sum": [4.0, 7.0], "max": [3.0, 5.0], "first": [1.0, 5.0]}[rule]
    assert merged.sites.coordinates[:, 1].tolist() == [-1, 2]
    assert merged.features[1].tolist() == expected
    assert index.tolist() == [1, 0, 1]


def test_kernel_orders_against_dense_convolution() -> None:
    generator = torch.Generator().manual_seed(0)
    coordinates, features = scene(50, 3)
    book = Sites(coordinates).submanifold((3, 3, 3))
    wanted = torch.randn(4, 3, 3, 3, 3, generator=generator)  # (O, x, y, z, I)
    expected = sparse_conv3d(features, wanted, rulebook=book)
    x_fastest = wanted.permute(3, 2, 1, 4, 0).reshape(27, 3, 4)
    z_fastest = wanted.permute(1, 2, 3, 4, 0).reshape(27, 3, 4)
    for kernel, order in ((x_fastest, "x_fastest"), (z_fastest, "z_fastest")):
        got = sparse_conv3d(features, from_minkowski(kernel, order), rulebook=book)  # type: ignore[arg-type]
        assert torch.equal(got, expected)
    mixed = sparse_conv3d(features, from_minkowski(x_fastest, "z_fastest"), rulebook=book)
    assert (mixed - expected).abs().max() > 0.5  # the wrong order is not merely inexact
    assert torch.equal(from_spconv1(wanted.permute(1, 2, 3, 4, 0)), wanted)
    assert torch.equal(from_zyx(wanted.permute(0, 3, 2, 1, 4)), wanted)
    with pytest.raises(CheckpointError, match="side"):
        from_minkowski(torch.zeros(26, 3, 4))


def test_spconv_reads_pointwise_weights_the_other_way() -> None:
    spconv = pytest.importorskip("spconv.pytorch")
    coordinates, features = scene(30, 4)
    shift = coordinates - coordinates.amin(0)
    layer = spconv.SubMConv3d(3, 5, 1, bias=False, algo=spconv.ConvAlgo.Native)
    given = spconv.SparseConvTensor(features, shift.int(), [12, 12, 12], 1)
    with torch.no_grad():
        expected = layer(given).features
        converted = from_spconv_pointwise(layer.weight.detach())
    got = F.linear(features, converted.reshape(5, 3))
    assert torch.allclose(got, expected, atol=1e-6)  # one float32 product of three


def test_pointcept_files_load(tmp_path: Path) -> None:
    network = unet()
    state = {f"module.backbone.{name}": value for name, value in network.state_dict().items()}
    state["module.backbone.mask_token"] = torch.zeros(3)
    assert sniff_pointcept(frozenset(state)) > 0.9 > sniff_minkowski(frozenset(state))
    imported = convert_pointcept({"state_dict": state}, tmp_path / "model.pth", {})
    assert imported.encoder_config.stage_widths == SMALL.stage_widths
    assert imported.encoder_config.stage_blocks == SMALL.stage_blocks
    fresh = SparseUNet(imported.encoder_config)
    fresh.load_state_dict(dict(imported.state))
    assert imported.report.dropped == {"backbone.mask_token": "head of the old task"}
    del state["module.backbone.enc.0.block0.bn1.weight"]
    with pytest.raises(CheckpointError, match="does not fit"):
        convert_pointcept({"state_dict": state}, tmp_path / "model.pth", {})


def minkowski_names(state: dict[str, Tensor], depth: int) -> dict[str, Tensor]:
    """Our names and kernels as MinkowskiEngine would store them; independent of the converter's rules."""
    given: dict[str, Tensor] = {}
    for name, value in state.items():
        parts = name.split(".")
        stage, kind = parts[0], parts[-1]
        is_kernel = value.ndim == 5
        if is_kernel:
            volume = value.shape[1] * value.shape[2] * value.shape[3]
            value = value.permute(3, 2, 1, 4, 0).reshape(volume, value.shape[4], value.shape[0])
            value, kind = (value[0] if volume == 1 else value), "kernel"
        if stage == "conv_input":
            new = "conv0p1s1.kernel" if is_kernel else f"bn0.bn.{kind}"
        elif stage in ("down", "up"):
            step = int(parts[1])
            number = step + 1 if stage == "down" else 2 * depth - 1 - step
            reach = 2**step if stage == "down" else 2 ** (step + 1)
            tr = "" if stage == "down" else "tr"
            new = f"conv{tr}{number}p{reach}s2.kernel" if is_kernel else f"bn{tr}{number}.bn.{kind}"
        else:
            step = int(parts[1])
            number = step + 1 if stage == "enc" else 2 * depth - step
            inner = parts[2].removeprefix("block")
            rest = ".".join(parts[3:-1]).replace("proj", "downsample")
            rest = rest.replace("bn1", "norm1").replace("bn2", "norm2")
            new = f"block{number}.{inner}.{rest}.{kind}" if is_kernel else f"block{number}.{inner}.{rest}.bn.{kind}"
        given[new] = value
    return given


def test_minkowski_and_trainer_files_load(tmp_path: Path) -> None:
    network = unet(dataclasses.replace(SMALL, width_changes_at="block", batch_norm_epsilon=1e-5))
    names = minkowski_names(network.state_dict(), depth=2)
    assert sniff_minkowski(frozenset(names)) > 0.9
    final = {"final.kernel": torch.zeros(5, 20), "final.bias": torch.zeros(1, 20)}
    imported = convert_minkowski({"state_dict": names | final}, tmp_path / "weights.pth", {})
    fresh = SparseUNet(imported.encoder_config).eval()
    fresh.load_state_dict(dict(imported.state))
    coordinates, features = scene(50, 5)
    voxels = SparseTensor(features, Sites(coordinates))
    assert torch.equal(fresh.stages(voxels)["dec.0"].features, network.stages(voxels)["dec.0"].features)
    assert set(imported.report.dropped) == set(final)
    trainer = {f"trunk.2.{name}": value for name, value in names.items()}
    trainer |= {f"trunk.3.{name}": value for name, value in names.items()} | {
        "trunk.2.head.clf.0.weight": torch.zeros(2)
    }
    again = convert_minkowski({"model": trainer, "epoch": 400}, tmp_path / "joint.torch", {})
    assert all(torch.equal(again.state[name], imported.state[name]) for name in imported.state)
    with pytest.raises(CheckpointError, match="no part of a Res16UNet"):
        convert_minkowski(names | {"surprise.kernel": torch.zeros(2, 2)}, tmp_path / "odd.pth", {})


@pytest.mark.parametrize("first", [0, 1])
def test_blocks_of_a_large_scene_give_the_values_of_the_whole(monkeypatch: pytest.MonkeyPatch, first: int) -> None:
    from repcore_pointcloud.encoders import scene_blocks

    torch.manual_seed(3)
    config = SparseUNetConfig(input_width=3, stem_width=4, stem_kernel=3, stage_widths=(6, 5), stage_blocks=(1, 1))
    encoder = SparseUNet(config).eval()
    for norm in encoder.modules():  # statistics that are not those of new networks
        if isinstance(norm, torch.nn.BatchNorm1d):
            norm.running_mean.normal_(), norm.running_var.uniform_(0.5, 2)
    drawn = torch.randint(-70, 70, (9000, 4))
    drawn[:, 0], drawn[:, 3] = drawn[:, 0] % 2, drawn[:, 3] % 5
    places = torch.unique(drawn, dim=0)
    places = places[torch.argsort(torch.rand(len(places)))] if first else places
    places = places[torch.argsort(places[:, 0], stable=True)]
    region = torch.randint(0, 4, (len(places),)) + 4 * places[:, 0]
    region[::7] = -first
    owner = torch.tensor([0] * 4 + [1] * 4)
    inputs = {"coordinates": places, "features": torch.randn(len(places), 3), "region": region, "region_owner": owner}
    batch = Batch(inputs=inputs, size=2)
    with torch.inference_mode():
        whole = encoder(batch, layers=(0, 1, 2))
        joined = encoder.read("all", batch)
        monkeypatch.setattr(scene_blocks, "MOST_VOXELS", 400)
        boxes = list(scene_blocks.boxes(places, 2, 2 * encoder.reach))
        parts = encoder(batch, layers=(0, 1, 2))
        apart = encoder.read("all", batch)
    assert len(boxes) > 8
    held = sum(int(((places >= low) & (places < high)).all(1).sum()) for low, high in boxes)
    assert held == len(places)
    torch.testing.assert_close(parts.tokens["voxel"].values, whole.tokens["voxel"].values, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(parts.tokens["region"].values, whole.tokens["region"].values, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(parts.pooled, whole.pooled, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(apart.values, joined.values, rtol=1e-5, atol=1e-6)
    for number in range(3):
        assert torch.equal(parts.layers[number].position, whole.layers[number].position)
        torch.testing.assert_close(parts.layers[number].values, whole.layers[number].values, rtol=1e-5, atol=1e-6)
    monkeypatch.setattr(scene_blocks, "in_blocks", None)  # with gradients the scene is one
    encoder(batch).pooled.sum().backward()
