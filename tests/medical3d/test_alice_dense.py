"""Dense features: whole-scan maps, the linear probe, Dice, fine-tuning, landmarks, and their commands."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

import repcore
from repcore.cli.main import run
from repcore.errors import ConfigError, DataError
from repcore.interfaces import Batch, DenseAnswer, Sample
from repcore.specs import TargetSpec
from repcore_medical3d.configs.nnformer import NnFormerConfig
from repcore_medical3d.configs.segmentation import SegmentationTaskConfig
from repcore_medical3d.configs.volumes import PhantomsConfig, VolumeConfig
from repcore_medical3d.correspondence.backends import Coordinates
from repcore_medical3d.datasets.phantoms import Phantoms
from repcore_medical3d.encoders.decoding import finest_map
from repcore_medical3d.encoders.nnformer import NnFormer
from repcore_medical3d.formats.nifti import write_nifti
from repcore_medical3d.formats.volumes import Volume
from repcore_medical3d.preprocessors.volume_sliding import aligned_starts, sliding_features
from repcore_medical3d.preprocessors.volumes import VolumePreprocessor
from repcore_medical3d.probes.landmarks import centroids_mm, landmark_errors_mm
from repcore_medical3d.probes.surface_dice import SurfaceDice
from repcore_medical3d.tasks.segmentation import Segmentation
from repcore_medical3d.writers.voxel_answers import write_zarr
from tests.medical3d.benchmark_parts import alice_dense as probe
from tests.medical3d.benchmark_parts import alice_segmentation

SMALL = NnFormerConfig(crop_edge=16, width=8, heads=(1, 2, 2, 4), windows=(4, 2, 2, 1), drop_path=0.0)


@pytest.fixture(scope="module")
def people() -> Phantoms:
    return Phantoms(PhantomsConfig(volumes=4, edge=24, spacing_mm=16.0, noise_hu=5.0))


@pytest.fixture(scope="module")
def preprocessor(people: Phantoms) -> VolumePreprocessor:
    made = VolumePreprocessor(VolumeConfig(crop_edge=16, overlap=0.0))
    made.fit(people, np.arange(4))
    return made


def encoder() -> NnFormer:
    torch.manual_seed(0)
    return NnFormer(SMALL).eval()


def test_maps_of_a_scan_of_one_cube_are_the_encoders_maps(preprocessor: VolumePreprocessor) -> None:
    values = (np.random.default_rng(0).random((16, 16, 16)) * 300).astype(np.float32)
    one = Sample("cube", Volume(values, np.diag([16.0, 16.0, 16.0, 1.0])))
    network = encoder()
    ((found, grid),) = sliding_features(network, preprocessor, one, [1])
    with torch.no_grad():
        expected = network.pyramid(preprocessor.prepared(one).values[None])[1][0].movedim(-1, 0)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)  # divided by the weight it was multiplied with
    # a token of stage 1 covers 4 voxels of 16 mm; the first one's centre is 1.5 voxels in
    np.testing.assert_allclose(grid.spacing_mm, (64.0,) * 3)
    np.testing.assert_allclose(grid.world(np.zeros(3)), [24.0] * 3)


@pytest.mark.parametrize("size", [5, 16, 17, 40, 63])
def test_cubes_lie_on_one_lattice_and_cover_the_scan(size: int) -> None:
    firsts = sorted({start[0] for start in aligned_starts((size, 16, 16), 16, 0.5, 4)})
    assert {(one - firsts[0]) % 4 for one in firsts} == {0}
    assert firsts[0] <= 0
    assert firsts[-1] + 16 >= size
    assert all(later - former <= 16 for former, later in itertools.pairwise(firsts))


def test_the_probe_finds_what_is_linear_and_not_what_is_random(people: Phantoms) -> None:
    def oracle(sample: Sample) -> Any:
        labels = probe.labels_of(sample)
        classes = torch.from_numpy(labels.read().astype(np.int64))
        return [(torch.nn.functional.one_hot(classes, 8).movedim(-1, 0).float(), labels.grid)]

    def noise(sample: Sample) -> Any:
        grid = probe.labels_of(sample).grid
        generator = torch.Generator().manual_seed(len(sample.id) + int(sample.id[-1]))
        return [(torch.randn(4, *grid.shape, generator=generator), grid)]

    train, test = [people[0], people[1]], [people[2]]
    figures = {}
    for name, maps in (("oracle", oracle), ("noise", noise)):
        figures[name] = probe.score(maps, probe.fit(maps, train, 0), test)
    known = [name for name in figures["oracle"] if name[-1].isdigit() and name[-1] != "7"]  # not everyone has a lesion
    assert len(known) == 12
    assert min(figures["oracle"][name] for name in known) > 0.95
    assert figures["noise"]["dice"] < 0.2


def test_logits_of_raised_maps_equal_logits_raised(people: Phantoms, preprocessor: VolumePreprocessor) -> None:
    """The shortcut of the probe: classify tokens, then interpolate."""
    maps = sliding_features(encoder(), preprocessor, people[0], (0, 1, 2, 3))
    classifier = probe.fit(
        lambda sample: sliding_features(encoder(), preprocessor, sample, (0, 1, 2, 3)), [people[0]], 0
    )
    grid = probe.labels_of(people[0]).grid
    found = probe.predict(classifier, maps, grid)
    voxels = np.random.default_rng(0).integers(grid.shape, size=(50, 3))
    logits = probe.features_at(maps, grid.world(voxels)) @ classifier.weights.T + classifier.intercepts
    plain = classifier.classes[logits.argmax(1).numpy()]
    # ties between nearly equal logits may fall to either side of float32 rounding
    assert (plain == found[tuple(voxels.T)]).mean() > 0.95


def test_dice_and_surface_dice_by_hand() -> None:
    labels = np.zeros((10, 10, 10), np.int64)
    labels[2:6, 2:6, 2:6] = 1
    shifted = np.roll(labels, 1, axis=0)
    found = probe.overlap(shifted, labels, (1.0, 1.0, 1.0))
    assert found["dice_1"] == pytest.approx(2 * 48 / 128)
    assert found["surface_dice_1"] == 1.0  # every surface voxel has one within 1 mm
    assert probe.overlap(shifted, labels, (3.0, 1.0, 1.0))["surface_dice_1"] < 1.0
    assert probe.overlap(np.zeros_like(labels), labels, (1.0, 1.0, 1.0))["dice"] == 0.0
    assert probe.surface_dice(labels > 5, labels > 5, (1.0, 1.0, 1.0), 1.0) == 1.0


def test_labels_of_one_class_are_refused(preprocessor: VolumePreprocessor) -> None:
    blank = Sample("blank", Volume(np.random.default_rng(0).random((8, 8, 8)), np.eye(4)))
    with pytest.raises(DataError, match="no dense labels"):
        probe.labels_of(blank)
    blank.targets = {"segmentation": Volume(np.zeros((8, 8, 8), np.uint8), np.eye(4))}
    with pytest.raises(DataError, match="only class 0"):
        probe.fit(probe.place_maps(preprocessor), [blank], 0)


def test_fine_tuning_learns_one_scan(people: Phantoms, preprocessor: VolumePreprocessor) -> None:
    scans = alice_segmentation.labelled([people[0]], preprocessor)
    config = alice_segmentation.SegmentationConfig(steps=12, batch_size=2, lr=3e-3)
    network = alice_segmentation.train_segmentation(encoder(), preprocessor, scans, config).network
    found = alice_segmentation.segment(network, preprocessor, people[0])
    assert found.shape == people[0].inputs.shape
    truth = people[0].targets["segmentation"].read()
    fresh = alice_segmentation.segment(
        alice_segmentation.SegmentationNetwork(encoder(), 8).eval(), preprocessor, people[0]
    )
    assert (found == truth).mean() > (fresh == truth).mean()


@pytest.mark.parametrize("change", [{"steps": 0}, {"batch_size": 0}, {"lr": 0.0}])
def test_settings_of_fine_tuning_outside_their_range_are_named(
    change: dict[str, Any], people: Phantoms, preprocessor: VolumePreprocessor
) -> None:
    scans = alice_segmentation.labelled([people[0]], preprocessor)
    with pytest.raises(ConfigError, match=next(iter(change))):
        alice_segmentation.train_segmentation(
            encoder(), preprocessor, scans, alice_segmentation.SegmentationConfig(**change)
        )


def test_the_loss_is_least_for_the_right_answer() -> None:
    answers = torch.zeros(1, 4, 4, 4, dtype=torch.int64)
    answers[:, 1:3] = 1
    right = 20.0 * torch.nn.functional.one_hot(answers, 2).movedim(-1, 1).float()
    assert float(alice_segmentation.segmentation_loss(right, answers)) < 1e-3
    assert float(alice_segmentation.segmentation_loss(-right, answers)) > 10
    assert torch.isfinite(alice_segmentation.segmentation_loss(right, torch.zeros_like(answers)))


def test_landmarks_are_organ_centres(people: Phantoms, preprocessor: VolumePreprocessor) -> None:
    centres = centroids_mm(people[0])
    values = people[0].targets["segmentation"].read()
    where = np.argwhere(values == 3).mean(axis=0)
    np.testing.assert_allclose(centres[3], people[0].targets["segmentation"].grid.world(where))
    errors = landmark_errors_mm(Coordinates(preprocessor), [(people[0], people[0])])
    assert max(one for values in errors.values() for one in values) < 1e-6


def test_a_backbone_without_a_decoder_cannot_segment() -> None:
    with pytest.raises(ConfigError, match="U-shaped"):
        alice_segmentation.SegmentationNetwork(torch.nn.Identity(), 2)


# ------------------------------------------------------------------------------------------------ commands


@pytest.fixture(scope="module")
def data(people: Phantoms, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labelled")
    for row in range(4):
        one = people[row]
        write_nifti(folder / "images" / f"p{row}.nii.gz", one.inputs.read(), one.inputs.affine)
        write_nifti(folder / "labels" / f"p{row}.nii.gz", one.targets["segmentation"].read(), one.inputs.affine)
    return folder


@pytest.fixture(scope="module")
def model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps of the tiny recipe, through the command line's own functions."""
    from repcore import registry
    from repcore.config.resolve import resolve_run
    from repcore.reporting import LogReporter
    from repcore.training.assembly import assemble
    from repcore.training.run import start_run

    overrides = [
        "encoder.width=8", "encoder.heads=[1,2,2,4]", "encoder.windows=[4,2,2,1]", "preprocessor.crop_edge=16",
        "objective.mask_patch=8", "data.batch_size=2", "trainer.steps=2", "trainer.validate_every=2",
    ]  # fmt: skip
    resolved = resolve_run(
        registry.default(), "alice", domain="medical3d", overrides=overrides,
        settings={"dataset.name": "medical3d/volume-folder", "dataset.path": str(data)},
    )  # fmt: skip
    parts = assemble(resolved, LogReporter())
    root = tmp_path_factory.mktemp("runs")
    return start_run(registry.default(), parts, LogReporter(), root=root, name="run", device="cpu").folder


