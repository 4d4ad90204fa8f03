"""Tiny settings and batches of every part for scenes, for conformance checks and documentation."""

from __future__ import annotations

import numpy as np

from repcore.interfaces import Batch, Progress
from repcore_pointcloud.configs.fac import FacConfig, SceneMocoConfig
from repcore_pointcloud.configs.scenes import RoomsConfig, SceneConfig, ScenePairConfig
from repcore_pointcloud.configs.sparse_unet import SparseUNetConfig
from repcore_pointcloud.datasets.scene_rooms import Rooms
from repcore_pointcloud.preprocessors.scene import ScenePreprocessor
from repcore_pointcloud.views.scene_pair import ScenePair

SCENE = SceneConfig(voxel_size_m=0.15, minimum_region_size=15, merge_constant=0.01, background_thickness_below=0.06)
CHANNELS = 6


def rooms() -> RoomsConfig:
    """Six small rooms."""
    return RoomsConfig(scenes=6, points=1200)


def sparse_unet() -> tuple[SparseUNetConfig, Batch]:
    """One stage down and one up over two rooms."""
    preprocessor, reader = ScenePreprocessor(SCENE), Rooms(rooms())
    items = [preprocessor.prepare(reader[row])[0] for row in range(2)]
    config = SparseUNetConfig(
        input_width=CHANNELS, stem_width=8, stem_kernel=3, stage_widths=(12, 8), stage_blocks=(1, 1)
    )
    return config, preprocessor.collate(items)


def fac() -> tuple[FacConfig, Batch]:
    """Few draws from two rooms."""
    return FacConfig(anchors=8, positives=4, negatives_per_positive=6, candidates=60, top_k=3, momentum=0.9), pairs()


def scene_moco() -> tuple[SceneMocoConfig, Batch]:
    """A short queue."""
    return SceneMocoConfig(queue_places=16, hidden_width=8, output_width=8), pairs()


def pairs() -> Batch:
    """Two views of each of two rooms."""
    preprocessor, reader = ScenePreprocessor(SCENE), Rooms(rooms())
    views = ScenePair(ScenePairConfig(window_points=800, view_points=800), preprocessor)
    built = [views.build(row, reader, np.random.default_rng(row), Progress(0, 1)) for row in range(2)]
    collated = {name: preprocessor.collate([one[name] for one in built]) for name in ("a", "b")}
    return Batch(inputs=None, size=2, views=collated)
