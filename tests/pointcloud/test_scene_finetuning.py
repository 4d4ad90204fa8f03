"""Fine-tuning within one scan with few labelled points, and features of several stages."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from repcore.embedding.prediction_files import read_table
from repcore.errors import ConfigError
from repcore.interfaces import Progress, Tokens
from repcore_pointcloud.configs.scenes import RoomsConfig
from repcore_pointcloud.datasets.scene_rooms import Rooms
from repcore_pointcloud.encoders.sparse_unet import SparseUNet
from repcore_pointcloud.encoders.stage_readout import carried_up
from repcore_pointcloud.examples import scenes as scenes_examples
from repcore_pointcloud.objectives.fac import Fac
from repcore_pointcloud.probes.scene_features import voxel_features


def test_coarse_values_reach_the_voxels_inside() -> None:
    fine = Tokens(
        torch.zeros(5, 1),
        owner=torch.tensor([0, 0, 0, 1, 1]),
        position=torch.tensor([[-1, 0, 0], [0, 0, 0], [3, 1, 1], [0, 0, 0], [2, 2, 2]]),
    )
    coarse = Tokens(
        torch.arange(5.0)[:, None],
        owner=torch.tensor([1, 0, 0, 0, 1]),
        position=torch.tensor([[1, 1, 1], [1, 0, 0], [-1, 0, 0], [0, 0, 0], [0, 0, 0]]),
    )
    assert carried_up(coarse, fine, 2)[:, 0].tolist() == [2.0, 3.0, 1.0, 4.0, 0.0]


def test_stages_stand_side_by_side() -> None:
    config, batch = scenes_examples.sparse_unet()
    encoder = SparseUNet(dataclasses.replace(config, stage_widths=(12, 16, 14, 8), stage_blocks=(1, 1, 1, 1))).eval()
    last, decoder, every = (voxel_features(encoder, batch, stages) for stages in ("last", "decoder", "all"))
    assert decoder.shape == (len(last), 14 + 8)
    assert every.shape == (len(last), 8 + 16 + 14 + 8)
    assert np.array_equal(decoder[:, 14:], last)
    parents = torch.unique(
        torch.cat([batch.inputs["coordinates"][:, :1], batch.inputs["coordinates"][:, 1:] // 2], 1), dim=0
    )
    assert len(np.unique(decoder[:, :14], axis=0)) <= len(parents)
    read = encoder.read("all", batch)
    assert torch.equal(read.values, torch.from_numpy(every))
    assert read.owner is not None  # so that the core's verbs bring them back to points
    assert torch.equal(read.owner, encoder(batch).tokens["voxel"].owner)
    with pytest.raises(ConfigError, match="no stages"):
        voxel_features(torch.nn.Linear(2, 2), batch, "all")


def test_the_objective_draws_point_activation_maps() -> None:
    config, batch = scenes_examples.fac()
    objective = Fac(config, SparseUNet(scenes_examples.sparse_unet()[0])).eval()
    with torch.no_grad():
        picture = objective.picture(batch, objective.draw(batch, torch.Generator().manual_seed(0), Progress(0, 1)))
    assert picture.html.count("<img") == 2
    assert "key encoder: similarity to one point" in picture.alt


def test_through_the_command_line(tmp_path: Path) -> None:
    from repcore.cli.main import run as command

    words = ["pointcloud", "train", "fac", "--out", str(tmp_path), "--name", "tiny", "trainer.steps=2"]
    small = ["dataset.scenes=5", "dataset.points=1200", "preprocessor.voxel_size_m=0.15", "encoder.stage_widths=[12,8]"]
    assert command([*words, *small, "encoder.stage_blocks=[1,1]"]) == 0
    drawn = [json.loads(line) for line in (tmp_path / "tiny" / "pictures.jsonl").read_text().splitlines()]
    assert drawn
    assert all(one["html"].count("<img") == 2 for one in drawn)


def test_within_one_scan_through_the_verbs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from repcore.cli.main import run as command

    words = ["pointcloud", "train", "fac", "--out", str(tmp_path), "--name", "tiny", "trainer.steps=2"]
    small = ["dataset.scenes=5", "dataset.points=1200", "preprocessor.voxel_size_m=0.15", "encoder.stage_widths=[12,8]"]
    assert command([*words, *small, "encoder.stage_blocks=[1,1]"]) == 0
    data = tmp_path / "scans"
    data.mkdir()
    room = Rooms(RoomsConfig(scenes=1, points=12_000))[0]
    quarter = 2 * (room.inputs.points[:, 0] > 0).astype(np.int64) + (room.inputs.points[:, 1] > 0)
    np.savez(data / "room.npz", xyz=room.inputs.points, semantic=room.targets["semantic"], quarter=quarter)
    np.savez(data / "empty.npz", xyz=np.zeros((0, 3), np.float32), semantic=np.zeros(0, np.int64))
    run, within = str(tmp_path / "tiny"), ["--reader", "scenes", "--label", "semantic", "--group", "quarter"]
    where = ["--data", str(data), *within, "--split", "held-out:1"]
    capsys.readouterr()
    assert command(["probe", run, *where, "--level", "point", "--seeds", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)[0]
    probed = {one["features"] for one in told["entries"]}
    assert {"trained", "random-init", "hand-crafted"} <= probed
    settings = ["trainer.steps=3", "data.batch_size=1", "finetune.label_share=0.1", "finetune.head_lr_factor=10"]
    task = [
        "--task",
        "scene-segmentation",
        "task.cluster_weight=1",
        "task.clusters_per_class=3",
        "task.cluster_width=8",
    ]
    words = ["--out", str(tmp_path), "--name", "f", "--no-twin", *task, *settings]
    assert command(["pointcloud", "finetune", run, *where, *words]) == 0
    record = json.loads((tmp_path / "f" / "finetune.json").read_text())
    assert record["rows"] == {"train": 2, "validation": 1, "test": 1}
    assert 0 <= record["test"]["miou"] <= 1
    found = read_table(tmp_path / "f" / "predictions" / "test.parquet")
    assert found["id"] == ["room#quarter=1"]
    out = tmp_path / "answers"
    capsys.readouterr()
    assert command(["predict", str(tmp_path / "f"), str(data), "--reader", "scenes", "-o", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["status"] == {"empty": 1, "ok": 1}
    assert command(["pointcloud", "finetune", run, "--data", str(data), *within, "--split", "held-out:9"]) != 0
    assert "no group or id '9'" in capsys.readouterr().err


def test_few_labels_of_one_part_teach_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Room by room within one file: floor, walls and ceiling of tested blocks are told after a minute of few labels."""
    from repcore.cli.main import run as command

    words = ["pointcloud", "train", "fac", "--out", str(tmp_path), "--name", "tiny", "trainer.steps=2"]
    small = ["dataset.scenes=5", "dataset.points=1200", "preprocessor.voxel_size_m=0.15", "encoder.stage_widths=[12,8]"]
    assert command([*words, *small, "encoder.stage_blocks=[1,1]", "encoder.batch_norm_momentum=0.2"]) == 0
    room = Rooms(RoomsConfig(scenes=1, points=9_000))[0]
    np.savez(tmp_path / "room.npz", xyz=room.inputs.points, semantic=room.targets["semantic"])
    where = ["--data", str(tmp_path / "room.npz"), "--reader", "scenes", "--label", "semantic", "--group", "blocks:1.5"]
    settings = ["trainer.steps=40", "data.batch_size=1", "finetune.label_share=0.2", "optimiser.lr=0.01"]
    assert command(["pointcloud", "finetune", str(tmp_path / "tiny"), *where, "--out", str(tmp_path), "--name", "f",
                    "--no-twin", *settings]) == 0  # fmt: skip
    record = json.loads((tmp_path / "f" / "finetune.json").read_text())
    assert record["rows"]["test"] >= 1
    assert record["test"]["element-accuracy"] > 0.6, record["test"]
