"""What folders and names say of files: a class, a person, one file of two; what counts is no label and no edge."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from repcore.data.folder_classes import folder_meaning
from repcore.data.item_columns import item_columns
from repcore.data.label_facts import label_facts, label_warnings
from repcore.data.label_names import are_class_numbers
from repcore.errors import DataError
from repcore.specs import TargetSpec
from repcore_graphs.datasets.edge_ends import counts_within
from tests.field.test_choice_field import inspected, opened, picture, scores, sound


@pytest.mark.parametrize(
    ("folders", "above", "kind", "why"),
    [
        (["cat", "cat", "dog", "dog"], (), "class", "2 folders of 2 files each"),
        (["cat", "dog", "dog"], (), "class", "2 folders of 1 to 2 files each"),
        (["cat", "dog"], (), "class", "2 folders of 1 file each"),
        (["r1", "r2"], (), "none", "2 folders of 1 file each"),
        (["0", "1"], (), "class", "2 folders of 1 file each"),
        (["class1", "class2"], (), "class", "2 folders of 1 file each"),
        (["speaker1", "speaker1", "speaker2"], (), "group", "called speaker and a number"),
        (["anna", "anna", "ben", "ben"], ("data", "speakers"), "group", "below 'speakers'"),
        (["anna", "", "ben"], (), "none", "not every file lies in a folder"),
    ],
)
def test_folders_are_classes_groups_or_neither(folders: list[str], above: tuple[str, ...], kind: str, why: str) -> None:
    found = folder_meaning(folders, above)
    assert found.kind == kind
    assert why in found.reason


def test_speakers_are_groups_and_words_are_classes(tmp_path: Path) -> None:
    for number in range(6):
        sound(tmp_path / "speakers" / ("anna", "ben", "cleo")[number % 3] / f"{number}.wav", 0.1 + number / 10)
        sound(tmp_path / "words" / ("yes", "no")[number % 2] / f"{number}.wav", 0.1 + number / 10)
    people, words = opened(tmp_path / "speakers")[1], opened(tmp_path / "words")[1]
    assert not people.targets
    assert [people[row].group for row in range(6)] == ["anna", "anna", "ben", "ben", "cleo", "cleo"]
    assert words.targets[0].names == ("no", "yes")
    assert "2 folders of 3 files each" in inspected(tmp_path / "words")


def test_numbered_folders_of_one_scan_each_are_no_classes(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"r{number}").mkdir()
        cloud = np.random.default_rng(number).normal(size=(60, 3))
        np.save(tmp_path / f"r{number}" / "scan.npy", cloud)
    said = inspected(tmp_path, "--reader", "pointcloud/shapes-folder")
    assert "warning: folders: no classes (2 folders of 1 file each" in said
    assert "label 'class'" not in said


def test_one_name_of_two_pictures_is_said_and_labels_none(tmp_path: Path) -> None:
    for number in range(3):
        picture(tmp_path / "a" / f"{number}.png", number)
        picture(tmp_path / "b" / f"{number}.png", number)
        picture(tmp_path / "b" / f"{number}.jpg", number + 10)
    picture(tmp_path / "a" / "0.jpg", 20)
    for folder in "ab":
        (tmp_path / folder / "t.csv").write_text("image,label\n0,x\n1,y\n2,x\n")
    with pytest.raises(DataError, match=r"'0' is the name of 0\.jpg and of 0\.png"):
        opened(tmp_path / "b", file_column="image")
    reader = opened(tmp_path / "a", file_column="image")[1]
    found = {reader[row].id: reader[row].targets.get("label", np.nan) for row in range(4)}
    assert {name for name, value in found.items() if not np.isnan(value)} == {"1.png", "2.png"}
    assert len(reader) == 4
    assert "1 cells name several images each" in " ".join(reader.account.odd_cells)


def test_boxes_are_no_labels_and_the_finding_beside_them_is_one(tmp_path: Path) -> None:
    for number in range(4):
        picture(tmp_path / f"p{number}.png", number)
    rows = "p0,,,,,0\np1,1,5,8,9,1\np1,2,6,7,4,1\np2,,,,,0\np3,3,5,3,9,1\n"
    (tmp_path / "boxes.csv").write_text("patientId,x,y,width,height,Target\n" + rows)
    reader = opened(tmp_path)[1]
    assert [one.name for one in reader.targets] == ["Target"]
    assert [reader[row].targets["Target"] for row in range(4)] == [0, 1, 0, 1]
    assert [one.role for one in item_columns(["x", "y", "width", "height"])] == ["box"] * 4
    assert not item_columns(["x", "y", "z", "width"])


def test_names_of_digits_join_where_they_are_padded(tmp_path: Path) -> None:
    for number in range(3):
        picture(tmp_path / "i" / f"{number:08d}.png", number)
        sound(tmp_path / "s" / f"{number:05d}.wav", 0.1 + number / 5)
    rows = "".join(f"{number:08d},{'ab'[number % 2]},R{rater}\n" for number in range(3) for rater in range(3))
    (tmp_path / "i" / "train.csv").write_text("image_id,kind,rater\n" + rows)
    reader = opened(tmp_path / "i")[1]
    assert [reader[row].targets["kind"] for row in range(3)] == [0, 1, 0]
    assert not are_class_numbers("image_id", ["0001", "0001", "0002", "0002"], ["image_id", "kind"])
    assert are_class_numbers("kind", ["0", "1", "0", "1"], ["kind"])

    (tmp_path / "s" / "labels.csv").write_text("id,label\n0,a\n1,b\n2,a\n")  # a spreadsheet took the zeros away
    name, sounds = opened(tmp_path / "s")
    assert name == "audio/manifest"
    assert [sounds[row].targets["label"] for row in range(3)] == [0, 1, 0]
    assert "without the leading zeros" in " ".join(sounds.account.notes)


def test_cycles_of_engines_are_no_ends_of_edges(tmp_path: Path) -> None:
    pairs = [(unit, cycle) for unit in (1, 2, 3) for cycle in range(1, 6 + unit)]
    lines = "".join(f"{unit},{cycle},{unit / cycle:.3f}\n" for unit, cycle in pairs)
    (tmp_path / "engines.csv").write_text("unit,cycle,s1\n" + lines)
    assert "graphs/edge-list" not in scores(tmp_path / "engines.csv")
    assert counts_within(*zip(*pairs, strict=True))
    ring = [(node, (node + 1) % 6) for node in range(6)]
    complete = [(one, other) for one in range(5) for other in range(one + 1, 5)]
    assert not counts_within(*zip(*ring, strict=True))
    assert not counts_within(*zip(*complete, strict=True))


def test_classes_that_no_training_row_has_are_a_warning() -> None:
    spec = TargetSpec("kind", "class", names=("a", "b", "c"))
    facts = label_facts(spec, [0, 1, 0, 2], ["train", "train", "test", "test"])
    assert "label kind: 1 of its classes stand in no row of the train part, first 'c'" in list(
        label_warnings("kind", facts)
    )
    assert not label_facts(spec, [0, 1, 0, 1], ["train", "train", "test", "test"])["not_in_train"]
