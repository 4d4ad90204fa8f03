"""Fine-tuning heads, voting, pictures, and the whole way from a folder to a trained model."""

from __future__ import annotations

import base64
import json
import re
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from repcore.cli.main import run
from repcore.embedding.writers import read_embeddings
from repcore.errors import ConfigError, ShapeError
from repcore.interfaces import Batch, Progress, Sample
from repcore.specs import TargetSpec
from repcore_pointcloud.checkpoints.i2p_mae import KEYS
from repcore_pointcloud.configs.i2p_mae import PartSegmentationConfig, ShapeClassConfig
from repcore_pointcloud.encoders.i2p_mae import HierarchicalPointEncoder
from repcore_pointcloud.examples.shapes import batch, masked_points, point_encoder
from repcore_pointcloud.formats.points import PointCloud
from repcore_pointcloud.objectives.i2p_mae import MaskedPoints
from repcore_pointcloud.rendering.masked_points import masked_picture
from repcore_pointcloud.rendering.shapes import render, turntable
from repcore_pointcloud.tasks.part_segmentation import PartSegmentationTask
from repcore_pointcloud.tasks.shape_class import ShapeClassTask

CLASSES = TargetSpec("class", "class", names=("cup", "box", "rod"))
PARTS = TargetSpec("part", "class", level="point", names=("leg", "seat"), ignore=-1)
SMALL = (
    "encoder.groups=[24,12,6]", "encoder.neighbours=[6,4,3]", "encoder.widths=[12,18,24]", "encoder.depths=[1,1,1]",
    "encoder.point_widths=[8,12]", "encoder.joint_width=16", "objective.points=80", "objective.image_size=64",
    "preprocessor.points=96", "data.batch_size=8", "trainer.threads=1",
)  # fmt: skip


def encoder() -> HierarchicalPointEncoder:
    torch.manual_seed(0)
    return HierarchicalPointEncoder(point_encoder()[0])


def class_task(**changes: object) -> ShapeClassTask:
    torch.manual_seed(0)
    config = replace(ShapeClassConfig(hidden_widths=(16, 8)), **changes)  # type: ignore[arg-type]
    return ShapeClassTask(config, encoder(), CLASSES)


def test_smoothing_gives_the_share_to_the_other_classes() -> None:
    task = class_task(label_smoothing=0.2)
    outputs, labels = torch.randn(4, 3), torch.tensor([0.0, 2.0, float("nan"), 1.0])
    logs = outputs.log_softmax(1)
    expected = []
    for row, label in zip(logs, labels.tolist(), strict=True):
        if label == label:
            truth = torch.full((3,), 0.1)
            truth[int(label)] = 0.8
            expected.append(-(truth * row).sum())
    assert torch.allclose(task.loss(outputs, labels), torch.stack(expected).mean())
    assert float(task.loss(outputs, torch.full((4,), float("nan")))) == 0.0


def test_votes_are_repeatable_and_independent_of_the_batch() -> None:
    task = class_task(votes=3).eval()
    whole = task(batch())
    assert torch.equal(whole, task(batch()))
    first = Batch(inputs={"points": batch().inputs["points"][:1]}, size=1)
    assert torch.allclose(task(first), whole[:1], atol=1e-5)
    assert not torch.allclose(whole, class_task().eval()(batch()), atol=1e-4)


def test_group_sizes_and_radius_hold_while_fine_tuning() -> None:
    task = class_task(neighbours=(8, 6, 5), local_radius=(0.3, 0.6, 1.2))
    assert isinstance(task.encoder, HierarchicalPointEncoder)
    assert task.encoder.config.neighbours == (8, 6, 5)
    assert task.encoder.grouping.neighbours == (8, 6, 5)
    assert not task.encoder.config.hide_unreached
    with pytest.raises(ConfigError, match="level 1"):
        class_task(neighbours=(8, 60, 5))


