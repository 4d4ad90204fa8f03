"""Restoring hidden cells and saying places: the loss by hand, what may leak, where cubes lie, learning, the CLI."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from torch import nn

import repcore
from repcore.cli.main import run
from repcore.errors import ConfigError
from repcore.interfaces import Batch, Draws, Progress, Sample
from repcore_medical3d.configs.adam_v2 import ConvNextConfig, ResNetConfig
from repcore_medical3d.configs.nnformer import NnFormerConfig, VolumeVitConfig
from repcore_medical3d.configs.restore import PlacedCubeConfig, RestoreConfig
from repcore_medical3d.configs.volumes import PhantomsConfig, VolumeConfig
from repcore_medical3d.datasets.phantoms import Phantoms
from repcore_medical3d.encoders.convnext import ConvNextEncoder
from repcore_medical3d.encoders.nnformer import NnFormer
from repcore_medical3d.encoders.resnet import ResNetEncoder
from repcore_medical3d.encoders.swin_monai import VolumeVit
from repcore_medical3d.formats.nifti import write_nifti
from repcore_medical3d.formats.volumes import Grid, Volume
from repcore_medical3d.objectives.restore import PLACE, RESTORE, Restore, places
from repcore_medical3d.preprocessors.volumes import VolumePreprocessor
from repcore_medical3d.views.placed import PlacedCube
from tests.benchmark_modules import of_benchmarks

START = Progress(step=0, total_steps=1)
EDGE = 16
BRIEF = (
    "encoder.widths=[8,16,16]",
    "preprocessor.crop_edge=16",
    "data.validation_share=0.2",
    "trainer.validate_every=100",
)


def convnext(channels: int = 1) -> ConvNextEncoder:
    config = ConvNextConfig(
        spatial_dims=3, depths=(1, 1), widths=(8, 16), kernel=3, stem_stride=2, layer_scale=1.0, input_channels=channels
    )
    return ConvNextEncoder(config)


def batch(channels: int = 1, count: int = 2) -> Batch:
    volume = torch.rand(count, channels, EDGE, EDGE, EDGE, generator=torch.Generator().manual_seed(3))
    measured = {
        "start": torch.tensor([[0, 4, 8], [16, 0, -2]])[:count],
        "scan": torch.tensor([[32, 20, 24], [32, 16, 12]])[:count],
        "spacing_mm": torch.tensor([[1.0, 2.0, 3.0], [2.0, 2.0, 2.0]])[:count],
    }
    return Batch(
        inputs=None, size=count, views={"cube": Batch(inputs={"volume": volume, "measured": measured}, size=count)}
    )


def drawn(objective: Restore, given: Batch, seed: int = 0) -> Draws:
    return objective.draw(given, torch.Generator().manual_seed(seed), START)


def test_both_terms_and_their_metrics_by_hand() -> None:
    objective, given = Restore(RestoreConfig(mask_patch=4, restore_weight=2.0), convnext(2)), batch(2)
    draws = drawn(objective, given)
    volume, hidden = draws["volume"].double().numpy(), draws["hidden"].numpy()
    mask = np.kron(hidden, np.ones((1, 4, 4, 4), bool))[:, None]
    assert hidden.mean(axis=(1, 2, 3)).tolist() == [0.5, 0.5]
    outputs = objective.outputs(draws["volume"], torch.from_numpy(mask)).detach().double().numpy()
    found = objective(given, draws)
    squares, base, errors, middle, losses = 0.0, 0.0, [], [], []
    measured = {name: one.numpy() for name, one in given.views["cube"].inputs["measured"].items()}
    for row in range(2):
        goal = (volume[row] - volume[row].mean()) / (volume[row].std(ddof=1) + 0.01)
        squares += (((outputs[row, :2] - goal) ** 2) * mask[row]).sum()
        base += ((goal**2) * mask[row]).sum()
        lines = [
            2 * (measured["start"][row, axis] + np.arange(EDGE) + 0.5) / measured["scan"][row, axis] - 1
            for axis in range(3)
        ]
        wanted = np.stack(np.meshgrid(*lines, indexing="ij"))
        error = np.abs(outputs[row, 2:] - wanted)
        losses.append(np.where(error < 0.2, 0.5 * error**2 / 0.2, error - 0.1))
        half = (measured["scan"][row] * measured["spacing_mm"][row] / 2)[:, None, None, None]
        errors.append(np.sqrt(((error * half) ** 2).sum(0)).mean())
        middle.append(np.sqrt(((wanted * half) ** 2).sum(0)).mean())
    count = 2 * mask.sum()
    assert found.terms[RESTORE].item() == pytest.approx(squares / count, rel=1e-4)
    assert found.terms[PLACE].item() == pytest.approx(np.mean(losses), rel=1e-4)
    assert found.total.item() == pytest.approx(2 * squares / count + 5 * np.mean(losses), rel=1e-4)
    assert {name: int(one) for name, one in found.counts.items()} == {RESTORE: count, PLACE: 2 * EDGE**3}
    told = {"restored": 1 - squares / base, "place_error_mm": np.mean(errors), "middle_error_mm": np.mean(middle)}
    assert {name: float(one) for name, one in found.metrics.items()} == pytest.approx(told, rel=1e-3)


@pytest.mark.parametrize(
    "encoder",
    [
        convnext(),
        ResNetEncoder(
            ResNetConfig(
                spatial_dims=3, layers=(1, 1, 1, 1), widths=(4, 4, 8, 8), block="basic", norm="group", input_channels=1
            )
        ),
        NnFormer(NnFormerConfig(crop_edge=EDGE, width=8, heads=(1, 2, 2, 4), windows=(4, 2, 2, 1), drop_path=0.0)),
    ],
    ids=["convnext", "resnet", "nnformer"],
)
def test_hidden_voxels_do_not_leak_and_every_encoder_with_a_decoder_is_trained(encoder: nn.Module) -> None:
    objective, given = Restore(RestoreConfig(mask_patch=8), encoder), batch()
    draws = drawn(objective, given)
    mask = objective._mask(draws)
    seen = objective.outputs(draws["volume"], mask)
    other = torch.where(mask, torch.rand(mask.shape), draws["volume"])
    assert torch.equal(objective.outputs(other, mask), seen)
    changed = torch.where(mask, draws["volume"], torch.rand(mask.shape))
    assert not torch.allclose(objective.outputs(changed, mask), seen)
    objective(given, draws).total.backward()
    moved = [one.grad is not None and bool((one.grad != 0).any()) for one in objective.encoder.parameters()]
    assert sum(moved) > 0.8 * len(moved)


@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0)])
def test_a_term_without_weight_is_not_computed(weights: tuple[float, float]) -> None:
    config = RestoreConfig(mask_patch=8, restore_weight=weights[0], place_weight=weights[1])
    objective = Restore(config, convnext())
    found = objective(batch(), drawn(objective, batch()))
    assert list(found.terms) == [name for name, one in zip((RESTORE, PLACE), weights, strict=True) if one]
    assert set(found.metrics) == ({"restored"} if weights[0] else {"place_error_mm", "middle_error_mm"})
    with torch.no_grad():
        shown = objective.picture(batch(count=1), drawn(objective, batch(count=1))).html
    assert ("restored" in shown, "said" in shown) == (bool(weights[0]), bool(weights[1]))


def test_what_cannot_learn_so_is_refused() -> None:
    with pytest.raises(ConfigError, match="both 0"):
        Restore(RestoreConfig(restore_weight=0.0, place_weight=0.0), convnext())
    with pytest.raises(ConfigError, match="one of images"):
        Restore(RestoreConfig(), ConvNextEncoder(ConvNextConfig(depths=(1,), widths=(8,), input_channels=1)))
    vit = VolumeVit(VolumeVitConfig(crop_edge=EDGE, patch=8, width=24, mlp_width=48, depth=1, heads=2))
    with pytest.raises(ConfigError, match="no U-shaped decoder"):
        Restore(RestoreConfig(), vit)
    objective = Restore(RestoreConfig(mask_patch=5), convnext())
    with pytest.raises(ConfigError, match="mask_patch=5"):
        drawn(objective, batch())


def test_intensities_change_at_random_and_only_where_asked() -> None:
    given = batch()
    volume = given.views["cube"].inputs["volume"].clone()
    still = Restore(RestoreConfig(mask_patch=4, intensity=0.0), convnext())
    torch.testing.assert_close(drawn(still, given)["volume"], volume)
    moving = Restore(RestoreConfig(mask_patch=4), convnext())
    assert not torch.allclose(drawn(moving, given)["volume"], drawn(moving, given, 1)["volume"])
    assert torch.equal(given.views["cube"].inputs["volume"], volume)


# ------------------------------------------------------------------------------------------------ places


class One:
    """A reader of one scan."""

    def __init__(self, volume: Volume) -> None:
        self.sample = Sample("one", volume)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Sample:
        return self.sample


class Fixed:
    """A generator that says what it is told, within bounds."""

    def __init__(self, *said: int) -> None:
        self.said = list(said)

    def integers(self, low: int, high: int) -> int:
        found = self.said.pop(0)
        assert low <= found < high
        return found


def shares(scan: Volume, spacing: tuple[float, float, float]) -> tuple[VolumePreprocessor, Any]:
    preprocessor = VolumePreprocessor(VolumeConfig(spacing="fixed", spacing_mm=spacing, crop_edge=8))
    preprocessor.fit(One(scan), [0])  # type: ignore[arg-type]  # a reader for this
    return preprocessor, PlacedCube(PlacedCubeConfig(), preprocessor)


@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (1.0, 2.0, 1.5)], ids=["as stored", "resampled"])
@pytest.mark.parametrize("flip", [False, True], ids=["RAS", "LAS"])
def test_voxels_of_a_cube_are_said_where_they_lie_in_the_scan(spacing: tuple[float, float, float], flip: bool) -> None:
    """The scan's values are the share of its first axis from left to right: what a cube shows is what it is told."""
    shape, affine = (20, 16, 12), np.diag([2.0, 2.0, 2.0, 1.0])
    rising = (np.arange(shape[0]) + 0.5) / shape[0]
    values = np.broadcast_to((rising[::-1] if flip else rising)[:, None, None], shape).astype(np.float32)
    if flip:
        affine[0, 0], affine[0, 3] = -2.0, 2.0 * (shape[0] - 1)
    scan = Volume(np.ascontiguousarray(values), affine)
    preprocessor, views = shares(scan, spacing)
    grid: Grid = preprocessor.grid(scan)
    start = [grid.shape[0] - 8, 0, grid.shape[2] - 8]  # a corner
    item = views.build(0, One(scan), Fixed(*start), START)["cube"]
    inputs = preprocessor.collate([item]).inputs
    assert inputs["measured"]["start"].tolist() == [start]
    assert inputs["measured"]["scan"].tolist() == [list(grid.shape)]
    assert inputs["measured"]["spacing_mm"][0].tolist() == pytest.approx(spacing)
    found = places(inputs["measured"]["start"], inputs["measured"]["scan"], (8, 8, 8))[0]
    size = grid.shape[0]
    assert float(found[0, -1, 0, 0]) == pytest.approx(1 - 1 / size)  # the last voxel's centre
    assert float(found[1, 0, 0, 0]) == pytest.approx(-1 + 1 / grid.shape[1])
    low, high = np.percentile(values, (0.5, 99.5))
    shown = inputs["volume"][0, 0] * (high - low) + low  # the share of the scan, as the file has it
    inner = slice(0, 5), slice(1, 7), slice(0, 6)  # beyond centres of the outermost voxels nothing is known
    torch.testing.assert_close(shown[inner], (found[0][inner] + 1) / 2, atol=0.03, rtol=0.0)


