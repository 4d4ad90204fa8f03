"""Files with an answer for every point: order, class numbers and coordinates survive, whatever the format."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from repcore import registry
from repcore.data.readers import open_data
from repcore.embedding.dense import DenseRow, dense_row
from repcore.embedding.dense_files import FolderWriter, dense_writer, dense_writers, refuse_file_name
from repcore.embedding.inference import InferenceOptions
from repcore.embedding.prediction_files import read_table
from repcore.embedding.windows import PreparedRow
from repcore.errors import ConfigError, DataError
from repcore.evaluation.tasks.dense import DenseClassification
from repcore.evaluation.tasks.dense_configs import DenseClassificationConfig
from repcore.interfaces import DenseAnswer, Sample
from repcore.specs import TargetSpec
from repcore_pointcloud.configs.scenes import LIDAR_SCENE, RoomsConfig, SceneConfig
from repcore_pointcloud.configs.sparse_unet import SparseUNetConfig
from repcore_pointcloud.datasets.scene_rooms import Rooms
from repcore_pointcloud.encoders.sparse_unet import SparseUNet
from repcore_pointcloud.formats.pcd import pcd_bytes, read_pcd_file
from repcore_pointcloud.formats.ply import Element, Lists, PlyFile, Property, ply_bytes, read_elements, read_ply_file
from repcore_pointcloud.formats.scene import Scene
from repcore_pointcloud.formats.scenes import load_scene
from repcore_pointcloud.preprocessors.scene import ScenePreprocessor
from repcore_pointcloud.preprocessors.scene_geometry import thinned
from repcore_pointcloud.recipes import fac as fac_recipe
from repcore_pointcloud.writers.points import write_label, write_las, write_pcd, write_ply

OFFSET = np.asarray([448_000.0, 5_412_000.0, 120.0])
TARGET = TargetSpec("semantic", "class", "point", names=("road", "tree", "car"))
VALUES = (40, 70, 10)


def answer(count: int = 50, offset: np.ndarray = OFFSET, values: tuple[int, ...] = VALUES) -> DenseAnswer:
    rng = np.random.default_rng(0)
    outputs = rng.dirichlet(np.ones(3), count).astype(np.float32)
    points = rng.uniform(-20, 20, (count, 3)) + offset
    elements = {name: points[:, axis] for axis, name in enumerate("xyz")}
    return DenseAnswer(Sample("a/b", None), "point", outputs, TARGET, values, elements)


def expected(one: DenseAnswer) -> np.ndarray:
    return np.asarray(VALUES)[one.outputs.argmax(1)]


def test_one_file_of_a_format_is_no_place_for_many_answers(tmp_path: Path) -> None:
    """``-o scan.las`` would become a folder of that name; tables and folders that are there are fine."""
    known = registry.default()
    for name in ("scan.las", "scan.LAZ", "scan.label"):
        with pytest.raises(ConfigError, match="one file a sample, or one long table") as told:
            refuse_file_name(known, "pointcloud", "point", tmp_path / name)
        assert f"-o {tmp_path / 'scan'} --format" in str(told.value)
    (tmp_path / "made.ply").mkdir()
    for name in ("scan", "scan.csv", "scan.npz", "scan.v2", "made.ply", "scan.nii.gz"):
        refuse_file_name(known, "pointcloud", "point", tmp_path / name)


@pytest.mark.parametrize(("write", "suffix"), [(write_ply, ".ply"), (write_pcd, ".pcd"), (write_las, ".las")])
def test_clouds_are_read_back_by_our_own_readers(write: object, suffix: str, tmp_path: Path) -> None:
    if suffix == ".las":
        pytest.importorskip("laspy", reason="LAS is an optional format")
    one = answer()
    path = tmp_path / f"cloud{suffix}"
    write(path, one)  # type: ignore[operator]
    found = load_scene(path)
    world = np.stack([one.elements[name] for name in "xyz"], axis=1)
    np.testing.assert_allclose(found.scene.world, world, atol=2e-3)  # georeferenced: float32 alone would be 0.5 off
    labels = next(values for name, values in found.labels.items() if name in ("label", "classification"))
    np.testing.assert_array_equal(labels, expected(one))


@pytest.mark.parametrize("values", [(4, 7, 1), VALUES])
def test_a_survey_keeps_what_it_has(values: tuple[int, int, int], tmp_path: Path) -> None:
    """Read by our own reader, answered, written: only the classes change; those above 31 need a wider format."""
    laspy = pytest.importorskip("laspy", reason="LAS is an optional format")
    one = answer(values=values)
    made = laspy.LasData(laspy.LasHeader(point_format=3, version="1.2"))
    made.header.scales, made.header.offsets = np.full(3, 1e-3), OFFSET
    made.x, made.y, made.z = (one.elements[name] for name in "xyz")
    made.intensity = np.arange(50, dtype=np.uint16)
    made.gps_time = np.arange(50) / 7
    made.red = np.full(50, 700, np.uint16)
    (tmp_path / "in").mkdir()
    made.write(tmp_path / "in" / "tile.las")
    reader = open_data(registry.default(), str(tmp_path / "in"), domain="pointcloud")[1]
    answered = dataclasses.replace(one, sample=reader[0])
    write_las(tmp_path / "out.las", answered)
    found = laspy.read(tmp_path / "out.las")
    assert found.point_format.id == (7 if max(values) > 31 else 3)
    np.testing.assert_array_equal(found.header.scales, np.full(3, 1e-3))
    for name in ("X", "Y", "Z", "intensity", "gps_time", "red"):
        np.testing.assert_array_equal(found[name], made[name])
    np.testing.assert_array_equal(found.classification, np.asarray(values)[one.outputs.argmax(1)])
    np.testing.assert_allclose(found["probability"], one.outputs.max(1), rtol=1e-6)
    moved = dataclasses.replace(answered, elements={name: values + 5.0 for name, values in one.elements.items()})
    write_las(tmp_path / "other.las", moved)  # not the survey's points: a file of its own
    assert not laspy.read(tmp_path / "other.las").intensity.any()


def on_millimetres(one: DenseAnswer) -> DenseAnswer:
    return dataclasses.replace(one, elements={name: values.round(3) for name, values in one.elements.items()})


def survey_like(one: DenseAnswer, path: Path) -> dict[str, np.ndarray]:
    """A survey with all that a LAS file says of a point; green and blue would fit into a byte, red does not."""
    laspy = pytest.importorskip("laspy", reason="LAS is an optional format")
    made = laspy.LasData(laspy.LasHeader(point_format=3, version="1.2"))
    made.header.scales, made.header.offsets = np.full(3, 1e-3), OFFSET
    made.x, made.y, made.z = (one.elements[name] for name in "xyz")
    numbers = np.arange(50)
    given = {
        "intensity": numbers.astype(np.uint16), "user_data": (numbers + 3).astype(np.uint8),
        "point_source_id": (numbers * 7).astype(np.uint16), "number_of_returns": (numbers % 5 + 1).astype(np.uint8),
        "return_number": (numbers % 3 + 1).astype(np.uint8), "scan_angle_rank": (numbers - 25).astype(np.int8),
        "gps_time": numbers / 7, "red": np.full(50, 700, np.uint16), "green": numbers.astype(np.uint16),
        "blue": np.zeros(50, np.uint16),
    }  # fmt: skip
    made.add_extra_dim(laspy.ExtraBytesParams(name="height", type=np.float32))
    given["height"] = (numbers / 3).astype(np.float32)
    for name, values in given.items():
        made[name] = values
    made.header.vlrs.append(laspy.VLR("someone", 12, "a note", b"text"))
    path.parent.mkdir(exist_ok=True)
    made.write(path)
    return given


@pytest.mark.parametrize(("write", "suffix"), [(write_ply, ".ply"), (write_pcd, ".pcd")])
def test_all_that_a_survey_says_of_a_point_stands_in_other_formats_too(
    write: Callable[[Path, DenseAnswer], str], suffix: str, tmp_path: Path
) -> None:
    one, path = on_millimetres(answer()), tmp_path / f"out{suffix}"
    given = survey_like(one, tmp_path / "in" / "tile.las")
    said = write(path, dataclasses.replace(one, sample=_sample_of(tmp_path / "in" / "tile.las")))
    columns = read_elements(path)["vertex"] if suffix == ".ply" else read_pcd_file(path).fields
    for name, values in given.items():
        np.testing.assert_array_equal(np.asarray(columns[name]).reshape(-1), values, err_msg=name)
    assert {np.asarray(columns[name]).dtype for name in ("red", "green", "blue")} == {np.dtype(np.uint16)}
    assert said == f"{suffix[1:].upper()} does not hold 1 records of its header (reference system, ...) of the file"
    again = {".ply": write_ply, ".pcd": write_pcd}[suffix]
    (tmp_path / "second").mkdir()
    path.rename(tmp_path / "second" / path.name)
    own = _sample_of(tmp_path / "second" / path.name)
    assert again(path, dataclasses.replace(one, sample=own)) == ""  # its own format holds all


def test_each_file_of_a_folder_is_answered_in_its_own_format(tmp_path: Path) -> None:
    """And what a format cannot hold is said in the row, in one sentence each."""
    one = on_millimetres(answer())
    survey_like(one, tmp_path / "in" / "b.las")
    write_ply(tmp_path / "in" / "a.ply", one)
    write_pcd(tmp_path / "in" / "c.pcd", one)
    registered = registry.default()
    formats = dense_writers(registered, "pointcloud", "point", "pointcloud/scene")
    chosen = dense_writer(registered, "pointcloud", "point", "las", "pointcloud/scene")
    reader = open_data(registered, str(tmp_path / "in"), domain="pointcloud")[1]
    for folder, own in (("own", formats), ("las", ())):
        writer = FolderWriter(tmp_path / folder, {"a": folder}, chosen, own=own)
        for place in range(3):
            sample = reader[place]
            writer.write(DenseRow(sample.id, "ok", "", dataclasses.replace(one, sample=sample), {}), {})
        hole = dataclasses.replace(one, sample=reader[2], elements={**one.elements, "x": np.full(50, np.nan)})
        writer.write(DenseRow("hole", "ok", "", hole, {}), {})
        writer.finish()
    index = read_table(tmp_path / "own" / "index.csv")
    assert index["file"] == ["a.ply", "b.las", "c.pcd", "hole.pcd"]
    index = read_table(tmp_path / "las" / "index.csv")
    assert index["file"] == ["a.ply.las", "b.las", "c.pcd.las", ""]
    assert index["status"] == ["ok", "ok", "ok", "not_written"]
    refused = f"{reader[2].id} has points without coordinates, which LAS cannot hold; try: --format ply"
    assert index["reason"][3].startswith(refused)


def test_labels_of_a_sweep_are_aligned(tmp_path: Path) -> None:
    one = answer()
    one.outputs[7] = np.nan
    write_label(tmp_path / "000000.label", one)
    found = np.fromfile(tmp_path / "000000.label", np.uint32)
    wanted = expected(one)
    wanted[7] = 0
    np.testing.assert_array_equal(found, wanted)
    with pytest.raises(DataError, match="outside 0"):
        write_label(tmp_path / "x.label", answer(values=(70_000, 70_001, 70_002)))
    with pytest.raises(DataError, match="outside 0"):
        write_las(tmp_path / "x.las", answer(values=(300, 301, 302)))


def test_values_have_columns_of_their_own(tmp_path: Path) -> None:
    one = answer(offset=np.zeros(3))
    heights = DenseAnswer(
        one.sample, "point", one.outputs[:, :1], TargetSpec("h", "regression", "point"), (), one.elements
    )
    write_ply(tmp_path / "h.ply", heights)
    vertex = read_elements(tmp_path / "h.ply")["vertex"]
    np.testing.assert_allclose(vertex["value_0"], one.outputs[:, 0])
    assert vertex["x"].dtype == np.float32


@pytest.mark.parametrize(("count", "unit_m"), [(1500, 1.0), (4000, 0.001)])
def test_answers_of_a_shuffled_cloud_are_the_shuffled_answers(count: int, unit_m: float) -> None:
    """Through thinning and voxels and back: the answer belongs to the point, not to its place in the file."""
    sample = Rooms(RoomsConfig(scenes=1, points=count))[0]
    preprocessor = ScenePreprocessor(SceneConfig(unit_m=unit_m))
    width = int(preprocessor.facts()["input_width"])
    torch.manual_seed(0)
    encoder = SparseUNet(SparseUNetConfig(input_width=width)).eval()

    def features(batch: object) -> torch.Tensor:
        tokens = encoder(batch).tokens["voxel"]
        return tokens.values[tokens.source.clamp(min=0)].masked_fill((tokens.source < 0)[:, None], float("nan"))

    def answers(points: np.ndarray, colours: np.ndarray) -> np.ndarray:
        scene = Scene(points=points, colours=colours, viewpoint=sample.inputs.viewpoint / unit_m)
        one = Sample("s", scene)
        row = dense_row(
            features,
            preprocessor,
            PreparedRow(one, "s", preprocessor.prepare(one)),
            InferenceOptions(),
            "point",
            "pointcloud",
        )
        assert row.answer is not None
        np.testing.assert_array_equal(row.answer.elements["z"], points[:, 2].astype(np.float64))
        return row.answer.outputs

    points = (sample.inputs.points / np.float32(unit_m)).astype(np.float32)
    points[3] = np.nan  # a hole of an organised cloud keeps its place
    order = np.random.default_rng(1).permutation(len(points))
    plain = answers(points, sample.inputs.colours)
    shuffled = answers(points[order], sample.inputs.colours[order])
    assert np.isnan(plain[3]).all()
    assert np.isfinite(np.delete(plain, 3, 0)).all()
    np.testing.assert_array_equal(shuffled, plain[order])


def test_means_of_cells_do_not_depend_on_the_order_of_points() -> None:
    """To the last bit, in any unit: a mean that moves by one rounding can turn a normal round."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-4000, 4000, (20_000, 3)).astype(np.float32)
    order = rng.permutation(len(points))
    config = SceneConfig(unit_m=0.001, grid_m=0.5)
    plain, cell, _ = thinned(points, config)
    other, moved, _ = thinned(points[order], config)
    assert len(plain) < len(points) / 3
    np.testing.assert_array_equal(moved, cell[order])
    np.testing.assert_array_equal(other, plain)
    inside = points[cell == 0].astype(np.float64).mean(0) * 0.001
    np.testing.assert_allclose(plain[0], inside, rtol=0, atol=1e-9)


