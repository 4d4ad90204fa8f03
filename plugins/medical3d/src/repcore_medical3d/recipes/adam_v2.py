"""Runs of Adam-v2: ``tiny`` on a CPU in minutes, in 2-D and 3-D, and the published pre-training runs."""

from __future__ import annotations

from dataclasses import replace

from repcore.config import DataConfig, OptimiserConfig, Part, RunConfig, ScheduleConfig, TrainerConfig
from repcore_medical3d.configs.adam_v2 import (
    AdamV1Config,
    AdamV2Config,
    ConvNextConfig,
    ResNetConfig,
    ViewsConfig,
)
from repcore_medical3d.configs.images import ImageConfig, RadiographsConfig
from repcore_medical3d.configs.volumes import PhantomsConfig, VolumeConfig

CONVNEXT, RESNET = "medical3d/convnext", "medical3d/resnet"
ADAM_V2, ADAM_V1 = "medical3d/adam-v2", "medical3d/adam-v1"
IMAGE, VOLUMES = "medical3d/image", "medical3d/volumes"
PUBLISHED_BATCH = 512
STAGE_EPOCHS = {"localizability": 500.0, "joint": 265.0}


def tiny() -> RunConfig:
    """Small-data settings that do not collapse, calibrated on 160 chest films: few prototypes, a sharp teacher (0.02)
    that follows at 0.99, part and whole distances summed over the width so that they count, and weak changes of
    brightness (0.15): with the published 0.4 so small a network learns brightness, and all prototypes become alike."""
    return RunConfig(
        encoder=Part(CONVNEXT, ConvNextConfig(depths=(1, 1, 2, 1), widths=(16, 32, 48, 64), input_size=64)),
        objective=Part(ADAM_V2, _tiny_objective(2)),
        dataset=Part("medical3d/radiographs", RadiographsConfig()),
        preprocessor=Part(IMAGE, ImageConfig(edge=192)),
        data=DataConfig(batch_size=8),
        optimiser=OptimiserConfig(lr=1.5e-3, weight_decay=0.04, clip_norm=None),
        schedule=ScheduleConfig(name="cosine", warmup_steps=20, final_share=1e-3),
        trainer=TrainerConfig(steps=200),
    )


def tiny_3d() -> RunConfig:
    """The same in three dimensions: octants at half the size of the whole, predicted parts normalised one by one.

    Volumes come without statistics, so a mean and standard deviation of windowed scans are given here: without them all
    vectors are alike from the start, and the run collapses.
    """
    encoder = ConvNextConfig(
        spatial_dims=3, depths=(1, 1, 1), widths=(24, 48, 96), kernel=3, input_size=32, input_channels=1, mean=(0.3,),
        deviation=(0.25,),
    )  # fmt: skip
    objective = replace(_tiny_objective(3), teacher_momentum=0.996)
    return replace(
        tiny(),
        encoder=Part(CONVNEXT, encoder),
        objective=Part(ADAM_V2, objective),
        dataset=Part("medical3d/phantoms", PhantomsConfig()),
        preprocessor=Part(VOLUMES, VolumeConfig(crop_edge=48, coverage="centre")),
        optimiser=replace(tiny().optimiser, lr=7e-4),
        trainer=TrainerConfig(steps=100),
    )


def _tiny_objective(axes: int) -> AdamV2Config:
    views = ViewsConfig(
        global_size=64, local_size=32, local_views=4, granularity_shares=(25.0, 35.0, 40.0), blur=(0.1, 1.0),
        brightness=0.15, contrast=0.15, saturation=0.0, hue=0.0,
    )  # fmt: skip
    if axes == 3:
        views = replace(
            views, global_size=32, local_size=16, part_size=16, branching=(2, 2, 2), granularity=(0, 1),
            granularity_shares=(1.0, 1.0), warmup_granularity_shares=(1.0, 1.0), gamma=0.2,
        )  # fmt: skip
    return AdamV2Config(
        views=views, prototypes=512, hidden_width=128, bottleneck_width=64, teacher_temperature=0.02,
        teacher_temperature_start=0.02, teacher_momentum=0.99, part_whole_reduction="sum",
        decompose_norm="joint" if axes == 2 else "per_part", export="student",
    )  # fmt: skip


def paper_base() -> RunConfig:
    """Published ResNet-50 run in one go: 500 epochs of localizability, then 265 joint ones; bring ChestX-ray14."""
    return _paper(Part(RESNET, ResNetConfig(input_size=224)), AdamV2Config(passes="separate"))


def paper_large() -> RunConfig:
    """Published backbone of the large run, ConvNeXt-B, with the base run's settings (its own are not public)."""
    return _paper(Part(CONVNEXT, ConvNextConfig(input_size=224)), AdamV2Config())


def paper_warmup() -> RunConfig:
    """The localizability stage alone, with its own schedule."""
    config = paper_base()
    objective = AdamV2Config(passes="separate", warmup_share=1.0)
    return replace(
        config, objective=Part(ADAM_V2, objective), trainer=TrainerConfig(epochs=STAGE_EPOCHS["localizability"])
    )


def paper_joint() -> RunConfig:
    """The joint stage alone, with its own schedule; start it with ``--init-from`` the model of ``paper-warmup``."""
    config = paper_base()
    return replace(
        config,
        objective=Part(ADAM_V2, AdamV2Config(passes="separate")),
        trainer=TrainerConfig(epochs=STAGE_EPOCHS["joint"]),
    )


def _paper(encoder: Part, objective: AdamV2Config) -> RunConfig:
    """Source: the scripts of the public code: AdamW, peak 5e-4 x 512 / 256, 10 epochs of warm-up (of 75,312 images).

    Differs: both stages share one schedule of learning rate and weight decay; images enter at 512 pixels.
    """
    epochs = sum(STAGE_EPOCHS.values())
    share = STAGE_EPOCHS["localizability"] / epochs
    return RunConfig(
        encoder=encoder,
        objective=Part(ADAM_V2, replace(objective, warmup_share=share)),
        dataset=Part("medical3d/radiographs", RadiographsConfig(edge=512)),
        preprocessor=Part(IMAGE, ImageConfig(edge=512, input_channels=3, normalisation="imagenet")),
        data=DataConfig(batch_size=64, workers=4),
        optimiser=OptimiserConfig(lr=1e-3, weight_decay=0.04, final_weight_decay=0.4, clip_norm=None),
        schedule=ScheduleConfig(name="cosine", warmup_steps=10 * 75_312 // PUBLISHED_BATCH, final_share=1e-3),
        trainer=TrainerConfig(epochs=epochs, accumulate=PUBLISHED_BATCH // 64, precision="bf16-mixed"),
    )


def v1_tiny() -> RunConfig:
    """Adam-v1 on a CPU."""
    views = {"size": 64, "blur": (0.1, 1.0)}
    return replace(
        tiny(),
        objective=Part(ADAM_V1, AdamV1Config(width=64, queue=512, momentum=0.99, **views)),  # type: ignore[arg-type]
    )


def v1_paper() -> RunConfig:
    """Published Adam-v1: SGD, 600 epochs in three equal levels; bring ChestX-ray14."""
    config = _paper(Part(RESNET, ResNetConfig(input_size=224)), AdamV2Config())
    return replace(
        config,
        objective=Part(ADAM_V1, AdamV1Config()),
        optimiser=OptimiserConfig(name="sgd", lr=0.03, momentum=0.9, weight_decay=1e-4, clip_norm=None),
        schedule=ScheduleConfig(name="cosine"),
        trainer=TrainerConfig(epochs=600, accumulate=4),
    )