def test_bad_task_settings_are_named() -> None:
    for changes, words in (({"label_smoothing": 1.0}, "label_smoothing"), ({"votes": 0}, "votes=0")):
        with pytest.raises(ConfigError, match=words):
            class_task(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("categories", [0, 4])
def test_parts_of_single_shapes_can_be_learned(categories: int) -> None:
    torch.manual_seed(0)
    config = PartSegmentationConfig(
        propagation_widths=(24, 16), head_widths=(16, 12, 8), categories=categories, dropout=0.0
    )
    task = PartSegmentationTask(config, encoder(), PARTS)
    clouds = batch()
    clouds.inputs["category"] = torch.tensor([0, 1, 3])
    labels = (clouds.inputs["points"][..., 1] > 0).float()  # above or below the middle
    labels[0, :5] = -1
    task.fit_targets(labels.numpy())
    optimiser = torch.optim.AdamW(task.parameters(), lr=1e-2)
    losses = []
    for _ in range(25):
        optimiser.zero_grad()
        loss = task.loss(task(clouds), labels)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert task.predict(task.eval()(clouds)).shape == (3 * 80, 2)
    assert losses[-1] < 0.6 * losses[0]
    assert float(task.loss(task(clouds), torch.full((3, 80), -1.0)).detach()) == 0.0
    with pytest.raises(ShapeError):
        task.loss(task(clouds), labels[:, :3])


def test_part_heads_have_published_names() -> None:
    config = PartSegmentationConfig(propagation_widths=(24, 16), head_widths=(16, 12, 8), categories=4)
    state = PartSegmentationTask(config, encoder(), PARTS).state_dict()
    ours = {f"task.{name}": one for name, one in state.items() if not name.startswith("encoder.")}
    published = KEYS.reverse(ours)
    assert {name.split(".")[0] for name in published} == {
        "propagations", "label_conv", "convs1", "convs2", "convs3", "convs4", "bns1", "bns2", "bns3",
    }  # fmt: skip


# -------------------------------------------------------------------------------------------- pictures


def frames_of(html: str) -> list[bytes]:
    """Pixels of every frame of an animated PNG in a picture's HTML."""
    found = re.search(r"base64,([^\"]+)", html)
    assert found is not None
    data = base64.b64decode(found[1])
    frames, place = [], 8
    while place < len(data):
        length = struct.unpack(">I", data[place : place + 4])[0]
        kind, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        assert zlib.crc32(kind + body) == struct.unpack(">I", data[place + 8 + length : place + 12 + length])[0]
        if kind in (b"IDAT", b"fdAT"):
            frames.append(zlib.decompress(body if kind == b"IDAT" else body[4:]))
        place += 12 + length
    return frames


def test_a_picture_turns_and_needs_nothing_else() -> None:
    points = np.random.default_rng(0).normal(size=(300, 3)) * [1.0, 0.2, 0.2]
    picture = render(Sample("<rod>", PointCloud(points)))
    frames = frames_of(picture.html)
    assert len(set(frames)) == len(frames) == 16
    widths = []
    for frame in frames:
        image = np.frombuffer(frame, np.uint8).reshape(128, 129)[:, 1:]
        widths.append(np.ptp(np.flatnonzero(image.any(axis=0))))
    assert min(widths) < 0.6 * max(widths)  # a rod seen end-on is short
    assert "&lt;rod&gt;" in picture.html
    assert "id=" not in picture.html
    assert "http" not in picture.html


@pytest.mark.parametrize("points", [np.zeros((0, 3)), np.full((2, 3), np.nan), np.ones((1, 3))])
def test_odd_clouds_can_be_drawn(points: np.ndarray) -> None:
    assert len(frames_of(turntable(points, alt="odd").html)) == 16


def test_masked_visible_and_redrawn_stand_side_by_side() -> None:
    objective = MaskedPoints(masked_points()[0], encoder()).eval()
    one = Batch(inputs={"points": batch().inputs["points"][:1]}, size=1, sample_id=("cloud 7",))
    draws = objective.draw(one, torch.Generator().manual_seed(0), Progress(0, 1))
    picture = objective.picture(one, draws)
    unchanged = masked_picture(objective.redrawn(one.inputs["points"], {"gumbel": draws["gumbel"]}), "cloud 7")
    assert picture == unchanged  # the cloud as it is, not as training stretches it
    assert [word in picture.html for word in ("cloud", "visible", "hidden", "redrawn")] == [True] * 4
    assert picture.html.count("<img") == 4
    assert "middle tokens" in picture.alt


# ------------------------------------------------------------------------------------------- whole way


def test_from_a_folder_to_vectors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for number in range(24):
        folder = tmp_path / "data" / ("rod" if number % 2 else "ball")
        folder.mkdir(parents=True, exist_ok=True)
        np.save(
            folder / f"{number}.npy", rng.normal(size=(70 + number, 3)) * ([1, 0.2, 0.2] if number % 2 else [1, 1, 1])
        )
    (tmp_path / "data" / "ball" / "bad.ply").write_bytes(b"ply\n")
    words = [
        "pointcloud",
        "train",
        "i2p-mae",
        "--data",
        str(tmp_path / "data"),
        "--out",
        str(tmp_path),
        "--name",
        "one",
    ]
    assert run([*words, *SMALL, "trainer.steps=3", "trainer.validate_every=3"]) == 0
    card = (tmp_path / "one" / "model" / "README.md").read_text()
    assert "classical" in card  # the active teacher is written into the model card
    out = tmp_path / "vectors.npz"
    assert run(["embed", str(tmp_path / "one"), str(tmp_path / "data"), "-o", str(out)]) == 0
    rows = read_embeddings(out)[0]
    assert len(rows.ids) == 25
    assert [status for status in rows.status if status not in ("ok", "few_points")] == ["corrupt"]
    page = tmp_path / "masked.html"
    assert run(["pointcloud", "draw-masked", str(tmp_path / "one"), "-o", str(page), "--items", "2"]) == 0
    assert page.read_text().count("<img") == 4  # one held-out cloud, four views
    record = json.loads((tmp_path / "one" / "environment.json").read_text())
    assert record["teachers"][0]["name"].startswith("classical")
    capsys.readouterr()


def test_a_short_fine_tuning_of_few_shapes_learns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Six steps from a hardly trained model: norms of the head and of the encoder answer as training sees them."""
    rng, forms = np.random.default_rng(0), {"flat": [1, 0.05, 1], "rod": [0.1, 1, 0.1], "ball": [1, 1, 1]}
    names = list(forms) * 16
    clouds = np.stack([rng.normal(size=(96, 3)) * forms[name] for name in names]).astype(np.float32)
    np.savez(tmp_path / "clouds.npz", points=clouds, label=np.array(names))
    words = ["--data", str(tmp_path / "clouds.npz"), "--out", str(tmp_path)]
    small = [*SMALL, "trainer.steps=2", "trainer.validate_every=2"]
    assert run(["pointcloud", "train", "i2p-mae", *words, "--name", "one", *small]) == 0
    settings = ["--split", "stratified", "--no-twin", "trainer.steps=6"]
    assert run(["pointcloud", "finetune", str(tmp_path / "one"), *words, "--name", "f", *settings]) == 0
    found = json.loads((tmp_path / "f" / "finetune.json").read_text())["test"]
    assert found["accuracy"] >= 0.8  # 0.33 is chance
    capsys.readouterr()
