"""Volumes: grids and resampling, readers of all layouts, the preprocessor, and bad files as reported rows."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from repcore.data.batching import TrainingItems
from repcore.data.stream import ItemKey
from repcore.errors import ConfigError, DataError, ItemError
from repcore.interfaces import Progress, Sample
from repcore_medical3d.configs.volumes import PhantomsConfig, VolumeConfig, VolumeFilesConfig
from repcore_medical3d.datasets.phantoms import Phantoms
from repcore_medical3d.datasets.volume_layouts import VolumeFolderReader
from repcore_medical3d.datasets.volume_lists import DecathlonReader, NnsslReader
from repcore_medical3d.formats.nifti import read_nifti, write_nifti
from repcore_medical3d.formats.volumes import Grid, Volume
from repcore_medical3d.preprocessors.volume_resampling import oriented_grid, resample
from repcore_medical3d.preprocessors.volumes import VolumePreprocessor, sliding_starts

AFFINE = np.diag([2.0, 1.5, 3.0, 1.0])


def ramp(shape: tuple[int, int, int], affine: np.ndarray = AFFINE) -> Volume:
    """Values that are a linear function of the place in the world: every right resampling keeps that function."""
    grid = Grid(affine, shape)
    places = grid.world(np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1))
    return Volume((places @ [0.5, -0.25, 1.0] + 3.0).astype(np.float32), affine)


def expected(grid: Grid) -> np.ndarray:
    places = grid.world(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1))
    return places @ [0.5, -0.25, 1.0] + 3.0


@given(st.permutations([0, 1, 2]), st.tuples(*[st.booleans()] * 3), st.sampled_from(["RAS", "LPS", "ASR", "IPL"]))
@settings(max_examples=25, deadline=None)
def test_any_orientation_gives_the_same_world(order: list[int], flips: tuple[bool, ...], wanted: str) -> None:
    shape = (7, 5, 6)
    affine = AFFINE.copy()[:, [*order, 3]]
    for axis, flip in enumerate(flips):
        if flip:
            affine[:3, axis] *= -1
    volume = ramp(shape, affine)
    grid = oriented_grid(volume.grid, wanted)
    # copying, so float32 rounding of the stored ramp is all that may differ
    np.testing.assert_allclose(resample(volume, grid), expected(grid), atol=1e-4)
    assert "".join(nibabel.aff2axcodes(grid.affine)) == wanted


def test_new_spacing_keeps_the_place_of_values() -> None:
    volume = ramp((20, 24, 16))
    grid = oriented_grid(volume.grid, "LPS", (1.0, 2.0, 2.5))
    inner = tuple(slice(3, -3) for _ in range(3))
    # smoothing keeps a linear ramp away from the border; linear interpolation is exact on it
    np.testing.assert_allclose(resample(volume, grid)[inner], expected(grid)[inner], atol=1e-3)


def test_a_crop_is_a_part_of_the_whole_also_when_resampled() -> None:
    volume = Volume(np.random.default_rng(0).normal(size=(18, 20, 22)).astype(np.float32), AFFINE)
    for spacing in (None, (3.0, 2.0, 2.0)):
        grid = oriented_grid(volume.grid, "LPS", spacing)
        whole = resample(volume, grid)
        part = grid.moved((2, 3, 4), (5, 6, 4))
        # same kernel over the same values; borders of the read block carry four deviations of the smoothing
        np.testing.assert_allclose(resample(volume, part), whole[2:7, 3:9, 4:8], atol=1e-4)


def test_outside_is_filled_and_oblique_scans_stay_oblique() -> None:
    volume = ramp((6, 6, 6))
    far = volume.grid.moved((50, 0, 0), (3, 3, 3))
    assert (resample(volume, far, fill=-7.0) == -7.0).all()
    around = resample(volume, volume.grid.moved((-2, 0, 0), (4, 6, 6)), fill=-7.0)
    assert (around[:2] == -7.0).all()
    np.testing.assert_array_equal(around[2:], volume.read()[:2])
    turn = np.eye(4)
    turn[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    oblique = ramp((6, 7, 8), turn @ AFFINE)
    grid = oriented_grid(oblique.grid, "RAS")
    np.testing.assert_allclose(resample(oblique, grid), expected(grid), atol=1e-4)


def test_labels_are_never_mixed() -> None:
    labels = np.zeros((8, 8, 8), np.uint8)
    labels[2:6, 2:6, 2:6] = 5
    grid = oriented_grid(Volume(labels, AFFINE).grid, "RAS", (1.3, 1.3, 1.3))
    assert set(np.unique(resample(Volume(labels, AFFINE), grid, order=0))) == {0.0, 5.0}


@pytest.mark.parametrize("orientation", ["RRS", "RA", "XYZ", "ras"])
def test_an_orientation_that_is_none_is_named(orientation: str) -> None:
    with pytest.raises(ConfigError, match=repr(orientation)):
        VolumePreprocessor(VolumeConfig(orientation=orientation))


# ----------------------------------------------------------------------------------------------- readers


def save(path: Path, shape: tuple[int, ...] = (9, 8, 7), **changes: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(1).integers(0, 900, shape).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(changes.get("values", values), changes.get("affine", AFFINE)), path)
    return path


def test_a_flat_folder_finds_labels_splits_and_numbers(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        save(tmp_path / "images" / f"{name}.nii.gz")
        save(tmp_path / "labels" / f"{name}.nii.gz", values=np.ones((9, 8, 7), np.uint8))
    (tmp_path / "split.csv").write_text("id,split,age\na,train,30\nb,train,\nc,test,70\n")
    reader = VolumeFolderReader(VolumeFilesConfig(path=str(tmp_path)))
    assert [reader[row].id for row in range(3)] == ["a", "b", "c"]
    assert reader.splits == {"train": [0, 1], "test": [2]}
    assert reader.by_id("c").targets["age"] == 70.0
    assert "age" not in reader.by_id("b").targets
    assert (reader[0].targets["segmentation"].read() == 1).all()


def test_a_label_beside_its_image_is_no_row(tmp_path: Path) -> None:
    save(tmp_path / "slab_ct.nii.gz")
    save(tmp_path / "slab_seg.nii.gz")
    reader = VolumeFolderReader(VolumeFilesConfig(path=str(tmp_path)))
    assert [reader.id_of(row) for row in range(len(reader))] == ["slab_ct"]
    assert "segmentation" in reader[0].targets


def test_a_decathlon_list(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / "imagesTr" / f"{name}.nii.gz")
        save(tmp_path / "labelsTr" / f"{name}.nii.gz")
    rows = [{"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in "ab"]
    content = {"labels": {"0": "background", "1": "tumour"}, "training": rows[:1], "validation": rows[1:], "test": []}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    reader = DecathlonReader(VolumeFilesConfig(path=str(tmp_path)))
    assert reader.splits == {"train": [0], "validation": [1]}
    assert reader.targets[0].names == ("background", "tumour")
    assert reader[1].id == "b"
    (tmp_path / "dataset.json").write_text(json.dumps({"training": [{"picture": "x"}]}))
    with pytest.raises(DataError, match=r"training\[0\] names no image"):
        DecathlonReader(VolumeFilesConfig(path=str(tmp_path)))


def test_an_nnssl_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "scans" / "t1.nii.gz")
    monkeypatch.setenv("SCANS", str(tmp_path / "scans"))
    image = {"name": "t1", "modality": "T1w", "image_path": "$SCANS/t1.nii.gz", "associated_masks": None}
    subject = {"subject_id": "s1", "sessions": {"1": {"session_id": "1", "images": [image]}}}
    content = {"collection_name": "c", "datasets": {"d": {"name": "d", "subjects": {"s1": subject}}}}
    (tmp_path / "pretrain_data.json").write_text(json.dumps(content))
    reader = NnsslReader(VolumeFilesConfig(path=str(tmp_path)))
    sample = reader[0]
    assert (sample.id, sample.group, sample.meta["modality"]) == ("d/s1/1/t1", "d/s1", "T1w")


def test_uncompressed_files_are_read_in_blocks(tmp_path: Path) -> None:
    volume = read_nifti(save(tmp_path / "a.nii"))
    assert not isinstance(volume.source, np.ndarray)
    block = volume.read((slice(2, 4), slice(1, 3), slice(0, 7)))
    np.testing.assert_array_equal(block, volume.read()[2:4, 1:3])


def truncated_gzip(path: Path) -> None:
    save(path)
    path.write_bytes(path.read_bytes()[:-60])


def truncated_plain(path: Path) -> None:
    save(path)
    path.write_bytes(path.read_bytes()[:-60])


def without_affine(path: Path) -> None:
    save(path)
    image = nibabel.load(path)
    image.header["sform_code"] = image.header["qform_code"] = 0
    values = np.asanyarray(image.dataobj)
    header = image.header.copy()
    plain = nibabel.Nifti1Image(values, None, header)
    plain.header["sform_code"] = plain.header["qform_code"] = 0
    nibabel.save(plain, path)


def compressed_rubbish(path: Path) -> None:
    path.write_bytes(gzip.compress(b"no header at all" * 40))


BAD_FILES = {
    "two_dimensional": ("a.nii.gz", lambda path: save(path, (9, 8))),
    "one_slice": ("a.nii.gz", lambda path: save(path, (9, 8, 1))),
    "four_dimensional": ("a.nii.gz", lambda path: save(path, (9, 8, 7, 20))),
    "corrupt": ("a.nii.gz", truncated_gzip),
    "corrupt_plain": ("a.nii", truncated_plain),
    "corrupt_rubbish": ("a.nii.gz", compressed_rubbish),
    "no_affine": ("a.nii.gz", without_affine),
    "empty": ("a.nii.gz", lambda path: path.touch()),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_a_reported_row(tmp_path: Path, kind: str) -> None:
    name, make = BAD_FILES[kind]
    make(tmp_path / name)
    save(tmp_path / "b.nii.gz")
    reader = VolumeFolderReader(VolumeFilesConfig(path=str(tmp_path)))
    with pytest.raises(ItemError) as caught:
        reader[0]
    status = {"one_slice": "two_dimensional"}.get(kind, kind.removesuffix("_plain").removesuffix("_rubbish"))
    assert caught.value.status == status
    assert reader[1].id == "b"


def test_a_missing_affine_can_be_assumed(tmp_path: Path) -> None:
    without_affine(tmp_path / "a.nii.gz")
    reader = VolumeFolderReader(VolumeFilesConfig(path=str(tmp_path), missing_affine="assume-ras"))
    assert reader[0].inputs.orientation == "RAS"


def test_four_axes_of_which_one_is_single_are_accepted(tmp_path: Path) -> None:
    assert read_nifti(save(tmp_path / "a.nii.gz", (9, 8, 7, 1))).shape == (9, 8, 7)


def test_labels_of_another_size_are_left_out_and_said_and_the_image_stays(tmp_path: Path) -> None:
    save(tmp_path / "a_ct.nii.gz")
    save(tmp_path / "a_seg.nii.gz", (5, 5, 5))
    sample = VolumeFolderReader(VolumeFilesConfig(path=str(tmp_path)))[0]
    assert sample.meta["labels_left_out"].startswith("labels_do_not_fit: a_seg.nii.gz covers")
    assert "segmentation" not in sample.targets
    preprocessor = VolumePreprocessor(VolumeConfig(crop_edge=8, spacing="native"))
    preprocessor.fit(VolumeFolderReader(VolumeFilesConfig(path=str(tmp_path))), [0])
    found = preprocessor.prepare(sample)[0]
    assert found.status == "labels_left_out"
    assert found.reason.startswith(sample.meta["labels_left_out"])


def test_nothing_to_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match="holds no NIfTI file") as caught:
        VolumeFolderReader(VolumeFilesConfig(path=str(tmp_path)))
    assert ".txt" in str(caught.value)


# ------------------------------------------------------------------------------------------ preprocessor


def fitted(samples: list[Sample], **changes: object) -> VolumePreprocessor:
    preprocessor = VolumePreprocessor(VolumeConfig(**{"crop_edge": 8, **changes}))  # type: ignore[arg-type]
    preprocessor.fit(samples, np.arange(len(samples)))  # type: ignore[arg-type]  # a list gives rows by number
    return preprocessor


def sample(values: np.ndarray, affine: np.ndarray = AFFINE, name: str = "s") -> Sample:
    return Sample(name, Volume(values, affine))


def noise(shape: tuple[int, int, int] = (12, 14, 16), low: float = 0.0) -> np.ndarray:
    return (np.random.default_rng(0).random(shape) * 1000 + low).astype(np.float32)


def test_ct_gets_a_window_and_mr_percentiles() -> None:
    assert fitted([sample(noise(low=-1000.0))]).intensity == "hu-window"
    mr = fitted([sample(noise())])
    assert mr.intensity == "percentile"
    values = mr.prepared(sample(noise())).values
    assert float(values.min()) == 0.0
    assert float(values.max()) == 1.0
    ct = fitted([sample(noise(low=-1000.0))], spacing="native").prepared(sample(np.full((4, 4, 4), 50.0) + np.eye(4)))
    assert float(ct.values.mean()) == pytest.approx((50.25 + 125) / 350, abs=1e-5)


def test_mixed_spacings_come_to_the_median() -> None:
    scans = [sample(noise(), np.diag([edge, edge, 2 * edge, 1.0]), str(edge)) for edge in (1.0, 1.5, 4.0)]
    preprocessor = fitted(scans)
    assert preprocessor.spacing_mm == (1.5, 1.5, 3.0)
    assert {preprocessor.prepared(one).grid.spacing_mm for one in scans} == {(1.5, 1.5, 3.0)}
    assert len({fitted(scans, spacing="native").prepared(one).grid.spacing_mm for one in scans}) == 3


GAPS = np.where(np.eye(9)[..., None] > 0, np.nan, noise((9, 9, 9)))


@pytest.mark.parametrize(("values", "status"), [(np.full((9, 9, 9), 3.0), "constant"), (GAPS, "not_finite")])
def test_useless_values_are_reported(values: np.ndarray, status: str) -> None:
    preprocessor = fitted([sample(noise())])
    with pytest.raises(ItemError) as caught:
        preprocessor.prepare(sample(values, name="bad"))
    assert caught.value.status == status


def test_missing_values_can_be_filled() -> None:
    values = np.where(np.eye(12)[..., None][:, :12] > 0, np.nan, noise((12, 12, 16)))
    preprocessor = fitted([sample(noise())], not_finite="fill")
    assert torch.isfinite(preprocessor.prepared(sample(values, name="gaps")).values).all()


def test_a_cube_larger_than_the_scan_is_padded_and_says_so() -> None:
    preprocessor = fitted([sample(noise((6, 20, 6)))])
    items = preprocessor.prepare(sample(noise((6, 20, 6))))
    assert {item.status for item in items} == {"padded"}
    assert all(item.values.shape == (1, 8, 8, 8) for item in items)
    assert "6 x 20 x 6" in items[0].reason


def test_cubes_cover_the_scan_and_know_their_place() -> None:
    one = sample(noise())
    preprocessor = fitted([one])
    whole = preprocessor.prepared(one)
    seen = np.zeros(whole.grid.shape, bool)
    for item in preprocessor.prepare(one):
        start = item.meta["start"]
        box = tuple(slice(first, first + 8) for first in start)
        seen[box] = True
        torch.testing.assert_close(item.values[0], whole.values[(0, *box)], rtol=0, atol=0)
        np.testing.assert_allclose(np.asarray(item.meta["affine"])[:3, 3], whole.grid.world(np.asarray(start)))
    assert seen.all()


def test_crops_of_large_scans_do_not_prepare_the_whole() -> None:
    one = sample(noise((24, 24, 24)))
    small = fitted([one], cache_mib=0, spacing="fixed", spacing_mm=(1.7, 1.7, 1.7))
    large = fitted([one], spacing="fixed", spacing_mm=(1.7, 1.7, 1.7))
    part, same = (each.crop(one, (2, 3, -2), (8, 8, 8)).values for each in (small, large))
    assert not small._prepared
    torch.testing.assert_close(part, same, rtol=0, atol=2e-4)  # smoothing sees a block with its margin, not everything


@given(st.integers(1, 40), st.integers(1, 16), st.floats(0, 0.9))
@settings(max_examples=60, deadline=None)
def test_sliding_cubes_reach_every_voxel(size: int, edge: int, overlap: float) -> None:
    firsts = sorted({start[0] for start in sliding_starts((size, 1, 1), edge, overlap)})
    seen = {place for first in firsts for place in range(first, first + edge)}
    assert set(range(size)) <= seen


@pytest.mark.parametrize(
    "changes",
    [
        {"spacing": "fixed"}, {"spacing_mm": (1.0, 1.0, 1.0)}, {"window_hu": (5.0, 5.0)}, {"percentiles": (50.0, 2.0)},
        {"crop_edge": 0}, {"overlap": 1.0},
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        VolumePreprocessor(VolumeConfig(**changes))  # type: ignore[arg-type]


def test_training_replaces_bad_rows_and_names_them(tmp_path: Path) -> None:
    truncated_gzip(tmp_path / "a.nii.gz")
    for name in ("b", "c"):
        save(tmp_path / f"{name}.nii.gz")
    reader = VolumeFolderReader(VolumeFilesConfig(path=str(tmp_path)))
    preprocessor = VolumePreprocessor(VolumeConfig(crop_edge=4))
    preprocessor.fit(reader, np.arange(3))
    drawn = TrainingItems(reader, preprocessor, None, np.arange(3))[ItemKey(0, 5, Progress(0, 10))]
    assert drawn.rejected[0].status == "corrupt"


def test_written_maps_come_back_with_their_affine(tmp_path: Path) -> None:
    values = noise((4, 5, 6))
    path = write_nifti(tmp_path / "out.nii.gz", values, AFFINE)
    back = read_nifti(path)
    np.testing.assert_array_equal(back.read(), values)
    np.testing.assert_allclose(back.affine, AFFINE)
    with pytest.raises(DataError, match="no NIfTI name"):
        write_nifti(tmp_path / "out.npy", values, AFFINE)


def test_phantom_organs_have_their_densities() -> None:
    made = Phantoms(PhantomsConfig(volumes=3))[1]
    values, labels = made.inputs.read(), made.targets["segmentation"].read()
    assert set(np.unique(labels)) >= set(range(7))
    assert values[labels == 1].mean() < -600 < values[labels == 3].mean() < values[labels == 6].mean()
    again = Phantoms(PhantomsConfig(volumes=3))[1]
    assert again.inputs == made.inputs
    assert Phantoms(PhantomsConfig(volumes=3))[2].inputs != made.inputs


@pytest.mark.parametrize("name", ["msd_hippocampus", "ct_torso"])
def test_real_scans(shared: Path, name: str) -> None:
    reader = VolumeFolderReader(VolumeFilesConfig(path=str(shared / "data" / "medical3d" / name)))
    preprocessor = VolumePreprocessor(VolumeConfig(crop_edge=32))
    preprocessor.fit(reader, np.arange(len(reader))[:8])
    assert preprocessor.intensity == {"msd_hippocampus": "percentile", "ct_torso": "hu-window"}[name]
    items = preprocessor.prepare(reader[0])
    assert items[0].values.shape == (1, 32, 32, 32)
    assert 0.0 < float(items[0].values.mean()) < 1.0


def test_remarks_of_the_reading_library_are_the_rows_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Told to a terminal they name no file."""
    write_nifti(tmp_path / "a.nii", np.ones((4, 4, 4), np.float32), AFFINE)
    content = bytearray((tmp_path / "a.nii").read_bytes())
    content[80:92] = bytes(12)  # pixdim[1:4]
    (tmp_path / "a.nii").write_bytes(content)
    handlers = list(nibabel.imageglobals.logger.handlers)
    assert "pixdim[1,2,3] should be non-zero" in str(read_nifti(tmp_path / "a.nii").facts["remark"])
    assert "pixdim" not in "".join(capfd.readouterr())
    assert list(nibabel.imageglobals.logger.handlers) == handlers
