"""Tables of labels beside folders of files: joined by key only, a declared split and class folders stay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import soundfile as sf
from PIL import Image

from repcore.data.accounting import account_of
from repcore.errors import DataError
from repcore_audio.configs.recordings import ManifestConfig
from repcore_audio.datasets.manifests import ManifestReader
from repcore_medical3d.configs.images import ImageFilesConfig
from repcore_medical3d.configs.volumes import VolumeFilesConfig
from repcore_medical3d.datasets.images import ImageFolderReader
from repcore_medical3d.datasets.volume_layouts import VolumeFolderReader
from repcore_pointcloud.configs.shapes import ShapeFolderConfig
from repcore_pointcloud.datasets.shape_folders import ShapeFolderReader


def said(reader: Any) -> str:
    return "\n".join(account_of(reader).sentences())


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = sum(map(ord, str(path)))
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (16, 16), np.uint8)).save(path)


def table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [columns, *rows] if columns else rows
    path.write_text("".join(",".join(map(str, one)) + "\n" for one in lines))


def images(path: Path, **settings: Any) -> ImageFolderReader:
    return ImageFolderReader(ImageFilesConfig(path=str(path), **settings))


def labels(reader: Any, name: str) -> dict[str, str]:
    """Name of the class of every row that has one."""
    names = next(one.names for one in reader.targets if one.name == name)
    return {row.id: names[row.targets[name]] for row in reader.rows if name in row.targets}


def two_parts(root: Path, write: Callable[[Path], None], suffix: str = ".png") -> None:
    for part in ("train", "test"):
        for number in range(4):
            write(root / part / f"{number}{suffix}")


def parts(reader: Any) -> dict[str, int]:
    return {name: len(rows) for name, rows in reader.splits.items()}


EVEN = [(f"{number}.png", "ab"[number % 2]) for number in range(4)]


def test_a_table_of_one_part_labels_no_file_of_another(tmp_path: Path) -> None:
    two_parts(tmp_path, picture)
    table(tmp_path / "train.csv", ["id", "label"], EVEN)
    table(tmp_path / "sample_submission.csv", ["id", "label"], [(f"{number}.png", "a") for number in range(4)])
    reader = images(tmp_path)
    assert labels(reader, "label") == {f"train/{name}": word for name, word in EVEN}
    assert parts(reader) == {"test": 4, "train": 4}
    assert "sample_submission.csv: a sample submission" in said(reader)


def test_tables_of_both_parts_contradict_nothing(tmp_path: Path) -> None:
    two_parts(tmp_path, picture)
    table(tmp_path / "train.csv", ["image", "label"], EVEN)
    table(tmp_path / "test.csv", ["image", "label"], [(name, "ba"["ab".index(word)]) for name, word in EVEN])
    reader = images(tmp_path)
    found = labels(reader, "label")
    assert found["train/1.png"] == "b"
    assert found["test/1.png"] == "a"
    assert len(found) == 8
    assert parts(reader) == {"test": 4, "train": 4}
    assert "contradict" not in said(reader)


def test_a_name_of_two_files_joins_nothing_unless_a_column_tells_the_folder(tmp_path: Path) -> None:
    two_parts(tmp_path, picture)
    table(tmp_path / "labels.csv", ["file", "label"], EVEN)
    reader = images(tmp_path)
    assert not reader.targets
    assert parts(reader) == {"test": 4, "train": 4}
    assert "'0.png' is the name of test/0.png and of train/0.png" in said(reader)
    with pytest.raises(DataError, match="which of them is meant"):
        images(tmp_path, table="labels.csv")
    both = [(name, part, word) for part, words in (("train", "ab"), ("test", "ba"))
            for (name, _), word in zip(EVEN, words * 2, strict=True)]  # fmt: skip
    table(tmp_path / "labels.csv", ["file", "subset", "label"], both)
    found = labels(images(tmp_path), "label")
    assert found["train/0.png"] == "a"
    assert found["test/0.png"] == "b"
    assert len(found) == 8


def test_a_path_into_another_folder_is_not_the_same_file(tmp_path: Path) -> None:
    two_parts(tmp_path, picture)
    (tmp_path / "test" / "0.png").unlink()
    table(tmp_path / "labels.csv", ["file", "label"], [(f"test/{name}", word) for name, word in EVEN])
    found = labels(images(tmp_path), "label")
    assert set(found) == {"test/1.png", "test/2.png", "test/3.png"}


def test_a_declared_split_survives_any_table(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for number in range(4):
            picture(tmp_path / part / f"{part}{number}.png")
    rows = [(f"{part}{number}.png", "ab"[number % 2]) for part in ("train", "test") for number in range(4)]
    table(tmp_path / "labels.csv", ["file", "label"], rows)
    reader = images(tmp_path)
    assert parts(reader) == {"test": 4, "train": 4}
    assert len(labels(reader, "label")) == 8
    assert [one.name for one in reader.targets] == ["label"]


def test_tables_inside_of_sites_or_called_like_them_speak_of_them_only(tmp_path: Path) -> None:
    for site in ("siteA", "siteB"):
        for number in range(4):
            picture(tmp_path / "named" / site / f"{100 + number}.png")
            picture(tmp_path / "inside" / site / f"{100 + number}.png")
        words = "ab" if site == "siteA" else "ba"
        table(tmp_path / "inside" / site / "labels.csv", ["id", "y"], [(100 + one, words[one % 2]) for one in range(4)])
    table(tmp_path / "named" / "siteA.csv", ["id", "y"], [(100 + one, "ab"[one % 2]) for one in range(4)])
    assert labels(images(tmp_path / "named"), "y") == {f"siteA/{100 + one}.png": "ab"[one % 2] for one in range(4)}
    found = labels(images(tmp_path / "inside"), "y")
    assert found["siteA/101.png"] == "b"
    assert found["siteB/101.png"] == "a"
    assert len(found) == 8


def test_class_folders_stay_a_label_beside_a_table(tmp_path: Path) -> None:
    names = [(kind, f"{kind[0]}{number}.png") for kind in ("benign", "malignant") for number in range(4)]
    for kind, name in names:
        picture(tmp_path / kind / name)
    table(tmp_path / "meta.csv", ["file", "age"], [(name, 40 + place) for place, (_, name) in enumerate(names)])
    reader = images(tmp_path)
    assert labels(reader, "folder") == {f"{kind}/{name}": kind for kind, name in names}
    assert {one.name: one.kind for one in reader.targets} == {"age": "regression", "folder": "class"}
    table(tmp_path / "meta.csv", ["file", "kind"], [(name, kind[:3]) for kind, name in names])
    assert [one.name for one in images(tmp_path).targets] == ["kind"]


def test_a_table_without_a_header_keeps_its_label(tmp_path: Path) -> None:
    for name, _ in EVEN:
        picture(tmp_path / name)
    table(tmp_path / "labels.csv", [], EVEN)
    assert labels(images(tmp_path), "label") == dict(EVEN)


def volume(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(sum(map(ord, str(path)))).normal(size=(8, 8, 8)).astype(np.float32)
    nib.save(nib.Nifti1Image(values, np.eye(4)), path)


def volumes(path: Path) -> VolumeFolderReader:
    return VolumeFolderReader(VolumeFilesConfig(path=str(path)))


def test_test_scans_never_get_the_labels_of_training_scans(tmp_path: Path) -> None:
    two_parts(tmp_path, volume, ".nii.gz")
    table(tmp_path / "train.csv", ["scan", "label"], [(number, "ab"[number % 2]) for number in range(4)])
    reader = volumes(tmp_path)
    assert labels(reader, "label") == {f"train/{number}": "ab"[number % 2] for number in range(4)}
    assert parts(reader) == {"test": 4, "train": 4}
    (tmp_path / "train.csv").rename(tmp_path / "labels.csv")
    reader = volumes(tmp_path)
    assert not reader.targets
    assert "'0' is the name of test/0.nii.gz and of train/0.nii.gz" in said(reader)


def test_sites_have_their_own_tables_of_volumes(tmp_path: Path) -> None:
    for site, words in (("siteA", "ab"), ("siteB", "ba")):
        for number in range(2):
            volume(tmp_path / "inside" / site / f"sub-{number:02d}" / "anat" / f"sub-{number:02d}_T1w.nii.gz")
        for number in range(4):
            volume(tmp_path / "one" / site / f"{100 + number}.nii.gz")
        rows = [(f"sub-{number:02d}", words[number]) for number in range(2)]
        table(tmp_path / "inside" / site / "participants.csv", ["participant_id", "dx"], rows)
    table(tmp_path / "one" / "siteA.csv", ["id", "y"], [(100 + number, "ab"[number % 2]) for number in range(4)])
    found = labels(volumes(tmp_path / "inside"), "dx")
    assert [word for name, word in sorted(found.items())] == ["a", "b", "b", "a"]
    assert labels(volumes(tmp_path / "one"), "y") == {f"siteA/{100 + one}": "ab"[one % 2] for one in range(4)}
    both = [(100 + one, site, words[one % 2]) for site, words in (("siteA", "ab"), ("siteB", "ba"))
            for one in range(4)]  # fmt: skip
    (tmp_path / "one" / "siteA.csv").unlink()
    table(tmp_path / "one" / "labels.csv", ["id", "site", "y"], both)
    assert labels(volumes(tmp_path / "one"), "y") == {f"{site}/{number}": word for number, site, word in both}


def test_class_folders_of_volumes_stay_a_label_beside_a_table(tmp_path: Path) -> None:
    names = [(kind, f"{kind[0]}{number}") for kind in ("Benign", "Malignant") for number in range(3)]
    for kind, name in names:
        volume(tmp_path / kind / f"{name}.nii.gz")
    table(tmp_path / "meta.csv", ["id", "age"], [(name, 40 + place) for place, (_, name) in enumerate(names)])
    reader = volumes(tmp_path)
    assert labels(reader, "folder") == {name: kind for kind, name in names}
    assert {one.name: one.kind for one in reader.targets} == {"age": "regression", "folder": "class"}


def cloud(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, np.random.default_rng(sum(map(ord, str(path)))).normal(size=(64, 3)), fmt="%.3f")


def sound(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, np.random.default_rng(sum(map(ord, str(path)))).normal(size=800) * 0.1, 8000)


def test_class_folders_and_parts_of_clouds_stay_beside_a_table(tmp_path: Path) -> None:
    ids = [f"{part}/{kind}/{part}{kind}{one}.xyz" for part in ("train", "test") for kind in "ab" for one in range(3)]
    for name in ids:
        cloud(tmp_path / name)
    table(tmp_path / "labels.csv", ["file", "age"], [(name, 40 + place) for place, name in enumerate(ids)])
    reader = ShapeFolderReader(ShapeFolderConfig(path=str(tmp_path)))
    assert labels(reader, "class") == {name: name.split("/")[1] for name in ids}
    assert {one.name for one in reader.targets} == {"age", "class"}
    assert parts(reader) == {"test": 6, "train": 6}


def test_parts_of_folders_stay_beside_a_table_of_recordings(tmp_path: Path) -> None:
    two_parts(tmp_path, sound, ".wav")
    rows = [(f"{part}/{one}.wav", "ab"[one % 2]) for part in ("train", "test") for one in range(4)]
    table(tmp_path / "labels.csv", ["file", "label"], rows)
    reader = ManifestReader(ManifestConfig(path=str(tmp_path / "labels.csv")))
    assert parts(reader) == {"test": 4, "train": 4}


def test_a_table_of_one_part_labels_its_clouds_only(tmp_path: Path) -> None:
    two_parts(tmp_path, cloud, ".xyz")
    table(tmp_path / "train.csv", ["file", "label"], [(f"{one}.xyz", "ab"[one % 2]) for one in range(4)])
    table(tmp_path / "sample_submission.csv", ["file", "label"], [(f"{one}.xyz", "a") for one in range(4)])
    reader = ShapeFolderReader(ShapeFolderConfig(path=str(tmp_path)))
    assert labels(reader, "label") == {f"train/{one}.xyz": "ab"[one % 2] for one in range(4)}
    assert parts(reader) == {"test": 4, "train": 4}


def test_a_table_of_one_part_finds_its_recordings_only(tmp_path: Path) -> None:
    two_parts(tmp_path, sound, ".wav")
    table(tmp_path / "train.csv", ["file", "label"], [(f"{one}.wav", "ab"[one % 2]) for one in range(4)])
    reader = ManifestReader(ManifestConfig(path=str(tmp_path / "train.csv")))
    assert [row.files[0].relative_to(tmp_path).as_posix() for row in reader.rows] == [
        f"train/{one}.wav" for one in range(4)
    ]
    (tmp_path / "train" / "0.wav").unlink()  # the file of this name in test is another recording
    assert ManifestReader(ManifestConfig(path=str(tmp_path / "train.csv"))).rows[0].problem is not None


@pytest.mark.parametrize(("write", "suffix", "read"), [(picture, ".png", images), (volume, ".nii.gz", volumes)])
def test_places_for_answers_are_no_labels(
    tmp_path: Path, write: Callable[[Path], None], suffix: str, read: Callable[[Path], Any]
) -> None:
    for part in ("train", "test"):
        for number in range(4):
            write(tmp_path / part / f"{part}{number}{suffix}")
    table(tmp_path / "train.csv", ["id", "y"], [(f"train{one}", "ab"[one % 2]) for one in range(4)])
    table(tmp_path / "template.csv", ["id", "y"], [(f"test{one}", "a") for one in range(4)])
    reader = read(tmp_path)
    assert sorted(labels(reader, "y").values()) == ["a", "a", "b", "b"]
    assert "table template.csv: not used (every row says the same" in said(reader)