def test_a_short_scan_lies_inside_the_cube() -> None:
    scan = Volume(np.random.default_rng(0).random((6, 20, 8)).astype(np.float32), np.eye(4))
    _, views = shares(scan, (1.0, 1.0, 1.0))
    starts = np.asarray(
        [
            views.build(0, One(scan), np.random.default_rng(seed), START)["cube"].meta["measured"]["start"]
            for seed in range(200)
        ]
    )
    assert set(starts[:, 0]) == {-2, -1, 0}
    assert set(starts[:, 1]) == set(range(13))
    assert set(starts[:, 2]) == {0}
    found = places(torch.tensor([[-2, 0, 0]]), torch.tensor([[6, 20, 8]]), (8, 8, 8))
    assert float(found[0, 0].min()) < -1 < float(found[0, 0, 2].min())


# ------------------------------------------------------------------------------------------------ learning


def test_sixty_steps_are_better_than_constant_guesses(tmp_path: Path) -> None:
    made = repcore.train(
        "medical3d/restore", out=tmp_path, name="r", device="cpu", report=False,
        trainer={"steps": 60, "validate_every": 60}, encoder={"widths": [16, 32, 64]},
        preprocessor={"crop_edge": 16}, objective={"mask_patch": 4}, data__batch_size=4,
        dataset={"volumes": 8, "edge": 32, "spacing_mm": 12.0},
    )  # fmt: skip
    rows = [json.loads(line) for line in (made.folder / "metrics.jsonl").read_text().splitlines()]
    first, last = [one for one in rows if one["split"] == "validation"]
    assert (first["step"], last["step"]) == (0, 60)
    assert first["restored"] < 0.1
    assert last["restored"] > 0.2
    assert first["place_error_mm"] > last["middle_error_mm"]
    assert last["place_error_mm"] < 0.8 * last["middle_error_mm"]


