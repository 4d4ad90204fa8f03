"""Medical images as people have them: every kind of the field page, with the right value.

Inputs are made here with nibabel, pydicom, SimpleITK and Pillow. World coordinates are compared voxel by voxel.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from torch import nn

from repcore.cli.main import run
from repcore.data.accounting import account_of
from repcore.errors import DataError, ItemError, PluginError
from repcore.interfaces import Sample
from repcore_medical3d.configs.volumes import VolumeConfig, VolumeFilesConfig
from repcore_medical3d.datasets.volume_labels import LabelIds
from repcore_medical3d.datasets.volume_layouts import VolumeFolderReader
from repcore_medical3d.datasets.volume_lists import DecathlonReader
from repcore_medical3d.formats.nifti import ReadingRules, read_nifti
from repcore_medical3d.formats.volume_files import read_volume
from repcore_medical3d.formats.volumes import Grid, Volume
from repcore_medical3d.preprocessors.volume_slabs import classes_on, joined_slabs
from repcore_medical3d.preprocessors.volumes import VolumePreprocessor, sliding_starts
from tests.medical3d.benchmark_parts import alice_dense, alice_segmentation

AFFINE = np.array([[1.5, 0, 0, -20], [0, 2.0, 0, 10], [0, 0, 2.5, 40], [0, 0, 0, 1.0]])
SHAPE = (12, 10, 8)
SEED = np.random.default_rng(3)


def world_values(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Whole numbers that depend on the place in the world alone."""
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    places = voxels @ affine[:3, :3].T + affine[:3, 3]
    return np.round(places @ [2, 8, 32]).astype(np.int16)


