"""Scenes from file to voxels and views: layouts, bad input, the way back to points, over-segmentation."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from repcore import registry
from repcore.data.inspection import inspect_reader
from repcore.data.preparation import run_preparation
from repcore.data.readers import dataset_settings, recognise
from repcore.errors import ConfigError, DataError, ItemError
from repcore.interfaces import Item, Progress, Sample
from repcore.reporting import LogReporter
from repcore_pointcloud.configs.scenes import RoomsConfig, SceneConfig, ScenePairConfig, ScenesConfig
from repcore_pointcloud.datasets.scene_folders import SceneFolder
from repcore_pointcloud.datasets.scene_layouts import KittiReader, S3disReader, ScanNetReader
from repcore_pointcloud.datasets.scene_rooms import Rooms
from repcore_pointcloud.formats.scene import Scene
from repcore_pointcloud.formats.scenes import load_scene
from repcore_pointcloud.preprocessors.scene import ScenePreprocessor, majority
from repcore_pointcloud.preprocessors.scene_geometry import prepare_scene
from repcore_pointcloud.preprocessors.scene_preparation import ScenePreparation
from repcore_pointcloud.recipes.fac import tabletop
from repcore_pointcloud.views.scene_pair import ScenePair

ROOMS = RoomsConfig(scenes=4, points=1500)
COARSE = SceneConfig(voxel_size_m=0.15, minimum_region_size=15)


def cloud(count: int = 60) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 1, (count, 3)).astype(np.float32)


def ply_bytes(points: np.ndarray, extra: str = "", values: np.ndarray | None = None) -> bytes:
    head = f"ply\nformat ascii 1.0\nelement vertex {len(points)}\n"
    head += "property float x\nproperty float y\nproperty float z\n" + extra + "end_header\n"
    rows = points if values is None else np.column_stack([points, values])
    return (head + "\n".join(" ".join(f"{one:g}" for one in row) for row in rows) + "\n").encode()


def write_npz(path: Path, points: np.ndarray) -> None:
    np.savez(path, xyz=points, rgb=np.zeros((len(points), 3), np.uint8), label=np.arange(len(points), dtype=np.uint8))


def write_ply(path: Path, points: np.ndarray) -> None:
    extra = "property uchar red\nproperty uchar green\nproperty uchar blue\nproperty int label\n"
    path.write_bytes(ply_bytes(points, extra, np.tile([0, 0, 0, 3], (len(points), 1))))


def write_pcd(path: Path, points: np.ndarray) -> None:
    head = "VERSION 0.7\nFIELDS x y z label\nSIZE 4 4 4 4\nTYPE F F F U\nCOUNT 1 1 1 1\n"
    head += f"WIDTH {len(points)}\nHEIGHT 1\nPOINTS {len(points)}\nDATA binary\n"
    table = np.zeros(len(points), np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("label", "<u4")]))
    table["x"], table["y"], table["z"] = points.T
    path.write_bytes(head.encode() + table.tobytes())


def write_bin(path: Path, points: np.ndarray) -> None:
    np.column_stack([points, np.zeros(len(points))]).astype(np.float32).tofile(path)


def write_text(path: Path, points: np.ndarray) -> None:
    np.savetxt(path, np.column_stack([points, np.zeros((len(points), 3))]))


@pytest.mark.parametrize(
    ("suffix", "write"),
    [(".npz", write_npz), (".ply", write_ply), (".pcd", write_pcd), (".bin", write_bin), (".txt", write_text)],
)
def test_every_format_gives_the_same_points(
    tmp_path: Path, suffix: str, write: Callable[[Path, np.ndarray], None]
) -> None:
    points = cloud()
    path = tmp_path / f"scan{suffix}"
    write(path, points)
    loaded = load_scene(path)
    assert np.abs(loaded.scene.points - points).max() < 1e-5  # six printed digits
    if suffix in (".npz", ".ply", ".pcd"):
        assert len(loaded.labels["label"]) == len(points)
    if suffix in (".npz", ".ply", ".txt"):
        assert loaded.scene.colours is not None


def test_a_small_scene_is_one_where_scenes_are_wanted(tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(900, 3)).astype(np.float32)
    np.savez(tmp_path / "s0.npz", xyz=points, semantic=np.arange(900) % 3)
    known = registry.default()
    assert dataset_settings(known, str(tmp_path), domain="pointcloud")["name"] == "pointcloud/shapes-folder"
    for path in (tmp_path, tmp_path / "s0.npz"):
        found = dataset_settings(known, str(path), domain="pointcloud", preprocessor="pointcloud/scene")
        assert found["name"] == "pointcloud/scenes"


def test_scannet_layout(tmp_path: Path) -> None:
    for name in ("scene0000_00", "scene0000_01"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}_vh_clean_2.ply").write_bytes(ply_bytes(cloud()))
        labels = ply_bytes(cloud(), "property ushort label\n", np.full((60, 1), 5))
        (tmp_path / name / f"{name}_vh_clean_2.labels.ply").write_bytes(labels)
    reader = ScanNetReader(ScenesConfig(path=str(tmp_path)))
    assert len(reader) == 2
    assert reader[0].group == reader[1].group == "scene0000"
    assert (reader[0].targets["semantic"] == 5).all()
    assert recognise(registry.default(), tmp_path, "pointcloud").fits[0].entry.full_name == "pointcloud/scannet"


def test_s3dis_layout(tmp_path: Path) -> None:
    notes = tmp_path / "Area_1" / "office_1" / "Annotations"
    notes.mkdir(parents=True)
    for name, height in (("floor_1", 0.0), ("chair_1", 0.5)):
        np.savetxt(notes / f"{name}.txt", np.column_stack([np.full((40, 3), height), np.full((40, 3), 128)]))
    reader = S3disReader(ScenesConfig(path=str(tmp_path)))
    sample = reader[0]
    assert sample.id == "Area_1/office_1"
    assert sample.group == "Area_1"
    assert reader.names == ("chair", "floor")
    assert np.bincount(sample.targets["semantic"]).tolist() == [40, 40]
    assert recognise(registry.default(), tmp_path, "pointcloud").fits[0].entry.full_name == "pointcloud/s3dis"


def test_semantic_kitti_layout(tmp_path: Path) -> None:
    sequence = tmp_path / "sequences" / "00"
    (sequence / "velodyne").mkdir(parents=True)
    (sequence / "labels").mkdir()
    write_bin(sequence / "velodyne" / "000000.bin", cloud())
    np.full(60, (7 << 16) + 40, np.uint32).tofile(sequence / "labels" / "000000.label")
    reader = KittiReader(ScenesConfig(path=str(tmp_path)))
    assert (reader[0].targets["semantic"] == 40).all()
    assert (reader[0].targets["instance"] == 7).all()
    assert reader[0].group == "00"
    assert reader[0].inputs.intensity is not None
    assert recognise(registry.default(), tmp_path, "pointcloud").fits[0].entry.full_name == "pointcloud/kitti"
    np.zeros(3, np.uint32).tofile(sequence / "labels" / "000000.label")
    with pytest.raises(ItemError, match="3 labels for 60 points"):
        KittiReader(ScenesConfig(path=str(tmp_path)))[0]


def test_labels_are_found_behind_files_that_have_none(tmp_path: Path) -> None:
    """Files in order: one is broken, three have no labels, the sixth has; of scans, one has labels beside it."""
    (tmp_path / "a.ply").write_bytes(b"ply\nformat ascii 1.0\nelement vertex 9\nproperty float x\nend_header\n1\n")
    for name in ("b", "c", "d"):
        (tmp_path / f"{name}.ply").write_bytes(ply_bytes(cloud()))
    write_ply(tmp_path / "f.ply", cloud())
    reader = SceneFolder(ScenesConfig(path=str(tmp_path)))
    assert [one.name for one in reader.targets] == ["label"]
    assert "label" not in reader.by_id("b").targets
    assert len(reader.by_id("f").targets["label"]) == 60
    scans = tmp_path / "scans"
    scans.mkdir()
    for number in range(70):
        write_bin(scans / f"{number:03}.bin", cloud())
    np.full(60, 40, np.uint32).tofile(scans / "069.label")
    assert [one.name for one in SceneFolder(ScenesConfig(path=str(scans))).targets] == ["instance", "semantic"]


def test_splits_come_from_an_index(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_npz(tmp_path / f"{name}.npz", cloud())
    (tmp_path / "index.json").write_text(json.dumps({"a": {"split": "val"}, "b": {"split": "train"}}))
    reader = SceneFolder(ScenesConfig(path=str(tmp_path)))
    assert reader.splits == {"val": [0], "train": [1]}
    assert reader.by_id("b").id == "b"
    with pytest.raises(DataError, match="no scene 'c'"):
        reader.by_id("c")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match="holds no scene"):
        SceneFolder(ScenesConfig(path=str(tmp_path / "nothing")))


@pytest.mark.parametrize(
    ("name", "content", "status"),
    [
        ("broken.npz", b"not a zip", "corrupt"),
        ("odd.bin", np.zeros(7, np.float32).tobytes(), "truncated"),
        ("broken.ply", b"ply\nformat ascii 1.0\nelement vertex 9\n", "corrupt"),
        ("cut.pcd", b"VERSION 0.7\nFIELDS x y z\n", "corrupt"),
        ("short.pcd", b"FIELDS x\nSIZE 4\nTYPE F\nPOINTS 9\nDATA binary\n1234", "corrupt"),
        ("small.pcd", b"FIELDS x y z\nDATA binary_compressed\n", "corrupt"),
        ("odd.pcd", b"FIELDS x y z\nDATA binary_zipped\n", "unknown_format"),
        ("two.txt", b"1 2\n3 4\n", "wrong_columns"),
        ("scan.docx", b"", "unknown_format"),
    ],
)
def test_unreadable_files_are_reported_rows(tmp_path: Path, name: str, content: bytes, status: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ItemError) as error:
        load_scene(tmp_path / name)
    assert error.value.status == status


def prepared(points: np.ndarray, config: SceneConfig = COARSE, **parts: np.ndarray) -> Item:
    return ScenePreprocessor(config).prepare(Sample("s", Scene(points.astype(np.float32), **parts)))[0]


def test_bad_coordinates_are_reported() -> None:
    with pytest.raises(ItemError) as error:
        prepared(np.zeros((0, 3)))
    assert error.value.status == "empty"
    with pytest.raises(ItemError) as error:
        prepared(np.full((5, 3), np.nan))
    assert error.value.status == "empty"
    with pytest.raises(ItemError) as error:
        prepared(np.array([[0, 0, 0], [1e9, 0, 0]]))
    assert error.value.status == "huge_extent"
    assert "unit_m" in error.value.reason
    with pytest.raises(ItemError) as error:
        prepared(cloud(), dataclasses.replace(COARSE, channels=("colour",)))
    assert error.value.status == "no_colour"


def test_one_point_and_one_voxel_work() -> None:
    one = prepared(np.zeros((1, 3)))
    assert len(one.values["coordinates"]) == 1
    item = prepared(0.01 * cloud(50))
    assert len(item.values["coordinates"]) == 1
    assert (item.values["source"] == 0).all()


def test_points_without_coordinates_lead_nowhere_and_are_counted() -> None:
    points = 2 * cloud(100)
    points[[3, 50]] = np.inf
    item = prepared(points)
    assert item.status == "not_finite"
    assert "2 of 100" in item.reason
    source = item.values["source"]
    assert (source[[3, 50]] == -1).all()
    assert (np.delete(source, [3, 50]) >= 0).all()


@pytest.mark.parametrize(("factor", "word"), [(3000.0, "millimetres"), (0.01, "normalised")])
def test_wrong_units_are_guessed(factor: float, word: str) -> None:
    item = prepared(factor * cloud(), dataclasses.replace(COARSE, voxel_size_m=0.15 * factor))
    assert item.status == "unit"
    assert word in item.reason


def test_inspect_with_a_model_names_units_and_bad_rows(tmp_path: Path) -> None:
    points = 3 * cloud(300)
    for name, values in {"good": points, "millimetres": 1000 * points, "empty": points[:0]}.items():
        write_npz(tmp_path / f"{name}.npz", values)
    (tmp_path / "broken.npz").write_bytes(b"nothing")
    config = dataclasses.replace(COARSE, voxel_size_m=20.0)
    reader = SceneFolder(ScenesConfig(path=str(tmp_path)))
    found = inspect_reader(reader, ScenePreprocessor(config), LogReporter())
    assert dict(found.status) == {"ok": 1, "unit": 1, "empty": 1, "corrupt": 1}
    assert "preprocessor.unit_m=0.001" in found.examples["unit"][0]


def test_voxels_lead_back_to_points() -> None:
    sample = Rooms(ROOMS)[0]
    preprocessor = ScenePreprocessor(COARSE)
    item = preprocessor.prepare(sample)[0]
    place = item.values["coordinates"][item.values["source"]] * COARSE.voxel_size_m
    # a point lies in its cell, whose mean lies in the voxel: two cells at most
    assert np.abs(place + 0.075 - sample.inputs.points).max() < 2 * COARSE.voxel_size_m
    batch = preprocessor.collate([item, item])
    assert batch.inputs["coordinates"][:, 0].diff().min() >= 0
    half = len(batch.inputs["source"]) // 2
    assert (batch.inputs["source"][half:] == batch.inputs["source"][:half] + len(item.values["coordinates"])).all()
    assert batch.inputs["region"].max() < len(batch.inputs["region_owner"])
    assert len(batch.targets["semantic"]) == len(batch.inputs["source"])


def test_majority_takes_the_lowest_on_a_tie() -> None:
    group = np.array([0, 0, 0, 1, 1, 2])
    assert majority(group, np.array([5, 4, 4, 9, 3, 7]), 3).tolist() == [4, 3, 7]


def test_preparation_gives_the_same_items(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPCORE_CACHE", str(tmp_path))
    reader, preprocessor = Rooms(ROOMS), ScenePreprocessor(COARSE)
    preparation = ScenePreparation(COARSE)
    opened = run_preparation(preparation, reader, lambda done, total: None)
    (folder,) = (tmp_path / "prepared").iterdir()
    assert {path.name for path in folder.glob("*.npz")} == {f"{row}.npz" for row in range(len(reader))}
    for row in (0, 3):
        fresh, kept = preprocessor.prepare(reader[row])[0].values, preprocessor.prepare(opened[row])[0].values
        assert all(np.array_equal(fresh[name], kept[name]) for name in fresh if name != "labels")
    assert preparation.key != ScenePreparation(dataclasses.replace(COARSE, merge_constant=0.1)).key
    reader.groups = ["first floor"] * len(reader)  # type: ignore[attr-defined]
    assert preparation.open(reader, folder).groups == ["first floor"] * len(reader)


def test_views_share_regions_and_point_back() -> None:
    reader, preprocessor = Rooms(ROOMS), ScenePreprocessor(COARSE)
    views = ScenePair(ScenePairConfig(window_points=500, view_points=400), preprocessor)
    built = [views.build(1, reader, np.random.default_rng(seed), Progress(0, 1)) for seed in (0, 0, 1)]
    a, again, other = (one["a"].values for one in built)
    assert all(np.array_equal(a[name], again[name]) for name in a)
    assert not np.array_equal(a["point"], other["point"])
    scene = preprocessor.geometry(reader[1])
    assert np.allclose(scene.points[a["point"]], a["place"])
    assert (np.abs(np.linalg.norm(a["place"] - a["place"].mean(0), axis=1)) < 10).all()
    assert set(a["region"]) & set(built[0]["b"].values["region"])
    assert len(a["point"]) <= 400
    with pytest.raises(ConfigError, match="crop_share"):
        ScenePair(ScenePairConfig(crop_share=(0.0, 1.0)), preprocessor)


def test_over_segmentation_of_real_tables(shared: Path) -> None:
    """Card: purity >= 0.99, foreground precision and recall >= 0.95."""
    folder = shared / "data" / "pointcloud_scenes" / "tabletop_mosd"
    reader = SceneFolder(ScenesConfig(path=str(folder)))
    config = tabletop().preprocessor.config
    hits = found = due = 0
    for row in (0, 9):
        sample = reader[row]
        scene = prepare_scene(sample.inputs, config)
        labels, region = sample.targets["instance"], scene.region[scene.source]
        votes = np.zeros((len(scene.foreground), labels.max() + 1))
        np.add.at(votes, (region, labels), 1)
        assert votes.max(1).sum() / len(labels) >= 0.99
        flag, truth = scene.foreground[region], sample.targets["foreground"] == 1
        hits, found, due = hits + (flag & truth).sum(), found + flag.sum(), due + truth.sum()
    assert hits / found >= 0.95
    assert hits / due >= 0.95