def words(*given: object) -> None:
    assert run([str(one) for one in given]) == 0


def test_a_frozen_encoder_is_read_by_a_decoder_and_gives_masks(tmp_path: Path) -> None:
    data = tmp_path / "data"
    people = Phantoms(PhantomsConfig(volumes=5, edge=20, spacing_mm=16.0))
    for name in ("images", "labels"):
        (data / name).mkdir(parents=True)
    for row in range(len(people)):
        one = people[row]
        write_nifti(data / "images" / f"p{row}.nii.gz", one.inputs.read(), one.inputs.affine)
        write_nifti(data / "labels" / f"p{row}.nii.gz", one.targets["segmentation"].read(), one.inputs.affine)
    words("medical3d", "train", "restore", "--data", data, "--out", tmp_path, "--name", "r", "trainer.steps=3", *BRIEF)
    model = repcore.load(tmp_path / "r")
    assert not any("decoder" in name for name in model.encoder.state_dict())
    words(
        "medical3d", "finetune", tmp_path / "r", "--data", data, "--label", "segmentation", "--task", "segmentation",
        "--out", tmp_path, "--name", "f", "--device", "cpu", "trainer.steps=2", "trainer.validate_every=2",
        "finetune.frozen_epochs=1000",
    )  # fmt: skip
    tuned = repcore.load(tmp_path / "f")
    before, after = model.encoder.state_dict(), tuned.encoder.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    words("predict", tmp_path / "f", data, "-o", tmp_path / "masks")
    mask = nibabel.load(tmp_path / "masks" / "p0.nii.gz")
    assert mask.shape == people[0].inputs.shape
    assert set(np.unique(mask.get_fdata())) <= set(range(9))
    check_judge(model, data)


