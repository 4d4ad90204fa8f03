"""An encoder for series of any origin, learned from generated ones: a minute of one core, or three."""

from __future__ import annotations

from dataclasses import replace

from repcore.config import DataConfig, OptimiserConfig, Part, RunConfig, ScheduleConfig, TrainerConfig
from repcore_timeseries.configs.encoders import ChannelwiseConfig
from repcore_timeseries.configs.series import KindsConfig, SeriesPreprocessorConfig


def tiny() -> RunConfig:
    """The vector predicts statistics that the domain computes of each series (baseline ``shapes``)."""
    return RunConfig(
        encoder=Part("timeseries/channelwise", ChannelwiseConfig()),
        objective=Part("generic/computed-targets", {"targets": ["shapes"]}),
        dataset=Part("timeseries/kinds", KindsConfig(items=2000)),
        preprocessor=Part("timeseries/series", SeriesPreprocessorConfig(channels="any", shortest=3)),
        data=DataConfig(batch_size=48, validation_share=0.05),
        optimiser=OptimiserConfig(lr=2e-3, weight_decay=0.01),
        schedule=ScheduleConfig(name="cosine", warmup_steps=50),
        trainer=TrainerConfig(steps=300),
    )


def small() -> RunConfig:
    """Three times as long, on five times as many series."""
    run = tiny()
    return replace(
        run,
        dataset=Part("timeseries/kinds", KindsConfig(items=10_000)),
        trainer=TrainerConfig(steps=900, validate_every=450),
    )
