"""Commas inside the numbers of point files: decimals, thousands, or asked for (K2)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from repcore.errors import ItemError
from repcore_pointcloud.formats.reading import read_points
from repcore_pointcloud.formats.text import looks_like_points

XYZ = np.random.default_rng(0).integers(1, 5000, (300, 3)).astype(float)


def _write(path: Path, sign: str, header: str, form: str, points: np.ndarray = XYZ) -> Path:
    lines = [sign.join(format(value, form) for value in point) for point in points]
    path.write_text(header + "\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    ("sign", "header", "suffix"), [(";", "x;y;z\n", ".csv"), ("\t", "", ".txt"), (" ", "", ".xyz")]
)
def test_thousands_in_whole_coordinates(tmp_path: Path, sign: str, header: str, suffix: str) -> None:
    table = read_points(_write(tmp_path / f"a{suffix}", sign, header, ",.0f"))
    np.testing.assert_array_equal(table.xyz, XYZ)
    assert any("a comma stands before thousands" in note for note in table.notes)


def test_thousands_with_decimals_and_decimal_commas(tmp_path: Path) -> None:
    exact = XYZ + 0.25
    np.testing.assert_array_equal(read_points(_write(tmp_path / "a.csv", ";", "x;y;z\n", ",.2f", exact)).xyz, exact)
    commas = _write(tmp_path / "b.csv", ";", "x;y;z\n", ".3f", XYZ / 1000)
    commas.write_text(commas.read_text().replace(".", ","))
    np.testing.assert_allclose(read_points(commas).xyz, XYZ / 1000, rtol=0, atol=1e-12)


def test_what_no_cell_tells_is_asked_for(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.csv", ";", "x;y;z\n", ",.0f", XYZ + 1000)
    with pytest.raises(ItemError, match=r"may be \d\.\d{3} or \d{4}, and no cell tells; dataset.decimal="):
        read_points(path)
    np.testing.assert_array_equal(read_points(path, decimal="point").xyz, XYZ + 1000)
    np.testing.assert_allclose(read_points(path, decimal="comma").xyz, (XYZ + 1000) / 1000, rtol=0, atol=1e-12)


@pytest.mark.parametrize("form", [",.1f", ",.0f"])
def test_thousands_in_quotes_between_commas(tmp_path: Path, form: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x,y,z\n" + "".join(",".join(f'"{value:{form}}"' for value in point) + "\n" for point in XYZ))
    np.testing.assert_array_equal(read_points(path).xyz, XYZ)


def test_a_header_of_other_names_is_none_of_points(tmp_path: Path) -> None:
    path = tmp_path / "el.csv"
    path.write_text("source,target,graph,weight\n" + "".join(f"{row},{row + 1},0,1,2.5\n" for row in range(30)))
    assert not looks_like_points(path)


def test_colours_in_shares_after_normals(tmp_path: Path) -> None:
    colours = np.random.default_rng(1).integers(0, 256, (300, 3)) / 255
    rows = np.c_[XYZ / 100, np.tile([0.0, 0.0, 1.0], (300, 1)), colours]
    np.savetxt(tmp_path / "a.xyz", rows, fmt="%.6f")
    table = read_points(tmp_path / "a.xyz")
    assert table.normals is not None
    assert table.colours is not None
    np.testing.assert_allclose(table.colours, colours, atol=1e-5)


def test_cycles_of_engines_are_no_points(tmp_path: Path) -> None:
    lines = [f"{unit} {cycle} 0.25 0.5 {cycle / 7:.3f}" for unit in range(1, 5) for cycle in range(1, 40 + unit)]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    assert not looks_like_points(tmp_path / "a.txt")
    (tmp_path / "b.txt").write_text("\n".join(lines).replace("1 1 0.25", "1 3 0.25"))
    assert looks_like_points(tmp_path / "b.txt")


@pytest.mark.parametrize(("name", "values"), [("scan_id", "123"), ("frame", "012"), ("File name", ("a.ply", "b.ply"))])
def test_a_table_of_several_clouds_is_refused_with_the_column(
    tmp_path: Path, name: str, values: tuple[str, ...]
) -> None:
    path = tmp_path / "all.csv"
    lines = [",".join([values[row % len(values)], *map(str, point)]) for row, point in enumerate(XYZ[:60] + 0.5)]
    path.write_text(f"{name},x,y,z\n" + "\n".join(lines) + "\n")
    with pytest.raises(ItemError, match=f"column '{name}' tells {len(values)} clouds apart") as raised:
        read_points(path)
    assert raised.value.status == "several_clouds"
    assert len(read_points(path, columns=["x", "y", "z"])) == 60
    one = tmp_path / "one.csv"
    one.write_text(
        path.read_text().replace(f"\n{values[1]},", f"\n{values[0]},").replace("\n3,", "\n1,").replace("\n2,", "\n0,")
    )
    assert len(read_points(one)) == 60


def test_one_of_several_arrays_of_points_is_said(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", points=XYZ + 0.5, points_noisy=XYZ, normals=XYZ / 5000)
    table = read_points(tmp_path / "a.npz")
    np.testing.assert_array_equal(table.xyz, XYZ + 0.5)
    assert any("coordinates: array 'points', not 'points_noisy';" in note for note in table.notes)
    np.savez(tmp_path / "b.npz", points=XYZ + 0.5, normals=XYZ / 5000)
    assert not any("coordinates: array" in note for note in read_points(tmp_path / "b.npz").notes)
