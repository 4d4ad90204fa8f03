"""Reading, resampling and generating shapes; everything that can be wrong with a file is a clear error or a row."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from repcore.errors import ConfigError, DataError, ItemError
from repcore.interfaces import Sample
from repcore_pointcloud.configs.shapes import GeneratedShapesConfig, PointSetConfig, ShapeFilesConfig, ShapeFolderConfig
from repcore_pointcloud.datasets.generated_shapes import GeneratedShapes
from repcore_pointcloud.datasets.shape_arrays import ShapeArrayReader
from repcore_pointcloud.datasets.shape_arrays import sniff as sniff_arrays
from repcore_pointcloud.datasets.shape_folders import ShapeFolderReader
from repcore_pointcloud.datasets.shape_folders import sniff as sniff_folder
from repcore_pointcloud.formats.points import PointCloud, read_cloud, sample_surface
from repcore_pointcloud.preprocessors.point_set import PointSetPreprocessor, extents, extents_and_distances

POINTS = np.random.default_rng(0).normal(size=(50, 3)).round(3)
TETRAHEDRON = "OFF\n4 4 6\n0 0 0\n1 0 0\n0 1 0\n0 0 1\n3 0 1 2\n3 0 1 3\n3 0 2 3\n3 1 2 3\n"
PCD_HEAD = (
    "# .PCD v0.7\nVERSION 0.7\nFIELDS intensity x y z\nSIZE 4 4 4 4\nTYPE F F F F\nCOUNT 1 1 1 1\nWIDTH 50\nHEIGHT 1\n"
    "VIEWPOINT 0 0 0 1 0 0 0\nPOINTS 50\n"
)


def write_ply(path: Path) -> None:
    rows = "\n".join(" ".join(map(str, row)) for row in POINTS)
    properties = "".join(f"property float {axis}\n" for axis in "xyz")
    path.write_text(f"ply\nformat ascii 1.0\nelement vertex 50\n{properties}end_header\n{rows}\n")


def write_text(separator: str, header: str = "") -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_text(header + "\n".join(separator.join(map(str, row)) for row in POINTS) + "\n")

    return write


def write_reordered_csv(path: Path) -> None:
    rows = "\n".join(f"0.5,{z},{y},{x}" for x, y, z in POINTS)
    path.write_text(f"intensity,z,y,x\n{rows}\n")


def write_pcd(binary: bool) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        table = np.column_stack([np.ones(50), POINTS]).astype("<f4")
        if binary:
            path.write_bytes(PCD_HEAD.encode() + b"DATA binary\n" + table.tobytes())
        else:
            rows = "\n".join(" ".join(map(str, row)) for row in table)
            path.write_text(PCD_HEAD + "DATA ascii\n" + rows + "\n")

    return write


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.npy", lambda path: np.save(path, POINTS)),
        ("a.npz", lambda path: np.savez(path, xyz=POINTS, other=np.zeros(3))),
        ("a.ply", write_ply),
        ("a.xyz", write_text(" ")),
        ("a.txt", write_text(",")),
        ("a.pts", write_text(" ", "50\n")),
        ("a.csv", write_reordered_csv),
        ("a.tsv", write_text("\t", "x\ty\tz\n")),
        ("ascii.pcd", write_pcd(False)),
        ("binary.pcd", write_pcd(True)),
        ("a.bin", lambda path: np.column_stack([POINTS, np.ones(50)]).astype("<f4").tofile(path)),
        ("a.obj", lambda path: path.write_text("\n".join("v " + " ".join(map(str, row)) for row in POINTS))),
    ],
)
def test_every_format_gives_the_same_points(tmp_path: Path, name: str, write: Callable[[Path], None]) -> None:
    write(tmp_path / name)
    assert np.allclose(read_cloud(tmp_path / name).points, POINTS, atol=1e-6)  # float32 files


@pytest.mark.parametrize("glued", [False, True])
def test_meshes_are_sampled_by_area_and_the_same_each_time(tmp_path: Path, glued: bool) -> None:
    path = tmp_path / "mesh.off"
    path.write_text(TETRAHEDRON.replace("OFF\n4", "OFF4") if glued else TETRAHEDRON)
    cloud = read_cloud(path, mesh_points=4000)
    assert cloud.points.shape == (4000, 3)
    slanted = np.isclose(cloud.points.sum(axis=1), 1.0)
    share = np.sqrt(3) / (np.sqrt(3) + 3)  # of the slanted face in the area
    assert slanted.mean() == pytest.approx(share, abs=0.03)  # four standard errors of 4000 points
    assert np.array_equal(cloud.points, read_cloud(path, mesh_points=4000).points)
    assert not np.array_equal(cloud.points, read_cloud(path, mesh_points=4000, seed=1).points)


def test_a_binary_stl_is_read(tmp_path: Path) -> None:
    facet = struct.pack("<12fH", 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0)
    (tmp_path / "a.stl").write_bytes(b"\0" * 80 + struct.pack("<I", 1) + facet)
    points = read_cloud(tmp_path / "a.stl", mesh_points=100).points
    assert points.shape == (100, 3)
    assert np.allclose(points[:, 2], 0)


def test_a_mesh_without_faces_is_its_vertices_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.off").write_text("OFF\n4 0 0\n0 0 0\n1 0 0\n0 1 0\n0 0 1\n")
    cloud = read_cloud(tmp_path / "a.off")
    assert len(cloud.points) == 4
    assert cloud.remark is not None
    assert cloud.remark[0] == "no_faces"
    (tmp_path / "flat.off").write_text("OFF\n3 1 0\n0 0 0\n1 0 0\n2 0 0\n3 0 1 2\n")
    flat = read_cloud(tmp_path / "flat.off")
    assert flat.remark is not None
    assert flat.remark[0] == "no_area"
    assert sample_surface(np.zeros((3, 3)), np.array([[0, 1, 2]]), 5, 0) is None


@pytest.mark.parametrize(
    ("name", "content", "status", "words"),
    [
        ("a.xyz", b"", "empty", "0 bytes"),
        ("a.xyz", b"# only a remark\n", "empty", "no line"),
        ("a.xyz", b"1 2\n3 4\n", "wrong_columns", "2 columns"),
        ("a.xyz", b"1 2 3\n4 5\n", "corrupt", "2 to 3 values"),
        ("a.xyz", b"1 2 three\n", "corrupt", "three"),
        ("a.xyz", b"0 1 2 3\n1 4 5 6\n2 7 8 9\n3 1 1 1\n", "wrong_columns", "dataset.columns"),
        ("a.npy", b"not an array", "corrupt", "a.npy"),
        ("a.npz", b"PK broken", "corrupt", "a.npz"),
        ("a.pcd", b"FIELDS x y z\n", "corrupt", "DATA"),
        ("a.pcd", b"FIELDS x\nDATA binary_compressed\n", "corrupt", "header"),
        ("a.pcd", b"FIELDS x\nDATA binary_zipped\n", "unknown_format", "binary_zipped"),
        ("a.bin", b"123456", "truncated", "6 bytes"),
        ("a.off", b"OFF\n0 0 0\n", "empty", "no vertices"),
        ("a.jpg", b"xx", "unknown_format", "a.jpg"),
    ],
)  # fmt: skip
def test_broken_files_are_item_errors(tmp_path: Path, name: str, content: bytes, status: str, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ItemError, match=words) as caught:
        read_cloud(tmp_path / name)
    assert caught.value.status == status


def test_arrays_on_their_side_and_pickles_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", POINTS.T)
    with pytest.raises(ItemError, match="on its side"):
        read_cloud(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ItemError, match="pickle"):
        read_cloud(tmp_path / "b.npy")
    with pytest.raises(ItemError, match="does not exist"):
        read_cloud(tmp_path / "c.npy")


def test_rows_of_several_clouds_are_no_grid_of_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "clouds.npy", rng.uniform(-1, 1, (10, 400, 3)).astype(np.float32))
    with pytest.raises(ItemError, match="10 clouds of 400 points, no grid of one") as caught:
        read_cloud(tmp_path / "clouds.npy")
    assert caught.value.status == "several_clouds"
    turn, rise = np.meshgrid(np.linspace(-3, 3, 400), np.linspace(-0.4, 0.2, 32))
    away = 10 + 2 * np.sin(3 * turn)  # a turning laser
    sweep = np.stack([np.cos(turn) * away, np.sin(turn) * away, np.tan(rise) * away], axis=-1)
    sweep[rng.random(sweep.shape[:2]) < 0.3] = np.nan
    np.save(tmp_path / "sweep.npy", sweep)
    assert np.array_equal(read_cloud(tmp_path / "sweep.npy").points, sweep.reshape(-1, 3), equal_nan=True)
    v, u = np.meshgrid(np.arange(48), np.arange(64), indexing="ij")  # a depth camera
    np.save(tmp_path / "depth.npy", np.stack([u / 60.0, v / 60.0, 2 + 0.3 * np.cos(u / 9)], axis=-1))
    assert "organised cloud of (48, 64)" in read_cloud(tmp_path / "depth.npy").notes[0]


def test_columns_may_be_named_or_numbered(tmp_path: Path) -> None:
    write_reordered_csv(tmp_path / "a.csv")
    assert np.allclose(read_cloud(tmp_path / "a.csv", columns=("z", "y", "x")).points, POINTS[:, ::-1])
    assert np.allclose(read_cloud(tmp_path / "a.csv", columns=("3", "2", "1")).points, POINTS)
    with pytest.raises(ItemError, match="no column 'u'"):
        read_cloud(tmp_path / "a.csv", columns=("u", "y", "z"))
    with pytest.raises(ItemError, match="expected three"):
        read_cloud(tmp_path / "a.csv", columns=("x", "y"))


# ------------------------------------------------------------------------------------------- preprocessor


def prepare(points: np.ndarray, **changes: object) -> object:
    config = replace(PointSetConfig(points=40, few_points=10), **changes)  # type: ignore[arg-type]
    return PointSetPreprocessor(config).prepare(Sample("one", PointCloud(points)))[0]


def test_any_number_of_points_becomes_the_configured_number() -> None:
    for number, rule in ((12, "random"), (40, "random"), (500, "random"), (500, "farthest"), (500, "first")):
        points = np.random.default_rng(number).normal(size=(number, 3))
        item = prepare(points, resampling=rule)
        values = item.values["points"]  # type: ignore[attr-defined]
        assert values.shape == (40, 3)
        assert item.status == "ok"  # type: ignore[attr-defined]
        assert np.allclose(values.mean(axis=0), 0, atol=1e-6)
        assert np.linalg.norm(values, axis=1).max() == pytest.approx(1.0, abs=1e-6)
        again = prepare(points, resampling=rule).values["points"]  # type: ignore[attr-defined]
        assert np.array_equal(values, again)
        assert len(np.unique(values, axis=0)) == min(
            number, 40
        )  # every point of a small cloud, no repeats in a large one


@pytest.mark.parametrize(
    ("points", "status", "words"),
    [
        (np.zeros((0, 3)), "empty", "no points"),
        (np.ones((1, 3)), "one_point", "one point"),
        (np.ones((30, 3)), "no_extent", "30 points are the same"),
        (np.array([[0, 0, np.nan], [1, 1, 1], [0, 1, 0]]), "not_finite", "1 of 3"),
        (np.full((3, 3), np.inf), "not_finite", "3 of 3"),
        (np.full((3, 3), 1e308), "not_finite", "3 of 3"),
    ],
)
def test_unusable_clouds_are_item_errors(points: np.ndarray, status: str, words: str) -> None:
    with pytest.raises(ItemError, match=words) as caught:
        prepare(points, nonfinite="reject")
    assert caught.value.status == status


def test_odd_but_usable_clouds_are_marked() -> None:
    few = prepare(np.random.default_rng(0).normal(size=(5, 3)))
    assert (few.status, few.reason.split()[0]) == ("few_points", "5")  # type: ignore[attr-defined]
    line = prepare(np.arange(30.0)[:, None] * np.array([1.0, 2.0, 3.0]))
    assert line.status == "colinear"  # type: ignore[attr-defined]
    flat = np.random.default_rng(0).normal(size=(60, 3)) * [0.0, 1.0, 1.0]  # one value of x, yet sixty points
    assert prepare(flat).status == "ok"  # type: ignore[attr-defined]
    for thickness, status in ((1e-2, "ok"), (1e-5, "ok"), (1e-8, "colinear")):  # of the length; 1e-6 is the limit
        rod = np.random.default_rng(0).normal(size=(60, 3)) * [1.0, thickness, 0.0]
        assert prepare(rod).status == status  # type: ignore[attr-defined]
    holes = np.random.default_rng(0).normal(size=(60, 3))
    holes[7] = np.nan
    assert prepare(holes, nonfinite="drop").status == "points_dropped"  # type: ignore[attr-defined]


def test_map_coordinates_keep_their_detail() -> None:
    local = np.random.default_rng(0).uniform(0, 1, size=(40, 3))
    moved = prepare(local + np.array([500_000.0, 5_400_000.0, 0.0]))
    assert np.allclose(moved.values["points"], prepare(local).values["points"], atol=1e-6)  # type: ignore[attr-defined]


def test_baselines_tell_a_rod_from_a_plate() -> None:
    rng = np.random.default_rng(0)
    samples = [
        Sample(str(n), PointCloud(rng.normal(size=(80, 3)) * scale))
        for n, scale in enumerate(([1, 0.1, 0.1], [1, 1, 0.1]))
    ]
    preprocessor = PointSetPreprocessor(PointSetConfig(points=64))
    assert extents(preprocessor, samples).shape == (2, 9)
    both = extents_and_distances(preprocessor, samples)
    assert both.shape == (2, 33)
    assert np.allclose(both[:, 9:].sum(axis=1), 1.0)
    assert both[0, 1] < 0.5 < both[1, 1]


# ------------------------------------------------------------------------------------------------ readers


def tree(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, POINTS + len(name))
    return root


def test_subfolders_are_classes_and_a_level_of_splits_is_one(tmp_path: Path) -> None:
    root = tree(tmp_path, "chair/train/a.npy", "chair/test/b.npy", "lamp/train/c.npy", "lamp/test/d.npy")
    reader = ShapeFolderReader(ShapeFolderConfig(path=str(root)))
    assert reader.targets[0].names == ("chair", "lamp")
    assert {name: len(rows) for name, rows in reader.splits.items()} == {"train": 2, "test": 2}
    assert reader.by_id("lamp/test/d.npy").targets == {"class": 1}
    assert sniff_folder(root) > 0


@pytest.mark.parametrize(
    ("name", "text", "is_cloud"),
    [
        ("a.csv", "0.1,0.2,0.3\n0.4,0.5,0.6\n", True),
        ("a.csv", "x,y,z,label\n0.1,0.2,0.3,4\n1,2,3,4\n", True),
        ("a.pts", "2\n0.1 0.2 0.3\n0.4 0.5 0.6\n", True),
        ("a.csv", "time,speed,load\n0,1.5,2\n1,2.5,3\n", False),
        ("a.csv", "smiles,y\nCCO,1\nCC,2\n", False),
        ("a.txt", "A text about something.\nOf two lines.\n", False),
    ],
)
def test_a_table_of_something_else_is_no_cloud(name: str, text: str, is_cloud: bool, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert (sniff_folder(tmp_path / name) > 0) == is_cloud
    assert (sniff_folder(tmp_path) > 0) == is_cloud or name.endswith(".pts")


def test_mixed_formats_and_other_files_are_told(tmp_path: Path) -> None:
    root = tree(tmp_path, "a/x.npy", "b/y.npy")
    write_text(" ")(root / "b" / "z.xyz")
    (root / "a" / "photo.jpg").write_bytes(b"x")
    (root / "a" / "broken.ply").write_bytes(b"ply\n")
    reader = ShapeFolderReader(ShapeFolderConfig(path=str(root)))
    assert len(reader) == 4
    assert any("mixed formats: 2 .npy, 1 .ply, 1 .xyz" in note for note in reader.notes)
    assert any("1 .jpg" in note for note in reader.notes)
    with pytest.raises(ItemError):
        reader.by_id("a/broken.ply")


def test_a_table_gives_labels_by_path_name_or_stem(tmp_path: Path) -> None:
    root = tree(tmp_path, "a/x.npy", "a/y.npy", "b/z.npy", "b/w.npy")
    (root / "labels.csv").write_text(
        "file,kind,mass,split\na/x.npy,cup,1.5,train\ny,box,2.5,test\nz.npy,cup,,train\ngone,cup,1,test\n"
    )
    reader = ShapeFolderReader(ShapeFolderConfig(path=str(root)))
    found = [(target.name, target.kind) for target in reader.targets]
    assert found == [("class", "class"), ("kind", "class"), ("mass", "regression")]  # folders stay beside the table
    assert reader.by_id("a/y.npy").targets == {"class": 0, "kind": 0, "mass": 2.5}
    assert reader.by_id("b/z.npy").targets == {"class": 1, "kind": 1}
    assert reader.by_id("b/w.npy").targets == {"class": 1}
    assert any("1 of 4 files have no row" in note for note in reader.notes)
    assert any("1 rows" in note and "gone" in note for note in reader.notes)


def test_a_table_that_does_not_match_is_an_error(tmp_path: Path) -> None:
    root = tree(tmp_path, "a.npy", "b.npy")
    (root / "labels.csv").write_text("file,kind\nother.npy,cup\n")
    with pytest.raises(DataError, match="names a file of the folder") as caught:
        ShapeFolderReader(ShapeFolderConfig(path=str(root)))
    assert "other.npy" in str(caught.value)
    assert "a.npy" in str(caught.value)
    (root / "labels.csv").write_text("thing,kind\nother.npy,cup\n")
    with pytest.raises(DataError, match="no column of file names"):
        ShapeFolderReader(ShapeFolderConfig(path=str(root)))
    (root / "labels.csv").write_text("thing,label\na.npy,0\nb.npy,1\n")  # found by what its cells name
    assert [one.name for one in ShapeFolderReader(ShapeFolderConfig(path=str(root))).targets] == ["label"]


def test_folders_without_shapes_and_labels_that_do_not_exist(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("x")
    with pytest.raises(DataError, match="no cloud or mesh"):
        ShapeFolderReader(ShapeFolderConfig(path=str(tmp_path)))
    with pytest.raises(DataError, match="does not exist"):
        ShapeFolderReader(ShapeFolderConfig(path=str(tmp_path / "gone")))
    root = tree(tmp_path / "data", "a/x.npy", "b/y.npy")
    with pytest.raises(DataError, match="no label 'clas'") as caught:
        ShapeFolderReader(ShapeFolderConfig(path=str(root), labels=("clas",)))
    assert "class" in str(caught.value)


def test_arrays_bring_labels_splits_and_names(tmp_path: Path) -> None:
    clouds = np.random.default_rng(0).normal(size=(4, 20, 3)).astype(np.float16)
    np.savez(
        tmp_path / "points.npz", points=clouds, label=np.array([1, 0, -1, 1]), split=np.array([0, 0, 1, 1]),
        class_names=np.array(["cup", "box"]), item_names=np.array(["a", "b", "c", "d"]),
    )  # fmt: skip
    assert sniff_arrays(tmp_path) > sniff_folder(tmp_path)
    reader = ShapeArrayReader(ShapeFilesConfig(path=str(tmp_path)))
    assert reader.splits == {"train": [0, 1], "test": [2, 3]}
    assert [reader[row].targets.get("class") for row in range(4)] == [1, 0, None, 1]
    assert reader.by_id("d").inputs.points.dtype == np.float32
    (tmp_path / "README.md").write_text("four clouds")
    account = ShapeArrayReader(ShapeFilesConfig(path=str(tmp_path))).account  # the file behind the rows is used
    assert account.counts == {"used": 1, "ignored": 1, "unreadable": 0}
    assert account.reasons("ignored") == {"no shape for this reader (.md)": ["README.md"]}
    np.savez(tmp_path / "points.npz", points=clouds, label=np.zeros(3))
    with pytest.raises(DataError, match="3 entries of 'label' for 4 clouds"):
        ShapeArrayReader(ShapeFilesConfig(path=str(tmp_path / "points.npz")))


@pytest.mark.parametrize("shape", [(2**62, 0, 3), (2**40, 50, 3), (-3, 5, 3)])
def test_a_damaged_array_among_clouds_does_not_stand_for_the_folder(shape: tuple[int, ...], tmp_path: Path) -> None:
    """It looked like the one array of all clouds, and ended the work on those beside it."""
    np.save(tmp_path / "good.npy", np.random.default_rng(0).normal(size=(50, 3)))
    with (tmp_path / "lies.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        file.write(bytes(600))
    assert sniff_arrays(tmp_path) == 0
    reader = ShapeFolderReader(ShapeFolderConfig(path=str(tmp_path)))
    assert len(reader) == 2
    assert reader[0].inputs.points.shape == (50, 3)
    with pytest.raises(ItemError):
        reader[1]


def test_generated_shapes_are_a_function_of_seed_and_index() -> None:
    config = GeneratedShapesConfig(shapes=60, points=100)
    reader, again = GeneratedShapes(config), GeneratedShapes(config)
    assert np.array_equal(reader[7].inputs.points, again[7].inputs.points)
    other = GeneratedShapes(replace(config, seed=1))
    assert not np.array_equal(reader[7].inputs.points, other[7].inputs.points)
    assert reader.fingerprint != other.fingerprint
    assert {reader[row].targets["class"] for row in range(60)} == set(range(12))
    assert all(len(reader[row].inputs.points) == 100 for row in range(60))
    assert reader.by_id("shape-000007").id == "shape-000007"
    with pytest.raises(DataError, match="no generated shape"):
        reader.by_id("shape-000060")
    with pytest.raises(ConfigError, match="occlusion"):
        GeneratedShapes(replace(config, occlusion=1.0))
