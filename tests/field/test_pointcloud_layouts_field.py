"""Folders of point clouds as people lay them out: scenes, sweeps, labels beside, and weights that others published."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repcore import registry
from repcore.data.inspection import inspect_reader
from repcore.data.readers import open_data, recognise
from repcore.errors import CheckpointError, DataError, ItemError
from repcore.reporting import LogReporter
from repcore_pointcloud.configs.scenes import SceneConfig, ScenesConfig
from repcore_pointcloud.configs.shapes import PointSetConfig, ShapeFilesConfig, ShapeFolderConfig
from repcore_pointcloud.datasets.scene_folders import SceneFolder
from repcore_pointcloud.datasets.scene_layouts import KittiReader, PointceptReader, S3disReader
from repcore_pointcloud.datasets.shape_folders import ShapeFolderReader
from repcore_pointcloud.datasets.shape_occupancy import ShapeOccupancyReader
from repcore_pointcloud.formats.points import read_cloud
from repcore_pointcloud.formats.reading import read_points
from repcore_pointcloud.preprocessors.point_set import PointSetPreprocessor
from repcore_pointcloud.preprocessors.scene import ScenePreprocessor, distinct_rows
from repcore_pointcloud.regions.segmentation import neighbour_edges
from tests.field.pointcloud_inputs import LABELS, MAP, POINTS, RNG, ply, rows

# ------------------------------------------------------------------------------------------- K4: layouts


def write(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values) if path.suffix == ".npy" else values.tofile(path)


def surest(path: Path) -> str:
    return recognise(registry.default(), path, "pointcloud").fits[0].entry.full_name


def test_folders_of_arrays_are_scenes_and_colours_no_coordinates(tmp_path: Path) -> None:
    for part, scan in (("train", "scene0000_00"), ("train", "scene0000_01"), ("val", "scene0001_00")):
        folder = tmp_path / part / scan
        write(folder / "coord.npy", POINTS.astype("f4"))
        write(folder / "color.npy", np.full((300, 3), 51, np.uint8))
        write(folder / "segment20.npy", LABELS.astype("i4"))
        write(folder / "instance.npy", LABELS.astype("i4") - 1)
    assert surest(tmp_path) == "pointcloud/pointcept"
    reader = PointceptReader(ScenesConfig(path=str(tmp_path)))
    sample = reader.by_id("train/scene0000_00")
    assert len(reader) == 3
    assert np.allclose(sample.inputs.points, POINTS, atol=1e-6)
    assert np.allclose(sample.inputs.colours, 0.2)
    assert np.array_equal(sample.targets["segment20"], LABELS)
    assert reader.splits == {"train": [0, 1], "validation": [2]}
    assert reader.groups == ["scene0000", "scene0000", "scene0001"]
    write(tmp_path / "val" / "scene0001_00" / "color.npy", np.zeros((299, 3), np.uint8))
    with pytest.raises(ItemError, match="299 rows for 300 points"):
        PointceptReader(ScenesConfig(path=str(tmp_path)))[2]


def test_masks_of_mmdetection3d_are_labels_not_clouds(tmp_path: Path) -> None:
    write(tmp_path / "points" / "a.bin", np.c_[POINTS, RNG.random((300, 3))].astype("<f4"))
    write(tmp_path / "semantic_mask" / "a.bin", LABELS.astype(np.int64))
    write(tmp_path / "instance_mask" / "a.bin", LABELS.astype(np.int64) + 5)
    reader = SceneFolder(ScenesConfig(path=str(tmp_path)))
    assert len(reader) == 1
    assert np.allclose(reader[0].inputs.points, POINTS, atol=1e-6)
    assert np.array_equal(reader[0].targets["semantic"], LABELS)
    assert np.array_equal(reader[0].targets["instance"], LABELS + 5)
    assert reader.account.counts == {"used": 3, "ignored": 0, "unreadable": 0}


def test_boxes_and_lists_of_openpcdet_are_no_clouds(tmp_path: Path) -> None:
    for name in ("000000", "000001"):
        write(tmp_path / "points" / f"{name}.npy", np.c_[POINTS, LABELS].astype("f4"))
        (tmp_path / "labels").mkdir(exist_ok=True)
        (tmp_path / "labels" / f"{name}.txt").write_text("1.5 1.46 0.1 5.1 1.8 1.5 0.5 Vehicle\n")
    (tmp_path / "ImageSets").mkdir()
    (tmp_path / "ImageSets" / "train.txt").write_text("000000\n")
    (tmp_path / "ImageSets" / "val.txt").write_text("000001\n")
    reader = SceneFolder(ScenesConfig(path=str(tmp_path)))
    assert [row.id for row in reader.rows] == ["points/000000", "points/000001"]
    assert reader.splits == {"train": [0], "validation": [1]}
    assert reader.account.fate(tmp_path / "labels" / "000000.txt") == ("ignored", "boxes of objects, no points")


def test_sweeps_keep_their_labels_and_frames_are_no_group(tmp_path: Path) -> None:
    sweep = np.c_[POINTS, LABELS].astype("<f4")
    write(tmp_path / "semantic" / "sequences" / "00" / "velodyne" / "000000.bin", sweep)
    write(tmp_path / "semantic" / "sequences" / "00" / "labels" / "000000.label", (LABELS + (3 << 16)).astype("<u4"))
    reader = KittiReader(ScenesConfig(path=str(tmp_path / "semantic")))
    assert np.array_equal(reader[0].targets["semantic"], LABELS)
    assert (reader[0].targets["instance"] == 3).all()
    assert reader.groups == ["00"]
    write(tmp_path / "frames" / "training" / "velodyne" / "000000.bin", sweep)
    frames = KittiReader(ScenesConfig(path=str(tmp_path / "frames")))
    assert frames.groups is None
    write(tmp_path / "semantic" / "sequences" / "00" / "labels" / "000000.label", LABELS[:-1].astype("<u4"))
    short = KittiReader(ScenesConfig(path=str(tmp_path / "semantic")))
    with pytest.raises(ItemError, match="299 labels for 300 points"):
        short[0]


def test_labels_of_semantic3d_lie_beside(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(rows(np.c_[POINTS, np.full((300, 4), 9)], fmt="%g"))
    (tmp_path / "a.labels").write_text("\n".join(map(str, LABELS)) + "\n")
    reader = SceneFolder(ScenesConfig(path=str(tmp_path)))
    assert np.array_equal(reader[0].targets["semantic"], LABELS)
    (tmp_path / "a.labels").write_text("\n".join(map(str, LABELS[:-2])) + "\n")
    with pytest.raises(ItemError, match="298 labels for 300 points"):
        SceneFolder(ScenesConfig(path=str(tmp_path)))[0]


def test_one_bad_byte_does_not_lose_a_room(tmp_path: Path) -> None:
    folder = tmp_path / "Area_5" / "office_19" / "Annotations"
    folder.mkdir(parents=True)
    lines = rows(np.c_[POINTS, np.full((300, 3), 128)], fmt="%g").splitlines()
    (folder / "wall_1.txt").write_text("\n".join(lines) + "\n")
    lines[5] = "1.0 2.0 0.01 10 185\x00187 30"
    (folder / "ceiling_1.txt").write_text("\n".join(lines) + "\n")
    (folder.parent / "office_19.txt").write_text("\n".join(lines) + "\n")
    reader = S3disReader(ScenesConfig(path=str(tmp_path)))
    assert len(reader[0].inputs.points) == 599
    assert np.bincount(reader[0].targets["semantic"]).tolist() == [299, 300]
    item = ScenePreprocessor(SceneConfig()).prepare(reader[0])[0]
    assert item.status == "damaged_lines"
    assert "ceiling_1.txt" in item.reason
    assert "line 6" in item.reason
    assert reader.account.fate(folder.parent / "office_19.txt")[0] == "ignored"  # type: ignore[index]


def test_occupancy_networks_have_surfaces_and_query_points(tmp_path: Path) -> None:
    for category, model in (("02691156", "m1"), ("02691156", "m2"), ("03001627", "m3")):
        folder = tmp_path / category / model
        folder.mkdir(parents=True)
        np.savez(folder / "pointcloud.npz", points=POINTS, normals=POINTS, loc=np.zeros(3), scale=1.0)
        np.savez(folder / "points.npz", points=RNG.random((50, 3)), occupancies=np.zeros(7, np.uint8))
    (tmp_path / "02691156" / "train.lst").write_text("m1\n")
    (tmp_path / "02691156" / "test.lst").write_text("m2\n")
    (tmp_path / "metadata.yaml").write_text("'02691156': {id: '02691156', name: 'airplane,aeroplane'}\n")
    assert surest(tmp_path) == "pointcloud/shape-occupancy"
    reader = ShapeOccupancyReader(ShapeFilesConfig(path=str(tmp_path)))
    assert reader.targets[0].names == ("03001627", "airplane")
    assert reader.by_id("02691156/m1").targets == {"class": 1}
    assert np.allclose(reader[0].inputs.points, POINTS)
    assert reader.splits == {"train": [0], "test": [1]}
    with pytest.raises(ItemError, match=r"pointcloud\.npz beside it"):
        read_points(tmp_path / "02691156" / "m1" / "points.npz")


def test_ids_are_unique_and_unreadable_scenes_keep_theirs(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", xyz=POINTS)
    (tmp_path / "a.ply").write_bytes(ply("ascii", "float x, float y, float z", 300) + rows(POINTS).encode())
    (tmp_path / "b.npz").write_bytes(b"nothing")
    (tmp_path / "notes.txt").write_text("Scanned on Monday.\n")
    (tmp_path / "far").mkdir()
    (tmp_path / "gone.npz").symlink_to(tmp_path / "nowhere.npz")
    reader = SceneFolder(ScenesConfig(path=str(tmp_path)))
    assert [reader.id_of(row) for row in range(3)] == ["a.npz", "a.ply", "b"]
    with pytest.raises(ItemError):
        reader[2]
    assert reader.account.counts == {"used": 3, "ignored": 1, "unreadable": 1}


def test_folders_behind_links_are_read(tmp_path: Path) -> None:
    data = tmp_path / "elsewhere"
    data.mkdir()
    np.savez(data / "a.npz", xyz=POINTS)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "link").symlink_to(data)
    assert len(SceneFolder(ScenesConfig(path=str(tmp_path / "set")))) == 1
    assert len(ShapeFolderReader(ShapeFolderConfig(path=str(tmp_path / "set")))) == 1


def test_what_a_sensor_saw_is_told(tmp_path: Path) -> None:
    grid = np.stack(np.meshgrid(np.arange(20), np.arange(10), [0, 3], indexing="ij"), axis=-1).reshape(-1, 3) * 0.5
    np.savez(tmp_path / "a.npz", xyz=grid + MAP, intensity=np.zeros(400))
    reader = SceneFolder(ScenesConfig(path=str(tmp_path)))
    told = {**reader[0].meta, **reader.describe(reader[0])}
    assert told["points"] == 400
    assert told["columns"] == "xyz intensity"
    assert told["offset"] == pytest.approx((MAP + np.median(grid, axis=0)).tolist(), abs=0.51)
    assert (told["extent"], told["extent z"], told["spacing"]) == pytest.approx((9.5, 1.5, 0.5), abs=1e-3)


def test_a_reader_and_a_recipe_that_do_not_match_say_so(tmp_path: Path) -> None:
    from repcore.config.matching import takes

    known = registry.default()
    shapes, scenes = (known.dataset(name, "pointcloud").spec.produces for name in ("shapes-folder", "scenes"))
    sets, rooms = (known.preprocessor(name, "pointcloud").spec.accepts for name in ("point-set", "scene"))
    assert takes(sets, shapes)
    assert takes(rooms, scenes)
    assert not takes(sets, scenes)
    assert not takes(rooms, shapes)


def test_many_points_are_rather_a_scene(tmp_path: Path) -> None:
    table = RNG.uniform(0, 4, (20_000, 3))
    (tmp_path / "room.txt").write_text(rows(table))
    assert surest(tmp_path / "room.txt") == "pointcloud/scenes"
    (tmp_path / "cup.txt").write_text(rows(table[:10_000]))
    assert surest(tmp_path / "cup.txt") == "pointcloud/shapes-folder"


# ------------------------------------------------------------------------------- large tiles, converters


def test_edges_in_blocks_are_those_of_a_whole_table(monkeypatch: pytest.MonkeyPatch) -> None:
    import repcore_pointcloud.regions.segmentation as segmentation

    near = np.stack([RNG.choice(200, 6, replace=False) for _ in range(200)]).astype(np.int32)
    near[near == np.arange(200)[:, None]] = 0
    near[0] = np.arange(1, 7)
    start = np.repeat(np.arange(200), 6)
    pairs = np.stack([np.minimum(start, near.ravel()), np.maximum(start, near.ravel())], axis=1)
    expected = np.unique(pairs, axis=0)
    monkeypatch.setattr(segmentation, "BLOCK", 17)
    assert np.array_equal(neighbour_edges(near), expected)
    table = RNG.integers(-5, 5, (400, 3))
    first, place = distinct_rows(table)
    assert np.array_equal(table[first], np.unique(table, axis=0))
    assert np.array_equal(table[first][place], table)


def test_edges_in_ranges_of_weights_are_in_the_order_of_a_stable_sort(monkeypatch: pytest.MonkeyPatch) -> None:
    import repcore_pointcloud.regions.segmentation as segmentation

    monkeypatch.setattr(segmentation, "EDGES_AT_ONCE", 100)
    for weights in (RNG.random(5000), RNG.integers(0, 7, 5000) / 7, np.zeros(5000), -np.sort(RNG.random(5000))):
        assert np.array_equal(segmentation.stable_order(weights), np.argsort(weights, kind="stable"))


def test_neighbours_of_a_tile_end_before_its_regions_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of an array keeps the whole: the neighbours lay beside the edges all the time."""
    import weakref

    from repcore_pointcloud.preprocessors import scene_geometry

    alive: list[weakref.ref[np.ndarray]] = []
    seen: list[int] = []
    found, merge = scene_geometry.local_shape, scene_geometry.merge_regions

    def kept(*given: Any) -> Any:
        shape = found(*given)
        alive.extend(weakref.ref(one) for one in (shape.neighbours, shape.normals, shape.eigenvalues))
        return shape

    def merged(*given: Any, **named: Any) -> np.ndarray:
        seen.append(sum(one() is not None for one in alive))
        return merge(*given, **named)

    monkeypatch.setattr(scene_geometry, "local_shape", kept)
    monkeypatch.setattr(scene_geometry, "merge_regions", merged)
    points = RNG.uniform(0, 1, (500, 3))
    normals, numbers, region = scene_geometry.segment(points, SceneConfig(), None)
    assert seen == [0]
    assert (normals.shape, numbers.shape, region.shape) == ((500, 3), (500, 3), (500,))
    np.testing.assert_allclose(numbers.sum(axis=1), 1, atol=1e-6)


