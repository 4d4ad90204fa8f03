"""Answers about voxels: back on the scan's own grid and orientation, labels for cubes, masks, and the core's verbs."""

from __future__ import annotations

import base64
import io
import json
import weakref
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from repcore.cli.main import run
from repcore.embedding import dense
from repcore.embedding.dense import dense_windows
from repcore.embedding.inference import InferenceOptions
from repcore.errors import ItemError, PluginError, RunError
from repcore.interfaces import Batch, DenseAnswer, Sample
from repcore.specs import TargetSpec
from repcore_medical3d.configs.nnformer import NnFormerConfig
from repcore_medical3d.configs.volumes import VolumeConfig, VolumeFilesConfig
from repcore_medical3d.datasets.volume_layouts import VolumeFolderReader
from repcore_medical3d.encoders.nnformer import NnFormer
from repcore_medical3d.encoders.volume_backbone import voxel_tokens
from repcore_medical3d.formats.nifti import write_nifti
from repcore_medical3d.formats.volumes import Volume
from repcore_medical3d.preprocessors import volume_slabs
from repcore_medical3d.preprocessors.volumes import VolumePreprocessor
from repcore_medical3d.rendering.volumes import overlay
from repcore_medical3d.views.labelled_items import labelled_cube
from repcore_medical3d.writers.pixel_answers import write_mask_image
from repcore_medical3d.writers.voxel_answers import write_mask, write_values

STORED = ("RAS", "LPS", "ASL", "PIR")
IDS = (0, 205, 420)
SHAPE = (23, 18, 29)
SPACING = (1.5, 2.0, 1.2)
TARGET = TargetSpec("segmentation", "class", level="voxel", names=("background", "205", "420"), ignore=-1)