def check_judge(model: Any, data: Path) -> None:
    """The judge of small_presets.py with the same model: labelled scans only are opened, the twin is another."""
    judge = of_benchmarks("small_decoded")
    scans = judge.Scans(model, data, "segmentation", 0, 1)
    opened: list[int] = []
    kind, read = type(scans.reader), type(scans.reader).__getitem__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judge, "SETTINGS", ("trainer.steps=2", "trainer.validate_every=2", *judge.SETTINGS[2:]))
        patch.setattr(judge, "STEPS", 2)
        patch.setattr(kind, "__getitem__", lambda self, row: (opened.append(row), read(self, row))[1])
        found = {how: scans.scores(how, np.asarray([0, 2]), np.asarray([3])) for how in judge.STARTS.values()}
    assert set(opened) == {0, 2, 3}
    assert found["model"] != found["random"]
    assert all(0 <= one[0] <= 1 for one in found.values())


def test_baselines_of_other_scans_are_refused() -> None:
    judge = of_benchmarks("small_decoded")
    known = {"a": {"baseline": {"folds": [{"rows": [1, 2]}]}}}
    judge.check_baselines(known, ["a"], "baseline", [1, 2])
    with pytest.raises(SystemExit, match="other test scans"):
        judge.check_baselines(known, ["a"], "baseline", [2, 1])
    with pytest.raises(SystemExit, match="no baseline"):
        judge.check_baselines(known, ["b"], "baseline", [1, 2])