def world_label(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """1 in an off-centre box of the world, 2 in a corner of it."""
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    x, y, z = np.moveaxis(voxels @ affine[:3, :3].T + affine[:3, 3], -1, 0)
    inside = (x > -15) & (x < -6) & (y > 13) & (y < 25) & (z > 44) & (z < 54)
    return inside.astype(np.uint8) + (inside & (x < -11) & (z < 49)).astype(np.uint8)


def turned(values: np.ndarray, affine: np.ndarray, orientation: str) -> tuple[np.ndarray, np.ndarray]:
    """The same world stored with other axes."""
    image = nibabel.Nifti1Image(values, affine)
    goal = nibabel.orientations.axcodes2ornt(tuple(orientation))
    other = image.as_reoriented(nibabel.orientations.ornt_transform(nibabel.io_orientation(affine), goal))
    return np.asarray(other.dataobj), other.affine


def save(path: Path, values: np.ndarray | None = None, affine: np.ndarray = AFFINE, **header: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(world_values(AFFINE, SHAPE) if values is None else values, affine)
    if "unit" in header:
        image.header.set_xyzt_units(header["unit"])
    nibabel.save(image, path)
    return path


def volumes(path: Path, **settings: Any) -> VolumeFolderReader:
    return VolumeFolderReader(VolumeFilesConfig(path=str(path), **settings))


def ids_of(reader: Any) -> list[str]:
    return [reader.id_of(row) for row in range(len(reader))]


def said(reader: Any) -> str:
    return "\n".join(account_of(reader).sentences())


def status_of(reader: Any, row: int = 0) -> str:
    with pytest.raises(ItemError) as caught:
        reader[row]
    return caught.value.status


# -------------------------------------------------------------------------- K7: the world, not the array


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "ASL", "PIR"])
def test_a_label_of_any_orientation_lies_on_its_image_voxel_by_voxel(tmp_path: Path, orientation: str) -> None:
    save(tmp_path / "images" / "a.nii.gz")
    label, affine = turned(world_label(AFFINE, SHAPE), AFFINE, orientation)
    save(tmp_path / "labels" / "a.nii.gz", label, affine)
    sample = volumes(tmp_path)[0]
    np.testing.assert_array_equal(sample.targets["segmentation"].read(), world_label(AFFINE, SHAPE))
    np.testing.assert_array_equal(sample.targets["segmentation"].affine, sample.inputs.affine)
    assert ("stored " + orientation in str(sample.meta.get("remark", ""))) == (orientation != "RAS")


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "ASL", "PIR"])
def test_a_perfect_oracle_scores_1_however_the_label_is_stored(
    tmp_path: Path, orientation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The published report: 0.239 where the label was stored LPS."""
    image, affine = turned(world_values(AFFINE, SHAPE), AFFINE, "PSR")
    truth = world_label(AFFINE, SHAPE)
    label, label_affine = turned(truth, AFFINE, orientation)
    stored = Sample("a", Volume(image, affine), {"segmentation": Volume(label, label_affine)})
    answer = turned(truth, AFFINE, "PSR")[0].astype(np.int64)
    monkeypatch.setattr(alice_segmentation, "segment", lambda *_: answer)
    found = alice_segmentation.score_segmentation(None, None, [stored])  # type: ignore[arg-type]  # the oracle needs none
    assert found["dice"] == found["surface_dice"] == 1.0


class Oracle(nn.Module):
    """Says of each voxel of a cube whether it is bright: the label of the image below, without learning."""

    ids = LabelIds((0, 205, 420))

    def forward(self, cubes: torch.Tensor) -> torch.Tensor:
        levels = torch.stack([torch.zeros_like(cubes), cubes - 0.25, 2 * cubes - 1.0], dim=1)[:, :, 0]
        return 60 * levels


@pytest.mark.parametrize("orientation", ["LPS", "ASL", "PIR"])
def test_predictions_come_back_on_the_scans_own_voxels_with_stored_ids(orientation: str) -> None:
    shape = (40, 33, 29)
    ids = np.zeros(shape, np.int16)
    ids[8:20, 5:25, 4:20], ids[22:36, 9:30, 8:26] = 205, 420
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    bright = np.select([ids == 205, ids == 420], [50.0, 100.0], 0.0).astype(np.float32)
    image, image_affine = turned(bright, affine, orientation)
    truth, _ = turned(ids, affine, orientation)
    preprocessor = VolumePreprocessor(
        VolumeConfig(crop_edge=16, spacing="native", intensity="percentile", percentiles=(0.0, 100.0))
    )
    preprocessor.channels = 1
    sample = Sample("a", Volume(image, image_affine))
    calls: list[tuple[int, int]] = []
    found = alice_segmentation.segment(Oracle(), preprocessor, sample, lambda *done: calls.append(done))  # type: ignore[arg-type]
    np.testing.assert_array_equal(found, truth)
    assert calls[-1][0] == calls[-1][1] > 1  # how far it is, for an ETA


def test_a_label_of_another_resolution_is_resampled_and_said(tmp_path: Path) -> None:
    fine = np.zeros((16, 16, 16), np.uint8)
    fine[4:12, 6:14, 2:8] = 3
    coarse = np.diag([2.0, 2.0, 2.0, 1.0])
    coarse[:3, 3] = 0.5
    save(tmp_path / "images" / "a.nii.gz", fine.astype(np.int16) * 100, np.eye(4))
    save(tmp_path / "labels" / "a.nii.gz", fine[::2, ::2, ::2], coarse)
    sample = volumes(tmp_path)[0]
    np.testing.assert_array_equal(sample.targets["segmentation"].read(), fine)
    part = (slice(3, 9), slice(5, 12), slice(1, 7, 2))
    np.testing.assert_array_equal(sample.targets["segmentation"].read(part), fine[part])
    assert "2 x 2 x 2 mm, its image 1 x 1 x 1 mm): resampled" in sample.meta["remark"]


def test_equal_shapes_elsewhere_are_left_out_unless_asked(tmp_path: Path) -> None:
    away = AFFINE.copy()
    away[0, 3] += 500
    label = world_label(AFFINE, SHAPE)
    save(tmp_path / "images" / "a.nii.gz")
    save(tmp_path / "labels" / "a.nii.gz", label, away)
    kept = volumes(tmp_path)[0]
    assert re.search(r"same shape covers 0% of its image in the world; .* 500 mm apart", kept.meta["labels_left_out"])
    assert "segmentation" not in kept.targets
    np.testing.assert_array_equal(volumes(tmp_path, label_grid="image")[0].targets["segmentation"].read(), label)


@pytest.mark.parametrize(("unit", "factor"), [("meter", 1e-3), ("micron", 1e3), ("mm", 1.0)])
def test_units_of_the_header_are_honoured(tmp_path: Path, unit: str, factor: float) -> None:
    stored = AFFINE.copy()
    stored[:3] *= factor
    volume = read_nifti(save(tmp_path / "a.nii.gz", affine=stored, unit=unit))
    np.testing.assert_allclose(volume.affine, AFFINE, rtol=1e-5)


def test_metres_without_a_unit_are_refused_and_can_be_told(tmp_path: Path) -> None:
    small = AFFINE.copy()
    small[:3] /= 1000
    save(tmp_path / "a.nii.gz", affine=small)
    save(tmp_path / "b.nii.gz")
    assert status_of(volumes(tmp_path)) == "bad_spacing"
    np.testing.assert_allclose(
        volumes(tmp_path / "a.nii.gz", unit="m")[0].inputs.spacing_mm, (1.5, 2.0, 2.5), rtol=1e-4
    )
    save(tmp_path / "c.nii.gz", unit="meter")  # voxels of 1.5 m
    assert status_of(volumes(tmp_path), 2) == "bad_spacing"


# ------------------------------------------------------------------- K1, K4: masks, pairs, orphans, accounts


LAYOUTS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    # scans and masks by relative path: content is the case; id -> whose mask it gets
    "flat": ({"images/c1": "1", "images/c2": "2", "labels/c1": "1", "labels/c2": "2"}, {"c1": "1", "c2": "2"}),
    "beside": ({"c1_ct": "1", "c1_seg": "1", "c2_ct": "2", "c2_mask": "2"}, {"c1_ct": "1", "c2_ct": "2"}),
    "LiTS": (
        {"volume-3.nii/volume-3": "1", "segmentation-3.nii/segmentation-3": "1", "volume-13": "2"},
        {"volume-3": "1", "volume-13": ""},
    ),
    "KiTS": (
        {"case_1/imaging": "1", "case_1/segmentation": "1", "case_2/imaging": "2", "case_2/segmentation": "2"},
        {"case_1/imaging": "1", "case_2/imaging": "2"},
    ),
    "ACDC": (
        {"p1/p1_frame01": "1", "p1/p1_frame01_gt": "1", "p1/p1_frame12": "2"}, {"p1_frame01": "1", "p1_frame12": ""},
    ),
    "BIDS": (
        {
            "sub-01/anat/sub-01_T1w": "1", "sub-02/anat/sub-02_T1w": "2",
            "derivatives/manual/sub-01/anat/sub-01_T1w_label-lesion_mask": "1",
            "derivatives/manual/sub-02/anat/sub-02_space-orig_dseg": "2",
            "derivatives/fmriprep/sub-01/anat/sub-01_desc-preproc_T1w": "9",
        },
        {"sub-01_T1w": "1", "sub-02_T1w": "2"},
    ),
    "parts": (
        {"imagesTr/a": "1", "labelsTr/a": "1", "imagesTs/a": "2", "labelsTs/a": "2"},
        {"imagesTr/a": "1", "imagesTs/a": "2"},
    ),
    "train and test": (
        {"train/images/a": "1", "train/masks/a": "1", "test/images/b": "2"}, {"a": "1", "b": ""},
    ),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_masks_find_their_scan_and_are_never_scans(tmp_path: Path, layout: str) -> None:
    files, wanted = LAYOUTS[layout]
    for name, case in files.items():
        save(tmp_path / f"{name}.nii.gz", np.full(SHAPE, int(case), np.int16))
    reader = volumes(tmp_path)
    found = {}
    for row in range(len(reader)):
        sample = reader[row]
        label = sample.targets.get("segmentation")
        found[sample.id] = "" if label is None else str(int(label.read().max()))
        if label is not None:
            assert label.read().max() == sample.inputs.read().max()
    assert found == wanted
    counts = account_of(reader).counts
    assert sum(counts.values()) == len(files)
    if layout == "BIDS":
        assert "derived from scans" in said(reader)
    if layout in ("parts", "train and test"):
        assert set(reader.splits) == {"train", "test"}


def test_orphan_masks_are_said_and_a_folder_of_masks_is_no_folder_of_scans(tmp_path: Path) -> None:
    save(tmp_path / "images" / "c1.nii.gz")
    for name in ("c1", "c9"):
        save(tmp_path / "labels" / f"{name}.nii.gz", world_label(AFFINE, SHAPE))
    reader = volumes(tmp_path)
    assert ids_of(reader) == ["c1"]
    assert "labels/c9.nii.gz: a mask without a scan" in said(reader)
    save(tmp_path / "only" / "a_seg.nii.gz")
    with pytest.raises(DataError, match="1 label maps by their names and no scan"):
        volumes(tmp_path / "only")


def test_a_prefix_never_steals_a_mask(tmp_path: Path) -> None:
    """case_1 is no beginning of case_10."""
    for name in ("case_1", "case_10"):
        save(tmp_path / "images" / f"{name}.nii.gz")
    save(tmp_path / "labels" / "case_10.nii.gz", world_label(AFFINE, SHAPE))
    reader = volumes(tmp_path)
    assert "segmentation" not in reader.by_id("case_1").targets
    assert "segmentation" in reader.by_id("case_10").targets


def test_ids_never_collide(tmp_path: Path) -> None:
    save(tmp_path / "a.nii")
    save(tmp_path / "a.nii.gz")
    save(tmp_path / "x" / "a.nii.gz")
    assert ids_of(volumes(tmp_path)) == ["a.nii", "a.nii.gz", "x/a"]


def test_pipes_links_and_other_files_are_accounted_for(tmp_path: Path) -> None:
    save(tmp_path / "real" / "a.nii.gz")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "linked").symlink_to(tmp_path / "real")
    (tmp_path / "set" / "gone.nii.gz").symlink_to(tmp_path / "nowhere.nii.gz")
    (tmp_path / "set" / "loop").symlink_to(tmp_path / "set")
    os.mkfifo(tmp_path / "set" / "pipe.npy")
    os.mkfifo(tmp_path / "set" / "pipe.nii.gz")
    (tmp_path / "set" / "notes.docx").write_text("x")
    reader = volumes(tmp_path / "set")
    assert ids_of(reader) == ["a"]
    words = said(reader)
    assert "unreadable: gone.nii.gz: link to" in words
    assert "no regular file" in words
    assert "notes.docx" in words


# --------------------------------------------------------------------------------- K9: channels, series


def channel_cases(root: Path, pattern: str, names: list[str], missing: str = "") -> None:
    for case in range(2):
        for number, name in enumerate(names):
            file = pattern.format(case=case, name=name)
            if file != missing:
                save(root / f"{file}.nii.gz", world_values(AFFINE, SHAPE) + np.int16(1000 * number + case))


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("imagesTr/case_{case}_{name}", ["0000", "0001"]),
        ("BraTS20_{case}/BraTS20_{case}_{name}", ["t1", "t1ce", "t2", "flair"]),
        ("BraTS-GLI-{case}/BraTS-GLI-{case}-{name}", ["t1n", "t1c", "t2w", "t2f"]),
    ],
)
def test_channels_in_files_of_their_own_are_one_item(tmp_path: Path, pattern: str, names: list[str]) -> None:
    channel_cases(tmp_path, pattern, names)
    reader = volumes(tmp_path)
    assert len(reader) == 2
    sample = reader[1]
    assert sample.meta["channels"] == names
    for number, channel in enumerate(sample.inputs.channels):
        np.testing.assert_array_equal(channel.read(), world_values(AFFINE, SHAPE) + 1000 * number + 1)
    assert f"{len(names)} in each of 2 scans" in said(reader)
    assert len(volumes(tmp_path, sequences="apart")) == 2 * len(names)
    chosen = volumes(tmp_path, channel=names[1])[0].inputs
    np.testing.assert_array_equal(chosen.read(), world_values(AFFINE, SHAPE) + 1000)
    assert len(chosen.channels) == 1


def test_a_scan_without_one_of_its_channels_is_a_reported_row(tmp_path: Path) -> None:
    channel_cases(tmp_path, "imagesTr/case_{case}_{name}", ["0000", "0001"], missing="imagesTr/case_1_0001")
    reader = volumes(tmp_path)
    assert ids_of(reader)[0] == "case_0"
    assert status_of(reader, 1) == "missing_channel"


def test_channels_reach_the_model_each_on_its_own_scale(tmp_path: Path) -> None:
    channel_cases(tmp_path, "case_{case}_{name}", ["0000", "0001"])
    save(tmp_path / "single.nii.gz")
    reader = volumes(tmp_path)
    preprocessor = VolumePreprocessor(VolumeConfig(crop_edge=8, spacing="native"))
    preprocessor.fit(reader, np.arange(len(reader)))
    assert preprocessor.facts()["input_channels"] == 2
    item = preprocessor.prepare(reader[0])[0]
    assert item.values.shape == (2, 8, 8, 8)
    # the second channel is the first plus a constant: each is scaled between its own percentiles
    torch.testing.assert_close(item.values[0], item.values[1], rtol=0, atol=1e-5)
    with pytest.raises(ItemError, match="has 1 channels, the model takes 2"):
        preprocessor.prepare(reader.by_id("single"))


def test_a_fourth_axis_and_colours_are_channels_and_series_are_refused(tmp_path: Path) -> None:
    base = world_values(AFFINE, SHAPE)
    save(tmp_path / "a_two.nii.gz", np.stack([base, base + 7], axis=-1))
    rgb = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    rgb["R"], rgb["G"] = 10, 20
    save(tmp_path / "b_rgb.nii.gz", rgb)
    grey = rgb.copy()
    grey["G"] = grey["B"] = 10
    save(tmp_path / "c_grey.nii", grey)
    save(tmp_path / "d_bold.nii.gz", np.zeros((4, 4, 4, 40), np.int16))
    save(tmp_path / "e_complex.nii.gz", base.astype(np.complex64))
    reader = volumes(tmp_path)
    np.testing.assert_array_equal(reader[0].inputs.channels[1].read(), base + 7)
    assert [float(one.read().max()) for one in reader[1].inputs.channels] == [10.0, 20.0, 0.0]
    assert len(reader[2].inputs.channels) == 1
    assert (status_of(reader, 3), status_of(reader, 4)) == ("four_dimensional", "complex_values")


# ---------------------------------------------------------------------------------------------- formats


def test_every_format_gives_the_same_world(tmp_path: Path) -> None:
    itk = pytest.importorskip("SimpleITK", reason="MetaImage and NRRD need the extra 'itk'")
    values = world_values(AFFINE, SHAPE)
    image = itk.GetImageFromArray(values.transpose(2, 1, 0))
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ AFFINE
    image.SetSpacing([1.5, 2.0, 2.5])
    image.SetDirection((lps[:3, :3] / [1.5, 2.0, 2.5]).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    for suffix in ("mha", "mhd", "nrrd", "nhdr", "nii", "hdr"):
        itk.WriteImage(image, str(tmp_path / f"{suffix}.{suffix}"))
    nibabel.save(nibabel.Nifti1Pair(values, AFFINE), tmp_path / "pair.hdr")
    reader = volumes(tmp_path)
    assert ids_of(reader) == ["hdr", "mha", "mhd", "nhdr", "nii", "nrrd", "pair"]
    for row in range(len(reader)):
        volume = reader[row].inputs
        np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-5)
        np.testing.assert_array_equal(volume.read(), values)
    assert account_of(reader).counts == {"used": 11, "ignored": 0, "unreadable": 0}
    vector = itk.JoinSeries([image, image + 1])
    itk.WriteImage(vector, str(tmp_path / "four.nrrd"))
    channels = read_volume(tmp_path / "four.nrrd").channels
    np.testing.assert_array_equal(channels[1].read(), values + 1)
    np.testing.assert_allclose(channels[1].affine, AFFINE, atol=1e-5)


def test_a_missing_package_names_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "SimpleITK", None)
    (tmp_path / "a.mha").write_bytes(b"x" * 100)
    with pytest.raises(PluginError, match=r"repcore-medical3d\[itk\]"):
        read_volume(tmp_path / "a.mha")


def test_analyze_is_read_with_a_word_on_its_orientation(tmp_path: Path) -> None:
    values = world_values(AFFINE, SHAPE)
    image = nibabel.AnalyzeImage(values, None)
    image.header.set_zooms((1.5, 2.0, 2.5))
    nibabel.save(image, tmp_path / "a.img")
    sample = volumes(tmp_path)[0]
    np.testing.assert_array_equal(sample.inputs.read(), values)
    np.testing.assert_allclose(sample.inputs.spacing_mm, (1.5, 2.0, 2.5))
    assert "no orientation" in sample.meta["remark"]


def bomb_of_nifti(path: Path) -> None:
    """A small file whose header promises terabytes."""
    save(path)
    raw = bytearray(__import__("gzip").decompress(path.read_bytes()))
    raw[40:56] = np.array([3, 30000, 30000, 30000, 1, 1, 1, 1], "<i2").tobytes()
    path.write_bytes(__import__("gzip").compress(bytes(raw)))


def test_headers_are_judged_before_anything_is_allocated(tmp_path: Path) -> None:
    bomb_of_nifti(tmp_path / "a.nii.gz")
    with pytest.raises(ItemError, match="its header promises") as caught:
        read_nifti(tmp_path / "a.nii.gz")
    assert caught.value.status == "corrupt"
    zeros = save(tmp_path / "b.nii.gz", np.zeros((256, 256, 128), np.float32))  # packs a thousand to one
    with pytest.raises(ItemError, match="promises 32 MiB") as caught:
        read_nifti(zeros, rules=ReadingRules(largest_mib=16))
    assert caught.value.status == "too_large"
    header = (
        "ObjectType = Image\nNDims = 3\nDimSize = 20000 20000 20000\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    (tmp_path / "c.mha").write_bytes(header.encode() + b"\0" * 64)
    pytest.importorskip("SimpleITK", reason="MetaImage needs the extra 'itk'")
    with pytest.raises(ItemError) as caught:
        read_volume(tmp_path / "c.mha")
    assert caught.value.status == "too_large"


# --------------------------------------------------------------------------------------- ids of labels


def test_sparse_ids_become_numbers_and_come_back() -> None:
    stored = np.array([[0, 205, 420], [-1, 205, 7]])
    ids = LabelIds.found_in([Volume(np.array([[[0, 205], [420, -1]]]), np.eye(4))])
    assert ids.ids == (0, 205, 420)
    np.testing.assert_array_equal(ids.numbers(stored), [[0, 1, 2], [-1, 1, -1]])
    np.testing.assert_array_equal(ids.stored([0, 1, 2]), [0, 205, 420])


def test_training_sees_as_many_classes_as_there_are_ids() -> None:
    """The published report: ids up to 2035 gave 2,036 outputs, -1 a crash."""
    labels = np.zeros((20, 20, 20), np.int16)
    labels[2:9], labels[11:18], labels[:, :, 15:] = 17, 2035, -1
    sample = Sample("a", Volume(labels.astype(np.float32), np.eye(4)), {"segmentation": Volume(labels, np.eye(4))})
    preprocessor = VolumePreprocessor(VolumeConfig(crop_edge=16, spacing="native", intensity="percentile"))
    (scan,) = alice_segmentation.labelled([sample], preprocessor)
    assert alice_segmentation.number_of_classes([scan]) == 3
    _, answers = alice_segmentation.random_cubes([scan], preprocessor, 6, np.random.default_rng(0))
    assert set(answers.unique().tolist()) <= {-1, 0, 1, 2}
    logits = torch.randn(6, 3, 16, 16, 16, requires_grad=True)
    alice_segmentation.segmentation_loss(logits, answers).backward()
    assert logits.grad is not None
    unlabelled = (answers == -1)[:, None].expand_as(logits)
    assert unlabelled.any()
    assert float(logits.grad[unlabelled].abs().max()) == 0.0


def test_voxels_that_are_not_labelled_count_for_nothing() -> None:
    truth = np.zeros((6, 6, 6), int)
    truth[:3], truth[5] = 420, -1
    found = np.where(truth == -1, 420, truth)
    assert alice_dense.overlap(found, truth, (1, 1, 1))["dice"] == 1.0


def test_probabilities_are_no_ids_unless_a_threshold_is_given(tmp_path: Path) -> None:
    shares = np.linspace(0, 1, SHAPE[0])[:, None, None] * np.ones(SHAPE)
    save(tmp_path / "images" / "a.nii.gz")
    save(tmp_path / "labels" / "a.nii.gz", shares.astype(np.float32))
    kept = volumes(tmp_path)[0]
    assert kept.meta["labels_left_out"].startswith("labels_not_whole: a.nii.gz holds")
    assert "segmentation" not in kept.targets
    label = volumes(tmp_path, soft_labels=0.5)[0].targets["segmentation"]
    np.testing.assert_array_equal(label.read(), shares.astype(np.float32) >= 0.5)


# --------------------------------------------------------------------------------- K3, K8: tables, groups


def test_patients_ages_and_splits_of_a_table(tmp_path: Path) -> None:
    for number in range(8):
        save(tmp_path / "scans" / f"c{number}.nii.gz")
    rows = [f"c{n};{'train' if n < 6 else 'test'};P{n // 2};{40 + 3 * n},5;{'MF'[n % 2]}" for n in range(8)]
    (tmp_path / "split.csv").write_text("\n".join(["id;split;patient;age;sex", *rows]), encoding="utf-8-sig")
    reader = volumes(tmp_path)
    assert {target.name: target.kind for target in reader.targets} == {"age": "regression", "sex": "class"}
    assert reader.groups == [f"P{n // 2}" for n in range(8)]
    assert reader.splits == {"train": [0, 1, 2, 3, 4, 5], "test": [6, 7]}
    assert reader[3].targets == {"age": 49.5, "sex": 0}


def test_bids_participants_label_all_their_sessions(tmp_path: Path) -> None:
    for subject in range(4):
        for session in (1, 2):
            name = f"sub-{subject:02}/ses-{session}/anat/sub-{subject:02}_ses-{session}_T1w.nii.gz"
            save(tmp_path / name)
    table = "participant_id\tdiagnosis\nsub-00\tHC\nsub-01\tAD\nsub-02\tHC\nsub-03\tAD\n"
    (tmp_path / "participants.tsv").write_text(table)
    reader = volumes(tmp_path)
    assert reader.groups == [f"sub-{n // 2:02}" for n in range(8)]
    names = reader.targets[0].names
    assert [names[reader[row].targets["diagnosis"]] for row in range(8)] == ["HC", "HC", "AD", "AD"] * 2


def test_rows_that_contradict_each_other_are_an_error(tmp_path: Path) -> None:
    save(tmp_path / "a.nii.gz")
    save(tmp_path / "b.nii.gz")
    (tmp_path / "split.csv").write_text("id,grade\na,1\nb,2\na,3\n")
    with pytest.raises(DataError, match="says of 'a' in column 'grade' both '1' and '3'"):
        volumes(tmp_path)


def test_a_decathlon_list_with_channels_and_nnunets_list_without(tmp_path: Path) -> None:
    channel_cases(tmp_path, "imagesTr/case_{case}_{name}", ["0000", "0001"])
    for case in range(2):
        save(tmp_path / "labelsTr" / f"case_{case}.nii.gz", world_label(AFFINE, SHAPE))
    rows = [{"image": f"./imagesTr/case_{n}.nii.gz", "label": f"./labelsTr/case_{n}.nii.gz"} for n in range(2)]
    content = {"modality": {"0": "T1", "1": "T2"}, "labels": {"0": "background", "1": "a", "2": "b"}, "training": rows}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    sample = DecathlonReader(VolumeFilesConfig(path=str(tmp_path)))[1]
    assert sample.meta["channels"] == ["T1", "T2"]
    assert "segmentation" in sample.targets
    plain = {
        "channel_names": {"0": "T1", "1": "T2"},
        "labels": {"background": 0, "a": 1, "b": 2},
        "file_ending": ".nii.gz",
    }
    (tmp_path / "dataset.json").write_text(json.dumps(plain))
    reader = volumes(tmp_path)
    assert reader.targets[0].names == ("background", "a", "b")
    assert reader[0].meta["channels"] == ["T1", "T2"]


# --------------------------------------------------------------------------------------------- K5: caches


def test_a_second_folder_with_the_same_names_is_another_data_set(tmp_path: Path) -> None:
    for number, folder in enumerate("ab"):
        save(tmp_path / folder / "case_001.nii.gz", np.random.default_rng(number).normal(size=(16, 16, 16)))
    preprocessor = VolumePreprocessor(VolumeConfig(crop_edge=16, spacing="native", intensity="percentile"))
    items = [preprocessor.prepare(volumes(tmp_path / folder)[0])[0].values for folder in "ab"]
    assert not torch.equal(items[0], items[1])
    path = tmp_path / "a" / "case_001.nii.gz"
    save(path, np.random.default_rng(7).normal(size=(16, 16, 16)))  # the same path, another content
    assert not torch.equal(items[0], preprocessor.prepare(volumes(tmp_path / "a")[0])[0].values)


# -------------------------------------------------------------------------------------------- K11: memory


def test_slabs_equal_the_whole_and_hold_one_layer_of_cubes() -> None:
    generator = torch.Generator().manual_seed(0)
    edge, shape = 6, (31, 14, 11)
    starts = sliding_starts(shape, edge, 0.5)
    weight = torch.rand(edge, edge, edge, generator=generator) + 0.1
    values = torch.rand(len(starts), 2, edge, edge, edge, generator=generator)
    total, weights = torch.zeros(2, *shape), torch.zeros(1, *shape)
    for start, one in zip(starts, values, strict=True):
        box = (slice(None), *(slice(first, first + edge) for first in start))
        total[box] += one * weight
        weights[box] += weight
    slabs = list(joined_slabs(zip(starts, values, strict=True), weight, shape))
    torch.testing.assert_close(torch.cat([slab for _, slab in slabs], dim=1), total / weights)
    assert max(slab.shape[1] for _, slab in slabs) <= edge
    grid = Grid(np.diag([1.0, 1.0, 1.0, 1.0]), shape)
    np.testing.assert_array_equal(classes_on(slabs, grid, grid), (total / weights).argmax(dim=0).numpy())


def test_cubes_of_a_scan_are_parts_of_one_tensor() -> None:
    scan = Sample("a", Volume(SEED.normal(size=(48, 40, 40)).astype(np.float32), np.eye(4)))
    preprocessor = VolumePreprocessor(VolumeConfig(crop_edge=16, spacing="native", intensity="percentile"))
    items = preprocessor.prepare(scan)
    assert len({item.values.untyped_storage().data_ptr() for item in items}) == 1
    assert sum(item.values.nbytes for item in items) > 3 * items[0].values.untyped_storage().nbytes()
    assert items[0].values.dtype == torch.float32


# --------------------------------------------------------------------------------------- what people read


def test_inspect_says_what_a_radiologist_looks_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        save(tmp_path / "images" / f"c{number}.nii.gz", world_values(AFFINE, SHAPE) + np.int16(number))
        save(tmp_path / "labels" / f"c{number}.nii.gz", 205 * world_label(AFFINE, SHAPE).astype(np.int16))
    save(tmp_path / "labels" / "c9.nii.gz", world_label(AFFINE, SHAPE))
    assert run(["inspect", str(tmp_path)]) == 0
    shown = "".join(capsys.readouterr())
    for words in ("12 x 10 x 8", "1.5 x 2 x 2.5", "RAS", "0, 205, 410", "a mask without a scan"):
        assert words in shown
    assert "nothing to warn about" not in shown


def test_values_without_their_header_are_said(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.ones((9, 9, 9), np.int16), np.eye(4)), tmp_path / "a.nii.gz")
    (tmp_path / "b.img").write_bytes(bytes(500))
    reader = VolumeFolderReader(VolumeFilesConfig(path=str(tmp_path)))
    assert account_of(reader).fate(tmp_path / "b.img") == ("unreadable", "values without their header b.hdr")


def test_identity_follows_content_and_channel_and_no_time(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 99, (9, 9, 9, 2)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "a.nii.gz")
    first, second = (read_volume(tmp_path / "a.nii.gz").channels[number] for number in (0, 1))
    first.further = ()
    assert first.identity != second.identity
    copy = tmp_path / "other" / "b.nii.gz"
    copy.parent.mkdir()
    copy.write_bytes((tmp_path / "a.nii.gz").read_bytes())
    os.utime(copy, (1, 1))
    same = read_volume(copy).channels[1]
    assert same.identity == second.identity
