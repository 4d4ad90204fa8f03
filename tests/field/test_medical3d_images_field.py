"""Radiographs and photographs as people have them: layouts with tables, kinds of label, groups, depth, masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from repcore.data.accounting import account_of
from repcore.errors import DataError, ItemError
from repcore_medical3d.configs.images import ImageFilesConfig
from repcore_medical3d.datasets.images import ImageFolderReader
from repcore_medical3d.formats.images import read_image


def said(reader: Any) -> str:
    return "\n".join(account_of(reader).sentences())


# ------------------------------------------------------------------------------------------------ images


def picture(path: Path, seed: int = 0, shape: tuple[int, int] = (40, 36)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, shape, np.uint8)).save(path)
    return path


def images(path: Path, **settings: Any) -> ImageFolderReader:
    return ImageFolderReader(ImageFilesConfig(path=str(path), **settings))


def test_photographs_stand_as_the_camera_was_held(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise shows it upright
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.rot90(pixels, -1))


def test_depth_is_never_lost_without_a_word(tmp_path: Path) -> None:
    deep = np.random.default_rng(0).integers(0, 65535, (20, 30), np.uint16)
    Image.fromarray(deep).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), deep)
    chunk = lambda kind, data: (  # noqa: E731  a PNG chunk
        len(data).to_bytes(4, "big") + kind + data + __import__("zlib").crc32(kind + data).to_bytes(4, "big")
    )
    rows = b"".join(b"\0" + bytes(30 * 6) for _ in range(20))
    head = (30).to_bytes(4, "big") + (20).to_bytes(4, "big") + bytes([16, 2, 0, 0, 0])
    data = chunk(b"IHDR", head) + chunk(b"IDAT", __import__("zlib").compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "colour.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    pages = [Image.fromarray(deep[:, :10].astype(np.uint8)) for _ in range(3)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    for name, status in (("colour.png", "colour_16_bit"), ("pages.tif", "several_pages")):
        with pytest.raises(ItemError) as caught:
            read_image(tmp_path / name)
        assert caught.value.status == status


FINDINGS = ("No Finding", "Edema", "Fracture")


@pytest.mark.parametrize("inside", ["", "CheXpert-v1.0-small"])
def test_chexpert(tmp_path: Path, inside: str) -> None:
    root = tmp_path / "CheXpert-v1.0-small"
    cells = [
        ["1.0", "", "0.0"],
        ["", "-1.0", "1.0"],
        ["0.0", "1.0", "-1.0"],
        ["", "0.0", "0.0"],
        ["-1.0", "1.0", "1.0"],
    ]
    for part, numbers in (("train", range(4)), ("valid", range(4, 5))):
        lines = ["Path,Sex,Age," + ",".join(FINDINGS)]
        for n in numbers:
            name = f"{part}/patient{n // 2:05}/study{n % 2 + 1}/view1_frontal.jpg"
            picture(root / name, n)
            lines.append(f"CheXpert-v1.0-small/{name},{'Female' if n % 2 else 'Male'},6{n}," + ",".join(cells[n]))
        (root / f"{part}.csv").write_text("\n".join(lines))
    reader = images(tmp_path / inside)
    kinds = {target.name: target.kind for target in reader.targets}
    assert kinds == {"Sex": "class", **dict.fromkeys(FINDINGS, "class"), "findings": "multilabel"} | (
        {"Age": kinds["Age"]} if "Age" in kinds else {}
    )
    assert reader.splits == {"train": [0, 1, 2, 3], "validation": [4]}
    assert reader.groups == ["patient00000"] * 2 + ["patient00001"] * 2 + ["patient00002"]
    np.testing.assert_array_equal(reader[1].targets["findings"], [np.nan, np.nan, 1.0])
    assert "uncertain" in said(reader)
    positive = images(tmp_path / inside, uncertain="positive")
    np.testing.assert_array_equal(positive[1].targets["findings"], [np.nan, 1.0, 1.0])


def test_nih_labels_are_split_and_patients_kept(tmp_path: Path) -> None:
    words = ["Edema|Mass", "No Finding", "Mass", "Edema", "Mass|Hernia", "No Finding", "Hernia", "Edema|Hernia"]
    lines = ["Image Index,Finding Labels,Patient ID,View Position,OriginalImage[Width,Height],"]
    for number, label in enumerate(words):
        name = f"{number // 2 + 1:08}_{number % 2:03}.png"
        picture(tmp_path / "images_001" / "images" / name, number)
        lines.append(f"{name},{label},{number // 2 + 1},PA,2682,2749,")
    (tmp_path / "Data_Entry_2017.csv").write_text("\n".join(lines))
    reader = images(tmp_path)
    target = next(one for one in reader.targets if one.name == "Finding Labels")
    assert (target.kind, target.names) == ("multilabel", ("Edema", "Hernia", "Mass", "No Finding"))
    assert reader[4].targets["Finding Labels"] == [0.0, 1.0, 1.0, 0.0]
    assert reader.groups == ["1", "1", "2", "2", "3", "3", "4", "4"]


def test_pictures_of_one_lesion_are_a_group(tmp_path: Path) -> None:
    lines = ["lesion_id,image_id,dx,age"]
    for number in range(8):
        picture(tmp_path / f"ISIC_{number:07}.jpg", number)
        lines.append(f"HAM_{number // 2},ISIC_{number:07},{['nv', 'mel'][number // 2 % 2]},{40 + number // 2 * 5}.0")
    (tmp_path / "meta.csv").write_text("\n".join(lines))
    reader = images(tmp_path)
    assert reader.groups == [f"HAM_{number // 2}" for number in range(8)]
    assert "lesion_id" not in {target.name for target in reader.targets}
    assert "groups: lesion_id (4 different ones" in said(reader)


def test_mimic_labels_of_a_study_reach_all_its_images(tmp_path: Path) -> None:
    lines = ["subject_id,study_id,Edema,Pneumonia,Fracture"]
    for study in range(4):
        subject = 10000030 + study // 2
        for view in range(2):
            picture(tmp_path / f"files/p10/p{subject}/s{50000000 + study}/{study}{view}abc.jpg", 2 * study + view)
        lines.append(f"{subject},{50000000 + study},{study % 2}.0,{['', '-1.0', '0.0', '1.0'][study]},-1.0")
    lines.append("19999999,59999999,1.0,1.0,0.0")
    (tmp_path / "mimic-cxr-2.0.0-chexpert.csv").write_text("\n".join(lines))
    reader = images(tmp_path)
    assert len(reader) == 8
    assert [reader[row].targets["Edema"] for row in range(8)] == [0, 0, 1, 1, 0, 0, 1, 1]
    assert [reader[row].targets.get("Pneumonia") for row in range(8)] == [None, None, None, None, 0, 0, 1, 1]
    assert len(set(reader.groups or ())) == 2


def test_kaggle_ids_without_suffix_and_folders_of_patients(tmp_path: Path) -> None:
    for number in range(6):
        picture(tmp_path / "kaggle" / "train_images" / f"{number:x}ab12.png", number)
    rows = "".join(f"{number:x}ab12,{number % 3}\n" for number in range(6))
    (tmp_path / "kaggle" / "train.csv").write_text("id_code,diagnosis\n" + rows)
    reader = images(tmp_path / "kaggle")
    assert [target.name for target in reader.targets] == ["diagnosis"]
    assert [int(reader[row].targets["diagnosis"]) for row in range(6)] == [0, 1, 2, 0, 1, 2]
    for number in range(6):
        picture(
            tmp_path / "folders" / ("train" if number < 4 else "val") / f"patient{number // 2:03}" / f"{number}.png"
        )
    reader = images(tmp_path / "folders")
    assert not reader.targets  # neither parts of a split nor patients are classes
    assert reader.groups == ["patient000", "patient000", "patient001", "patient001", "patient002", "patient002"]
    assert reader.splits == {"train": [0, 1, 2, 3], "validation": [4, 5]}


def test_boxes_and_frames_of_one_image_are_refused_and_contradictions_are_missing(tmp_path: Path) -> None:
    for name in "abcdef":
        picture(tmp_path / "set" / f"{name}.png", ord(name))
    table = tmp_path / "set" / "labels.csv"
    table.write_text("file,frame,finding\n" + "".join(f"{n}.png,{k},{k}\n" for n in "abc" for k in (0, 1)))
    with pytest.raises(DataError, match="'frame' tell them apart"):
        images(tmp_path / "set")
    table.write_text("file,finding\n" + "".join(f"{n}.png,{k % 2}\n" for k, n in enumerate("abcdefa")) + "b.png,0\n")
    reader = images(tmp_path / "set")
    assert reader.by_id("a.png").targets == {"finding": 0}
    assert reader.by_id("b.png").targets == {}
    assert "1 images contradict each other, first b.png" in said(reader)


def test_label_images_are_never_images(tmp_path: Path) -> None:
    for number, name in enumerate(["benign (1)", "benign (2)", "sick (1)"]):
        folder = tmp_path / name.split()[0]
        picture(folder / f"{name}.png", number)
        Image.fromarray(np.full((40, 36), number, np.uint8)).save(folder / f"{name}_mask.png")
    reader = images(tmp_path)
    assert len(reader) == 3
    assert [int(reader[row].inputs.mask.max()) for row in range(3)] == [0, 1, 2]
    assert set(account_of(reader).counts) == {"used", "ignored", "unreadable"}
    assert account_of(reader).counts["used"] == 6


def stripe(path: Path, start: int, stop: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((40, 36), np.uint8)
    pixels[start:stop] = 255
    Image.fromarray(pixels).save(path)


def test_numbered_masks_of_an_image_are_pieces_of_one_class(tmp_path: Path) -> None:
    for number in range(3):
        picture(tmp_path / f"b ({number}).png", number)
        stripe(tmp_path / f"b ({number})_mask.png", 0, 10)
    stripe(tmp_path / "b (1)_mask_1.png", 20, 25)
    stripe(tmp_path / "b (1)_mask_2.png", 30, 31)
    reader = images(tmp_path)
    assert len(reader) == 3
    assert [np.unique(reader[row].inputs.mask).tolist() for row in range(3)] == [[0, 255], [0, 1], [0, 255]]
    mask = reader.by_id("b (1).png").targets["mask"]
    np.testing.assert_array_equal(np.flatnonzero(mask[:, 0]), [*range(10), *range(20, 25), 30])
    assert "pieces of one class" in said(reader)
    assert account_of(reader).counts["ignored"] == 0


def test_folders_of_masks_beside_the_images_are_classes(tmp_path: Path) -> None:
    for number in range(4):
        picture(tmp_path / "images" / f"r{number}.png", number)
        stripe(tmp_path / "left_lung" / f"r{number}.png", 0, 20)
        stripe(tmp_path / "right_lung" / f"r{number}.png", 15, 18 + number)
    reader = images(tmp_path)
    assert [reader[row].id for row in range(len(reader))] == [f"images/r{number}.png" for number in range(4)]
    (target,) = reader.targets
    assert (target.level, target.names) == ("voxel", ("background", "left_lung", "right_lung"))
    mask = reader[3].inputs.mask
    assert mask[:, 0].tolist() == [1] * 15 + [2] * 6 + [0] * 19
    assert "masks of a class, 'left_lung'" in said(reader)
    stripe(tmp_path / "right_lung" / "r0.png", 0, 40)
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "left_lung" / "r0.png")
    with pytest.raises(ItemError, match="the masks of one image have shapes"):
        images(tmp_path)[0]


def test_folders_of_photographs_stay_classes(tmp_path: Path) -> None:
    for number in range(4):
        for folder in ("images", "sick", "well"):
            picture(tmp_path / folder / f"r{number}.png", number)
    reader = images(tmp_path)
    assert len(reader) == 12
    assert reader.targets[0].name == "folder"


def test_class_numbers_never_join_a_table_to_files_called_by_numbers(tmp_path: Path) -> None:
    for number in range(4):
        picture(tmp_path / f"{number}.png", number)
    table = tmp_path / "labels.csv"
    table.write_text("patient_id,finding\nA,0\nB,1\nC,0\n")
    with pytest.raises(DataError, match=r"none of which is below|has no column of file names"):
        images(tmp_path)
    table.write_text("number,finding\n" + "".join(f"{number},{number % 2}\n" for number in (2, 0, 3, 1)))
    reader = images(tmp_path)
    assert [reader[row].targets["finding"] for row in range(4)] == [0, 1, 0, 1]


def test_boxes_are_no_labels_and_names_of_classes_are(tmp_path: Path) -> None:
    for number in range(6):
        picture(tmp_path / f"p{number}.png", number)
    rows = "".join(f"p{number}.png,1,2,{9 + number},20,{'ab'[number % 2]}\n" for number in range(6))
    (tmp_path / "t.csv").write_text("image,x_min,y_min,x_max,y_max,class_name\n" + rows)
    reader = images(tmp_path)
    assert [(one.name, one.names) for one in reader.targets] == [("class_name", ("a", "b"))]
    assert "column 'x_max': no label (it says where on an item something lies, and items are taken whole)" in said(
        reader
    )
