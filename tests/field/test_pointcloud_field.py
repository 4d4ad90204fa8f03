"""Point clouds as people have them: the right points, labels, splits and words for every kind of file and layout."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from repcore.data.accounting import account_of
from repcore.errors import ItemError
from repcore.interfaces import Sample
from repcore_pointcloud.configs.scenes import SceneConfig, ScenesConfig
from repcore_pointcloud.configs.shapes import PointSetConfig
from repcore_pointcloud.datasets.scene_folders import SceneFolder
from repcore_pointcloud.formats.points import PointCloud, read_cloud
from repcore_pointcloud.formats.reading import read_points
from repcore_pointcloud.formats.scenes import load_scene
from repcore_pointcloud.preprocessors.point_set import PointSetPreprocessor
from repcore_pointcloud.preprocessors.scene import ScenePreprocessor
from repcore_pointcloud.preprocessors.scene_geometry import prepare_scene
from tests.field.pointcloud_inputs import LABELS, MAP, POINTS, RNG, ply, rows


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


def test_colours_before_coordinates_are_no_coordinates(tmp_path: Path) -> None:
    colours = np.c_[LABELS * 80, 200 - LABELS * 60, np.arange(300) % 250]
    np.savetxt(tmp_path / "first.txt", np.c_[colours, POINTS, LABELS], fmt="%g")
    found = read_points(tmp_path / "first.txt")
    assert found.colours is not None
    assert np.allclose(found.xyz, POINTS)
    assert np.allclose(found.colours * 255, colours)
    assert np.array_equal(found.labels["label"], LABELS)
    assert "red green blue come first" in found.notes[0]
    shares, normals = np.abs(POINTS), POINTS / np.linalg.norm(POINTS, axis=1, keepdims=True)
    for name, after in (("shares", shares), ("normals", normals)):  # voxels with colours or normals
        np.savetxt(tmp_path / f"{name}.txt", np.c_[colours, after])
        assert np.array_equal(read_points(tmp_path / f"{name}.txt").xyz, colours)
    np.savetxt(tmp_path / "named.csv", np.c_[colours, POINTS], delimiter=",", header="x,y,z,vx,vy,vz", comments="")
    assert np.array_equal(read_points(tmp_path / "named.csv").xyz, colours)  # a header decides


def test_units_that_differ_by_axis_are_brought_together(tmp_path: Path) -> None:
    header = "x [cm],y [m],z [mm],range [ft]\n"
    (tmp_path / "mixed.csv").write_text(header + rows(np.c_[POINTS * [100, 1, 1000], LABELS], ",", "%.6f"))
    found = read_points(tmp_path / "mixed.csv")
    assert np.allclose(found.xyz, POINTS)
    assert found.notes == ("the header gives x [cm], y [m], z [mm]: different units, converted to metres",)
    (tmp_path / "odd.csv").write_text("x [deg],y [deg],z [m]\n" + rows(POINTS, ","))
    with pytest.raises(ItemError, match=r"x \[deg\], y \[deg\], z \[m\]: different units") as caught:
        read_points(tmp_path / "odd.csv")
    assert caught.value.status == "wrong_columns"
    (tmp_path / "same.csv").write_text("x [mm],y [mm],z [mm]\n" + rows(POINTS, ","))
    same = read_points(tmp_path / "same.csv")
    assert np.allclose(same.xyz, POINTS)
    assert "gives coordinates in mm" in same.notes[0]


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


def test_words_that_mean_missing_are_no_class_however_many(tmp_path: Path) -> None:
    """Half of the cells are `NA` or `none`: a column of words all the same, and the file is whole."""
    words = ("ground", "tree", "NA", "none")
    lines = [f"{x},{y},{z},{words[place % 4]}" for place, (x, y, z) in enumerate(POINTS)]
    (tmp_path / "a.csv").write_text("x,y,z,class\n" + "\n".join(lines) + "\n")
    reader = SceneFolder(ScenesConfig(path=str(tmp_path)))
    assert reader.targets[0].names == ("ground", "tree")
    assert reader[0].targets["class"][:4].tolist() == [0, 1, -1, -1]
    assert any("points with 'NA' and 'none' count as unlabelled" in one for one in account_of(reader).sentences())


def test_titles_above_the_header_of_a_spreadsheet_are_left_out_and_said(tmp_path: Path) -> None:
    lines = ["Scan 12;;", ";;", "X [m];Y [m];Z [m]"]
    lines += [";".join(f"{one:.4f}".replace(".", ",") for one in point) for point in POINTS]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    found = read_points(tmp_path / "a.csv")
    assert np.allclose(found.xyz, POINTS, atol=1e-4)
    assert "2 lines above the header are titles" in found.notes
    assert found.remark is None


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
