"""PLY files of every kind, and damaged ones, through our own reader."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import trimesh

from repcore.errors import ItemError
from repcore_pointcloud.formats.meshes import read_ply
from repcore_pointcloud.formats.ply import Element, Lists, PlyFile, Property, ply_bytes, read_elements, read_ply_file
from repcore_pointcloud.formats.reading import read_points

HEADER = """ply
format {form} 1.0
comment made by a test
obj_info nothing
element camera 2
property double time
element vertex {points}
property float x
property float y
property float z
property uchar red
property list uchar int neighbours
property int16 label
element face {faces}
property list uchar int vertex_indices
property uchar flags
end_header
"""
FACES = [[0, 1, 2], [0, 2, 3, 1], [3, 2, 1], [0, 1, 2, 3, 4]] * 40  # lists of changing length, many runs


def vertices() -> tuple[np.ndarray, np.ndarray, list[list[int]], np.ndarray]:
    rng = np.random.default_rng(0)
    xyz = rng.normal(size=(200, 3)).astype(np.float32)
    near = [rng.integers(0, 200, size=rng.integers(0, 4)).tolist() for _ in range(200)]
    return xyz, rng.integers(0, 256, 200), near, rng.integers(-300, 300, 200)


def content(form: str, newline: str = "\n") -> bytes:
    xyz, red, near, label = vertices()
    header = HEADER.format(form=form, points=len(xyz), faces=len(FACES)).replace("\n", newline).encode()
    if form == "ascii":
        lines = ["0.5", "1.5"]
        lines += [
            " ".join([*(repr(float(v)) for v in p), str(r), str(len(n)), *map(str, n), str(c)])
            for p, r, n, c in zip(xyz, red, near, label, strict=True)
        ]
        lines += [" ".join(map(str, [len(face), *face, 7])) for face in FACES]
        return header + (newline.join(lines) + newline).encode()
    order = "<" if "little" in form else ">"
    body = struct.pack(order + "2d", 0.5, 1.5)
    for p, r, n, c in zip(xyz, red, near, label, strict=True):
        body += struct.pack(f"{order}3fBB{len(n)}ih", *map(float, p), int(r), len(n), *n, int(c))
    for face in FACES:
        body += struct.pack(f"{order}B{len(face)}iB", len(face), *face, 7)
    return header + body


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_every_form_gives_the_same_values(form: str, newline: str, tmp_path: Path) -> None:
    path = tmp_path / "mesh.ply"
    path.write_bytes(content(form, newline))
    found = read_elements(path)
    xyz, red, near, label = vertices()
    vertex = found["vertex"]
    assert list(found) == ["camera", "vertex", "face"]
    np.testing.assert_array_equal(found["camera"]["time"], [0.5, 1.5])
    for axis, name in enumerate("xyz"):
        np.testing.assert_array_equal(vertex[name], xyz[:, axis])
    np.testing.assert_array_equal(vertex["red"], red)
    np.testing.assert_array_equal(vertex["label"], label)
    kinds = [one.dtype.str[1:] for one in vertex.values() if isinstance(one, np.ndarray)]
    assert kinds == ["f4", "f4", "f4", "u1", "i2"]
    lists = vertex["neighbours"]
    assert isinstance(lists, Lists)
    assert [one.tolist() for one in lists.each()] == near
    corners = found["face"]["vertex_indices"]
    assert isinstance(corners, Lists)
    assert [one.tolist() for one in corners.each()] == FACES
    assert (found["face"]["flags"] == 7).all()
    raw = read_ply(path)
    assert raw.faces is not None
    assert len(raw.faces) == 40 * (1 + 2 + 1 + 3)
    assert "neighbours" not in raw.columns


def test_another_library_writes_what_is_read_and_reads_what_is_written(tmp_path: Path) -> None:
    box = trimesh.creation.box((1, 2, 3))
    for encoding in ("ascii", "binary"):
        (tmp_path / f"{encoding}.ply").write_bytes(trimesh.exchange.ply.export_ply(box, encoding=encoding))
        raw = read_ply(tmp_path / f"{encoding}.ply")
        np.testing.assert_allclose(np.stack([raw.columns[one] for one in "xyz"], 1), box.vertices, atol=1e-6)
        np.testing.assert_array_equal(raw.faces, box.faces)
    table = np.zeros(5, [("x", "f8"), ("y", "f8"), ("z", "f8"), ("label", "i4"), ("red", "u1")])
    table["x"], table["label"], table["red"] = np.arange(5) + 448_000.123, [3, -1, 7, 70_000, 0], [0, 50, 100, 200, 255]
    fields = {name: table[name] for name in table.dtype.names or ()}
    vertex = Element("vertex", 5, [Property(name, table.dtype[name].str[1:]) for name in fields])
    (tmp_path / "own.ply").write_bytes(ply_bytes(PlyFile([vertex], {"vertex": fields})))
    found = read_elements(tmp_path / "own.ply")["vertex"]
    assert all((found[name] == table[name]).all() for name in table.dtype.names or ())
    cloud = trimesh.load(tmp_path / "own.ply", process=False)
    np.testing.assert_allclose(cloud.vertices[:, 0], table["x"])


@pytest.mark.parametrize("form", ["ascii", "binary_big_endian"])
def test_a_whole_file_is_written_as_it_was_read(form: str, tmp_path: Path) -> None:
    """Lists of several lengths, several elements, remarks, and an element without rows."""
    (tmp_path / "a.ply").write_bytes(
        content(form).replace(b"end_header", b"comment made in \xb5m\nelement none 0\nproperty int no\nend_header")
    )
    file = read_ply_file(tmp_path / "a.ply")
    (tmp_path / "b.ply").write_bytes(ply_bytes(file))
    again = read_ply_file(tmp_path / "b.ply")
    assert again.remarks == file.remarks
    assert "comment made in \xb5m" in file.remarks
    assert again.elements == file.elements
    for name, columns in file.columns.items():
        for key, values in columns.items():
            other = again.columns[name][key]
            if isinstance(values, Lists):
                assert isinstance(other, Lists)
                np.testing.assert_array_equal(other.counts, values.counts)
                values, other = values.values, other.values
            assert isinstance(other, np.ndarray)
            assert other.dtype == values.dtype
            np.testing.assert_array_equal(other, values)


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.8, 0.97])
def test_a_file_that_is_cut_off_is_said_to_be(form: str, share: float, tmp_path: Path) -> None:
    whole = content(form)
    path = tmp_path / "cut.ply"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ItemError, match=r"cut off|end_header|cannot be read"):
        read_ply(path)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (b"element vertex 200", b"element vertex 999999999999", "is cut off"),  # nothing of that size is allocated
        (b"element face 160", b"element face 400000000", "is cut off"),
        (b"property float x", b"property floaty x", "a line 'property floaty x'"),
        (b"format ascii 1.0", b"format klingon 1.0", "a line 'format klingon 1.0'"),
        (b"format ascii 1.0\n", b"", "no line 'format'"),
        (b"end_header", b"end_of_it", "no line 'end_header'"),
        (b"ply\n", b"plz\n", "begin with a line 'ply'"),
        (b"\n0.5\n", b"\nhalf\n", "not all of its data are numbers"),
        (b" 7\n", b" 700\n", "flags=700 is no uchar"),
        (b"\n3 0 1 2 7\n", b"\n-3 0 1 2 7\n", "a list 'vertex_indices' of -3 numbers"),
    ],
)
def test_damage_is_named(old: bytes, new: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.ply"
    whole = content("ascii")
    assert old in whole
    path.write_bytes(whole.replace(old, new))
    with pytest.raises(ItemError, match=told) as raised:
        read_points(path)
    assert raised.value.status == "corrupt"


def test_a_binary_list_longer_than_the_file_is_damage(tmp_path: Path) -> None:
    header = "ply\nformat binary_little_endian 1.0\nelement face 1\nproperty list uint int vertex_indices\nend_header\n"
    path = tmp_path / "list.ply"
    path.write_bytes(header.encode() + struct.pack("<I", 4_000_000_000))
    with pytest.raises(ItemError, match="a list 'vertex_indices' of 4e"):
        read_ply(path)
    empty = tmp_path / "none.ply"
    empty.write_bytes(b"ply\nformat ascii 1.0\nelement vertex 0\nproperty float x\nend_header\n")
    assert read_elements(empty)["vertex"]["x"].shape == (0,)


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian"])
def test_more_points_than_the_header_says_are_refused_and_those_missing_are_counted(form: str, tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(200, 3)).astype("<f4")
    for said in (120, 200, 240):
        head = f"ply\nformat {form} 1.0\nelement vertex {said}\n"
        head += "".join(f"property float {axis}\n" for axis in "xyz") + "end_header\n"
        lines = "".join(" ".join(map(str, point)) + "\n" for point in points).encode()
        path = tmp_path / f"{said}.ply"
        path.write_bytes(head.encode() + (lines if form == "ascii" else points.tobytes() + b"\n"))
    assert len(read_points(tmp_path / "200.ply")) == 200
    with pytest.raises(ItemError, match="more than the 120 rows of 'vertex' of its header"):
        read_points(tmp_path / "120.ply")
    with pytest.raises(ItemError, match="40 of 240 rows of 'vertex' are missing" if form == "ascii" else "is cut off"):
        read_points(tmp_path / "240.ply")
