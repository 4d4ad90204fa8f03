"""Points that a survey marks as withheld: no part of the cloud, counted, and still one answer a row of the file.

And lists of names beside the files, which declare a split.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repcore.data.accounting import account_of
from repcore.errors import ItemError
from repcore.interfaces import DenseAnswer
from repcore.specs import TargetSpec
from repcore_pointcloud.configs.scenes import SceneConfig, ScenesConfig
from repcore_pointcloud.configs.shapes import PointSetConfig, ShapeFolderConfig
from repcore_pointcloud.datasets.scene_folders import SceneFolder
from repcore_pointcloud.datasets.shape_folders import ShapeFolderReader
from repcore_pointcloud.preprocessors.point_set import PointSetPreprocessor
from repcore_pointcloud.preprocessors.scene import ScenePreprocessor
from repcore_pointcloud.writers.points import write_las

from .pointcloud_inputs import LABELS, MAP, POINTS, rows

WITHHELD = np.arange(300) % 25 == 3
FAR = POINTS + WITHHELD[:, None] * [0.0, 0.0, 40.0]  # birds above the scene


def survey(path: Path, kind: int = 6, **flags: np.ndarray) -> Path:
    laspy = pytest.importorskip("laspy", reason="extra 'las' is not installed")
    header = laspy.LasHeader(point_format=kind, version="1.4" if kind > 5 else "1.2")
    header.offsets, header.scales = MAP, [0.001] * 3
    file = laspy.LasData(header)
    file.x, file.y, file.z = (FAR + MAP).T
    file.classification = LABELS
    for name, values in flags.items():
        file[name] = values.astype(np.uint8)
    file.write(str(path))
    return path


def scenes(path: Path, **settings: Any) -> SceneFolder:
    return SceneFolder(ScenesConfig(path=str(path), **settings))


@pytest.mark.parametrize(("kind", "suffix"), [(1, ".las"), (3, ".laz"), (6, ".las"), (7, ".laz")])
def test_withheld_points_are_left_out_and_keep_their_rows(tmp_path: Path, kind: int, suffix: str) -> None:
    path = survey(tmp_path / f"a{suffix}", kind, withheld=WITHHELD, synthetic=np.arange(300) < 5)
    reader = scenes(path)
    said = "\n".join(account_of(reader).sentences())
    assert "12 of 300 points are flagged withheld and are left out; dataset.flags_left_out=[] keeps them" in said
    assert "5 of 300 points are flagged synthetic and are kept" in said
    sample = reader[0]
    assert (sample.meta["points"], sample.meta["left out"]) == (300, 12)
    np.testing.assert_array_equal(sample.targets["classification"], np.where(WITHHELD, -1, LABELS))
    assert reader.describe(sample)["extent z"] < 1
    prepare = ScenePreprocessor(SceneConfig(voxel_size_m=0.1, grid_m=0.05))
    item = prepare.prepare(sample)[0]
    np.testing.assert_array_equal(item.values["source"] < 0, WITHHELD)
    assert item.status == "ok"
    elements = prepare.elements(sample, "point")
    np.testing.assert_allclose(np.stack([elements[one] for one in "xyz"], axis=1), FAR + MAP, atol=1e-3)
    kept = scenes(path, flags_left_out=())
    assert kept[0].inputs.left_out is None
    assert (prepare.prepare(kept[0])[0].values["source"] >= 0).all()
    assert reader.fingerprint != kept.fingerprint  # what was prepared for one is not taken for the other


def test_the_written_file_has_a_missing_label_where_a_point_was_withheld(tmp_path: Path) -> None:
    laspy = pytest.importorskip("laspy", reason="extra 'las' is not installed")
    reader = scenes(survey(tmp_path / "a.las", withheld=WITHHELD))
    sample = reader[0]
    prepare = ScenePreprocessor(SceneConfig(voxel_size_m=0.1, grid_m=0.05))
    source = prepare.prepare(sample)[0].values["source"]
    outputs = np.full((300, 3), np.nan, np.float32)
    outputs[source >= 0] = np.eye(3, dtype=np.float32)[LABELS[source >= 0]]
    answer = DenseAnswer(
        sample=sample, level="point", outputs=outputs, elements=prepare.elements(sample, "point"),
        target=TargetSpec("classification", "class", "point", names=("a", "b", "c")),
    )  # fmt: skip
    write_las(tmp_path / "out.las", answer)
    found = laspy.read(tmp_path / "out.las")
    np.testing.assert_array_equal(np.asarray(found.classification), np.where(WITHHELD, 255, LABELS))
    np.testing.assert_allclose(found.xyz, FAR + MAP, atol=2e-3)


def test_other_flags_are_left_out_on_demand_and_columns_of_a_table_count(tmp_path: Path) -> None:
    overlap = np.arange(300) % 2 == 0
    path = survey(tmp_path / "a.las", withheld=WITHHELD, overlap=overlap)
    found = scenes(path, flags_left_out=("withheld", "overlap"))[0].inputs.left_out
    np.testing.assert_array_equal(found, WITHHELD | overlap)
    lines = [f"{x},{y},{z},{int(out)}" for (x, y, z), out in zip(POINTS, WITHHELD, strict=True)]
    (tmp_path / "b.csv").write_text("\n".join(["X,Y,Z,Withheld", *lines]))
    np.testing.assert_array_equal(scenes(tmp_path / "b.csv")[0].inputs.left_out, WITHHELD)
    (tmp_path / "b.csv").write_text("\n".join(["X,Y,Z,Overlap", *(row[:-1] + "0.5" for row in lines)]))  # a share
    assert scenes(tmp_path / "b.csv", flags_left_out=("overlap",))[0].inputs.left_out is None


def test_a_file_of_withheld_points_only_is_a_row_with_a_reason(tmp_path: Path) -> None:
    survey(tmp_path / "a.las", withheld=WITHHELD)
    survey(tmp_path / "b.las", withheld=np.ones(300, bool))
    with pytest.raises(ItemError, match="300 of 300 points are flagged withheld") as caught:
        scenes(tmp_path)[1]
    assert caught.value.status == "empty"


def test_shapes_leave_them_out_too(tmp_path: Path) -> None:
    reader = ShapeFolderReader(ShapeFolderConfig(path=str(survey(tmp_path / "a.las", withheld=WITHHELD))))
    sample = reader[0]
    prepare = PointSetPreprocessor(PointSetConfig(points=288, normalise=False))
    item = prepare.prepare(sample)[0]
    assert item.status == "ok"
    assert np.ptp(item.values["points"][:, 2]) < 1
    answers = prepare.restore(sample, [item], [np.arange(288.0)[:, None]], "point")
    np.testing.assert_array_equal(np.isnan(answers[:, 0]), WITHHELD)
    np.testing.assert_array_equal(answers[~WITHHELD, 0], np.arange(288))


# --------------------------------------------------------------------------------------- lists that declare a split


def texts(root: Path, names: list[str]) -> None:
    for name in names:
        path = root / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(rows(POINTS[:60], ","))


def test_lists_of_names_beside_shapes_declare_their_split(tmp_path: Path) -> None:
    names = [f"{kind}/{kind}_{number:04d}" for kind in ("chair", "table") for number in range(3)]
    texts(tmp_path, names)
    (tmp_path / "modelnet40_train.txt").write_text("chair_0000\nchair_0002\ntable_0000\ntable_0001\n")
    (tmp_path / "modelnet40_test.txt").write_text("chair_0001\ntable_0002\n")
    (tmp_path / "train_readme.txt").write_text("how to train: read the paper, then chair_0001\n")
    reader = ShapeFolderReader(ShapeFolderConfig(path=str(tmp_path)))
    assert {part: list(found) for part, found in reader.splits.items()} == {"train": [0, 2, 3, 4], "test": [1, 5]}
    assert "lists of names beside the files" in "\n".join(account_of(reader).sentences())


def test_lists_beside_scenes_name_paths_and_what_is_left_is_for_training(tmp_path: Path) -> None:
    texts(tmp_path, ["a/one", "a/two", "b/one", "b/two", "c/three"])
    (tmp_path / "test_list.txt").write_text("a/one.txt\nb/two\nthree\ntwo\n")  # two: of two files
    reader = scenes(tmp_path)
    assert {part: list(found) for part, found in reader.splits.items()} == {"test": [0, 3, 4], "train": [1, 2]}
    told = "\n".join(account_of(reader).sentences())
    assert "1 of 4 names of test_list.txt name no file, or several" in told
    assert "what the lists do not name is for training" in told


def test_colours_as_cloudcompare_names_them(tmp_path: Path) -> None:
    table = np.c_[POINTS, np.linspace(0, 1, 300), np.linspace(1, 0, 300), np.full(300, 0.25)]
    (tmp_path / "a.asc").write_text("//X;Y;Z;Rf;Gf;Bf\n" + rows(table, ";"))
    colours = scenes(tmp_path / "a.asc")[0].inputs.colours
    np.testing.assert_allclose(colours, table[:, 3:], atol=1e-4)
