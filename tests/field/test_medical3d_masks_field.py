"""Volumes as arrays, several masks of one scan, ids of labels with gaps: the right voxels, classes and words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from repcore.data.accounting import account_of
from repcore.data.label_facts import label_facts
from repcore.errors import ItemError
from repcore.evaluation.dense_answers import class_numbers, named
from repcore.specs import TargetSpec
from repcore_medical3d.configs.volumes import VolumeFilesConfig
from repcore_medical3d.datasets.volume_layouts import VolumeFolderReader, sniff_folder
from repcore_medical3d.datasets.volume_lists import DecathlonReader
from repcore_medical3d.datasets.volumes import segmentation_target

SHAPE = (12, 10, 9)
VALUES = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)


def volumes(path: Path, **settings: Any) -> VolumeFolderReader:
    return VolumeFolderReader(VolumeFilesConfig(path=str(path), **settings))


def said(reader: Any) -> str:
    return "\n".join(account_of(reader).sentences())


def box(start: int, stop: int, value: int = 1) -> np.ndarray:
    values = np.zeros(SHAPE, np.uint8)
    values[start:stop, 2:8, 2:8] = value
    return values


def save(path: Path, values: np.ndarray, affine: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine), path)


# ------------------------------------------------------------------------------------------------- arrays


def test_arrays_need_a_spacing_and_take_it_from_a_key_or_the_setting(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", VALUES)
    np.savez(tmp_path / "b.npz", image=VALUES, spacing=[0.5, 0.6, 2.0])
    np.savez_compressed(tmp_path / "c.npz", data=VALUES, affine=np.diag([-1.0, 1.5, 3.0, 1.0]))
    reader = volumes(tmp_path)
    with pytest.raises(ItemError, match=r"a\.npy does not say how large its voxels are: dataset\.spacing_mm"):
        reader[0]
    told = volumes(tmp_path, spacing_mm=(0.7, 0.8, 1.5))
    for row, spacing in enumerate([(0.7, 0.8, 1.5), (0.5, 0.6, 2.0), (1.0, 1.5, 3.0)]):
        sample = told[row]
        np.testing.assert_allclose(sample.inputs.spacing_mm, spacing)
        assert np.array_equal(sample.inputs.read(), VALUES)
    assert told[2].inputs.orientation == "LAS"
    assert "taken as right, anterior, superior" in told[0].meta["remark"]


def test_arrays_that_are_no_volumes_are_ignored_and_damaged_ones_are_rows(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", VALUES)
    np.save(tmp_path / "features.npy", np.zeros((40, 16)))
    np.save(tmp_path / "clouds.npy", np.zeros((40, 64, 3)))
    np.save(tmp_path / "objects.npy", np.array([{}, "x"], dtype=object))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:900])
    (tmp_path / "none.npz").write_bytes(b"PK\x03\x04")
    reader = volumes(tmp_path, spacing_mm=(1.0, 1.0, 1.0))
    assert [reader.id_of(row) for row in range(len(reader))] == ["a", "cut", "none"]
    assert "features.npy: an array that is no volume ((40, 16))" in said(reader)
    for row in (1, 2):
        with pytest.raises(ItemError) as caught:
            reader[row]
        assert caught.value.status == "corrupt"
    assert sniff_folder(tmp_path) == 0.5
    (tmp_path / "other").mkdir()
    np.save(tmp_path / "other" / "p.npy", np.zeros((40, 64, 3)))
    assert sniff_folder(tmp_path / "other") == 0.0


def test_an_npz_may_hold_its_label_map_and_channels(tmp_path: Path) -> None:
    label = box(2, 6, 205)
    np.savez(tmp_path / "a.npz", image=np.stack([VALUES, VALUES + 1]), label=label, spacing=1.5)
    sample = volumes(tmp_path)[0]
    assert [one.channel for one in sample.inputs.channels] == ["channel 0", "channel 1"]
    assert np.array_equal(sample.inputs.channels[1].read(), VALUES + 1)
    assert np.array_equal(sample.targets["segmentation"].read(), label)
    np.savez(tmp_path / "two.npz", first=VALUES, second=VALUES, spacing=1.0)
    with pytest.raises(ItemError, match=r"two\.npz holds first \(12, 10, 9\) int16, second"):
        volumes(tmp_path)[1]


# ---------------------------------------------------------------------------------------- masks of one class

LAYOUTS = {
    "one folder a case": ("{}/ct", "{}/segmentations/{}"),
    "folder called like its scan": ("{0}/{0}", "{0}/masks/{1}"),
    "words behind the case": ("images/{}", "labels/{}_{}"),
    "role behind the class": ("{}_ct", "{}_{}_seg"),
    "role before the class": ("{}_ct", "{}_mask_{}"),
    "entity": ("sub-{0}/sub-{0}_T1w", "sub-{0}/sub-{0}_label-{1}_mask"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_masks_of_one_class_each_become_one_label_map(tmp_path: Path, layout: str) -> None:
    scan, mask = LAYOUTS[layout]
    for case in ("s1", "s2"):
        save(tmp_path / f"{scan.format(case)}.nii.gz", VALUES)
        save(tmp_path / f"{mask.format(case, 'spleen')}.nii.gz", box(1, 4))
        save(tmp_path / f"{mask.format(case, 'liver')}.nii.gz", box(5, 9, 255))
    reader = volumes(tmp_path)
    assert len(reader) == 2
    assert reader.targets[0].names == ("background", "liver", "spleen")
    for row in range(2):
        found = reader[row].targets["segmentation"].read()
        assert np.array_equal(found, box(1, 4, 2) + box(5, 9, 1))
    assert "2 classes (1 liver, 2 spleen)" in said(reader)
    assert account_of(reader).counts["used"] == 6


def test_voxels_of_several_masks_are_refused_or_said(tmp_path: Path) -> None:
    save(tmp_path / "a" / "ct.nii.gz", VALUES)
    save(tmp_path / "a" / "masks" / "liver.nii.gz", box(1, 9))
    save(tmp_path / "a" / "masks" / "cyst.nii.gz", box(3, 5))
    sample = volumes(tmp_path)[0]
    assert "segmentation" not in sample.targets
    assert "72 voxels are claimed by several of cyst.nii.gz, liver.nii.gz" in sample.meta["labels_left_out"]
    asked = volumes(tmp_path, label_overlap="smaller")[0]
    wanted = box(1, 9, 2)
    wanted[box(3, 5) > 0] = 1
    assert np.array_equal(asked.targets["segmentation"].read(), wanted)
    assert "72 voxels" in asked.meta["remark"]


def test_masks_are_placed_in_the_world_one_by_one(tmp_path: Path) -> None:
    save(tmp_path / "a" / "ct.nii.gz", VALUES)
    save(tmp_path / "a" / "masks" / "b.nii.gz", box(1, 4))
    turned = np.diag([-1.0, 1.0, 1.0, 1.0])
    turned[0, 3] = SHAPE[0] - 1
    save(tmp_path / "a" / "masks" / "c.nii.gz", box(5, 9)[::-1], turned)
    found = volumes(tmp_path)[0].targets["segmentation"].read()
    assert np.array_equal(found, box(1, 4, 1) + box(5, 9, 2))


def test_a_whole_label_map_is_preferred_and_strays_stay_strays(tmp_path: Path) -> None:
    save(tmp_path / "c1_ct.nii.gz", VALUES)
    save(tmp_path / "c1_seg.nii.gz", box(1, 4, 7))
    save(tmp_path / "c1_liver_seg.nii.gz", box(1, 4))
    save(tmp_path / "c2_ct.nii.gz", VALUES)
    save(tmp_path / "c2_followup_seg.nii.gz", box(1, 4))
    save(tmp_path / "c2_3_seg.nii.gz", box(1, 4))
    reader = volumes(tmp_path)
    assert int(reader[0].targets["segmentation"].read().max()) == 7
    assert "segmentation" not in reader[1].targets
    told = next(line for line in said(reader).splitlines() if "a mask without a scan" in line)
    assert all(f"{name}.nii.gz" in told for name in ("c1_liver_seg", "c2_followup_seg", "c2_3_seg"))


# --------------------------------------------------------------------------------------------- ids with gaps


def test_ids_with_gaps_keep_their_values_and_get_their_names(tmp_path: Path) -> None:
    save(tmp_path / "imagesTr" / "a.nii.gz", VALUES)
    save(tmp_path / "labelsTr" / "a.nii.gz", box(1, 4, 205))
    listed = {
        "labels": {"0": "background", "205": "myocardium", "420": "left ventricle"},
        "training": [{"image": "imagesTr/a.nii.gz", "label": "labelsTr/a.nii.gz"}],
    }
    (tmp_path / "dataset.json").write_text(json.dumps(listed))
    for reader in (volumes(tmp_path), DecathlonReader(VolumeFilesConfig(path=str(tmp_path)))):
        target = reader.targets[0]
        assert (target.names, target.ids) == (("background", "myocardium", "left ventricle"), (0, 205, 420))
        assert set(np.unique(reader[0].targets["segmentation"].read())) == {0, 205}
        assert target.name_of(205) == "myocardium"
        assert target.name_of(1) == "1"


def test_a_head_has_as_many_classes_as_there_are_names(tmp_path: Path) -> None:
    target = segmentation_target({0: "background", 205: "myocardium", 420: "ventricle"})
    learned = named(target, (0, 205, 420))
    assert (learned.names, learned.ids) == (("background", "myocardium", "ventricle"), ())
    truth = np.array([0.0, 420.0, 205.0, 7.0, np.nan])
    assert class_numbers(truth, target, learned, (0, 205, 420)).tolist() == [0, 2, 1, -1, -1]
    other = segmentation_target({0: "background", 3: "ventricle"})  # the same words under another number
    assert class_numbers(np.array([3.0, 0.0]), other, learned, (0, 205, 420)).tolist() == [2, 0]
    facts = label_facts(TargetSpec("y", "class", names=("a", "b", "c"), ids=(0, 205, 420)), [0, 205, 205])
    assert facts["classes"] == {"a": 1, "b": 2}
    assert facts["absent"] == ["c"]


# ------------------------------------------------------------------------------------------- ITK's headers


def test_headers_without_a_spacing_and_values_that_are_cut_off(tmp_path: Path) -> None:
    pytest.importorskip("SimpleITK")
    values = VALUES.transpose(2, 1, 0).tobytes()
    nrrd = "NRRD0004\ntype: short\ndimension: 3\nsizes: 12 10 9\nendian: little\nencoding: raw\n"
    for name, more in (("told", "spacings: 1 1 2\n"), ("silent", ""), ("nan", "spacings: nan nan nan\n")):
        (tmp_path / f"{name}.nrrd").write_bytes((nrrd + more + "\n").encode() + values)
    (tmp_path / "cut.nrrd").write_bytes((nrrd + "spacings: 1 1 2\n\n").encode() + values[:-200])
    meta = "ObjectType = Image\nNDims = 3\nBinaryData = True\nDimSize = 12 10 9\nElementType = MET_SHORT\n"
    (tmp_path / "silent_too.mha").write_bytes((meta + "ElementDataFile = LOCAL\n").encode() + values)
    told = meta + "ElementSpacing = 1 1 2\nElementDataFile = LOCAL\n"
    (tmp_path / "cut_too.mha").write_bytes(told.encode() + values[:-20])
    reader = volumes(tmp_path)
    found = {}
    for row in range(len(reader)):
        try:
            found[reader.id_of(row)] = str(reader[row].inputs.spacing_mm)
        except ItemError as error:
            found[reader.id_of(row)] = f"{error.status}: {error.reason}"
    assert found.pop("told") == "(1.0, 1.0, 2.0)"
    assert {name: text.split(":")[0] for name, text in found.items()} == {
        "silent": "no_spacing", "nan": "no_spacing", "silent_too": "no_spacing", "cut": "corrupt", "cut_too": "corrupt",
    }  # fmt: skip
    assert "cut.nrrd is cut off: 1,960 of 2,160 bytes of values are there" in found["cut"]
    asked = volumes(tmp_path, spacing_mm=(1.0, 1.0, 3.0))
    silent = next(row for row in range(len(asked)) if asked.id_of(row) == "silent")
    assert asked[silent].inputs.spacing_mm == (1.0, 1.0, 3.0)
    np.testing.assert_array_equal(asked[silent].inputs.read(), VALUES)


@pytest.mark.parametrize(
    ("scan", "mask"),
    [
        ("scans/p{}.nii.gz", "truth/p{}.nii.gz"), ("case{}/ct.nii.gz", "case{}/gtv.nii.gz"),
        ("case{}/t1.nii.gz", "case{}/gtv.nii.gz"), ("c{}.nii.gz", "c{}_pred.nii.gz"),
    ],
)  # fmt: skip
def test_label_maps_that_no_name_tells_are_never_scans(scan: str, mask: str, tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / scan.format(number), VALUES + np.int16(number))
        save(tmp_path / mask.format(number), box(number, number + 4, 2))
    save(tmp_path / "c0_prob.nii.gz", box(0, 4) * np.float32(0.3)) if "pred" in mask else None
    reader = volumes(tmp_path)
    assert len(reader) == 3
    for number in range(3):
        sample = reader[number]
        assert np.array_equal(sample.inputs.read(), VALUES + number)
        assert np.array_equal(sample.targets["segmentation"].read(), box(number, number + 4, 2))
    assert "label maps, no scans" in said(reader)
    assert ("a map of probabilities" in said(reader)) == ("pred" in mask)


def test_sequences_and_scans_on_other_grids_stay_scans(tmp_path: Path) -> None:
    for number in range(2):
        save(tmp_path / "a" / f"case{number}" / "t1.nii.gz", VALUES)
        save(tmp_path / "a" / f"case{number}" / "t2.nii.gz", VALUES[::-1].copy())
        save(tmp_path / "b" / f"p{number}.nii.gz", VALUES)
        save(tmp_path / "b" / f"p{number}_low.nii.gz", box(0, 4), np.diag([2.0, 2, 2, 1]))
    assert len(volumes(tmp_path / "a")) == len(volumes(tmp_path / "b")) == 4


def test_a_table_that_names_the_folders_of_scans_labels_them(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / f"s{number:04d}" / "ct.nii.gz", np.arange(60, dtype=np.int16).reshape(3, 4, 5) + number)
        save(tmp_path / f"s{number:04d}" / "segmentations" / "liver.nii.gz", np.ones((3, 4, 5), np.uint8))
    (tmp_path / "meta.csv").write_text("image_id;age;split\ns0000;40;train\ns0001;50;val\ns0002;60;test\n")
    reader = VolumeFolderReader(VolumeFilesConfig(path=str(tmp_path)))
    assert [reader[row].targets["age"] for row in range(3)] == [40.0, 50.0, 60.0]
    assert {name: list(rows) for name, rows in reader.splits.items()} == {"train": [0], "validation": [1], "test": [2]}
