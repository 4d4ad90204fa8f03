"""The format of answers about elements follows that of the data; a legend says which colour is which class."""

from __future__ import annotations

from pathlib import Path

import pytest

from repcore import registry
from repcore.embedding.dense_files import dense_writer
from repcore.markup import safe_markup
from repcore.report.legend import legend


@pytest.mark.parametrize(
    ("names", "word", "expected"),
    [
        (["a.ply", "b.ply", "c.las"], None, "pointcloud/ply"),
        (["a.laz"], None, "pointcloud/las"),
        (["a.bin", "a.label", "b.bin", "b.label"], None, "pointcloud/label"),
        (["a.ply"], "pcd", "pointcloud/pcd"),
        (["a.npz"], None, "npz"),
    ],
)
def test_answers_are_written_as_the_data_is(tmp_path: Path, names: list[str], word: str | None, expected: str) -> None:
    pytest.importorskip("repcore_pointcloud")
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    found = dense_writer(registry.default(), "pointcloud", "point", word, "pointcloud/scene", beside=tmp_path)
    assert found.full_name.removeprefix("core/") == expected
    one = dense_writer(registry.default(), "pointcloud", "point", word, "pointcloud/scene", beside=tmp_path / names[0])
    assert one.full_name.removeprefix("core/") in (expected, "pointcloud/label")


def test_a_legend_survives_the_page() -> None:
    text = legend({"3 <liver>": (90, 190, 90), "7": (255, 0, 10)})
    assert text.count("<rect") == 2
    assert "rgb(90,190,90)" in text
    assert "3 &lt;liver&gt;" in text
    kept = safe_markup(text)
    assert "rgb(255,0,10)" in kept
    assert "&lt;liver&gt;" in kept
    assert legend({}) == ""
