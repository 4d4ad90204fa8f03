"""Published files with fine-tuned heads: import, then predict, and the classes are those of the head."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from repcore.cli.main import run
from repcore.data.batching import plain_batch
from repcore.embedding.prediction_files import read_table
from repcore.interfaces import Sample
from repcore.specs import TargetSpec
from repcore_pointcloud.checkpoints.i2p_mae import KEYS
from repcore_pointcloud.checkpoints.sparse_unet import convert_minkowski, convert_pointcept
from repcore_pointcloud.configs.i2p_mae import PartSegmentationConfig, ShapeClassConfig
from repcore_pointcloud.configs.scenes import RoomsConfig
from repcore_pointcloud.configs.shapes import PointSetConfig
from repcore_pointcloud.datasets.scene_rooms import Rooms
from repcore_pointcloud.datasets.shape_parts import PARTS
from repcore_pointcloud.encoders.i2p_mae import HierarchicalPointEncoder
from repcore_pointcloud.encoders.sparse_unet import SparseUNet
from repcore_pointcloud.examples import scenes as scenes_examples
from repcore_pointcloud.examples.shapes import point_encoder
from repcore_pointcloud.formats.points import PointCloud
from repcore_pointcloud.preprocessors.point_set import PointSetPreprocessor
from repcore_pointcloud.tasks.part_segmentation import PartSegmentationTask
from repcore_pointcloud.tasks.shape_class import ShapeClassTask
from tests.pointcloud.test_spunet import minkowski_names


def tiny() -> HierarchicalPointEncoder:
    torch.manual_seed(0)
    return HierarchicalPointEncoder(replace(point_encoder()[0], exclude_origin=1e-3, token_norms=False))


def words(encoder: HierarchicalPointEncoder, neighbours: tuple[int, int, int]) -> list[str]:
    config = encoder.config
    given = {"groups": config.groups, "neighbours": neighbours, "local_radius": config.local_radius}
    found = [f"heads={config.heads}", *(f"{name}={','.join(map(str, value))}" for name, value in given.items())]
    return [word for one in found for word in ("--option", one)]


def published(task: nn.Module) -> dict[str, Tensor]:
    """Names of the authors' files."""
    named = {n if n.startswith("encoder.") else f"task.{n}": one for n, one in task.state_dict().items()}
    named.pop("task.weights", None)  # class weights, which published files lack
    return KEYS.reverse(named)


