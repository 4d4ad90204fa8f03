"""Runs of restoring with places: ``tiny`` and ``small``, both for a CPU."""

from __future__ import annotations

from dataclasses import replace

from repcore.config import DataConfig, OptimiserConfig, Part, RunConfig, ScheduleConfig, TrainerConfig
from repcore_medical3d.configs.adam_v2 import ConvNextConfig
from repcore_medical3d.configs.restore import PlacedCubeConfig, RestoreConfig
from repcore_medical3d.configs.volumes import PhantomsConfig, VolumeConfig

CONVNEXT, RESTORE, CUBE = "medical3d/convnext", "medical3d/restore", "medical3d/placed-cube"
PHANTOMS, VOLUMES = "medical3d/phantoms", "medical3d/volumes"


def tiny() -> RunConfig:
    """``small`` with fewer steps: about a minute."""
    return replace(small(), trainer=TrainerConfig(steps=400))


def small() -> RunConfig:
    """Cubes of 32 voxels, a ConvNeXt of three stages whose first one sees every second voxel: minutes of one core.

    Chosen on training scans of one set of hippocampus crops, read with the frozen encoder and a fresh decoder. Blocks
    count from the start (``layer_scale=1``): with 1e-6 so short a run would leave them what they were.
    """
    encoder = ConvNextConfig(
        spatial_dims=3, depths=(1, 1, 1), widths=(24, 48, 96), kernel=3, stem_stride=2, layer_scale=1.0,
        input_channels=1, mean=(0.3,), deviation=(0.25,),
    )  # fmt: skip
    return RunConfig(
        encoder=Part(CONVNEXT, encoder),
        objective=Part(RESTORE, RestoreConfig()),
        dataset=Part(PHANTOMS, PhantomsConfig()),
        preprocessor=Part(VOLUMES, VolumeConfig(crop_edge=32)),
        views=Part(CUBE, PlacedCubeConfig()),
        data=DataConfig(batch_size=2),
        optimiser=OptimiserConfig(lr=2e-3, weight_decay=0.05, clip_norm=1.0),
        schedule=ScheduleConfig(name="cosine", warmup_steps=30, final_share=0.01),
        trainer=TrainerConfig(steps=1500),
    )