def test_published_unets_are_imported_with_what_feeds_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    from repcore.cli.main import run as command
    from repcore.embedding.model import load
    from repcore_pointcloud.checkpoints.sparse_unet import convert_pointcept
    from repcore_pointcloud.configs.sparse_unet import SparseUNetConfig
    from repcore_pointcloud.encoders.sparse_unet import SparseUNet

    config = SparseUNetConfig(input_width=6, stem_width=4, stem_kernel=3, stage_widths=(6, 5), stage_blocks=(1, 1))
    state = {f"module.backbone.{name}": value for name, value in SparseUNet(config).state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "model.pth")
    assert command(["import", str(tmp_path / "model.pth"), "-o", str(tmp_path / "model")]) == 0
    assert "0.02 m a voxel" in capsys.readouterr().out
    feeds = load(tmp_path / "model").preprocessor.config
    assert (feeds.channels, feeds.voxel_size_m, feeds.colour_scale) == (("colour", "normal"), 0.02, 2.0)
    with pytest.raises(CheckpointError, match=r"did you mean: *voxel_size_m"):
        convert_pointcept(state, tmp_path / "m.pth", {"voxel_size": "0.1"})
    five = SparseUNet(
        SparseUNetConfig(input_width=5, stem_width=4, stem_kernel=3, stage_widths=(6, 5), stage_blocks=(1, 1))
    )
    with pytest.raises(CheckpointError, match="takes 5 numbers a voxel"):
        convert_pointcept(five.state_dict(), tmp_path / "m.pth", {})