def test_embedding_gives_a_row_a_scan(model: Path, data: Path) -> None:
    rows = repcore.load(model).embed(str(data))
    assert rows.vectors.shape == (4, 64)
    assert np.isfinite(rows.vectors).all()


def test_features_of_voxels_as_zarr_are_those_of_nifti(model: Path, data: Path, tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr", reason="an extra")
    for kind in ("nifti", "zarr"):
        told("embed", model, data, "-o", tmp_path / kind, "--level", "voxel", "--format", kind)
    array = zarr.open_array(zarr.storage.ZipStore(tmp_path / "zarr" / "p0.zarr.zip", mode="r"), mode="r")
    image = nibabel.load(tmp_path / "nifti" / "p0.nii.gz")
    assert image.shape == (*nibabel.load(data / "images" / "p0.nii.gz").shape, 8)
    np.testing.assert_array_equal(array[...], image.get_fdata(dtype=np.float32))
    np.testing.assert_allclose(np.asarray(array.attrs["affine"]), image.affine)
    assert array.attrs["axes"] == ["x", "y", "z", "channel"]


def test_zarr_that_is_not_installed_is_said(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, people: Phantoms
) -> None:
    monkeypatch.setitem(sys.modules, "zarr", None)
    answer = DenseAnswer(people[0], "voxel", np.zeros((24, 24, 24, 2), np.float32))
    with pytest.raises(ConfigError, match=r"repcore-medical3d\[zarr\]"):
        write_zarr(tmp_path / "p0.zarr.zip", answer)


def told(*given: object) -> None:
    assert run([str(one) for one in given]) == 0


def test_figures_about_voxels_have_their_baselines(model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    told(
        "probe", model, "--data", data, "--label", "segmentation", "--level", "voxel", "--labels", "1", "--seeds", "1",
        "--protocol", "dense-frequency@1", "--metric", "surface-dice:16", "--json",
    )  # fmt: skip
    out = capsys.readouterr().out
    table = json.loads(out[out.index("[") :])[0]
    value = {one["features"]: one["mean"] for one in table["entries"] if one["metric"] == "dice"}
    raw = {"intensities", "place", "intensities-and-place", "filters-and-place"}
    assert {"trained", "random-init", *raw} < set(value)
    assert value["intensities-and-place"] > value["train-majority"] + 0.1
    surface = next(one for one in table["entries"] if one["metric"] == "surface-dice-16mm")
    assert 0 < surface["tasks"]["0"] <= 1
    assert 0 < surface["mean"] <= 1


def test_filters_of_a_bright_ball(people: Phantoms, preprocessor: VolumePreprocessor) -> None:
    from repcore_medical3d.preprocessors.volume_baselines import SCALES, filters_and_place

    places = np.stack(np.meshgrid(*[np.arange(24.0)] * 3, indexing="ij"), -1) - 11.5
    radius = np.linalg.norm(places, axis=-1)
    ball = Volume(np.where(radius < 5, 200.0, -100.0).astype(np.float32), np.diag([16.0, 16.0, 16.0, 1.0]))
    found = filters_and_place(preprocessor, Sample("ball", ball), [], "voxel")
    assert found.shape == (24, 24, 24, 1 + 9 * len(SCALES) + 9)
    smooth, slope, laplace, *eigen = np.moveaxis(found[..., 1 + 9 : 1 + 18], -1, 0)  # of scale 1
    hessian, structure = np.stack(eigen[:3]), np.stack(eigen[3:])
    np.testing.assert_allclose(hessian.sum(0), laplace, atol=1e-4)
    assert (np.diff(hessian, axis=0) >= -1e-6).all()
    edge, inside = np.abs(radius - 5) < 0.7, radius < 2
    assert slope[edge].min() > 10 * slope[inside].max()
    assert structure[2][edge].min() > 3 * structure[1][edge].max()  # one direction at a face
    assert smooth[inside].min() > 0.9


def test_place_is_given_to_the_encoder_and_its_twin_alike(
    model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings: dict[str, Any] = {"label": "segmentation", "level": "voxel", "labels": 1, "seeds": 1}
    settings |= {"protocols": ["dense-frequency@1"]}
    joined = repcore.probe(model, str(data), joined=["place", "intensities"], tokens="all-linear", **settings)[0]
    alone = repcore.probe(model, str(data), tokens="all-linear", **settings)[0]
    for name in ("trained", "random-init"):
        gain = [one.value(name, "dense-frequency@1", "dice").mean for one in (joined, alone)]
        assert gain[0] > gain[1] + 0.02
    for name in ("place", "intensities"):  # as they are
        assert joined.value(name, "dense-frequency@1").mean == alone.value(name, "dense-frequency@1").mean
    assert joined.constants["dense-frequency@1"]["joined_to_encoders"] == "place, intensities"
    command = ["probe", str(model), "--data", str(data), "--label", "segmentation"]
    capsys.readouterr()
    assert run([*command, "--level", "voxel", "--with", "places"]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "--with 'places'" in told
    assert "intensities, place, intensities-and-place, filters-and-place" in told
    assert run([*command, "--with", "place"]) == 2
    assert "--level" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="for labels of elements"):
        repcore.probe(model, str(data), joined="place")


def test_the_decoder_is_fine_tuned_with_few_scans(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told(
        "medical3d", "finetune", model, "--data", data, "--label", "segmentation", "--task", "medical3d/segmentation",
        "--labels", "2", "--no-twin", "--out", tmp_path, "--name", "f", "--device", "cpu", "trainer.epochs=2",
    )  # fmt: skip
    record = json.loads((tmp_path / "f" / "finetune.json").read_text())
    assert record["rows"] == {"train": 2, "validation": 2, "test": 1}
    assert record["test"]["surface-dice-1mm"] >= 0
    told("predict", tmp_path / "f", data, "-o", tmp_path / "masks")
    mask = nibabel.load(tmp_path / "masks" / "p0.nii.gz")
    assert mask.shape == nibabel.load(data / "images" / "p0.nii.gz").shape
    capsys.readouterr()
    assert run(["medical3d", "landmarks", str(model), str(data), "--json"]) == 2
    assert "needs two test scans" in capsys.readouterr().err


def test_a_segmentation_task_is_the_decoder_and_one_layer() -> None:
    target = TargetSpec("organ", "class", level="voxel", names=("none", "liver"))
    network = encoder()
    task = Segmentation(SegmentationTaskConfig(tokens="stage0", width=8), network, target).eval()
    volume = torch.rand(2, 1, 16, 16, 16)
    found = task(Batch(inputs={"volume": volume}, size=2))
    assert found.shape == (2 * 16**3, 2)
    expected = task.classifier(finest_map(network, volume))
    assert torch.equal(found.view(2, 16, 16, 16, 2)[1, 3, 4, 5], expected[1, :, 3, 4, 5])
    with pytest.raises(ConfigError, match="no U-shaped decoder"):
        Segmentation(SegmentationTaskConfig(tokens="x", width=8), torch.nn.Linear(1, 1), target)


def test_surface_dice_states_what_is_missing_and_agrees_with_monai() -> None:
    from monai.metrics import compute_surface_dice

    rng = np.random.default_rng(0)
    place = np.stack(np.meshgrid(*[np.arange(14)] * 3, indexing="ij"), -1)
    truth = (np.linalg.norm(place - 6, axis=-1) < 4).astype(np.int64)
    answered = np.roll(truth, 2, axis=0) * (rng.random(truth.shape) < 0.95)
    sample = Sample("one", Volume(np.zeros(truth.shape, np.float32), np.diag([1.0, 2.0, 1.5, 1.0])))
    found = SurfaceDice(1.2)(sample, truth, answered, 4)
    hot = [
        torch.nn.functional.one_hot(torch.from_numpy(one), 2).movedim(-1, 0)[None].float() for one in (answered, truth)
    ]
    theirs = compute_surface_dice(hot[0], hot[1], [1.2, 1.2], include_background=True, spacing=(1.0, 2.0, 1.5))
    np.testing.assert_allclose(found[1], float(theirs[0, 1]), atol=1e-6)
    assert np.isnan(found[2:]).all()  # no such class in the labels
    assert SurfaceDice(None)(sample, truth, np.zeros_like(truth), 2)[1] == 0.0  # in the labels, never answered
    half = np.where(place[..., 0] < 7, truth, -1)
    both = [SurfaceDice(0.0)(sample, half, one, 2)[1] for one in (truth, np.where(place[..., 0] < 7, truth, 0))]
    assert both == [1.0, 1.0]  # answers where there is no label count for nothing
    with pytest.raises(ConfigError, match="no tolerance in mm"):
        SurfaceDice(-1.0)
