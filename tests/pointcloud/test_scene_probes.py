"""Dense probes, pictures and the user's commands on scenes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from repcore.errors import ConfigError, DataError
from repcore_pointcloud.configs.scenes import RoomsConfig
from repcore_pointcloud.datasets.scene_rooms import Rooms
from repcore_pointcloud.encoders.sparse_unet import SparseUNet
from repcore_pointcloud.examples import scenes as scenes_examples
from repcore_pointcloud.preprocessors.scene import ScenePreprocessor
from repcore_pointcloud.probes.scene_features import calibrate
from repcore_pointcloud.probes.scene_points import (
    LabelledPoints,
    collect_points,
    iou,
    region_points,
    score_points,
    training_rows,
)
from repcore_pointcloud.rendering.scenes import SHOWN_POINTS, activation_picture, render, viewer


def labelled(count: int = 4000, classes: int = 3) -> LabelledPoints:
    rng = np.random.default_rng(0)
    labels = rng.choice(classes, count, p=[0.8, 0.15, 0.05])
    good = np.eye(classes)[labels] + 0.3 * rng.standard_normal((count, classes))
    features = {"good": good.astype(np.float32), "noise": rng.standard_normal((count, 4)).astype(np.float32)}
    region = labels * 10 + rng.integers(0, 10, count)
    return LabelledPoints(labels, np.arange(count) % 2 == 0, features, region, tuple(range(classes)))


@pytest.mark.parametrize("kind", ["linear", "knn"])
def test_probes_tell_features_from_noise(kind: Literal["linear", "knn"]) -> None:
    points = labelled()
    good = score_points(points, "good", seed=0, kind=kind)
    noise = score_points(points, "noise", seed=0, kind=kind)
    assert good.mean_iou > 0.8 > 0.4 > noise.mean_iou
    assert score_points(points, "good", seed=0, share=0.01).mean_iou > 0.6


def test_training_rows_are_balanced_or_a_share() -> None:
    points = labelled()
    rows = training_rows(points, seed=0, share=None)
    counts = np.bincount(points.labels[rows])
    assert counts[0] == 600
    assert counts[2] == (points.labels[points.is_train] == 2).sum()
    assert points.is_train[rows].all()
    share = training_rows(points, seed=0, share=0.01)
    assert abs(len(share) - 20) <= 2
    assert set(points.labels[share]) == {0, 1, 2}


def test_iou_by_hand() -> None:
    found = iou(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 2]), 4)
    assert found.per_class[:2] == (1 / 2, 1 / 3)
    assert np.isnan(found.per_class[2:]).all()
    assert abs(found.mean_iou - 5 / 12) < 1e-12
    assert found.accuracy == 0.5


def test_regions_take_the_label_of_most_points() -> None:
    regions = region_points(labelled())
    assert len(regions.labels) == 30
    assert (regions.labels == regions.region // 10).all()


def test_points_of_scenes_are_collected_with_baselines() -> None:
    preprocessor, reader = ScenePreprocessor(scenes_examples.SCENE), Rooms(scenes_examples.rooms())
    samples = [reader[0], reader[1]]
    batch = preprocessor.collate(preprocessor.prepare(samples[0]))
    network = SparseUNet(scenes_examples.sparse_unet()[0])
    before = network.get_buffer("conv_input.1.running_var").clone()
    calibrate(network, [batch])
    assert not network.training
    assert not torch.equal(before, network.get_buffer("conv_input.1.running_var"))
    points = collect_points(
        preprocessor, {"trained": network}, samples, label="semantic", ignored=[1], test=[samples[1].id]
    )
    expected = sum(int((one.targets["semantic"] != 1).sum()) for one in samples)
    assert len(points.labels) == expected == len(points.features["trained"]) == len(points.features["hand-crafted"])
    assert 1 not in points.names
    assert 0 < points.is_train.mean() < 1
    with pytest.raises(ConfigError, match="no label 'absent'"):
        collect_points(preprocessor, {}, samples, label="absent")
    with pytest.raises(DataError, match="no labelled point is left"):
        score_points(collect_points(preprocessor, {}, samples, label="semantic"), "hand-crafted", seed=0)


def test_pictures_need_nothing_from_outside() -> None:
    sample = Rooms(scenes_examples.rooms())[0]
    picture = render(sample)
    assert f"{len(sample.inputs.points):,} points" in picture.alt
    assert "http" not in picture.html
    assert "<script" not in picture.html
    assert " id=" not in picture.html
    cloud = np.random.default_rng(0).uniform(0, 1, (SHOWN_POINTS + 500, 3))
    cloud[0] = np.nan
    html = viewer(cloud, np.zeros((len(cloud), 3), np.uint8), 'a "quoted" <title>')
    assert "&quot;quoted&quot; &lt;title>" in html
    features = np.eye(3)[np.arange(30) % 3]
    assert "33%" in activation_picture(cloud[1:31], features, 4).alt


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from repcore.cli.main import run as command

    out = tmp_path_factory.mktemp("runs")
    words = ["pointcloud", "train", "fac", "--out", str(out), "--name", "tiny", "trainer.steps=3", "dataset.scenes=5"]
    small = ["dataset.points=1200", "preprocessor.voxel_size_m=0.15", "encoder.stage_widths=[12,8]"]
    assert command([*words, *small, "encoder.stage_blocks=[1,1]"]) == 0
    return out / "tiny"


def test_train_probe_and_map_through_the_command_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from repcore.cli.main import run as command

    data = tmp_path / "scans"
    data.mkdir()
    for row in range(3):
        room = Rooms(RoomsConfig(scenes=3, points=16_000))[row]
        np.savez(data / f"{room.id}.npz", xyz=room.inputs.points, semantic=room.targets["semantic"])
    capsys.readouterr()
    words = ["--data", str(data), "--label", "semantic", "--test", "room-000002", "--seeds", "1", "--json"]
    assert command(["pointcloud", "scene-probe", str(run), *words]) == 0
    shown = json.loads(capsys.readouterr().out)
    found = {(one["level"], one["probe"], one["features"]) for one in shown["rows"]}
    assert {
        ("point", "linear", "trained"),
        ("point", "knn", "random-init"),
        ("region", "linear", "hand-crafted"),
    } <= found
    page = tmp_path / "maps.html"
    assert command(["pointcloud", "scene-activation", str(run), "--data", str(data), "-o", str(page)]) == 0
    assert page.read_text().count("<canvas") == 6
    out = tmp_path / "vectors.npz"
    assert command(["embed", str(run), str(data), "-o", str(out), "--level", "region"]) == 0
    assert out.is_file()