def test_a_published_classifier_predicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encoder = tiny()
    sizes = encoder.config.neighbours
    config = ShapeClassConfig(hidden_widths=(10, 8), neighbours=sizes, local_radius=encoder.config.local_radius)
    task = ShapeClassTask(config, encoder, TargetSpec("class", "class", names=("a", "b", "c"))).eval()
    torch.save({"base_model": published(task)}, tmp_path / "modelnet40.pth")
    data = tmp_path / "shapes"
    data.mkdir()
    rng = np.random.default_rng(0)
    clouds = [rng.normal(size=(400, 3)) * rng.uniform(0.1, 1, 3) for _ in range(3)]
    for number, cloud in enumerate(clouds):
        np.save(data / f"{number}.npy", cloud)
    where = [str(tmp_path / "modelnet40.pth"), "-o", str(tmp_path / "model"), "--classes", "chair,lamp,sofa", "--json"]
    assert run(["import", *where, *words(encoder, sizes)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["predicts"] == "class: one of 3 classes"
    assert told["report"]["written"] == told["report"]["total"] == len(published(task))
    assert run(["predict", str(tmp_path / "model"), str(data), "-o", str(tmp_path / "p.csv")]) == 0
    found = read_table(tmp_path / "p.csv")
    preprocessor = PointSetPreprocessor(PointSetConfig(points=1024))
    for number, cloud in enumerate(clouds):
        sample = Sample(str(number), PointCloud(cloud))
        with torch.no_grad():
            batch = plain_batch(preprocessor, preprocessor.prepare(sample), [sample], (), "")
            wanted = task.predict(task(batch))[0]
        got = [float(found[f"p:{name}"][number]) for name in ("chair", "lamp", "sofa")]
        np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_a_published_part_segmentation_answers_every_point(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encoder = tiny()
    config = PartSegmentationConfig(propagation_widths=(24, 16), head_widths=(16, 12, 8), categories=16)
    names = tuple(str(number) for number in range(sum(PARTS.values())))
    task = PartSegmentationTask(config, encoder, TargetSpec("part", "class", "point", names=names)).eval()
    state = published(task)
    state |= {"label_conv.0.weight": state["label_conv.0.weight"][:, :, None]}
    torch.save({"model_state_dict": state}, tmp_path / "parts.pth")
    data = tmp_path / "shapenetpart"
    (data / "03797390").mkdir(parents=True)
    (data / "synsetoffset2category.txt").write_text("Mug\t03797390\n")
    rng = np.random.default_rng(0)
    points = rng.normal(size=(2600, 3)).round(4)  # more than the network takes: the others are answered by neighbours
    labels = 36 + (points[:, 0] > 0)
    np.savetxt(data / "03797390" / "a.txt", np.c_[points, labels], fmt="%.4f")
    order = rng.permutation(2600)
    np.savetxt(data / "03797390" / "b.txt", np.c_[points, labels][order], fmt="%.4f")
    where = [str(tmp_path / "parts.pth"), "-o", str(tmp_path / "model"), "--json"]
    assert run(["import", *where, *words(encoder, encoder.config.neighbours)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["predicts"] == "part of every point: one of 50 classes"
    assert told["report"]["written"] == told["report"]["total"]
    out = tmp_path / "answers"
    words_of = ["predict", str(tmp_path / "model"), str(data), "-o", str(out), "--format", "npz", "--json"]
    assert run(words_of) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["status"] == {"ok": 2}
    assert "Mug 0" in said["scores"]["classes"]
    first, second = (np.load(next(out.rglob(f"*{name}.npz"))) for name in ("a", "b"))
    np.testing.assert_allclose(first["x"], points[:, 0], atol=1e-6)
    key = next(one for one in first.files if first[one].ndim == 2)
    assert first[key].shape == (2600, 50)
    # the published head on the same thinned cloud gives the same probabilities at the points that were chosen
    preprocessor = PointSetPreprocessor(PointSetConfig(points=2048))
    sample = Sample("a", PointCloud(points.astype(np.float32)), {}, meta={"category": list(PARTS).index("Mug")})
    with torch.no_grad():
        batch = plain_batch(preprocessor, preprocessor.prepare(sample), [sample], (), "")
        wanted = task.predict(task(batch)).numpy()
    chosen = preprocessor.chosen_rows(points.astype(np.float32))
    np.testing.assert_allclose(first[key][chosen], wanted, atol=1e-4)
    assert second[key].shape == (2600, 50)


def test_answers_of_a_smaller_or_a_thinned_cloud_go_back_to_its_points() -> None:
    preprocessor = PointSetPreprocessor(PointSetConfig(points=64))
    rng = np.random.default_rng(0)
    for count in (40, 64, 200):
        points = rng.normal(size=(count, 3)).astype(np.float32)
        points[3] = np.nan
        sample = Sample("s", PointCloud(points))
        items = preprocessor.prepare(sample)
        chosen = preprocessor.chosen_rows(np.delete(points, 3, 0))
        own = np.delete(points, 3, 0)
        found = preprocessor.restore(sample, items, [own[chosen]], "point")  # the answer is the place itself
        assert np.isnan(found[3]).all()
        distance = np.linalg.norm(np.delete(found, 3, 0) - own, axis=1)
        assert distance[chosen].max() < 1e-6
        away = np.setdiff1d(np.arange(count - 1), chosen)
        for row in away:
            assert distance[row] == pytest.approx(np.linalg.norm(own[chosen] - own[row], axis=1).min(), abs=1e-5)


@pytest.mark.parametrize("layout", ["seg_head", "final", "minkowski"])
def test_published_segmentation_heads_of_scenes_become_tasks(layout: str, tmp_path: Path) -> None:
    from repcore import registry
    from repcore.checkpoints.imported import account, task_part

    torch.manual_seed(0)
    config = dataclasses.replace(
        scenes_examples.sparse_unet()[0],
        width_changes_at="block" if layout == "minkowski" else "down-convolution",
        batch_norm_epsilon=1e-5 if layout == "minkowski" else 1e-3,
    )
    encoder = SparseUNet(config)
    options = {"channels": ",".join(scenes_examples.SCENE.channels)}
    state: dict[str, Tensor] = {f"module.backbone.{name}": one for name, one in encoder.state_dict().items()}
    width = int(encoder.level_widths["voxel"])
    weight, bias = torch.randn(5, width), torch.randn(5)
    if layout == "seg_head":
        state |= {"module.seg_head.weight": weight, "module.seg_head.bias": bias}
    elif layout == "final":
        # spconv 2 keeps 1 x 1 kernels as (in, out) in memory, whatever their shape says
        kernel = weight.T.contiguous().reshape(5, 1, 1, 1, width)
        state |= {"module.backbone.final.weight": kernel, "module.backbone.final.bias": bias}
    if layout == "minkowski":
        names = minkowski_names(encoder.state_dict(), depth=encoder.depth)
        names |= {"final.kernel": weight.T.contiguous(), "final.bias": bias[None]}
        imported = convert_minkowski({"state_dict": names}, tmp_path / "w.pth", {"keep_final": "classes", **options})
    else:
        imported = convert_pointcept({"state_dict": state}, tmp_path / "w.pth", options)
    assert imported.task is not None
    assert imported.task.outputs == 5
    report = account(imported)
    assert report.written == report.total
    loaded = SparseUNet(imported.encoder_config)
    loaded.load_state_dict(imported.state)
    part = task_part(imported.task, loaded, registry.default(), "pointcloud", classes=list("abcde"))
    room = Rooms(RoomsConfig(scenes=1, points=500))[0]
    preprocessor = imported.preprocessor
    batch = preprocessor.collate(preprocessor.prepare(Sample("r", room.inputs)))
    with torch.no_grad():
        tokens = loaded.eval()(batch).tokens["voxel"]
        wanted = (tokens.values @ weight.T + bias)[tokens.source.clamp(min=0)].softmax(1)
        found = part.module.predict(part.module(batch))  # type: ignore[operator]
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
