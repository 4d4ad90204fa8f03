"""Medical images as people have them: every kind of the field page, with the right value.

Inputs are made here with nibabel, pydicom, SimpleITK and Pillow. World coordinates are compared voxel by voxel.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from torch import nn

from repcore.data.accounting import account_of
from repcore.errors import DataError, ItemError
from repcore.interfaces import Sample
from repcore_medical3d.configs.volumes import VolumeConfig
from repcore_medical3d.datasets.volume_labels import LabelIds
from repcore_medical3d.formats.nifti import read_nifti
from repcore_medical3d.formats.volumes import Volume
from repcore_medical3d.preprocessors.volumes import VolumePreprocessor
from tests.field.medical3d_inputs import (
    AFFINE,
    SHAPE,
    channel_cases,
    ids_of,
    save,
    volumes,
    world_label,
    world_values,
)
from tests.medical3d.benchmark_parts import alice_segmentation


def turned(values: np.ndarray, affine: np.ndarray, orientation: str) -> tuple[np.ndarray, np.ndarray]:
    """The same world stored with other axes."""
    image = nibabel.Nifti1Image(values, affine)
    goal = nibabel.orientations.axcodes2ornt(tuple(orientation))
    other = image.as_reoriented(nibabel.orientations.ornt_transform(nibabel.io_orientation(affine), goal))
    return np.asarray(other.dataobj), other.affine


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
