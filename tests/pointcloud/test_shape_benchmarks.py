"""Layouts of public benchmarks, as small files: ModelNet40 and ScanObjectNN in HDF5, ShapeNetPart as text."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from repcore.data.batching import collated
from repcore.data.readers import dataset_settings
from repcore.errors import DataError, ItemError, PluginError
from repcore.registry import default
from repcore_pointcloud.configs.shapes import PointSetConfig, ShapeFilesConfig, ShapeHdf5Config
from repcore_pointcloud.datasets.shape_hdf5 import ShapeHdf5Reader
from repcore_pointcloud.datasets.shape_parts import PARTS, ShapePartReader, part_names
from repcore_pointcloud.preprocessors.point_set import PointSetPreprocessor

MODELNET_NAMES = "airplane\nbathtub\nbed\n"


def clouds(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 20, 3)).astype(np.float32)


def write_hdf5(path: Path, **arrays: np.ndarray) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is an extra")
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file.create_dataset(name, data=values, compression="gzip")


@pytest.fixture
def modelnet(tmp_path: Path) -> Path:
    """Eleven training files of one cloud each, so that number order is not text order, and a test file of two."""
    for number in range(11):
        label = np.array([[number % 3]], np.uint8)
        write_hdf5(tmp_path / f"ply_data_train{number}.h5", data=clouds(1, number), label=label)
    write_hdf5(tmp_path / "ply_data_test0.h5", data=clouds(2, 99), label=np.array([[2], [0]], np.uint8))
    (tmp_path / "shape_names.txt").write_text(MODELNET_NAMES)
    (tmp_path / "train_files.txt").write_text("data/modelnet40_ply_hdf5_2048/ply_data_train0.h5\n")
    (tmp_path / "ply_data_train_0_id2file.json").write_text("[]")
    return tmp_path


def test_modelnet_files_are_one_set_with_names_and_parts(modelnet: Path) -> None:
    assert dataset_settings(default(), str(modelnet), domain="pointcloud")["name"] == "pointcloud/shape-hdf5"
    reader = ShapeHdf5Reader(ShapeHdf5Config(path=str(modelnet)))
    assert len(reader) == 13
    assert reader.account.counts == {"used": 13, "ignored": 2, "unreadable": 0}  # 12 arrays and the names
    assert reader.targets[0].names == ("airplane", "bathtub", "bed")
    test, train = reader.splits["test"], reader.splits["train"]
    assert [reader[row].targets["class"] for row in test] == [2, 0]
    assert [reader.id_of(row) for row in train[-2:]] == ["ply_data_train9/00000", "ply_data_train10/00000"]
    assert np.array_equal(reader[train[-1]].inputs.points, clouds(1, 10)[0])
    assert np.array_equal(reader.by_id("ply_data_test0/00001").inputs.points, clouds(2, 99)[1])


def test_variants_of_scan_objects_are_chosen_by_name(tmp_path: Path) -> None:
    for variant, seed in (("", 0), ("_augmentedrot_scale75", 1)):
        for part in ("training", "test"):
            labels = np.array([0, 14], np.int32)
            write_hdf5(tmp_path / f"{part}_objectdataset{variant}.h5", data=clouds(2, seed), label=labels)
    plain = ShapeHdf5Reader(ShapeHdf5Config(path=str(tmp_path)))
    assert (len(plain), len(plain.splits["train"])) == (4, 2)
    assert "objectdataset_augmentedrot_scale75" in plain.notes[0]
    assert [plain.targets[0].names[plain[row].targets["class"]] for row in (0, 1)] == ["bag", "toilet"]
    hard = ShapeHdf5Reader(ShapeHdf5Config(path=str(tmp_path), variant="objectdataset_augmentedrot_scale75"))
    assert np.array_equal(hard[1].inputs.points, clouds(2, 1)[1])
    assert hard.fingerprint != plain.fingerprint
    with pytest.raises(DataError, match="augmentedrot_scale75"):
        ShapeHdf5Reader(ShapeHdf5Config(path=str(tmp_path), variant="objectdataset_augmentedrot"))


def test_unrelated_sets_in_one_folder_must_be_named(tmp_path: Path) -> None:
    for name in ("cats_train", "dogs_train"):
        write_hdf5(tmp_path / f"{name}.h5", data=clouds(2))
    with pytest.raises(DataError, match=r"dataset\.variant"):
        ShapeHdf5Reader(ShapeHdf5Config(path=str(tmp_path)))
    dogs = ShapeHdf5Reader(ShapeHdf5Config(path=str(tmp_path / "dogs_train.h5")))
    assert (len(dogs), list(dogs.targets)) == (2, [])


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"xyz": clouds(2)}, "'data' of a_train.h5 is missing"),
        ({"data": clouds(2)[0]}, r"shape \(20, 3\)"),
        ({"data": clouds(2)[..., :2]}, r"shape \(2, 20, 2\)"),
        ({"data": clouds(2), "label": np.zeros(3, int)}, "3 labels for 2 clouds"),
        ({"data": clouds(2), "label": np.array([0, 7])}, "label 7"),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path: Path, arrays: Mapping[str, np.ndarray], words: str) -> None:
    write_hdf5(tmp_path / "a_train.h5", **arrays)
    (tmp_path / "shape_names.txt").write_text(MODELNET_NAMES)
    with pytest.raises(DataError, match=words):
        ShapeHdf5Reader(ShapeHdf5Config(path=str(tmp_path)))


def test_a_damaged_file_and_a_missing_package_are_clear_errors(modelnet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = modelnet / "ply_data_test0.h5"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match="cannot be read"):
        ShapeHdf5Reader(ShapeHdf5Config(path=str(modelnet)))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(PluginError, match=r"pip install .repcore-pointcloud\[hdf5\]"):
        ShapeHdf5Reader(ShapeHdf5Config(path=str(modelnet)))


# ------------------------------------------------------------------------------------------------ parts


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Two categories of two shapes each, three of them listed."""
    (tmp_path / "synsetoffset2category.txt").write_text("Mug\t03797390\nBag\t02773838\n")
    for folder, numbers in (("03797390", (36, 37)), ("02773838", (4, 5))):
        (tmp_path / folder).mkdir()
        for model in ("a", "b"):
            labels = np.resize(numbers, 20)
            table = np.column_stack([clouds(1)[0], np.zeros((20, 3)), labels])
            np.savetxt(tmp_path / folder / f"{model}.txt", table, fmt="%.6f")
    lists = tmp_path / "train_test_split"
    lists.mkdir()
    for word, models in (("train", ["03797390/a", "02773838/a"]), ("val", []), ("test", ["03797390/b", "03797390/z"])):
        listed = [f"shape_data/{one}" for one in models]
        (lists / f"shuffled_{word}_file_list.json").write_text(json.dumps(listed))
    return tmp_path