def sweep(points: int) -> Scene:
    """Rings of a rotating sensor over a street with walls on both sides."""
    rng = np.random.default_rng(0)
    angle = np.tile(np.linspace(-np.pi, np.pi, points // 60, endpoint=False), 60)
    pitch = np.repeat(np.deg2rad(np.linspace(-24.0, 2.0, 60)), points // 60)
    ground = np.where(pitch < -0.01, 1.7 / np.tan(np.maximum(-pitch, 0.01)), 80.0)
    reach = np.minimum(np.minimum(ground, 8.0 / np.maximum(np.abs(np.sin(angle)), 0.1)), 60.0)
    xyz = np.stack([reach * np.cos(angle), reach * np.sin(angle), reach * np.tan(pitch)], 1)
    xyz += rng.normal(0, 0.01, xyz.shape)
    return Scene(points=xyz.astype(np.float32), intensity=rng.random(len(xyz)).astype(np.float32))


def test_a_sweep_is_labelled_within_seconds_of_one_core(tmp_path: Path) -> None:
    """From points to a ``.label`` file; a sweep of 120,000 points has ten seconds (measured: 0.9 s)."""
    scene = sweep(120_000)
    preprocessor = ScenePreprocessor(LIDAR_SCENE)
    config = fac_recipe.lidar().encoder.config
    encoder = SparseUNet(dataclasses.replace(config, input_width=preprocessor.facts()["input_width"])).eval()
    target = TargetSpec("semantic", "class", "point", names=tuple("abcde"))
    settings = DenseClassificationConfig(tokens="voxel", width=encoder.level_widths["voxel"])
    task = DenseClassification(settings, encoder, target).eval()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    started = time.process_time()
    one = Sample("000000", scene)
    row = dense_row(
        lambda batch: task.predict(task(batch)), preprocessor, PreparedRow(one, "000000", preprocessor.prepare(one)),
        InferenceOptions(), "point", "pointcloud", target, tuple(range(5)),
    )  # fmt: skip
    assert row.answer is not None
    write_label(tmp_path / "000000.label", row.answer)
    seconds = time.process_time() - started
    torch.set_num_threads(threads)
    assert (tmp_path / "000000.label").stat().st_size == 4 * len(scene.points)
    assert seconds < 10.0


@pytest.mark.parametrize(
    ("write", "suffix", "free"),
    [(write_ply, ".ply", -1), (write_pcd, ".pcd", -1), (write_las, ".las", 254), (write_label, ".label", 65_535)],
)
def test_a_point_without_an_answer_is_no_point_of_class_0(
    write: object, suffix: str, free: int, tmp_path: Path
) -> None:
    if suffix == ".las":
        pytest.importorskip("laspy", reason="LAS is an optional format")
    one = answer(values=(0, 255, 10))
    one.outputs[7] = np.nan
    path = tmp_path / f"cloud{suffix}"
    write(path, one)  # type: ignore[operator]
    if suffix == ".label":
        labels = np.fromfile(path, np.uint32)
    else:
        labels = next(v for name, v in load_scene(path).labels.items() if name in ("label", "classification"))
    wanted = np.asarray([0, 255, 10])[np.nan_to_num(one.outputs).argmax(1)]
    wanted[7] = free
    np.testing.assert_array_equal(labels, wanted)


def own_columns(one: DenseAnswer) -> dict[str, np.ndarray]:
    """Columns of a user's file, in an order and with types of its own; two have names that answers have, too."""
    points = {name: one.elements[name] for name in "xyz"}
    steps = np.arange(50)
    return {
        "ring": (steps % 16).astype(np.uint16), **points, "time": steps / 7, "reflectance": steps.astype(np.float32),
        "nx": np.full(50, 0.6, np.float32), "red": (steps * 3).astype(np.uint8), "label": (steps % 5).astype(np.int32),
    }  # fmt: skip


def test_a_ply_file_keeps_what_it_has(tmp_path: Path) -> None:
    """Order, types, faces and remarks of the user's file; the answer's label gets another name, and that is said."""
    one, (source, out) = answer(), (tmp_path / "in" / "scan.ply", tmp_path / "out" / "scan.ply")
    source.parent.mkdir()
    out.parent.mkdir()
    own = own_columns(one)
    vertex = Element("vertex", 50, [Property(name, values.dtype.str[1:]) for name, values in own.items()])
    faces = Lists(np.asarray([3, 4, 3]), np.arange(10, dtype=np.int32))
    face = Element("face", 3, [Property("vertex_indices", "i4", "u1")])
    columns = {"vertex": own, "face": {"vertex_indices": faces}}
    source.write_bytes(ply_bytes(PlyFile([vertex, face], columns, ["comment EPSG:25832"])))
    write_ply(out, dataclasses.replace(one, sample=_sample_of(source)))
    file = read_ply_file(out)
    found = file.columns["vertex"]
    assert list(found)[:9] == list(own)
    for name, values in own.items():
        kept = found[name]
        assert isinstance(kept, np.ndarray)
        assert kept.dtype == values.dtype
        np.testing.assert_array_equal(kept, values)
    new = ["predicted_label", "probability", "predicted_red", "predicted_green", "predicted_blue"]
    assert list(found)[9:] == new
    np.testing.assert_array_equal(found["predicted_label"], expected(one))
    np.testing.assert_allclose(found["probability"], one.outputs.max(1))
    corners = file.columns["face"]["vertex_indices"]
    assert isinstance(corners, Lists)
    np.testing.assert_array_equal(corners.values, np.arange(10))
    assert file.remarks[:2] == [
        "comment EPSG:25832",
        "comment predicted_label is what was predicted, label the file's own",
    ]
    write_ply(tmp_path / "again.ply", dataclasses.replace(one, sample=_sample_of(out)))  # an answer beside an answer
    twice = list(read_elements(tmp_path / "again.ply")["vertex"])
    assert twice[14:16] == ["predicted_label_2", "predicted_probability"]


def test_a_pcd_file_keeps_what_it_has(tmp_path: Path) -> None:
    """An organised cloud with packed colours and a field of several numbers; a hole keeps its place."""
    one, source, out = answer(offset=np.zeros(3)), tmp_path / "in" / "scan.pcd", tmp_path / "out.pcd"
    source.parent.mkdir()
    own = own_columns(one) | {"rgb": np.arange(50, dtype=np.uint32).view(np.float32), "fpfh": np.ones((50, 33), "f4")}
    for name in "xyz":
        own[name] = own[name].astype(np.float32)
        own[name][7] = np.nan
    del own["red"]
    given = {"WIDTH": ["10"], "HEIGHT": ["5"], "VIEWPOINT": ["1", "2", "3", "1", "0", "0", "0"]}
    source.write_bytes(pcd_bytes(own, given))
    one.outputs[7] = np.nan
    elements = {name: own[name].astype(np.float64) for name in "xyz"}
    write_pcd(out, dataclasses.replace(one, sample=_sample_of(source), elements=elements))
    found = read_pcd_file(out)
    assert [found.header[name] for name in given] == list(given.values())
    assert list(found.fields) == [*own, "predicted_label", "probability"]
    for name, values in own.items():
        assert found.fields[name].dtype == values.dtype
        assert found.fields[name].tobytes() == values.tobytes()
    wanted = expected(one)
    wanted[7] = 0
    np.testing.assert_array_equal(found.fields["predicted_label"][:, 0], wanted)


def _sample_of(path: Path) -> Sample:
    """As our own reader gives it."""
    sample: Sample = open_data(registry.default(), str(path.parent), domain="pointcloud")[1][0]
    return sample


@pytest.mark.parametrize(("write", "suffix"), [(write_ply, ".ply"), (write_pcd, ".pcd"), (write_las, ".las")])
def test_a_text_file_s_columns_stand_beside_the_answer_in_any_format(
    write: object, suffix: str, tmp_path: Path
) -> None:
    if suffix == ".las":
        pytest.importorskip("laspy", reason="LAS is an optional format")
    one, source = answer(), tmp_path / "in" / "scan.csv"
    source.parent.mkdir()
    own = own_columns(one)
    rows = zip(*own.values(), strict=True)
    source.write_text("\n".join([",".join(own), *(",".join(f"{float(v):.6f}" for v in row) for row in rows)]))
    path = tmp_path / f"out{suffix}"
    write(path, dataclasses.replace(one, sample=_sample_of(source)))  # type: ignore[operator]
    if suffix == ".las":
        import laspy

        found = {
            name: np.asarray(laspy.read(path)[name]) for name in ("ring", "time", "reflectance", "own_red", "label")
        }
        np.testing.assert_array_equal(laspy.read(path).classification, expected(one))
        found["red"] = found.pop("own_red")
    else:
        columns = read_elements(path)["vertex"] if suffix == ".ply" else read_pcd_file(path).fields
        found = {
            name: np.asarray(columns[name]).reshape(-1) for name in ("ring", "time", "reflectance", "red", "label")
        }
        np.testing.assert_array_equal(np.asarray(columns["predicted_label"]).reshape(-1), expected(one))
    for name, values in found.items():
        np.testing.assert_allclose(values, own[name], atol=1e-5, err_msg=name)
    assert suffix != ".ply" or found["red"].dtype == np.uint8


def test_a_file_of_other_points_gives_nothing(tmp_path: Path) -> None:
    """Written anew since the prediction began, or gone: the answer is written about the points that were answered."""
    one, source = answer(), tmp_path / "in" / "scan.ply"
    source.parent.mkdir()
    own = own_columns(one)
    vertex = Element("vertex", 50, [Property(name, values.dtype.str[1:]) for name, values in own.items()])
    source.write_bytes(ply_bytes(PlyFile([vertex], {"vertex": own})))
    sample = _sample_of(source)
    source.write_bytes(ply_bytes(PlyFile([vertex], {"vertex": {name: one[::-1] for name, one in own.items()}})))
    for path in (tmp_path / "other.ply", tmp_path / "gone.ply"):
        write_ply(path, dataclasses.replace(one, sample=sample))
        assert list(read_elements(path)["vertex"])[:5] == ["x", "y", "z", "label", "probability"]
        source.unlink(missing_ok=True)
