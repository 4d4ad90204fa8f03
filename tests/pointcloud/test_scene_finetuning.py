"""Fine-tuning with few labelled points, and features of several stages."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from repcore.errors import ConfigError, DataError
from repcore.interfaces import Progress, Tokens
from repcore_pointcloud.configs.scene_segmentation import SceneFinetuningConfig
from repcore_pointcloud.configs.scenes import RoomsConfig, ScenePairConfig
from repcore_pointcloud.datasets.scene_rooms import Rooms
from repcore_pointcloud.encoders.sparse_unet import SparseUNet
from repcore_pointcloud.examples import scenes as scenes_examples
from repcore_pointcloud.objectives.fac import Fac
from repcore_pointcloud.preprocessors.scene import ScenePreprocessor
from repcore_pointcloud.probes.scene_features import carried_up, voxel_features
from repcore_pointcloud.tasks.scene_finetuning import (
    LabelledScene,
    label_scenes,
    labelled_view,
    score_segmentation,
    thinned_classes,
    train_segmentation,
    with_share,
)
from repcore_pointcloud.views.scene_pair import ScenePair

PREPROCESSOR = ScenePreprocessor(scenes_examples.SCENE)


def scenes() -> tuple[list[LabelledScene], tuple[int, ...]]:
    reader = Rooms(scenes_examples.rooms())
    return label_scenes(
        PREPROCESSOR, [reader[row] for row in range(3)], label="semantic", ignored=[0], test=["room-000002"]
    )


def test_classes_are_numbered_without_what_is_ignored() -> None:
    found, names = scenes()
    assert 0 not in names
    for one in found:
        truth = one.sample.targets["semantic"][one.rows]
        assert (np.asarray(names)[one.classes] == truth).all()
    assert [bool(one.is_train.all()) for one in found] == [True, True, False]
    reader = Rooms(scenes_examples.rooms())
    with pytest.raises(DataError, match="shows 1 classes"):
        label_scenes(PREPROCESSOR, [reader[0]], label="semantic", ignored=range(1, 7))


def test_a_share_keeps_every_class_and_no_tested_point() -> None:
    found, names = scenes()
    few = with_share(found, 0.01, seed=0)
    kept = np.concatenate([one.classes for one in few])
    trained = np.concatenate([one.classes[one.is_train] for one in found])
    assert set(kept) == set(trained) <= set(range(len(names)))
    assert len(kept) < 0.03 * len(trained)  # 1 %, and at least one a class
    assert all(one.is_train.all() for one in few)
    assert sum(len(one.rows) for one in with_share(found, 1.0, seed=0)) == len(trained)
    with pytest.raises(ConfigError, match="share=2"):
        with_share(found, 2.0, seed=0)


def test_voxels_of_a_view_have_the_class_of_their_points() -> None:
    scene = scenes()[0][0]
    classes = thinned_classes(scene)
    cell = scene.scene.source[scene.rows]
    for one in range(0, len(classes), 29):
        votes = np.bincount(scene.classes[cell == one])
        assert classes[one] == (votes.argmax() if len(votes) else -1)
    views = ScenePair(ScenePairConfig(window_points=300, view_points=300, drop_share=0.0), PREPROCESSOR)
    # one class everywhere: every voxel that has a class has this one
    batch, labels = labelled_view(views, scene.scene, np.where(classes >= 0, 4, -1), np.random.default_rng(0))
    assert len(labels) == len(batch.inputs["coordinates"])
    assert set(labels.tolist()) <= {4, -1}
    assert (labels == 4).any()


@pytest.mark.parametrize("clusters", [0.0, 1.0])
def test_fine_tuning_learns_and_is_repeatable(clusters: float) -> None:
    found, names = scenes()
    config = SceneFinetuningConfig(steps=25, lr=3e-3, window_points=600, cluster_weight=clusters)

    def network(steps: int) -> float:
        torch.manual_seed(0)
        encoder = SparseUNet(dataclasses.replace(scenes_examples.sparse_unet()[0], batch_norm_momentum=0.2))
        chosen = with_share(found, 1.0, seed=0)
        task = train_segmentation(encoder, PREPROCESSOR, chosen, names, dataclasses.replace(config, steps=steps))
        return score_segmentation(task, PREPROCESSOR, found).mean_iou

    learned = network(25)
    assert learned > network(1) + 0.05
    assert learned == network(25)
    with pytest.raises(DataError, match="left for testing"):
        score_segmentation(None, PREPROCESSOR, found[:2])  # type: ignore[arg-type]  # not reached


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
    with pytest.raises(ConfigError, match="no stages"):
        voxel_features(torch.nn.Linear(2, 2), batch, "all")


def test_the_objective_draws_point_activation_maps() -> None:
    config, batch = scenes_examples.fac()
    objective = Fac(config, SparseUNet(scenes_examples.sparse_unet()[0])).eval()
    with torch.no_grad():
        picture = objective.picture(batch, objective.draw(batch, torch.Generator().manual_seed(0), Progress(0, 1)))
    assert picture.html.count("<img") == 2
    assert "key encoder: similarity to one point" in picture.alt


def test_through_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from repcore.cli.main import run as command

    words = ["pointcloud", "train", "fac", "--out", str(tmp_path), "--name", "tiny", "trainer.steps=2"]
    small = ["dataset.scenes=5", "dataset.points=1200", "preprocessor.voxel_size_m=0.15", "encoder.stage_widths=[12,8]"]
    assert command([*words, *small, "encoder.stage_blocks=[1,1]"]) == 0
    drawn = [json.loads(line) for line in (tmp_path / "tiny" / "pictures.jsonl").read_text().splitlines()]
    assert drawn
    assert all(one["html"].count("<img") == 2 for one in drawn)
    data = tmp_path / "scans"
    data.mkdir()
    room = Rooms(RoomsConfig(scenes=1, points=12_000))[0]
    side = (room.inputs.points[:, 0] > 0).astype(np.int64)
    np.savez(data / "room.npz", xyz=room.inputs.points, semantic=room.targets["semantic"], side=side)
    np.savez(data / "empty.npz", xyz=np.zeros((0, 3), np.float32), semantic=np.zeros(0, np.int64))
    capsys.readouterr()
    words = ["--data", str(data), "--reader", "scenes", "--label", "semantic", "--group", "side", "--test", "1"]
    more = [
        "--seeds",
        "1",
        "--share",
        "0.1",
        "--steps",
        "2",
        "--clusters",
        "1",
        "--json",
        "-o",
        str(tmp_path / "o.json"),
    ]
    assert command(["pointcloud", "scene-segment", str(tmp_path / "tiny"), *words, *more]) == 0
    shown = capsys.readouterr()
    record = json.loads(shown.out)
    assert [one["features"] for one in record["rows"]] == ["trained", "random-init", "hand-crafted, linear"]
    assert all(0 <= one["mean_iou"] <= 1 for one in record["rows"])
    assert "left out: row 0: empty" in shown.err
    assert json.loads((tmp_path / "o.json").read_text()) == record
    assert command(["pointcloud", "scene-segment", str(tmp_path / "tiny"), *words[:6]]) != 0
    assert "--test" in capsys.readouterr().err
