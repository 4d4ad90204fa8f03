"""Runs of FAC: ``tiny`` for generated rooms on a CPU, ``lidar`` and ``tabletop`` for real scans on a CPU, ``paper``.

``lidar`` and ``tabletop`` are what other recipes call ``small``. One preset cannot be both: voxels of 20 cm and of
1 cm, and which axis points up, belong to the sensor and are not read off the points.
"""

from __future__ import annotations

from dataclasses import replace

from repcore.config import DataConfig, OptimiserConfig, Part, RunConfig, ScheduleConfig, TrainerConfig
from repcore_pointcloud.configs.fac import FacConfig, SceneMocoConfig
from repcore_pointcloud.configs.scenes import LIDAR_PAIR, LIDAR_SCENE, RoomsConfig, SceneConfig, ScenePairConfig
from repcore_pointcloud.configs.sparse_unet import NARROW, RES16UNET34C

ENCODER, OBJECTIVE, MOCO = "pointcloud/sparse-unet", "pointcloud/fac", "pointcloud/scene-moco"
ROOMS, SCENE, PAIR = "pointcloud/rooms", "pointcloud/scene", "pointcloud/scene-pair"

CALIBRATED = FacConfig(negatives="regions", momentum=0.99)
"""Region means as negatives and a fast key encoder: what a run of minutes needs."""


def tiny() -> RunConfig:
    """A narrow U-Net on rooms at 5 cm, minutes on one thread."""
    return RunConfig(
        encoder=Part(ENCODER, NARROW),
        objective=Part(OBJECTIVE, CALIBRATED),
        dataset=Part(ROOMS, RoomsConfig()),
        preprocessor=Part(SCENE, SceneConfig(background_share_above=0.04)),
        views=Part(PAIR, ScenePairConfig(window_points=6000, view_points=6000)),
        data=DataConfig(batch_size=2, validation_limit=8),
        optimiser=OptimiserConfig(lr=3e-3, weight_decay=0.01),
        schedule=ScheduleConfig(name="cosine", warmup_steps=10),
        trainer=TrainerConfig(steps=300),
    )


def lidar() -> RunConfig:
    """Street scans of a rotating LiDAR at 20 cm, small: minutes of one core; bring your own data.

    Size of the views and temperature were chosen by `benchmarks/scenes_learning.py --choose`.
    """
    return replace(
        tiny(),
        preprocessor=Part(SCENE, LIDAR_SCENE),
        views=Part(PAIR, LIDAR_PAIR),
        data=DataConfig(batch_size=1, validation_share=0.0),
        trainer=TrainerConfig(steps=300),
    )


def tabletop() -> RunConfig:
    """Views of a depth camera on tables, y down, at 1 cm, small: a minute of one core; bring your own data."""
    scene = SceneConfig(
        voxel_size_m=0.01, up="-y", sensor_at_origin=True, height_scale_m=0.3, background_extent_above=0.12
    )
    return replace(tiny(), preprocessor=Part(SCENE, scene), views=Part(PAIR, ScenePairConfig(window_points=8000)))


def paper() -> RunConfig:
    """Res16UNet34C on indoor scenes at 2.5 cm, SGD; bring your own data.

    The paper's own schedule is not public: that of PointContrast and CSC stands in.
    """
    return RunConfig(
        encoder=Part(ENCODER, RES16UNET34C),
        objective=Part(OBJECTIVE, FacConfig()),
        dataset=Part(ROOMS, RoomsConfig(points=40_000)),
        preprocessor=Part(SCENE, SceneConfig(voxel_size_m=0.025, channels=("colour",))),
        views=Part(PAIR, ScenePairConfig()),
        data=DataConfig(batch_size=32),
        optimiser=OptimiserConfig(name="sgd", lr=0.1, momentum=0.9, weight_decay=1e-4, clip_norm=None),
        schedule=ScheduleConfig(name="cosine"),
        trainer=TrainerConfig(steps=60_000),
    )


def scene_moco() -> RunConfig:
    """The public repository's scene-level contrast, voxel format, at the size of ``tiny``."""
    return replace(tiny(), objective=Part(MOCO, SceneMocoConfig(queue_places=256, momentum=0.99)))
