"""Point clouds as people have them: the right points, labels, splits and words for every kind of file and layout."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from repcore import registry
from repcore.data.inspection import inspect_reader
from repcore.data.readers import open_data, recognise
from repcore.errors import CheckpointError, DataError, ItemError
from repcore.interfaces import Sample
from repcore.reporting import LogReporter
from repcore_pointcloud.configs.scenes import SceneConfig, ScenesConfig
from repcore_pointcloud.configs.shapes import PointSetConfig, ShapeFilesConfig, ShapeFolderConfig
from repcore_pointcloud.datasets.scene_folders import SceneFolder
from repcore_pointcloud.datasets.scene_layouts import KittiReader, PointceptReader, S3disReader
from repcore_pointcloud.datasets.shape_folders import ShapeFolderReader
from repcore_pointcloud.datasets.shape_occupancy import ShapeOccupancyReader
from repcore_pointcloud.formats.points import PointCloud, read_cloud
from repcore_pointcloud.formats.reading import read_points
from repcore_pointcloud.formats.scenes import load_scene
from repcore_pointcloud.preprocessors.point_set import PointSetPreprocessor
from repcore_pointcloud.preprocessors.scene import ScenePreprocessor, distinct_rows
from repcore_pointcloud.preprocessors.scene_geometry import prepare_scene
from repcore_pointcloud.regions.segmentation import neighbour_edges

RNG = np.random.default_rng(0)
POINTS = np.round(RNG.uniform(-1, 1, (300, 3)) * [1, 0.6, 0.3], 4)
MAP = np.array([500_000.0, 5_400_000.0, 300.0])
LABELS = RNG.integers(0, 3, 300)


def rows(table: np.ndarray, separator: str = " ", fmt: str = "%.4f") -> str:
    return "\n".join(separator.join(fmt % one for one in row) for row in table) + "\n"


def ply(kind: str, properties: str, count: int, rest: str = "", before: str = "") -> bytes:
    named = "".join(f"property {one}\n" for one in properties.split(", "))
    return f"ply\nformat {kind} 1.0\n{before}element vertex {count}\n{named}{rest}end_header\n".encode()


def pcd(fields: str, sizes: str, kinds: str, data: str, count: int = 300, **more: str) -> bytes:
    ones = more.get("counts", " ".join("1" for _ in fields.split()))
    head = f"# .PCD v0.7\nVERSION 0.7\nFIELDS {fields}\nSIZE {sizes}\nTYPE {kinds}\nCOUNT {ones}\nWIDTH {count}\n"
    return f"{head}HEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {count}\nDATA {data}\n".encode()


def lzf(content: bytes) -> bytes:
    """Literal runs, and a reference back wherever four bytes repeat the four before them."""
    out, place = b"", 0
    while place < len(content):
        if place >= 4 and content[place : place + 4] == content[place - 4 : place] and place + 4 <= len(content):
            length = 4
            while (
                length < 260
                and place + length < len(content)
                and content[place + length] == content[place + length - 4]
            ):
                length += 1
            out += bytes([7 << 5, length - 9, 3]) if length >= 9 else bytes([(length - 2) << 5, 3])
            place += length
        else:
            out += bytes([0, content[place]])
            place += 1
    return out


def compressed_pcd() -> bytes:
    columns = [POINTS[:, axis].astype("<f4").tobytes() for axis in range(3)] + [np.full(300, 7, "<u4").tobytes()]
    raw = b"".join(columns)
    packed = lzf(raw)
    assert len(packed) < 2 * len(raw)
    head = pcd("x y z label", "4 4 4 4", "F F F U", "binary_compressed")
    return head + struct.pack("<II", len(packed), len(raw)) + packed


def vertex_lists() -> bytes:
    head = ply(
        "binary_little_endian", "float x, float y, float z, list uchar int view", 300,
        "element face 0\nproperty list uchar int vertex_indices\n",
    )  # fmt: skip
    body = b"".join(
        struct.pack("<3f", *point) + bytes([number % 3]) + b"\7\0\0\0" * (number % 3)
        for number, point in enumerate(POINTS)
    )
    return head + body


def structured() -> np.ndarray:
    table = np.zeros(300, [("x", "f4"), ("y", "f4"), ("z", "f4"), ("i", "u1")])
    table["x"], table["y"], table["z"], table["i"] = *POINTS.T, 9
    return table


PTX = "300\n1\n1 2 3\n1 0 0\n0 1 0\n0 0 1\n1 0 0 0\n0 1 0 0\n0 0 1 0\n10 20 30 1\n"
CASES: dict[str, bytes | Callable[[Path], object]] = {
    "be.ply": ply("binary_big_endian", "float x, float y, float z", 300) + POINTS.astype(">f4").tobytes(),
    "lists.ply": vertex_lists(),
    "order.ply": ply("ascii", "float y, float x, float z", 300) + rows(POINTS[:, [1, 0, 2]]).encode(),
    "camera.ply": ply(
        "binary_little_endian", "float x, float y, float z", 300, before="element camera 1\nproperty float fov\n"
    ) + struct.pack("<f", 9) + POINTS.astype("<f4").tobytes(),
    "crlf.ply": (ply("ascii", "float x, float y, float z", 300) + rows(POINTS).encode()).replace(b"\n", b"\r\n"),
    "compressed.pcd": compressed_pcd(),
    "padded.pcd": pcd("x y z _ intensity", "4 4 4 1 4", "F F F U F", "binary", counts="1 1 1 4 1")
    + b"".join(struct.pack("<3f4xf", *point, 0.5) for point in POINTS),
    "no-count.pcd": pcd("x y z", "4 4 4", "F F F", "binary").replace(b"POINTS 300\n", b"")
    + POINTS.astype("<f4").tobytes(),
    "UPPER.PCD": pcd("x y z", "4 4 4", "F F F", "ascii") + rows(POINTS).encode(),
    "slashes.txt": ("//X Y Z R G B\n" + rows(np.c_[POINTS, np.full((300, 3), 7)])).encode(),
    "hash.txt": ("# z y x\n" + rows(POINTS[:, ::-1])).encode(),
    "brackets.csv": ("X (m),Y (m),Z (m)\n" + rows(POINTS, ",")).encode(),
    "units.csv": ("X [m],Y [m],Z [m],R,G,B\n" + rows(np.c_[POINTS, np.full((300, 3), 7)], ",")).encode(),
    "blank-units.txt": ("X [m] Y [m] Z [m]\n" + rows(POINTS)).encode(),
    "semicolon.csv": ("x;y;z;intensity\n" + rows(np.c_[POINTS, np.ones(300)], ";")).encode(),
    "german.csv": ("x;y;z\n" + rows(POINTS, ";").replace(".", ",")).encode(),
    "decimal-comma.xyz": rows(POINTS).replace(".", ",").encode(),
    "leica.pts": ("300\n" + rows(np.c_[POINTS, np.full((300, 4), 9)])).encode(),
    "plain.asc": rows(POINTS).encode(),
    "bom.csv": ("\ufeffx,y,z\n" + rows(POINTS, ",")).encode(),
    "wide.txt": rows(POINTS).encode("utf-16"),
    "quoted.csv": ('"x","y","z"\n' + "".join(f'"{x:.4f}","{y:.4f}","{z:.4f}"\n' for x, y, z in POINTS)).encode(),
    "time-first.csv": ("timestamp,x,y,z\n" + rows(np.c_[np.arange(300) + 1e9, POINTS], ",")).encode(),
    "word-first.csv": ("class,x,y,z\n" + "".join(f"car,{x:.4f},{y:.4f},{z:.4f}\n" for x, y, z in POINTS)).encode(),
    "paraview.csv": ("Points:0,Points:1,Points:2\n" + rows(POINTS, ",")).encode(),
    "map.csv": ("Northing,Easting,Elevation\n" + rows(POINTS[:, [1, 0, 2]], ",")).encode(),
    "structured.npy": lambda path: np.save(path, structured()),
    "vertices.npz": lambda path: np.savez(path, vertices=POINTS, faces=np.zeros((4, 3), int)),
    "coord.npz": lambda path: np.savez(path, coord=POINTS, color=np.zeros((300, 3), np.uint8)),
    "axes.npz": lambda path: np.savez(path, x=POINTS[:, 0], y=POINTS[:, 1], z=POINTS[:, 2]),
    "kitti.bin": lambda path: np.c_[POINTS, np.ones(300)].astype("<f4").tofile(path),
    "sweep.pcd.bin": lambda path: np.c_[POINTS, np.full(300, 31), np.arange(300) % 32].astype("<f4").tofile(path),
    "indoor6.bin": lambda path: np.c_[POINTS, RNG.random((300, 3))].astype("<f4").tofile(path),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_every_way_of_writing_a_cloud_gives_the_same_points(name: str, tmp_path: Path) -> None:
    content, path = CASES[name], tmp_path / name
    path.write_bytes(content) if isinstance(content, bytes) else content(path)
    assert np.allclose(read_points(path).xyz, POINTS, atol=1e-6)  # float32 files
    scene = load_scene(path).scene  # shapes and scenes are read by the same code
    assert np.array_equal(read_cloud(path).points.astype(np.float32), scene.points)


def test_ptx_moves_points_by_its_matrix_and_leaves_out_missing_returns(tmp_path: Path) -> None:
    table = np.c_[POINTS, np.full(300, 0.5)]
    table[7, :3] = 0
    (tmp_path / "a.ptx").write_text(PTX + rows(table))
    found = read_points(tmp_path / "a.ptx")
    assert np.allclose(found.xyz, np.delete(POINTS, 7, axis=0) + np.array([10, 20, 30]))
    assert found.viewpoint is not None
    assert found.viewpoint.tolist() == [1, 2, 3]
    assert any("1 places without a return" in one for one in found.notes)


def test_las_and_laz_keep_scaled_map_coordinates(tmp_path: Path) -> None:
    laspy = pytest.importorskip("laspy", reason="extra 'las' is not installed")
    header = laspy.LasHeader(point_format=3, version="1.2")
    header.offsets, header.scales = [500_000, 5_400_000, 0], [0.001] * 3
    file = laspy.LasData(header)
    file.x, file.y, file.z = (POINTS + MAP).T
    file.classification, file.intensity = LABELS, np.arange(300)
    for name in ("a.las", "a.laz"):
        file.write(str(tmp_path / name))
        loaded = load_scene(tmp_path / name)
        assert np.abs(loaded.scene.world - POINTS - MAP).max() < 1e-3  # its scale
        assert np.array_equal(loaded.labels["classification"], LABELS)
        assert loaded.scene.intensity is not None
        assert loaded.scene.intensity[299] == 299


def test_e57_is_read_in_its_common_frame(tmp_path: Path) -> None:
    pye57 = pytest.importorskip("pye57", reason="extra 'e57' is not installed")
    file = pye57.E57(str(tmp_path / "a.e57"), mode="w")
    columns = dict(zip(("cartesianX", "cartesianY", "cartesianZ"), POINTS.T.copy(), strict=True))
    file.write_scan_raw(columns, translation=np.array([10.0, 0.0, 0.0]))
    file.close()
    assert np.allclose(read_points(tmp_path / "a.e57").xyz, POINTS + np.array([10, 0, 0]), atol=1e-6)


# ------------------------------------------------------------------------------ K1, K2, K3: guesses and losses


def test_columns_of_a_bin_are_decided_by_evidence_and_said(tmp_path: Path) -> None:
    wide = np.c_[POINTS, np.full(300, 31), np.arange(300) % 32].astype("<f4")
    wide.tofile(tmp_path / "frame.bin")
    found = read_points(tmp_path / "frame.bin")
    assert len(found) == 300  # 375 if there were four
    assert found.notes[0].startswith("5 columns (x y z intensity ring)")
    assert len(read_points(tmp_path / "frame.bin", bin_columns=3)) == 500
    RNG.random((1200, 4)).astype("<f4").tofile(tmp_path / "noise.bin")
    with pytest.raises(ItemError, match=r"3 \(1,600 points\) or 4 \(1,200 points\).*dataset.bin_columns"):
        read_points(tmp_path / "noise.bin")
    np.append(np.c_[POINTS, np.ones(300)].ravel(), [1.0, 2.0, 3.0]).astype("<f4").tofile(tmp_path / "cut.bin")
    with pytest.raises(ItemError) as caught:
        read_points(tmp_path / "cut.bin")
    assert caught.value.status == "truncated"
    POINTS.tofile(tmp_path / "double.bin")
    with pytest.raises(ItemError, match="float64"):
        read_points(tmp_path / "double.bin")


def test_an_empty_cell_never_shifts_columns(tmp_path: Path) -> None:
    lines = [
        f"{x},{'' if place == 5 else y},{z},{'' if place % 10 == 0 else 5}" for place, (x, y, z) in enumerate(POINTS)
    ]
    (tmp_path / "a.csv").write_text("x,y,z,intensity\n" + "\n".join(lines) + "\n")
    found = read_points(tmp_path / "a.csv")
    assert np.array_equal(np.isnan(found.xyz).any(axis=1), np.arange(300) == 5)
    assert np.allclose(np.delete(found.xyz, 5, axis=0), np.delete(POINTS, 5, axis=0))
    assert found.intensity is not None
    assert np.isnan(found.intensity).sum() == 30
    assert any("intensity: 30 of 300 cells are empty" in one for one in found.notes)
    item = PointSetPreprocessor(PointSetConfig(points=64)).prepare(Sample("a", read_cloud(tmp_path / "a.csv")))[0]
    assert item.status == "points_dropped"


@pytest.mark.parametrize(
    ("name", "content", "status", "words"),
    [
        ("cut.xyz", rows(POINTS)[:-20].encode(), "damaged_lines", "line 300"),
        ("less.pts", ("301\n" + rows(POINTS)).encode(), "incomplete", "announces 301 points and holds 300"),
    ],
)
def test_losses_are_a_status(name: str, content: bytes, status: str, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    for remark in (read_cloud(tmp_path / name).remark, load_scene(tmp_path / name).scene.remark):
        assert remark is not None
        assert remark[0] == status
        assert words in remark[1]


@pytest.mark.parametrize(
    ("name", "content", "status"),
    [
        ("cut.ply", ply("binary_little_endian", "float x, float y, float z", 300) + bytes(3500), "corrupt"),
        ("cut.pcd", pcd("x y z", "4 4 4", "F F F", "binary") + bytes(3550), "corrupt"),
        ("flat.ply", ply("ascii", "float x, float y", 300) + rows(POINTS[:, :2]).encode(), "wrong_columns"),
        ("ragged.xyz", (rows(POINTS[:50]) + rows(POINTS[:50, :2])).encode(), "corrupt"),
        ("header.csv", b"x,y,z\n", "empty"),
        ("blank.xyz", b"\n\n\n", "empty"),
        ("scan.las", b"LASF", "corrupt"),
        ("scan.e57", b"ASTM-E57", "corrupt"),
        ("scan.ptx", PTX.encode() + rows(POINTS[:5]).encode(), "corrupt"),
    ],
)
def test_what_cannot_be_read_is_a_row_with_a_reason(name: str, content: bytes, status: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ItemError) as caught:
        read_points(tmp_path / name)
    assert caught.value.status == status
    assert name in caught.value.reason


def test_columns_without_a_header_are_named_by_content(tmp_path: Path) -> None:
    colours, ones = np.c_[LABELS * 80, 200 - LABELS * 60, np.arange(300) % 250], np.tile([0.0, 0.0, 1.0], (300, 1))
    np.savetxt(tmp_path / "label.txt", np.c_[POINTS, colours, LABELS], fmt="%g")
    found = read_points(tmp_path / "label.txt")
    assert found.colours is not None
    assert np.allclose(found.colours * 255, colours)
    assert np.array_equal(found.labels["label"], LABELS)
    np.savetxt(tmp_path / "normal.txt", np.c_[POINTS, ones])
    assert read_points(tmp_path / "normal.txt").normals is not None
    np.savetxt(tmp_path / "i.pts", np.c_[POINTS, LABELS - 1000, colours], fmt="%g")
    leica = read_points(tmp_path / "i.pts")
    assert leica.intensity is not None
    assert np.array_equal(leica.intensity, LABELS - 1000)
    assert "by content" in leica.notes[0]


def test_kinds_of_label(tmp_path: Path) -> None:
    variants = {"float": LABELS.astype("f4"), "column": LABELS[:, None], "u8": LABELS.astype("u8"), "bool": LABELS > 1}
    for name, values in variants.items():
        np.savez(tmp_path / f"{name}.npz", xyz=POINTS, label=values)
        assert np.array_equal(load_scene(tmp_path / f"{name}.npz").labels["label"], np.ravel(values).astype(int))
    np.savez(tmp_path / "minus.npz", xyz=POINTS, label=LABELS - 1)
    reader = SceneFolder(ScenesConfig(path=str(tmp_path / "minus.npz"), ignored_label=9))
    assert reader.targets[0].ignore == 9
    assert np.array_equal(reader[0].targets["label"], np.where(LABELS == 0, 9, LABELS - 1))
    np.savez(tmp_path / "short.npz", xyz=POINTS, label=LABELS[:-1])
    with pytest.raises(ItemError, match="299 entries for 300 points"):
        load_scene(tmp_path / "short.npz")


def test_labels_in_words_mean_the_same_in_every_scene(tmp_path: Path) -> None:
    for name, words in {"a": ("car", "road"), "b": ("road", "tree")}.items():
        lines = [f"{x},{y},{z},{words[place % 2]}" for place, (x, y, z) in enumerate(POINTS)]
        (tmp_path / f"{name}.csv").write_text("x,y,z,class\n" + "\n".join(lines) + "\n")
    reader = SceneFolder(ScenesConfig(path=str(tmp_path)))
    assert reader.targets[0].names == ("car", "road", "tree")
    assert [reader[0].targets["class"][:2].tolist(), reader[1].targets["class"][:2].tolist()] == [[0, 1], [1, 2]]


# --------------------------------------------------------------------------------------- K7: coordinates


def room() -> np.ndarray:
    rng = np.random.default_rng(1)
    floor = np.c_[rng.uniform(0, 4, (3000, 2)), np.zeros(3000)]
    wall = np.c_[rng.uniform(0, 4, 3000), np.zeros(3000), rng.uniform(0, 2, 3000)]
    return np.round(np.vstack([floor, wall]), 3)


@pytest.mark.parametrize("name", ["a.npz", "a.npy", "a.xyz"])
def test_a_map_grid_gives_the_voxels_of_the_local_frame(name: str, tmp_path: Path) -> None:
    points, path = room(), tmp_path / name
    shift = np.array([500_000.0, 5_400_000.0, 300.0])
    save = {".npz": lambda: np.savez(path, xyz=points + shift), ".npy": lambda: np.save(path, points + shift)}
    save.get(path.suffix, lambda: path.write_text(rows(points + shift, fmt="%.3f")))()
    reader = SceneFolder(ScenesConfig(path=str(path)))
    sample, config = reader[0], SceneConfig(voxel_size_m=0.05)
    assert sample.inputs.points.dtype == np.float32
    assert np.abs(sample.inputs.world - points - shift).max() < 1e-5
    assert np.allclose(sample.meta["offset"], sample.inputs.offset)
    local = Sample("l", load_local(points))
    sizes = [ScenePreprocessor(config).prepare(one)[0].meta["voxels"] for one in (sample, local)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.01)  # rounding at the sides of voxels
    assert len(prepare_scene(sample.inputs, config).points) > 2000


def load_local(points: np.ndarray) -> object:
    from repcore_pointcloud.formats.scene import scene_of
    from repcore_pointcloud.formats.table import PointTable

    scene = scene_of(PointTable(points))
    assert scene.offset is None
    return scene


def test_coordinates_rounded_by_the_file_are_said(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", (POINTS + MAP).astype(np.float32))
    scene = load_scene(tmp_path / "a.npy").scene
    assert scene.remark is not None
    assert scene.remark[0] == "coarse_coordinates"
    item = PointSetPreprocessor(PointSetConfig(points=64)).prepare(Sample("a", read_cloud(tmp_path / "a.npy")))[0]
    assert item.status in ("coarse_coordinates", "few_points")


def test_a_sensor_at_the_origin_stays_there_when_a_scene_is_moved() -> None:
    from repcore_pointcloud.formats.scene import scene_of
    from repcore_pointcloud.formats.table import PointTable

    sheet = np.c_[np.zeros(2000), RNG.uniform(0, 4, (2000, 2))]  # faces x: towards 0 or away from it
    for side in (-1, 1):
        scene = scene_of(PointTable(sheet + np.array([side * 400_000.0, 0.0, 0.0])))
        assert scene.offset is not None
        normals = prepare_scene(scene, SceneConfig(sensor_at_origin=True)).normals
        assert (np.sign(normals[:, 0]) == -side).all()


@pytest.mark.parametrize(
    ("bad", "status"), [(np.nan, "points_dropped"), (np.inf, "points_dropped"), (1e308, "points_dropped")]
)
def test_odd_points_are_dropped_and_said(bad: float, status: str) -> None:
    points = POINTS.copy()
    points[5, 1] = bad
    item = PointSetPreprocessor(PointSetConfig(points=128)).prepare(Sample("a", PointCloud(points)))[0]
    assert item.status == status
    assert "1 of 300" in item.reason
    assert np.isfinite(item.values["points"]).all()
    with pytest.raises(ItemError, match="300 of 300"):
        PointSetPreprocessor(PointSetConfig()).prepare(Sample("a", PointCloud(np.full((300, 3), bad))))


def test_a_stray_point_is_said() -> None:
    item = PointSetPreprocessor(PointSetConfig(points=512)).prepare(
        Sample("a", PointCloud(np.vstack([POINTS, [[1e6, 1e6, 1e6]]])))
    )[0]
    assert item.status == "far_point"


def test_an_organised_cloud_keeps_its_valid_points(tmp_path: Path) -> None:
    table = np.vstack([POINTS, np.full((20, 3), np.nan)])[RNG.permutation(320)].astype("<f4")
    (tmp_path / "a.pcd").write_bytes(pcd("x y z", "4 4 4", "F F F", "binary", 320) + table.tobytes())
    item = ScenePreprocessor(SceneConfig()).prepare(Sample("a", load_scene(tmp_path / "a.pcd").scene))[0]
    assert item.status == "not_finite"
    assert (item.values["source"] < 0).sum() == 20


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
