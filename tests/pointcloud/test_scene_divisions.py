"""Blocks and sectors of one scan, and training looks at labelled parts."""

from __future__ import annotations

import numpy as np
import pytest

from repcore.errors import ConfigError
from repcore.interfaces import Sample
from repcore_pointcloud.configs.scenes import RoomsConfig, SceneConfig
from repcore_pointcloud.datasets.scene_rooms import Rooms
from repcore_pointcloud.formats.scene import Scene
from repcore_pointcloud.preprocessors.scene import ScenePreprocessor
from repcore_pointcloud.preprocessors.scene_divisions import blocks, sectors
from repcore_pointcloud.views.labelled_look import labelled_look

POINTS = np.asarray(
    [[1, 1, 5], [9, 1, 0], [11, 1, 0], [-1, -1, 0], [np.nan, 0, 0], [1, 29, 0], [10.4, 5, 0]], np.float32
)


def scan(
    offset: tuple[float, float, float] | None = None, viewpoint: tuple[float, float, float] | None = None
) -> Sample:
    moved = None if offset is None else np.asarray(offset)
    return Sample("s", Scene(POINTS, offset=moved, viewpoint=None if viewpoint is None else np.asarray(viewpoint)))


def test_blocks_are_squares_of_the_map() -> None:
    plain = ScenePreprocessor(SceneConfig())
    assert blocks(plain, scan(), "point", "10").tolist() == ["0_0", "0_0", "1_0", "-1_-1", "", "0_2", "1_0"]
    assert blocks(plain, scan(), "point", "10:1").tolist() == ["0_0", "0_0", "1_0", "-1_-1", "", "0_2", ""]
    assert blocks(plain, scan((10.0, 20.0, 0.0)), "point", "10")[:3].tolist() == ["1_2", "1_2", "2_2"]
    inches = ScenePreprocessor(SceneConfig(unit_m=0.5, up="y"))  # plane = x and z
    assert blocks(inches, scan(), "point", "5").tolist() == ["0_0", "0_0", "1_0", "-1_0", "", "0_0", "1_0"]
    for wrong in ("", "ten", "10:10", "-3", "10:-1"):
        with pytest.raises(ConfigError, match="blocks"):
            blocks(plain, scan(), "point", wrong)


def test_sectors_go_about_the_sensor() -> None:
    plain = ScenePreprocessor(SceneConfig())
    here = scan(viewpoint=(0.0, 0.0, 0.0))
    assert sectors(plain, here, "point", "4").tolist() == ["0", "0", "0", "2", "", "0", "0"]
    assert sectors(plain, here, "point", "8").tolist() == ["1", "0", "0", "5", "", "1", "0"]
    # half a gap of 2.2 m: points at (1, 1), (9, 1), (11, 1), (1, 29) lie 1 m from a border of quarters
    assert sectors(plain, here, "point", "4:2.2").tolist() == ["", "", "", "", "", "", "0"]
    assert set(sectors(plain, scan(), "point", "2")) == {"", "0", "1"}  # about the middle of the points
    with pytest.raises(ConfigError, match="no number of sectors"):
        sectors(plain, here, "point", "1")


def test_a_look_holds_the_labelled_points_of_one_part() -> None:
    room = Rooms(RoomsConfig(scenes=1, points=3000))[0]
    preprocessor = ScenePreprocessor(SceneConfig(voxel_size_m=0.1))
    labels = np.full(len(room.inputs.points), np.nan, np.float32)
    few = np.flatnonzero(room.inputs.points[:, 0] > 0.5)[::7]
    labels[few] = room.targets["semantic"][few]
    sample = Sample(room.id, room.inputs, {"semantic": labels})
    items = [labelled_look(preprocessor, sample, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    for one in items:
        found = one.values["labels"]["semantic"]
        assert 0.5 * len(few) < len(found) <= len(few)
        assert np.isfinite(found).all()
        assert len(found) == len(one.values["source"])
        assert one.values["source"].max() < len(one.values["coordinates"])
    np.testing.assert_array_equal(items[0].values["coordinates"], items[1].values["coordinates"])
    assert len(items[0].values["coordinates"]) != len(items[2].values["coordinates"])
    batch = preprocessor.collate(items[1:])
    assert (
        len(batch.targets["semantic"])
        == len(batch.inputs["source"])
        == sum(len(one.values["source"]) for one in items[1:])
    )
    # labels stay with their voxels: the most frequent class of a voxel is that of the points that fell into it
    heights = Sample(room.id, room.inputs, {"height": room.inputs.points[:, 2].copy()})
    look = labelled_look(preprocessor, heights, np.random.default_rng(3)).values
    channel = look["features"][look["source"], 1]  # height above the floor of a point's voxel
    assert np.corrcoef(channel, look["labels"]["height"])[0, 1] > 0.98
    nowhere = Sample(room.id, room.inputs, {"semantic": np.full(len(labels), np.nan)})
    assert len(labelled_look(preprocessor, nowhere, np.random.default_rng(0)).values["source"]) == 0
