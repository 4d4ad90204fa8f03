"""Runs of edges and places: ``tiny`` and ``small``, both for a CPU."""

from __future__ import annotations

from dataclasses import replace

from repcore.config import DataConfig, OptimiserConfig, Part, RunConfig, ScheduleConfig, TrainerConfig
from repcore_medical3d.configs.adam_v2 import ConvNextConfig
from repcore_medical3d.configs.edges_and_places import EdgesAndPlacesConfig
from repcore_medical3d.configs.images import ImageConfig, RadiographsConfig


def tiny() -> RunConfig:
    """``small`` with fewer steps: half a minute."""
    return replace(small(), trainer=TrainerConfig(steps=200))


def small() -> RunConfig:
    """Windows of 112 pixels of films of 224, a ConvNeXt of three stages that keeps place in its vector: minutes of one
    core.

    Chosen on training films of one set. Blocks count from the start (``layer_scale=1``): with 1e-6 so short a run would
    leave them what they were.
    """
    encoder = ConvNextConfig(depths=(1, 1, 2), widths=(32, 64, 128), layer_scale=1.0, pool_grid=4)
    return RunConfig(
        encoder=Part("medical3d/convnext", encoder),
        objective=Part("medical3d/edges-and-places", EdgesAndPlacesConfig()),
        dataset=Part("medical3d/radiographs", RadiographsConfig(edge=224)),
        preprocessor=Part("medical3d/image", ImageConfig(edge=224)),
        data=DataConfig(batch_size=8),
        optimiser=OptimiserConfig(lr=2e-3, weight_decay=0.05, clip_norm=1.0),
        schedule=ScheduleConfig(name="cosine", warmup_steps=30, final_share=0.01),
        trainer=TrainerConfig(steps=1000),
    )