def scan(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Intensities with two organs in them, the ids of these, and an affine (RAS)."""
    rng = np.random.default_rng(seed)
    place = np.stack(np.meshgrid(*[np.arange(size) for size in SHAPE], indexing="ij"), -1)
    ids = np.zeros(SHAPE, np.int16)
    ids[np.linalg.norm(place - [8, 7, 10], axis=-1) < 6] = 205
    ids[np.linalg.norm(place - [16, 11, 21], axis=-1) < 5] = 420
    values = np.select([ids == 205, ids == 420], [500.0, 1000.0]) + rng.normal(0, 20, SHAPE)
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = [-17.3, 41.9, 5.7]
    return values.astype(np.float32), ids, affine


def turned(values: np.ndarray, affine: np.ndarray, orientation: str) -> tuple[np.ndarray, np.ndarray]:
    """The same scan stored with other axes."""
    from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

    image = nibabel.Nifti1Image(values, affine)
    change = ornt_transform(io_orientation(affine), axcodes2ornt(tuple(orientation)))
    other = image.as_reoriented(change)
    return np.asarray(other.dataobj), other.affine


def as_ras(path: Path) -> np.ndarray:
    return np.asarray(nibabel.as_closest_canonical(nibabel.load(path)).dataobj)


def folder_of(root: Path, orientations: tuple[str, ...] = STORED) -> Path:
    values, ids, affine = scan()
    for name in orientations:
        for kind, array in (("images", values), ("labels", ids)):
            stored, own = turned(array, affine, name)
            write_nifti(root / kind / f"{name}.nii.gz", stored, own)
    return root


def by_intensity(batch: Batch) -> Tensor:
    """Class shares of each voxel from its scaled intensity alone."""
    value = batch.inputs["volume"][0, 0].reshape(-1)
    return torch.softmax(-40 * (value[:, None] - torch.tensor([0.02, 0.49, 0.97])).abs(), dim=1)


@pytest.mark.parametrize("spacing_mm", [None, (1.7, 1.7, 1.7), (3.0, 3.0, 3.0)])
def test_masks_of_one_scan_agree_in_the_world_however_it_is_stored(
    spacing_mm: tuple[float, float, float] | None, tmp_path: Path
) -> None:
    reader = VolumeFolderReader(VolumeFilesConfig(path=str(folder_of(tmp_path / "data"))))
    config = VolumeConfig(
        crop_edge=16, spacing="native" if spacing_mm is None else "fixed", spacing_mm=spacing_mm,
        intensity="percentile", orientation="RAS",
    )  # fmt: skip
    preprocessor = VolumePreprocessor(config)
    preprocessor.fit(reader, np.arange(len(reader)))
    answers = [
        row.answer
        for row in dense_windows(
            by_intensity, preprocessor, reader, InferenceOptions(), level="voxel", domain="medical3d", target=TARGET,
            values=IDS,
        )
    ]  # fmt: skip
    assert len(answers) == len(STORED)
    masks, shares = [], []
    for number, answer in enumerate(answers):
        assert answer is not None
        write_mask(tmp_path / f"{number}.nii.gz", answer)
        write_values(tmp_path / f"p{number}.nii.gz", answer)
        image = nibabel.load(tmp_path / f"{number}.nii.gz")
        np.testing.assert_array_equal(image.affine, answer.sample.inputs.affine)
        assert image.shape == answer.sample.inputs.shape
        masks.append(as_ras(tmp_path / f"{number}.nii.gz"))
        shares.append(as_ras(tmp_path / f"p{number}.nii.gz"))
    for mask, share in zip(masks[1:], shares[1:], strict=True):
        np.testing.assert_array_equal(mask, masks[0])  # voxel by voxel
        np.testing.assert_allclose(share, shares[0], atol=1e-6)
    _, ids, _ = scan()
    right = (masks[0] == ids).mean()
    assert right == 1.0 if spacing_mm is None else right > (0.97 if spacing_mm[0] < 2 else 0.9)
    assert {int(one) for one in np.unique(masks[0])} == set(IDS)  # ids as stored, 420 does not fit a byte


def test_answers_cover_a_scan_of_which_only_the_centre_is_embedded(tmp_path: Path) -> None:
    """As with the recipe tiny-3d, whose vectors are of the cube at the centre: every voxel is answered nevertheless."""
    reader = VolumeFolderReader(VolumeFilesConfig(path=str(folder_of(tmp_path / "data", ("RAS",)))))
    config = VolumeConfig(crop_edge=12, spacing="native", intensity="percentile", coverage="centre")
    preprocessor = VolumePreprocessor(config)
    preprocessor.fit(reader, np.arange(1))
    assert len(preprocessor.prepare(reader[0])) == 1
    (row,) = dense_windows(by_intensity, preprocessor, reader, InferenceOptions(), level="voxel", domain="medical3d",
                           target=TARGET, values=IDS)  # fmt: skip
    assert row.answer is not None
    assert row.unanswered == 0
    assert row.reason == ""
    np.testing.assert_array_equal(row.answer.labels(), scan()[1])
    whole = VolumePreprocessor(VolumeConfig(coverage="whole"))
    assert whole.covering() is whole


def test_an_oracle_on_overlapping_cubes_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    values, _, affine = scan()
    stored, own = turned(values, affine, "PIR")
    preprocessor = VolumePreprocessor(VolumeConfig(crop_edge=12, overlap=0.4, spacing="native", intensity="percentile"))
    sample = Sample("one", Volume(stored, own))
    items = preprocessor.prepare(sample)
    assert len(items) > 8
    grid = preprocessor.grid(sample.inputs)
    axes = np.meshgrid(*[np.arange(12)] * 3, indexing="ij")
    cubes = [
        grid.moved(item.meta["start"], (12, 12, 12)).world(np.stack(axes, -1)).reshape(-1, 3).astype(np.float32)
        for item in items
    ]  # every voxel says where in the world it lies
    found = preprocessor.restore(sample, items, cubes, "voxel")
    places = np.stack(np.meshgrid(*[np.arange(size) for size in stored.shape], indexing="ij"), -1)
    np.testing.assert_allclose(found, sample.inputs.grid.world(places), atol=1e-4)


def test_large_answers_lie_in_a_file_and_cubes_run_one_by_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    reader = VolumeFolderReader(VolumeFilesConfig(path=str(folder_of(tmp_path, ("PIR",)))))
    preprocessor = VolumePreprocessor(VolumeConfig(crop_edge=12, spacing="native", intensity="percentile"))
    preprocessor.fit(reader, np.arange(1))
    held: list[weakref.ref[np.ndarray]] = []
    most = [0]
    honest = dense._of_item

    def counted(*given: object) -> np.ndarray:
        most[0] = max(most[0], sum(one() is not None for one in held))
        found = honest(*given)  # type: ignore[arg-type]
        held.append(weakref.ref(found))
        return found

    def answered() -> DenseAnswer:
        given = {"level": "voxel", "domain": "medical3d", "target": TARGET, "values": IDS}
        (row,) = dense_windows(by_intensity, preprocessor, reader, InferenceOptions(), **given)  # type: ignore[arg-type]
        assert row.answer is not None
        return row.answer

    in_memory = answered()
    monkeypatch.setattr(dense, "_of_item", counted)
    monkeypatch.setattr(volume_slabs, "HELD_BYTES", 0)
    in_file = answered()
    assert isinstance(in_file.outputs, np.memmap)
    np.testing.assert_array_equal(in_file.outputs, in_memory.outputs)
    np.testing.assert_array_equal(in_file.labels(), in_memory.labels())
    assert in_file.known() == np.prod(SHAPE)
    assert len(held) > 8
    assert most[0] <= 2  # never the outputs of all cubes


def test_voxels_that_no_cube_covers_are_unknown() -> None:
    values, _, affine = scan()
    config = VolumeConfig(crop_edge=10, coverage="centre", spacing="native", intensity="percentile")
    preprocessor = VolumePreprocessor(config)
    sample = Sample("one", Volume(values, affine))
    items = preprocessor.prepare(sample)
    found = preprocessor.restore(sample, items, [np.ones((1000, 2), np.float32)], "voxel")
    known = np.isfinite(found).all(-1)
    assert known.sum() == 1000
    assert known[6:16, 4:14, 9:19].all()
    with pytest.raises(PluginError, match="125 outputs for a cube"):
        preprocessor.restore(sample, items, [np.ones((125, 2), np.float32)], "voxel")
    with pytest.raises(ItemError, match="voxels, no level"):
        preprocessor.restore(sample, items, [np.ones((1000, 2), np.float32)], "point")


@pytest.mark.parametrize("edge", [12, 40])
def test_cubes_carry_the_ids_of_their_voxels(edge: int) -> None:
    values, ids, affine = scan()
    preprocessor = VolumePreprocessor(VolumeConfig(crop_edge=edge, spacing="native", intensity="percentile"))
    stored, own = turned(ids, affine, "LPS")
    sample = Sample("one", Volume(values, affine), {"segmentation": Volume(stored, own), "age": 40.0})
    items = preprocessor.prepare(sample)
    seen = np.zeros(SHAPE, bool)
    for item in items:
        assert set(item.targets) == {"segmentation"}
        labels, start = item.targets["segmentation"], np.asarray(item.meta["start"])
        assert labels.shape == (edge,) * 3
        low, high = np.maximum(start, 0), np.minimum(start + edge, SHAPE)
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        inner = tuple(slice(a, b) for a, b in zip(low - start, high - start, strict=True))
        np.testing.assert_array_equal(labels[inner], ids[box])
        assert (labels == -1).sum() == edge**3 - np.prod(high - low)  # beyond the scan: not the background
        seen[box] = True
    assert seen.all()


def test_a_drawn_cube_is_one_of_those_that_are_prepared() -> None:
    values, ids, affine = scan()
    sample = Sample("one", Volume(values, affine), {"segmentation": Volume(ids, affine)})
    preprocessor = VolumePreprocessor(VolumeConfig(crop_edge=12, spacing="native", intensity="percentile"))
    items = {tuple(one.meta["start"]): one for one in preprocessor.prepare(sample)}
    rng = np.random.default_rng(3)
    drawn = [preprocessor.draw(sample, rng) for _ in range(20)]
    assert len({tuple(one.meta["start"]) for one in drawn}) > 5
    for one in drawn:
        same = items[tuple(one.meta["start"])]
        assert torch.equal(one.values, same.values)
        np.testing.assert_array_equal(one.targets["segmentation"], same.targets["segmentation"])


@pytest.mark.parametrize("as_array", [False, True])
def test_a_training_cube_holds_its_own_labels_and_every_second_one_a_labelled_place(as_array: bool) -> None:
    """Labels lie on the intensities, also where they are an array of the scan, as in fine-tuning; NaN = none."""
    values, ids, affine = scan()
    far = np.zeros((60, 60, 60), np.float32)
    labels = np.zeros(far.shape, np.float32)
    far[: SHAPE[0], : SHAPE[1], : SHAPE[2]], labels[: SHAPE[0], : SHAPE[1], : SHAPE[2]] = values, ids
    labels[55:] = np.nan
    stored, own = turned(far, affine, "LPS")
    mask, _ = turned(labels, affine, "LPS")
    given = mask if as_array else Volume(np.nan_to_num(mask, nan=-1.0), own)
    sample = Sample("one", Volume(stored, own), {"segmentation": given})
    config = VolumeConfig(crop_edge=12, spacing="native", intensity="percentile", percentiles=(0, 100))
    preprocessor, rng = VolumePreprocessor(config), np.random.default_rng(0)
    labelled, unknown = 0, 0
    for _ in range(60):
        item = labelled_cube(preprocessor, sample, rng)
        own_labels = item.targets["segmentation"]
        assert own_labels.shape == item.values.shape[1:] == (12, 12, 12)
        assert set(np.unique(own_labels)) <= {-1, *IDS}
        inside = item.values[0].numpy()
        scale = far.max() - far.min()
        for number, level in ((205, 500.0), (420, 1000.0)):
            found = inside[own_labels == number]
            assert found.size == 0 or abs(found.mean() - (level - far.min()) / scale) < 0.05
        labelled += bool((own_labels > 0).any())
        unknown += bool((own_labels == -1).any())
    assert 25 <= labelled <= 50  # anywhere in the scan about one cube in six would
    assert 3 <= unknown <= 30


def test_each_voxel_has_the_token_whose_centre_is_nearest() -> None:
    torch.manual_seed(0)
    config = NnFormerConfig(crop_edge=16, width=8, heads=(1, 2, 2, 4), windows=(4, 2, 2, 1), drop_path=0.0)
    volume = torch.rand(2, 1, 16, 16, 16)
    tokens = NnFormer(config).eval()(Batch(inputs={"volume": volume}, size=2)).tokens["stage0"]
    assert tokens.source is not None
    assert tokens.position is not None
    assert tokens.source.shape == (2 * 16**3,)
    places = torch.stack(torch.meshgrid(*[torch.arange(16)] * 3, indexing="ij"), -1).reshape(-1, 3)
    for item in range(2):
        own = tokens.source[item * 16**3 : (item + 1) * 16**3] - item * tokens.values.shape[1]
        assert torch.equal(tokens.position[item][own].sub(places).abs(), torch.full((16**3, 3), 0.5))
    assert voxel_tokens((1, 1, 1, 2), 3, volume).tolist() == [0, 0, 0, 1, 1, 1] * 9


def test_stages_stand_side_by_side_at_the_finest_tokens() -> None:
    torch.manual_seed(0)
    config = NnFormerConfig(crop_edge=16, width=8, heads=(1, 2, 2, 4), windows=(4, 2, 2, 1), drop_path=0.0)
    encoder, batch = NnFormer(config).eval(), Batch(inputs={"volume": torch.rand(2, 1, 16, 16, 16)}, size=2)
    with torch.no_grad():
        tokens, read = encoder(batch).tokens, encoder.read("all", batch)
    assert read.values.shape == (2, 8**3, 8 + 16 + 32 + 64)
    assert torch.equal(read.values[..., :8], tokens["stage0"].values)
    assert read.source is not None
    assert torch.equal(read.source, tokens["stage0"].source)
    first = 8
    for name in ("stage1", "stage2", "stage3"):
        coarse = tokens[name]
        width = coarse.values.shape[-1]
        assert coarse.position is not None
        assert read.position is not None
        nearest = torch.cdist(read.position[0], coarse.position[0]).argmin(1)
        assert torch.equal(read.values[..., first : first + width], coarse.values[:, nearest])
        first += width


@pytest.mark.parametrize(("ids", "free"), [((0, 7), 255), ((0, 255), 254), ((1, 7), 0)])
def test_places_without_an_answer_are_none_of_class_0(tmp_path: Path, ids: tuple[int, int], free: int) -> None:
    values, _, affine = scan()
    outputs = np.random.default_rng(0).dirichlet([1, 1], SHAPE).astype(np.float32)
    wanted = np.asarray(ids)[outputs.argmax(-1)]
    outputs[3, 2, 1], wanted[3, 2, 1] = np.nan, free
    target = TargetSpec("organ", "class", "voxel", names=("outside", "organ"))
    write_mask(tmp_path / "m.nii.gz", DenseAnswer(Sample("one", Volume(values, affine)), "voxel", outputs, target, ids))
    np.testing.assert_array_equal(nibabel.load(tmp_path / "m.nii.gz").dataobj, wanted)
    write_mask_image(tmp_path / "m.png", DenseAnswer(Sample("one", None), "voxel", outputs[3], target, ids))
    np.testing.assert_array_equal(Image.open(tmp_path / "m.png"), wanted[3])


def test_where_every_number_is_a_class_a_missing_answer_is_refused() -> None:
    outputs = np.full((2, 3), np.nan, np.float32)
    answer = DenseAnswer(Sample("one", None), "voxel", outputs, TargetSpec("organ", "class", "voxel"), (0, 1, 2))
    with pytest.raises(RunError, match="'one' has elements without an answer"):
        answer.labels((0, 1, 2))
    assert answer.labels((0, 1, 3)).tolist() == [3, 3]


def test_features_are_written_as_they_are(tmp_path: Path) -> None:
    values, _, affine = scan()
    outputs = np.random.default_rng(0).normal(size=(*SHAPE, 3)).astype(np.float32)
    write_mask(tmp_path / "f.nii.gz", DenseAnswer(Sample("one", Volume(values, affine)), "voxel", outputs))
    np.testing.assert_array_equal(nibabel.load(tmp_path / "f.nii.gz").dataobj, outputs)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps of the tiny recipe on scans in which ids are sparse."""
    from repcore import registry
    from repcore.config.resolve import resolve_run
    from repcore.reporting import LogReporter
    from repcore.training.assembly import assemble
    from repcore.training.run import start_run

    root = tmp_path_factory.mktemp("voxels")
    folder_of(root / "data")
    for number in range(4):
        values, ids, affine = scan(number + 1)
        write_nifti(root / "data" / "images" / f"p{number}.nii.gz", values, affine)
        write_nifti(root / "data" / "labels" / f"p{number}.nii.gz", ids, affine)
    overrides = [
        "encoder.width=8", "encoder.heads=[1,2,2,4]", "encoder.windows=[4,2,2,1]", "preprocessor.crop_edge=16",
        "preprocessor.overlap=0.1", "objective.mask_patch=8", "data.batch_size=2", "trainer.steps=2",
        "trainer.validate_every=2",
    ]  # fmt: skip
    resolved = resolve_run(
        registry.default(), "alice", domain="medical3d", overrides=overrides,
        settings={"dataset.name": "medical3d/volume-folder", "dataset.path": str(root / "data")},
    )  # fmt: skip
    parts = assemble(resolved, LogReporter())
    start_run(registry.default(), parts, LogReporter(), root=root, name="run", device="cpu")
    return root


def told(*given: object) -> None:
    assert run([str(one) for one in given]) == 0


def test_a_segmenter_is_fine_tuned_and_writes_masks_with_the_ids_of_its_labels(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told(
        "medical3d", "finetune", model / "run", "--data", model / "data", "--label", "segmentation", "--out", tmp_path,
        "--name", "f", "--no-twin", "--device", "cpu", "trainer.epochs=12", "data.batch_size=2", "optimiser.lr=0.01",
        "task.class_weights=balanced", "finetune.draw=whole",
    )  # fmt: skip
    given = ("predict", tmp_path / "f", model / "data", "-o", tmp_path / "masks", "--json")
    capsys.readouterr()
    told(*given)
    scores = json.loads(capsys.readouterr().out)
    masks = {name: as_ras(tmp_path / "masks" / f"{name}.nii.gz") for name in STORED}
    for name in STORED:
        np.testing.assert_array_equal(masks[name], masks["RAS"])
    assert {int(one) for one in np.unique(masks["RAS"])} == set(IDS)
    assert scores["status"] == {"ok": 8}
    assert set(scores["scores"]["classes"]) == {"0", "205", "420"}
    assert scores["scores"]["miou"] > 0.45  # 0.31 for the background everywhere; these 36 steps give 0.56


def test_stages_are_linear_between_tokens() -> None:
    torch.manual_seed(0)
    config = NnFormerConfig(crop_edge=16, width=8, heads=(1, 2, 2, 4), windows=(4, 2, 2, 1), drop_path=0.0)
    encoder, batch = NnFormer(config).eval(), Batch(inputs={"volume": torch.rand(2, 1, 16, 16, 16)}, size=2)
    with torch.no_grad():
        tokens, read = encoder(batch).tokens, encoder.read("all-linear", batch)
        deep = encoder.read("deep-linear", batch)
    assert torch.equal(deep.values, read.values[..., 8 + 16 :])
    assert read.values.shape == (2, 16**3, 8 + 16 + 32 + 64)
    assert read.source is not None
    assert torch.equal(read.source, torch.arange(2 * 16**3))
    values = read.values.view(2, 16, 16, 16, -1)
    stage0 = tokens["stage0"].values.view(2, 8, 8, 8, 8)
    # voxel 5 lies a quarter of a token's edge behind the centre of token 2 (voxels 4 and 5), at a corner all axes alike
    share = torch.tensor([0.75, 0.25])
    weight = share[:, None, None] * share[:, None] * share
    wanted = (stage0[1, 2:4, 2:4, 2:4] * weight[..., None]).sum((0, 1, 2))
    torch.testing.assert_close(values[1, 5, 5, 5, :8], wanted)
    torch.testing.assert_close(values[0, 0, 0, 0, -64:], tokens["stage3"].values[0, 0], msg="one token: no change")


def test_tokens_are_chosen_by_name(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["embed", str(model / "run"), str(model / "data" / "images"), "-o", str(tmp_path / "f"), "--level", "voxel"]
    assert run([*given, "--tokens", "al"]) == 2
    assert "stage0, all" in " ".join(capsys.readouterr().err.split())
    assert run([*given, "--tokens", "all"]) == 0
    assert np.load(tmp_path / "f" / "p0.npz")["outputs"].shape == (*SHAPE, 8 + 16 + 32 + 64)


def test_features_of_voxels_lie_on_the_scans_grid(model: Path, tmp_path: Path) -> None:
    told("embed", model / "run", model / "data" / "images", "-o", tmp_path / "f", "--level", "voxel")
    found = {}
    for name in ("RAS", "PIR"):
        own = nibabel.load(model / "data" / "images" / f"{name}.nii.gz")
        outputs = np.load(tmp_path / "f" / f"{name}.npz")["outputs"]
        assert outputs.shape == (*own.shape, 8)
        found[name] = np.asarray(nibabel.as_closest_canonical(nibabel.Nifti1Image(outputs, own.affine)).dataobj)
    np.testing.assert_allclose(found["PIR"], found["RAS"], atol=1e-5)


def test_labels_and_predictions_are_drawn_over_the_same_slices() -> None:
    values, ids, affine = scan()
    stored, own = turned(values, affine, "PIR")
    mask, _ = turned(ids, affine, "PIR")
    sample = Sample("one", Volume(stored, own))
    wrong = np.full(mask.shape, -1)
    found = overlay(sample, {"labelled": mask, "predicted": wrong})
    assert "from above: the scan, labelled, predicted" in found.alt
    png = base64.b64decode(found.html.partition("base64,")[2].partition('"')[0])
    pixels = np.asarray(Image.open(io.BytesIO(png))).astype(int)
    plain, labelled, predicted = np.split(pixels, 3)
    np.testing.assert_array_equal(plain, predicted)  # nothing predicted: nothing tinted
    tinted = (plain != labelled).any(-1)
    assert 0.05 < tinted.mean() < 0.6
    assert np.ptp(labelled[tinted], axis=-1).mean() > 30  # in colour, on grey