def test_published_balancing_gives_small_classes_sub_cluster_zero() -> None:
    import torch

    from repcore_pointcloud.configs.cluster3dseg import ClusterContrastConfig
    from repcore_pointcloud.objectives.cluster3dseg import ClusterContrast

    shares = torch.rand(30, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64).softmax(1)
    for compat in (True, False):
        config = ClusterContrastConfig(
            classes=2, feature_width=6, clusters_per_class=16, fewer_clusters_classes=(1,), fewer_clusters=4,
            reference_compat=compat,
        )  # fmt: skip
        found = torch.bincount(ClusterContrast(config).balanced(shares), minlength=4).tolist()
        if compat:
            assert found == [30, 0, 0, 0]
        else:
            assert min(found) > 3


def test_rows_that_contradict_each_other_never_win_by_position(tmp_path: Path) -> None:
    for number in range(3):
        np.savetxt(tmp_path / f"{number}.xyz", np.random.default_rng(number).uniform(-1, 1, (300, 3)))
    (tmp_path / "labels.csv").write_text("file,class\n0.xyz,a\n1.xyz,b\n2.xyz,a\n0.xyz,b\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"says of '0\.xyz' in column 'class' both 'a' and 'b'"):
        open_data(registry.default(), str(tmp_path), domain="pointcloud", reader="shapes-folder")


def test_lines_without_numbers_are_said_beside_dropped_points(tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    np.savetxt(path, np.random.default_rng(0).uniform(-1, 1, (300, 3)))
    path.write_text(path.read_text("utf-8") + "nan nan nan\n1 2\nabc def ghi\n", encoding="utf-8")
    _, reader = open_data(registry.default(), str(path), domain="pointcloud", reader="shapes-folder")
    item = PointSetPreprocessor(PointSetConfig(points=64)).prepare(reader[0])[0]
    assert item.status == "points_dropped"
    assert "1 of 301 points" in item.reason
    assert "2 of 303 lines are no 3 numbers" in item.reason


@pytest.mark.parametrize("head", [b"solid but binary", b"exported"])
def test_an_stl_file_that_promises_too_much_is_refused_as_that(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "a.stl"
    path.write_bytes(head.ljust(80, b" ") + struct.pack("<I", 4_000_000_000) + bytes(100))
    with pytest.raises(ItemError, match="promises 4,000,000,000 triangles and holds 2") as caught:
        read_cloud(path)
    assert caught.value.status == "corrupt"
    corners = "".join(f"vertex {one} 0 {1 - one}\n" for one in (0, 1)) + "vertex 0 1 0\n"
    path.write_text(f"solid a\nfacet normal 0 0 1\nouter loop\n{corners}endloop\nendfacet\nendsolid a\n")
    assert len(read_cloud(path).points) >= 3


def test_one_cloud_in_millimetres_among_others_is_said(tmp_path: Path) -> None:
    for number in range(4):
        points = np.random.default_rng(number).uniform(0, 4, (300, 3)) * (1000 if number == 2 else 1)
        np.savetxt(tmp_path / f"{number}.xyz", points, fmt="%.4f")
    for name in ("scenes", "shapes-folder"):
        _, reader = open_data(registry.default(), str(tmp_path), domain="pointcloud", reader=name)
        warnings = inspect_reader(reader, None, LogReporter()).warnings
        assert any("1 of 4 rows have another extent (2" in one and "times: another unit" in one for one in warnings), (
            warnings
        )
