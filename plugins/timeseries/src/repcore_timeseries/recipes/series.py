"""Runs of TS2Vec and AutoTCL: ``tiny`` takes less than a minute of one core, ``paper`` has the published sizes."""

from __future__ import annotations

from dataclasses import replace

from repcore.config import DataConfig, OptimiserConfig, Part, RunConfig, ScheduleConfig, TrainerConfig
from repcore_timeseries.configs.autotcl import AugmenterConfig, AutoTCLConfig
from repcore_timeseries.configs.encoders import DilatedConfig
from repcore_timeseries.configs.series import SensorsConfig, SeriesPreprocessorConfig
from repcore_timeseries.configs.ts2vec import TS2VecConfig

ENCODER, SENSORS, SERIES = "timeseries/dilated", "timeseries/sensors", "timeseries/series"
PUBLISHED_KERNELS = (1, 2, 4, 8, 16, 32, 64, 128)


def _run(encoder: DilatedConfig, objective: Part, *, batch: int, lr: float, steps: int) -> RunConfig:
    """No clipping: one norm over both networks of AutoTCL would couple them, and TS2Vec has none."""
    return RunConfig(
        encoder=Part(ENCODER, encoder),
        objective=objective,
        dataset=Part(SENSORS, SensorsConfig()),
        preprocessor=Part(SERIES, SeriesPreprocessorConfig()),
        data=DataConfig(batch_size=batch),
        optimiser=OptimiserConfig(lr=lr, clip_norm=None),
        schedule=ScheduleConfig(name="constant"),
        trainer=TrainerConfig(steps=steps),
    )


def ts2vec_tiny() -> RunConfig:
    """A receptive field of 125 steps, as long as the generated series."""
    return _run(
        DilatedConfig(hidden=32, depth=4, width=64), Part("timeseries/ts2vec", TS2VecConfig()), batch=16, lr=1e-3,
        steps=200,
    )  # fmt: skip


def ts2vec_small() -> RunConfig:
    """Three times as long."""
    run = ts2vec_tiny()
    return replace(run, trainer=replace(run.trainer, steps=600))


def ts2vec_paper() -> RunConfig:
    """Source: `zhihanyue/ts2vec`: batch 8, AdamW 1e-3, 200 steps for small data sets, 600 for others."""
    return _run(
        DilatedConfig(dropout=0.1, missing="step"),
        Part("timeseries/ts2vec", TS2VecConfig()),
        batch=8,
        lr=1e-3,
        steps=600,
    )


def autotcl_tiny() -> RunConfig:
    """Kernels up to 8 steps, the augmenter ten times as fast as the encoder."""
    objective = AutoTCLConfig(augmenter=AugmenterConfig(hidden=16, depth=1))
    return _run(
        DilatedConfig(hidden=32, depth=4, width=64, kernels=(1, 2, 4, 8)), Part("timeseries/autotcl", objective),
        batch=8, lr=1e-3, steps=200,
    )  # fmt: skip


def autotcl_paper() -> RunConfig:
    """Source: defaults of `AslanDing/AutoTCL`; its own settings are tuned on the test scores of each set."""
    objective = AutoTCLConfig(
        form="published", augmenter=AugmenterConfig(kernels=PUBLISHED_KERNELS), open_weight=0.001, smooth_weight=0.001
    )
    return _run(
        DilatedConfig(kernels=PUBLISHED_KERNELS, missing="step"), Part("timeseries/autotcl", objective),
        batch=32, lr=1e-3, steps=600,
    )  # fmt: skip
