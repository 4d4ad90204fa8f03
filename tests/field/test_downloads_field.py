"""Layouts of sets that many people download, whose lists and tables lie beside or above the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repcore.data.readers import open_data
from repcore.data.splits import sibling_parts
from repcore.errors import DataError
from repcore.registry import default
from tests.field.medical3d_inputs import AFFINE, SHAPE, save, world_values
from tests.field.test_choice_field import sound


def opened(path: Path) -> tuple[str, Any]:
    part, reader = open_data(default(), str(path))
    return part.name, reader


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (["train", "test", "extra"], ["train", "test", None]),
        (["FSD50K.dev_audio", "FSD50K.eval_audio"], ["validation", "test"]),
        (["images_train", "images_val"], ["train", "validation"]),
        (["train_dogs", "test_cats"], [None, None]),
        (["training_cats", "training_dogs"], [None, None]),
        (["dev_audio"], [None]),
    ],
)
def test_folders_that_differ_in_the_word_of_a_part(names: list[str], parts: list[str | None]) -> None:
    found = sibling_parts(names)
    assert [found[one] for one in names] == parts


def fsd(root: Path, *, tables: bool) -> None:
    for part, first in (("dev", 0), ("eval", 100)):
        lines = "fname,labels,mids" + (",split\n" if part == "dev" else "\n")
        for number in range(8):
            sound(root / f"FSD50K.{part}_audio" / f"{first + number}.wav", 0.1 + number / 50 + first / 900)
            labels = ("Dog,Animal", "Cat,Animal", "Rain", "Animal", "Dog", "Cat", "Rain,Animal", "Cat")[number]
            lines += f'{first + number},"{labels}","/m/0,/m/1"'
            lines += f",{('train', 'val')[number // 6]}\n" if part == "dev" else "\n"
        if tables:
            table = root / "FSD50K.ground_truth" / f"{part}.csv"
            table.parent.mkdir(exist_ok=True)
            table.write_text(lines, encoding="utf-8")


def test_tables_in_a_folder_of_their_own_name_the_recordings(tmp_path: Path) -> None:
    fsd(tmp_path, tables=True)
    name, reader = opened(tmp_path)
    assert name == "audio/manifest"
    assert {part: len(rows) for part, rows in reader.splits.items()} == {"train": 6, "validation": 2, "test": 8}
    labels = next(one for one in reader.targets if one.name == "labels")
    assert (labels.kind, labels.names) == ("multilabel", ("Animal", "Cat", "Dog", "Rain"))


def test_folders_of_parts_are_no_classes(tmp_path: Path) -> None:
    fsd(tmp_path, tables=False)
    name, reader = opened(tmp_path)
    assert name == "audio/folder"
    assert not reader.targets
    assert {part: len(rows) for part, rows in reader.splits.items()} == {"validation": 8, "test": 8}


def test_the_first_label_of_birdclef_is_one(tmp_path: Path) -> None:
    lines = "primary_label,scientific_name,author,filename\n"
    for number in range(6):
        word = ("abethr1", "afrsil1")[number % 2]
        sound(tmp_path / "train_audio" / word / f"XC{number}.wav", 0.1 + number / 20)
        lines += f"{word},Turdus {number % 2},Person {number},{word}/XC{number}.wav\n"
    (tmp_path / "train_metadata.csv").write_text(lines, encoding="utf-8")
    _, reader = opened(tmp_path)
    labels = {one.name: one.names for one in reader.targets}
    assert labels["primary_label"] == ("abethr1", "afrsil1")


def test_lists_of_names_above_folders_of_text_clouds(tmp_path: Path) -> None:
    """ModelNet40 as text: the lists come first, and are no clouds."""
    random = np.random.default_rng(0)
    for word in ("chair", "night_stand"):
        for number in range(6):
            place = tmp_path / word / f"{word}_{number:04d}.txt"
            place.parent.mkdir(exist_ok=True)
            np.savetxt(place, random.normal(size=(40, 6)), fmt="%.6f", delimiter=",")
    names = [f"{word}_{number:04d}" for word in ("chair", "night_stand") for number in range(6)]
    for part, own in (
        ("train", [one for one in names if one[-1] < "4"]),
        ("test", [one for one in names if one[-1] >= "4"]),
    ):
        (tmp_path / f"modelnet40_{part}.txt").write_text("\n".join(own) + "\n", encoding="utf-8")
    (tmp_path / "modelnet40_shape_names.txt").write_text("chair\nnight_stand\n", encoding="utf-8")
    name, reader = opened(tmp_path)
    assert name == "pointcloud/shapes-folder"
    assert (len(reader), reader.targets[0].names) == (12, ("chair", "night_stand"))
    assert {part: len(rows) for part, rows in reader.splits.items()} == {"train": 8, "test": 4}


def test_lines_about_the_columns_of_a_pubchem_assay_are_no_molecules(tmp_path: Path) -> None:
    head = "PUBCHEM_RESULT_TAG,PUBCHEM_SID,PUBCHEM_EXT_DATASOURCE_SMILES,PUBCHEM_ACTIVITY_OUTCOME,Potency\n"
    about = 'RESULT_TYPE,,,,FLOAT\nRESULT_DESCR,,,,"Concentration,\nhalf-maximal"\nRESULT_UNIT,,,,MICROMOLAR\n'
    smiles = ("CCO", "c1ccccc1", "CC(=O)O", "CCN", "CCCC", "OCCO")
    rows = "".join(
        f"{row + 1},{9000 + row * 7},{one},{('Active', 'Inactive')[row % 2]},{row + 0.5}\n"
        for row, one in enumerate(smiles)
    )
    (tmp_path / "AID_1030_datatable.csv").write_text(head + about + rows, encoding="utf-8")
    _, reader = opened(tmp_path / "AID_1030_datatable.csv")
    assert [reader[row].inputs for row in range(len(reader))] == list(smiles)
    assert [(one.name, one.kind) for one in reader.targets] == [
        ("PUBCHEM_ACTIVITY_OUTCOME", "class"),
        ("Potency", "regression"),
    ]
    assert reader.account.tables[0].comments == 3


def test_tranches_of_zinc_are_named_and_not_taken_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "AA").mkdir()
    (tmp_path / "AA" / "AAAA.smi").write_text("smiles zinc_id\nCCO ZINC1\n", encoding="utf-8")
    with pytest.raises(DataError, match="its subfolders do") as caught:
        opened(tmp_path)
    assert "AA/AAAA.smi" in str(caught.value)


def test_a_table_of_oasis_names_the_folders_of_its_scans(tmp_path: Path) -> None:
    lines = "ID,M/F,Age,CDR\n"
    for number in range(4):
        name = f"OAS1_{number:04d}_MR1"
        place = tmp_path / "disc1" / name / "PROCESSED" / f"{name}_mpr_n4_anon_111_t88_masked_gfc.nii.gz"
        save(place, world_values(AFFINE, SHAPE) + number, AFFINE)
        tissues = (world_values(AFFINE, SHAPE) > number).astype(np.uint8)
        save(
            tmp_path / "disc1" / name / "FSL_SEG" / f"{name}_mpr_n4_anon_111_t88_masked_gfc_fseg.nii.gz",
            tissues,
            AFFINE,
        )
        lines += f"{name},{'MF'[number % 2]},{60 + number},{(0, 0.5, 1, 0)[number]}\n"
    (tmp_path / "oasis_cross-sectional.csv").write_text(lines, encoding="utf-8")
    _, reader = opened(tmp_path)
    assert {one.name for one in reader.targets} == {"segmentation", "M/F", "Age", "CDR"}
    assert len(reader) == 4
    assert [reader[row].targets["Age"] for row in range(4)] == [60, 61, 62, 63]