def test_shapes_with_parts_keep_category_part_and_split(parts: Path) -> None:
    assert dataset_settings(default(), str(parts), domain="pointcloud")["name"] == "pointcloud/shape-parts"
    reader = ShapePartReader(ShapeFilesConfig(path=str(parts)))
    category, part = reader.targets
    assert category.names == ("Bag", "Mug")
    assert (part.level, len(part.names), part.names[36]) == ("point", 50, "Mug 0")
    assert [reader.id_of(row) for row in reader.splits["test"]] == ["03797390/b"]
    assert [reader.id_of(row) for row in reader.splits["train"]] == ["02773838/a", "03797390/a"]
    assert "1 of 2 models" in reader.notes[0]
    mug = reader.by_id("03797390/a")
    assert mug.targets["category"] == 1
    assert mug.targets["part"].tolist() == [36, 37] * 10
    assert mug.meta["category"] == 11  # of the sixteen, which published networks are told
    assert np.allclose(mug.inputs.points, clouds(1)[0], atol=1e-6)  # six decimals in the file
    assert mug.inputs.labels is not None
    assert mug.inputs.labels.tolist() == [36, 37] * 10
    preprocessor = PointSetPreprocessor(PointSetConfig(points=30))
    batch = collated(preprocessor, preprocessor.prepare(mug))
    assert batch.inputs["category"].tolist() == [11]
    assert batch.targets["part"].shape == (30,)
    of_point = {
        tuple(one.tolist()): int(label)
        for one, label in zip(batch.inputs["points"][0], batch.targets["part"], strict=True)
    }
    assert len(of_point) == 20  # repeated points keep their part
    assert batch.targets["part"][:20].tolist() == [36, 37] * 10


def test_there_are_fifty_parts_in_the_published_order() -> None:
    names = part_names()
    assert (len(names), sum(PARTS.values())) == (50, 50)
    assert [names.index(f"{one} 0") for one in ("Airplane", "Chair", "Lamp", "Motorbike", "Table")] == [
        0,
        12,
        24,
        30,
        47,
    ]


@pytest.mark.parametrize(
    ("content", "status"),
    [
        ("1 2 3 0.5 0 0 4\n", "ok"),
        ("1 2 3 4\n", "ok"),
        ("1 2 3 4 5\n", "wrong_columns"),
        ("1 2 3 0.5\n", "wrong_labels"),
        ("1 2 3 50\n", "wrong_labels"),
        ("a b c d\n", "corrupt"),
        ("", "wrong_columns"),
    ],
)
@pytest.mark.filterwarnings("ignore:loadtxt")  # numpy's remark on an empty file
def test_part_files_with_mistakes_are_rows_with_a_reason(parts: Path, content: str, status: str) -> None:
    (parts / "03797390" / "a.txt").write_text(content)
    reader = ShapePartReader(ShapeFilesConfig(path=str(parts)))
    if status == "ok":
        assert reader.by_id("03797390/a").inputs.labels.tolist() == [4]
        return
    with pytest.raises(ItemError) as caught:
        reader.by_id("03797390/a")
    assert caught.value.status == status


def test_broken_part_folders_are_named(parts: Path) -> None:
    listed = parts / "train_test_split" / "shuffled_train_file_list.json"
    listed.write_text('["shape_data/1/2"]')
    with pytest.raises(DataError, match="names none of the 4 shapes"):
        ShapePartReader(ShapeFilesConfig(path=str(parts)))
    listed.write_text("[")
    with pytest.raises(DataError, match="is no list of models"):
        ShapePartReader(ShapeFilesConfig(path=str(parts)))
    (parts / "synsetoffset2category.txt").write_text("Teapot 1\n")
    with pytest.raises(DataError, match="Teapot"):
        ShapePartReader(ShapeFilesConfig(path=str(parts)))
