"""Dense probes, pictures and the user's commands on scenes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from repcore_pointcloud.configs.scenes import RoomsConfig
from repcore_pointcloud.datasets.scene_rooms import Rooms
from repcore_pointcloud.encoders.sparse_unet import SparseUNet
from repcore_pointcloud.examples import scenes as scenes_examples
from repcore_pointcloud.preprocessors.scene import ScenePreprocessor
from repcore_pointcloud.probes.scene_features import calibrate
from repcore_pointcloud.rendering.scenes import SHOWN_POINTS, activation_picture, render, viewer


def test_random_encoders_get_statistics_of_the_data() -> None:
    preprocessor, reader = ScenePreprocessor(scenes_examples.SCENE), Rooms(scenes_examples.rooms())
    batch = preprocessor.collate(preprocessor.prepare(reader[0]))
    network = SparseUNet(scenes_examples.sparse_unet()[0])
    before = network.get_buffer("conv_input.1.running_var").clone()
    calibrate(network, [batch])
    assert not network.training
    assert not torch.equal(before, network.get_buffer("conv_input.1.running_var"))


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
    words = ["--data", str(data), "--label", "semantic", "--split", "held-out:room-000002", "--seeds", "1", "--json"]
    assert command(["probe", str(run), "--level", "point", *words]) == 0
    found = {(one["features"], one["probe"]) for one in json.loads(capsys.readouterr().out)[0]["entries"]}
    assert {(name, "dense-linear@1") for name in ("trained", "random-init", "hand-crafted")} <= found
    page = tmp_path / "maps.html"
    assert command(["pointcloud", "scene-activation", str(run), "--data", str(data), "-o", str(page)]) == 0
    assert page.read_text().count("<canvas") == 6
    out = tmp_path / "vectors.npz"
    assert command(["embed", str(run), str(data), "-o", str(out), "--level", "region"]) == 0
    assert out.is_file()
