"""Points that people hold in Python."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from repcore.data.given import given_reader
from repcore.errors import DataError
from repcore_pointcloud.preprocessors.given import cloud_from, scene_from

POINTS = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)


def test_a_table_is_one_cloud_and_a_batch_many(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "one.xyz", POINTS)
    graph = SimpleNamespace(pos=torch.from_numpy(POINTS), detach=None)  # as Data of torch-geometric has both
    given = (POINTS, torch.from_numpy(POINTS), SimpleNamespace(points=POINTS), graph, tmp_path / "one.xyz")
    for one in given:
        np.testing.assert_allclose(cloud_from(one).points, POINTS, atol=1e-5)
    for other in (POINTS[:, :2], POINTS[0], np.stack([POINTS, POINTS]), "nothing.xyz", [1, 2, 3], 5, None):
        assert cloud_from(other) is None
    assert cloud_from(SimpleNamespace(pos=None, detach=None)) is None
    opened = [
        given_reader(one, lambda *_: pytest.fail("opened"), cloud_from) for one in (POINTS, POINTS[None].repeat(4, 0))
    ]
    assert [len(one) for one in opened] == [1, 4]


def test_a_scene_keeps_far_coordinates_and_colours() -> None:
    far = POINTS.astype(np.float64) + np.array([500_000, 5_400_000, 100])
    scene = scene_from(np.concatenate([far, np.full((50, 3), 255.0)], axis=1))
    np.testing.assert_allclose(scene.world, far, atol=1e-5)
    assert scene.colours.max() == 1.0
    assert scene_from(POINTS[:, :2]) is None


def test_a_frame_of_coordinates_is_one_cloud_and_other_columns_are_none() -> None:
    def refuses(path: Path, wanted: object) -> object:
        raise DataError(f"no reader recognises '{path}'", found="a binary file")

    colours = np.full((50, 3), 255.0)
    frame = pd.DataFrame(np.concatenate([colours, POINTS[:, ::-1]], axis=1), columns=["red", "G", "b", "Z", "y", "x"])
    for one in (frame[["y", "x", "Z"]], pl.from_pandas(frame[["Z", "y", "x"]]), frame):
        reader = given_reader(one, refuses, cloud_from, {})  # type: ignore[arg-type]
        assert len(reader) == 1
        np.testing.assert_allclose(reader[0].inputs.points, POINTS)
    assert scene_from(frame).colours.max() == 1.0
    for wrong in (frame[["x", "y"]], frame.assign(label=1), frame.rename(columns={"b": "k"})):
        assert cloud_from(wrong) is None
        with pytest.raises(DataError, match="data frame with columns x, y, z") as told:
            given_reader(wrong, refuses, cloud_from, {})  # type: ignore[arg-type]
        assert "binary" not in str(told.value)
