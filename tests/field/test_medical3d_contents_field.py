"""Label maps that no name tells, in any number and beside others that names tell; scans of few numbers stay scans."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from repcore.data.accounting import account_of
from repcore.errors import ItemError
from repcore_medical3d.configs.images import ImageFilesConfig
from repcore_medical3d.configs.volumes import VolumeFilesConfig
from repcore_medical3d.datasets.images import ImageFolderReader
from repcore_medical3d.datasets.volume_layouts import VolumeFolderReader
from repcore_medical3d.datasets.volume_lists import DecathlonReader

SHAPE = (14, 12, 10)
SCAN = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)


def box(start: int, stop: int, value: int = 1) -> np.ndarray:
    values = np.zeros(SHAPE, np.uint8)
    values[start:stop, 2:9, 2:9] = value
    return values


TWO = box(1, 5, 1) + box(6, 11, 2)  # a map of two classes


def save(path: Path, values: np.ndarray, shift: float = 0.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.eye(4)
    affine[0, 3] = shift
    nibabel.save(nibabel.Nifti1Image(values, affine), path)


def folder(root: Path, files: dict[str, np.ndarray], cases: int = 3) -> None:
    for number in range(cases):
        for name, values in files.items():
            save(
                root / f"{name.format(number)}.nii.gz", values + np.int16(number) if values is SCAN else values, number
            )


def volumes(root: Path, **settings: Any) -> VolumeFolderReader:
    return VolumeFolderReader(VolumeFilesConfig(path=str(root), **settings))


def said(reader: Any) -> str:
    return "\n".join(account_of(reader).sentences())


def label_of(reader: Any, row: int) -> np.ndarray | None:
    found = reader[row].targets.get("segmentation")
    return None if found is None else found.read()


ONE_MAP: dict[str, dict[str, np.ndarray]] = {
    "three files a case": {"c{}/ct": SCAN, "c{}/mr": SCAN[::-1], "c{}/truth_x": TWO},
    "flat": {"p{}_ct": SCAN, "p{}_lesions": TWO},
    "role first": {"ct_p{}": SCAN, "lesions_p{}": TWO},
    "case in folder and name": {"p{0}/p{0}_ct": SCAN, "p{0}/p{0}_lesions": TWO},
    "nnU-Net and a folder of another name": {"imagesTr/p{}_0000": SCAN, "imagesTr/p{}_0001": SCAN, "expert/p{}": TWO},
    "beside another folder": {"scans/p{}": SCAN, "expert/p{}": TWO, "prediction/p{}": box(2, 5)},
    "a name that is told": {"p{}": SCAN, "p{}_seg": TWO, "p{}_net": box(2, 5, 3) + box(7, 9)},
}


@pytest.mark.parametrize("kind", ONE_MAP)
def test_a_label_map_among_any_number_of_files_is_found(tmp_path: Path, kind: str) -> None:
    folder(tmp_path, ONE_MAP[kind])
    reader = volumes(tmp_path)
    scans = 6 if kind == "three files a case" else 3
    assert len(reader) == scans
    for row in range(scans):
        np.testing.assert_array_equal(label_of(reader, row), TWO)
        assert reader[row].inputs.read().max() > 1000
    assert "label maps, no scans" in said(reader)
    assert "few whole numbers (0, 1" in said(reader)


def test_masks_of_one_class_each_become_classes_whether_names_tell_them_or_not(tmp_path: Path) -> None:
    folder(tmp_path / "a", {"c{}/ct": SCAN, "c{}/gtv": box(1, 4), "c{}/cord": box(8, 11, 255)})
    folder(
        tmp_path / "b", {"c{}": SCAN, "c{}_liver_seg": box(1, 4), "c{}_spleen_seg": box(5, 7), "c{}_tumour": box(9, 12)}
    )
    first, second = volumes(tmp_path / "a"), volumes(tmp_path / "b")
    assert first.targets[0].names == ("background", "cord", "gtv")
    assert second.targets[0].names == ("background", "liver", "spleen", "tumour")
    for row in range(3):
        np.testing.assert_array_equal(label_of(first, row), box(1, 4, 2) + box(8, 11, 1))
        np.testing.assert_array_equal(label_of(second, row), box(1, 4, 1) + box(5, 7, 2) + box(9, 12, 3))


def test_one_case_alone_and_names_without_any_rule(tmp_path: Path) -> None:
    folder(tmp_path / "one", {"head": SCAN, "blob": TWO}, cases=1)
    reader = volumes(tmp_path / "one")
    assert len(reader) == 1
    np.testing.assert_array_equal(label_of(reader, 0), TWO)
    for number in range(3):
        save(tmp_path / "numbers" / f"{number}.nii.gz", SCAN)
        save(tmp_path / "numbers" / f"{number}_1.nii.gz", box(number, number + 4, 2))
    reader = volumes(tmp_path / "numbers")
    assert [reader.id_of(row) for row in range(len(reader))] == ["0", "1", "2"]
    np.testing.assert_array_equal(label_of(reader, 2), box(2, 6, 2))
    for number, (scan, mask) in enumerate((("a8f", "77c"), ("b1e", "0d2"))):
        save(tmp_path / "odd" / f"{scan}.nii.gz", SCAN, 5.0 * number)
        save(tmp_path / "odd" / f"{mask}.nii.gz", box(number, number + 4, number + 1), 5.0 * number)
    reader = volumes(tmp_path / "odd")
    assert [reader.id_of(row) for row in range(len(reader))] == ["a8f", "b1e"]
    for row in range(2):
        np.testing.assert_array_equal(label_of(reader, row), box(row, row + 4, row + 1))


def counts(seed: int) -> np.ndarray:
    """A scan of few counts, most of them 0."""
    return np.random.default_rng(seed).poisson(0.7, SHAPE).astype(np.float32)


def grey() -> np.ndarray:
    """A smooth scan of eleven grey values."""
    i, j, k = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    return np.clip(10 - np.hypot(np.hypot(i - 7, j - 6), k - 5) * 1.4, 0, 10).astype(np.uint8)


@pytest.mark.parametrize(
    ("values", "reason"), [(counts(0), "differ as noise does"), (grey(), "rise and fall step by step")]
)
def test_scans_of_few_numbers_stay_scans_and_are_said(tmp_path: Path, values: np.ndarray, reason: str) -> None:
    folder(tmp_path, {"c{}/ct": SCAN, "c{}/pet": values})
    reader = volumes(tmp_path)
    assert len(reader) == 6
    assert all(label_of(reader, row) is None for row in range(6))
    assert reason in said(reader)
    assert "files 'pet': scans" in said(reader)


def test_few_numbers_without_a_scan_on_their_grid_stay_scans_and_are_said(tmp_path: Path) -> None:
    folder(tmp_path / "lone", {"x{}": TWO})
    reader = volumes(tmp_path / "lone")
    assert len(reader) == 3
    assert "few whole numbers (0, 1, 2) as label maps have, but no scan beside lies on its grid" in said(reader)
    folder(tmp_path / "away", {"c{}/ct": SCAN, "c{}/map": TWO})
    for number in range(3):
        save(tmp_path / "away" / f"c{number}" / "map.nii.gz", TWO, 500.0)
    reader = volumes(tmp_path / "away")
    assert len(reader) == 6
    assert "no scan beside lies on its grid" in said(reader)


def test_names_alone_decide_on_demand_and_a_map_of_a_model_never_wins(tmp_path: Path) -> None:
    folder(tmp_path, {"p{}": SCAN, "p{}_lesion": TWO, "p{}_pred": box(2, 5, 3) + box(7, 9)})
    reader = volumes(tmp_path)
    assert len(reader) == 3
    np.testing.assert_array_equal(label_of(reader, 0), TWO)
    assert "that a model made by its name; p0_lesion.nii.gz is used" in said(reader)
    assert len(volumes(tmp_path, label_maps="names")) == 9


# ----------------------------------------------------------------------------------- lists and tables of cases


def test_a_list_of_another_machine_is_found_by_the_ends_of_its_paths(tmp_path: Path) -> None:
    for number in range(4):
        save(tmp_path / "imagesTr" / f"h_{number}.nii.gz", SCAN + np.int16(number))
        save(tmp_path / "labelsTr" / f"h_{number}.nii.gz", TWO)
    listed = [("/data/old/set/{0}/{1}", 0), ("C:\\\\me\\\\{0}\\\\{1}", 1), ("./{0}/{1}", 2), ("./{0}/{1}", 9)]
    rows = [
        {
            key: path.format(folder, f"h_{number}.nii.gz")
            for key, folder in (("image", "imagesTr"), ("label", "labelsTr"))
        }
        for path, number in listed
    ]
    (tmp_path / "dataset.json").write_text(json.dumps({"training": rows}))
    reader = DecathlonReader(VolumeFilesConfig(path=str(tmp_path)))
    for row in range(3):
        np.testing.assert_array_equal(reader[row].inputs.read(), SCAN + row)
        np.testing.assert_array_equal(label_of(reader, row), TWO)
    with pytest.raises(ItemError, match=r"dataset\.json lists .*h_9\.nii\.gz, which does not exist"):
        reader[3]
    told = said(reader)
    assert "4 files of dataset.json: found below its folder" in told
    assert "imagesTr/h_3.nii.gz, labelsTr/h_3.nii.gz: a volume that dataset.json does not list" in told
    assert account_of(reader).counts == {"used": 7, "ignored": 2, "unreadable": 2}


def test_a_table_may_name_the_folders_of_cases(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / f"s000{number}" / "ct.nii.gz", SCAN)
        save(tmp_path / f"s000{number}" / "segmentations" / "liver.nii.gz", box(1, 4))
    (tmp_path / "meta.csv").write_text("image_id;age;split\ns0000;54;train\ns0001;61;val\ns0002;70;test\n")
    reader = volumes(tmp_path)
    assert [reader[row].targets["age"] for row in range(3)] == [54, 61, 70]
    assert {part: list(rows) for part, rows in reader.splits.items()} == {"train": [0], "validation": [1], "test": [2]}
    assert "image_id (3 of 3 cells name a scan)" in said(reader)


# ------------------------------------------------------------------------------------------------- pictures

PHOTO = np.random.default_rng(2).integers(0, 256, (20, 16)).astype(np.uint8)


def strip(start: int, stop: int, value: int = 255) -> np.ndarray:
    values = np.zeros((20, 16), np.uint8)
    values[start:stop] = value
    return values


LAYERS = strip(2, 5, 1) + strip(8, 12, 2) + strip(14, 18, 3)
PICTURES: dict[str, tuple[dict[str, np.ndarray], np.ndarray]] = {
    "another format": ({"c{}.bmp": PHOTO, "c{}.png": strip(2, 6)}, strip(2, 6)),
    "classes behind the name": (
        {"c{}.png": PHOTO, "c{}_lung.png": strip(2, 6), "c{}_heart.png": strip(8, 12)},
        strip(2, 6, 2) + strip(8, 12, 1),
    ),
    "several classes in a folder": ({"images/c{}.png": PHOTO, "annot/c{}.png": LAYERS}, LAYERS),
    "a folder of other names": (
        {"images/{}_training.png": PHOTO, "1st_manual/{}_manual1.png": strip(1, 9)}, strip(1, 9),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", PICTURES)
def test_label_images_that_no_name_tells_are_never_images(tmp_path: Path, kind: str) -> None:
    files, wanted = PICTURES[kind]
    for number in range(21, 24):
        for name, values in files.items():
            path = tmp_path / name.format(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(path)
    reader = ImageFolderReader(ImageFilesConfig(path=str(tmp_path)))
    assert len(reader) == 3
    for row in range(3):
        np.testing.assert_array_equal(reader[row].inputs.pixels, PHOTO)
        np.testing.assert_array_equal(reader[row].targets["mask"], wanted)
    assert "label maps, no scans" in said(reader)
    assert len(ImageFolderReader(ImageFilesConfig(path=str(tmp_path), label_maps="names"))) == 3 * len(files)
