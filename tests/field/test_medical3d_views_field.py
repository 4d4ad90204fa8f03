"""Both eyes, both breasts, two projections: views of one person are a group, whatever the names and folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from repcore.data.accounting import account_of
from repcore.data.splits import group_split
from repcore_medical3d.configs.images import ImageFilesConfig
from repcore_medical3d.configs.volumes import VolumeFilesConfig
from repcore_medical3d.datasets.images import ImageFolderReader, ImageListReader
from repcore_medical3d.datasets.volume_layouts import VolumeFolderReader

NAMES: dict[str, tuple[tuple[str, ...], tuple[str | None, ...]]] = {
    "EyePACS": (("10_left", "10_right", "13_left", "13_right"), ("10", "10", "13", "13")),
    "one eye is missing": (("1_L", "1_R", "2_L", "3_L", "3_R"), ("1", "1", "2", "3", "3")),
    "graded by folder": (("0/10_left", "2/10_right", "2/13_left", "0/13_right"), ("10", "10", "13", "13")),
    "numbered anew": (
        ("a/1_od", "a/1_os", "b/1_od", "b/1_os", "b/2_od"), ("a/1", "a/1", "b/1", "b/1", "b/2"),
    ),
    "sides are folders": (("left/7", "right/7", "left/8", "right/8"), ("7", "7", "8", "8")),
    "side first": (("OD_021", "OS_021", "OD_022", "OS_022"), ("021", "021", "022", "022")),
    "CHASE": (("Image_01L", "Image_01R", "Image_02L", "Image_02R"), ("image_01", "image_01", "image_02", "image_02")),
    "mammograms": (
        ("T-1_P_00001_LEFT_CC", "T-1_P_00001_LEFT_MLO_1", "T-1_P_00002_LEFT_CC", "T-1_P_00002_RIGHT_CC"),
        ("t_1_p_00001", "t_1_p_00001", "t_1_p_00002", "t_1_p_00002"),
    ),
    "folders of people": (
        ("anna/left", "anna/right", "bert/left", "bert/right", "carl/left", "carl/right"),
        ("anna", "anna", "bert", "bert", "carl", "carl"),
    ),
    "patients by name": (
        ("patient3_frontal", "patient3_lateral", "patient4_frontal"), ("patient3", "patient3", "patient4"),
    ),
    "visits": (
        ("A_baseline", "A_followup", "B_baseline", "B_follow-up", "C_visit1"), ("a", "a", "b", "b", "c"),
    ),
    "BraTS": (
        ("BraTS-GLI-00005-000", "BraTS-GLI-00005-001", "BraTS-GLI-00006-000", "BraTS-GLI-00006-001"),
        ("brats_gli_00005", "brats_gli_00005", "brats_gli_00006", "brats_gli_00006"),
    ),
    "slices": (
        ("a/p7_slice012", "a/p7_slice013", "b/p8_slice_001", "b/p8_slice_002"), ("p7", "p7", "p8", "p8"),
    ),
    "frames": (
        ("vid1_frame000", "vid1_frame001", "vid2_frame000", "vid2_frame001"), ("vid1", "vid1", "vid2", "vid2"),
    ),
    "tiles": (
        ("A_x0_y0", "A_x512_y0", "B_x0_y0", "B_x512_y0"), ("a", "a", "b", "b"),
    ),
    "INbreast": (
        ("20586908_6c613a14b80a8591_MG_R_CC_ANON", "20586934_6c613a14b80a8591_MG_L_CC_ANON",
         "20587054_b6a4f750c6df4f90_MG_R_CC_ANON", "20587080_b6a4f750c6df4f90_MG_R_ML_ANON"),
        ("6c613a14b80a8591", "6c613a14b80a8591", "b6a4f750c6df4f90", "b6a4f750c6df4f90"),
    ),
    "pieces in folders of classes": (
        ("cat/tile1", "cat/tile2", "cat/tile3", "dog/tile4", "dog/tile5", "dog/tile6"), (None,) * 6,
    ),
    "one view only": (("1_axial", "2_axial", "3_axial"), (None,) * 3),
    "no views": (("left_hand", "lung", "liver_1"), (None,) * 3),
}  # fmt: skip


def pixels(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 255, (16, 16), np.uint8)


def pictures(root: Path, names: tuple[str, ...]) -> None:
    for number, name in enumerate(names):
        path = root / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(number)).save(path)


def groups_of(reader: Any) -> dict[str, str | None]:
    groups = reader.groups or [None] * len(reader)
    return {reader.id_of(row).removesuffix(".png"): groups[row] for row in range(len(reader))}


@pytest.mark.parametrize("kind", NAMES)
def test_views_of_one_person_are_a_group(tmp_path: Path, kind: str) -> None:
    names, wanted = NAMES[kind]
    pictures(tmp_path, names)
    reader = ImageFolderReader(ImageFilesConfig(path=str(tmp_path)))
    found = groups_of(reader)
    assert found == dict(zip(names, wanted, strict=True))
    said = "\n".join(account_of(reader).sentences())
    assert ("kept together in splits" in said) == any(wanted)
    if kind == "folders of people":
        assert not reader.targets  # people are no classes
    if kind == "pieces in folders of classes":
        assert reader.targets[0].names == ("cat", "dog")
    if kind == "graded by folder":
        assert reader.targets[0].names == ("0", "2")
    if any(wanted):
        split = group_split(list(reader.groups), generator=np.random.default_rng(0), fractions=(0.5, 0.0, 0.5))
        sides = [{reader.groups[row] for row in part} for part in (split.train, split.test)]
        assert not sides[0] & sides[1]


def test_a_table_and_a_header_know_better_than_names(tmp_path: Path) -> None:
    pictures(tmp_path, NAMES["EyePACS"][0])
    (tmp_path / "labels.csv").write_text(
        "image,level\n" + "".join(f"{name},{number % 2}\n" for number, name in enumerate(NAMES["EyePACS"][0]))
    )
    reader = ImageFolderReader(ImageFilesConfig(path=str(tmp_path)))
    assert reader.groups == ["10", "10", "13", "13"]
    assert [reader[row].targets["level"] for row in range(4)] == [0, 1, 0, 1]
    (tmp_path / "labels.csv").write_text(
        "image,patient,level\n10_left,a,0\n10_right,a,1\n13_left,a,1\n13_right,b,0\n"  # two visits of one person
    )
    assert ImageFolderReader(ImageFilesConfig(path=str(tmp_path))).groups == ["a", "a", "a", "b"]


def test_lists_and_volumes_have_views_too(tmp_path: Path) -> None:
    pictures(tmp_path, ("5_left", "5_right", "6_left", "6_right"))
    (tmp_path / "list.txt").write_text(
        "".join(f"{name}.png 0 1\n" for name in ("5_left", "5_right", "6_left", "6_right"))
    )
    assert ImageListReader(ImageFilesConfig(path=str(tmp_path / "list.txt"))).groups == ["5", "5", "6", "6"]
    knees = tmp_path / "knees"
    knees.mkdir()
    for number, name in enumerate(("9001_L", "9001_R", "9002_L", "9002_R")):
        values = np.random.default_rng(number).normal(size=(8, 8, 8)).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), knees / f"{name}.nii.gz")
    reader = VolumeFolderReader(VolumeFilesConfig(path=str(knees)))
    assert reader.groups == ["9001", "9001", "9002", "9002"]
    assert "9001_l" in "\n".join(account_of(reader).sentences()).lower()
