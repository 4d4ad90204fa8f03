"""One file of many pictures or volumes with labels and parts, as MedMNIST publishes its sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repcore.data.readers import open_data
from repcore.errors import DataError
from repcore.registry import default

COUNTS = {"train": 6, "val": 3, "test": 4}


def published(path: Path, shape: tuple[int, ...], classes: int = 3, width: int = 1) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    for part, count in COUNTS.items():
        arrays[f"{part}_images"] = random.integers(0, 256, (count, *shape)).astype(np.uint8)
        labels = np.arange(count)[:, None] % classes if width == 1 else random.integers(0, 2, (count, width))
        arrays[f"{part}_labels"] = labels.astype(np.uint8)
    np.savez_compressed(path, **arrays)
    return arrays


def opened(path: Path, **options: Any) -> tuple[str, Any]:
    part, reader = open_data(default(), str(path), options=options)
    return part.name, reader


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 3), (28, 28, 1)])
def test_pictures_with_their_labels_and_published_parts(tmp_path: Path, shape: tuple[int, ...]) -> None:
    arrays = published(tmp_path / "bloodmnist.npz", shape)
    name, reader = opened(tmp_path / "bloodmnist.npz")
    assert name == "medical3d/image-arrays"
    assert {part: len(rows) for part, rows in reader.splits.items()} == {"train": 6, "validation": 3, "test": 4}
    sample = reader[reader.splits["validation"][2]]
    expected = arrays["val_images"][2]
    np.testing.assert_array_equal(sample.inputs.pixels, expected[..., 0] if shape[2:] == (1,) else expected)
    assert sample.id == "validation-000002"
    assert (reader.targets[0].kind, reader.targets[0].names) == ("class", ("0", "1", "2"))
    assert sample.targets["label"] == 2
    assert len({reader[row].id for row in range(len(reader))}) == 13


def test_findings_of_films_are_several_labels_with_their_names(tmp_path: Path) -> None:
    arrays = published(tmp_path / "chestmnist.npz", (28, 28), width=14)
    _, reader = opened(tmp_path / "chestmnist.npz")
    assert reader.targets[0].kind == "multilabel"
    assert reader.targets[0].names[13] == "Hernia"
    np.testing.assert_array_equal(reader[12].targets["label"], arrays["test_labels"][3])


def test_volumes_say_that_their_voxels_have_no_size(tmp_path: Path) -> None:
    arrays = published(tmp_path / "organmnist3d.npz", (16, 16, 16))
    name, reader = opened(tmp_path / "organmnist3d.npz")
    assert name == "medical3d/volume-arrays"
    first, second = reader[0].inputs, reader[1].inputs
    np.testing.assert_array_equal(second.read(), arrays["train_images"][1])
    assert first.identity != second.identity  # of one file: caches tell them apart
    assert "voxel edges: 1 mm" in " ".join(reader.account.sentences())
    sized = opened(tmp_path / "organmnist3d.npz", spacing_mm=(2.0, 2.0, 2.0))[1]
    assert sized[0].inputs.spacing_mm == (2.0, 2.0, 2.0)
    assert "voxel edges" not in " ".join(sized.account.sentences())


def test_names_of_keras_are_pictures_and_series_stay_series(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    digits = random.integers(0, 256, (6, 28, 28)).astype(np.uint8)
    np.savez(tmp_path / "mnist.npz", x_train=digits, y_train=np.arange(6), x_test=digits[:2], y_test=np.arange(2))
    np.savez(tmp_path / "series.npz", X_train=random.normal(size=(6, 3, 50)), y_train=np.arange(6) % 2)
    assert opened(tmp_path / "mnist.npz")[0] == "medical3d/image-arrays"
    assert opened(tmp_path / "series.npz")[0] == "timeseries/arrays"


def test_other_numbers_of_labels_are_refused(tmp_path: Path) -> None:
    pictures = np.zeros((6, 28, 28), np.uint8)
    np.savez(tmp_path / "m.npz", train_images=pictures, train_labels=np.zeros((5, 1), np.uint8))
    with pytest.raises(DataError, match="6 items, train_labels 5 labels"):
        opened(tmp_path / "m.npz")


def test_forms_that_others_save(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (8, 3, 28, 28)).astype(np.uint8)
    classes = np.arange(8) % 3
    np.savez(tmp_path / "f.npz", train_images=pixels[:, 0] / np.float32(255), train_labels=classes)
    np.savez(tmp_path / "c.npz", train_images=pixels, train_labels=classes)
    np.savez(tmp_path / "p.npz", images=pixels[:, 0], labels=np.array(["b", "a"] * 4))
    name, reader = opened(tmp_path / "f.npz")
    assert name == "medical3d/image-arrays"
    np.testing.assert_array_equal(reader[2].inputs.pixels, pixels[2, 0] / np.float32(255))
    np.testing.assert_array_equal(opened(tmp_path / "c.npz")[1][3].inputs.pixels, np.moveaxis(pixels[3], 0, 2))
    plain = opened(tmp_path / "p.npz")[1]
    assert (plain.splits, plain.targets[0].names, plain[0].targets["label"]) == ({}, ("a", "b"), 1)


def test_labels_that_are_none_or_of_another_form_are_said(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 28, 28)).astype(np.uint8)
    np.savez(tmp_path / "m.npz", train_images=pixels, train_labels=(pixels > 128).astype(np.uint8))
    masked = opened(tmp_path / "m.npz")[1]
    assert list(masked.targets) == []
    assert "masks, not labels" in " ".join(masked.account.sentences())
    np.savez(tmp_path / "h.npz", train_images=pixels, train_labels=np.eye(4, dtype=np.uint8)[np.arange(8) % 4])
    hot = opened(tmp_path / "h.npz")[1]
    assert (hot.targets[0].kind, [hot[row].targets["label"] for row in range(5)]) == ("class", [0, 1, 2, 3, 0])
    assert "one of 4 classes (in each row exactly one number is 1)" in " ".join(hot.account.sentences())
    np.savez(tmp_path / "o.npz", train_images=pixels, train_labels=np.array(["a", "b"] * 4, dtype=object))
    with pytest.raises(
        DataError, match=r"array 'train_labels' of o\.npz holds Python objects, which are never unpickled"
    ):
        opened(tmp_path / "o.npz")
    with pytest.raises(DataError, match=r"holds no volumes with labels: train_images \(8, 28, 28\)"):
        open_data(default(), str(tmp_path / "h.npz"), reader="medical3d/volume-arrays")
