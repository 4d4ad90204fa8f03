"""Labels of points in files that are read as shapes are never dropped without a word (K1, K12)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from repcore.data.accounting import account_of
from repcore.errors import DataError, ItemError
from repcore_pointcloud.configs.shapes import ShapeFolderConfig
from repcore_pointcloud.datasets.shape_folders import ShapeFolderReader
from repcore_pointcloud.formats.reading import read_points


def test_labels_of_points_that_a_shape_does_not_use_are_said(tmp_path: Path) -> None:
    for number in range(2):
        table = np.random.default_rng(number).uniform(-1, 1, (50, 3))
        lines = [f"{x:.4f},{y:.4f},{z:.4f},{place % 3 + 2}" for place, (x, y, z) in enumerate(table)]
        (tmp_path / f"a{number}.csv").write_text("x,y,z,scalar_Classification\n" + "\n".join(lines) + "\n")
    reader = ShapeFolderReader(ShapeFolderConfig(path=str(tmp_path)))
    lost = [one for one in account_of(reader).guesses if one.is_loss]
    assert [(one.about, one.chosen) for one in lost] == [("labels of points (scalar_Classification)", "not used")]
    assert lost[0].change == "--reader pointcloud/scenes"
    (tmp_path / "a0.csv").write_text("x,y,z,curvature\n" + "\n".join(f"{n},{n / 2},{n % 7},0.5" for n in range(50)))
    (tmp_path / "a1.csv").unlink()
    plain = ShapeFolderReader(ShapeFolderConfig(path=str(tmp_path)))
    assert not any(one.is_loss for one in account_of(plain).guesses)


@pytest.mark.parametrize("name", ["segment", "segment20", "semantic_gt", "seg", "label"])
def test_labels_of_another_number_of_points_are_refused(name: str, tmp_path: Path) -> None:
    points = np.random.default_rng(0).uniform(-1, 1, (50, 3))
    np.savez(tmp_path / "a.npz", coord=points, **{name: np.arange(49) % 3 - 1})
    with pytest.raises(ItemError, match=f"'{name}' has 49 entries for 50 points") as caught:
        read_points(tmp_path / "a.npz")
    assert caught.value.status == "labels_differ"
    np.savez(tmp_path / "b.npz", coord=points, class_names=np.array(["a", "b"]), class_weights=[0.5, 1.0])
    assert len(read_points(tmp_path / "b.npz")) == 50


@pytest.mark.parametrize(("name", "value"), [("y", 3), ("label", [3]), ("target", [3])])
def test_one_label_of_a_whole_file_is_said(name: str, value: object, tmp_path: Path) -> None:
    points = np.random.default_rng(0).uniform(-1, 1, (50, 3))
    np.savez(tmp_path / "a.npz", pc=points, **{name: np.array(value)})
    assert np.array_equal(read_points(tmp_path / "a.npz").xyz, points)
    reader = ShapeFolderReader(ShapeFolderConfig(path=str(tmp_path)))
    assert f"a.npz: {name}: 3 is one label of the whole file and is not used" in "\n".join(account_of(reader).notes)
    np.savez(tmp_path / "a.npz", x=points[:1, 0], y=points[:1, 1], z=points[:1, 2])  # a coordinate of one point
    assert np.array_equal(read_points(tmp_path / "a.npz").xyz, points[:1])


def test_a_table_that_names_the_files_gives_their_labels_whatever_it_is_called(tmp_path: Path) -> None:
    """K1, K2: only `labels.csv` was looked at; any other table was left out as a text without coordinates."""
    for number in range(6):
        points = np.random.default_rng(number).uniform(-1, 1, (300, 3))
        np.savetxt(tmp_path / f"scan {number}.xyz", points, fmt="%.4f")
    rows = "".join(f"{number % 2};scan {number};{'tree' if number % 3 else 'house'}\n" for number in range(6))
    (tmp_path / "Aufnahmen.csv").write_text(f"Nummer;Datei;Art\n{rows}", encoding="utf-8")
    (tmp_path / "notes.csv").write_text("about,text\n1,nothing\n2,else\n", encoding="utf-8")
    reader = ShapeFolderReader(ShapeFolderConfig(path=str(tmp_path)))
    art = next(one for one in reader.targets if one.name == "Art")
    assert [art.names[reader[row].targets["Art"]] for row in range(4)] == ["house", "tree", "tree", "house"]
    said = account_of(reader).sentences()
    assert any("table Aufnahmen.csv (its column 'Datei' names 6 of 6 files)" in one for one in said)
    assert account_of(reader).counts["used"] == 7
    assert any("left out: 1 .csv" in one for one in said)


def test_folders_of_classes_stay_labels_beside_a_table_and_lists_of_names_are_no_table(tmp_path: Path) -> None:
    for number in range(6):
        place = tmp_path / ("chair", "table")[number % 2] / f"s{number}.xyz"
        place.parent.mkdir(exist_ok=True)
        np.savetxt(place, np.random.default_rng(number).uniform(-1, 1, (300, 3)), fmt="%.4f")
    (tmp_path / "my_train.txt").write_text("s0\ns1\ns2\ns3\n", encoding="utf-8")
    reader = ShapeFolderReader(ShapeFolderConfig(path=str(tmp_path)))
    assert [one.name for one in reader.targets] == ["class"]
    rows = "".join(f"s{number},{number / 4},{'ab'[number % 2]}\n" for number in range(6))
    (tmp_path / "facts.csv").write_text(f"id,height,style\n{rows}", encoding="utf-8")
    reader = ShapeFolderReader(ShapeFolderConfig(path=str(tmp_path)))
    assert [one.name for one in reader.targets] == ["class", "height", "style"]
    assert reader[5].targets == {"class": 1, "height": 1.25, "style": 1}


def test_a_name_of_several_files_joins_nothing_and_is_named(tmp_path: Path) -> None:
    for folder in "ab":
        (tmp_path / folder).mkdir()
        np.savetxt(tmp_path / folder / "s0.xyz", np.random.default_rng(0).uniform(-1, 1, (300, 3)), fmt="%.4f")
    (tmp_path / "labels.csv").write_text("name,label\ns0,1\n", encoding="utf-8")
    with pytest.raises(DataError, match="names 's0', which is the name of several files") as caught:
        ShapeFolderReader(ShapeFolderConfig(path=str(tmp_path)))
    assert "a/s0.xyz, b/s0.xyz" in str(caught.value)
