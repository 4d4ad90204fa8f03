"""Series of any origin: the encoder that reads any number of channels, generated series of many kinds, the recipe."""

from __future__ import annotations

from repcore.specs import DatasetSpec, EncoderSpec, RecipeSpec, TargetSpec, TensorSpec
from repcore_timeseries.registration.series import (
    CONFIGS,
    LICENCE,
    OVERLAY,
    PACKAGE,
    RENDER,
    RENDER_HEAT,
    SERIES,
    STORED,
)

ENCODERS = (
    EncoderSpec(
        name="channelwise",
        summary="One network for every channel of a series, of which there may be any number",
        target=f"{PACKAGE}.encoders.channelwise:Channelwise",
        config=f"{PACKAGE}.configs.encoders:ChannelwiseConfig",
        inputs=SERIES,
        outputs=(TensorSpec("pooled", "B D"), TensorSpec("step", "B T D")),
        poolings=("channels", "mean", "max"),
        levels=("step",),
        paper="Blocks: Yue et al. 2022, TS2Vec, AAAI (arXiv 2106.10466)",
        licence=LICENCE,
        example=f"{PACKAGE}.examples.series:channelwise",
    ),
)

DATASETS = (
    DatasetSpec(
        name="kinds",
        summary="Generated series of ten kinds of parts, of many lengths: to learn from for series of any origin",
        target=f"{PACKAGE}.datasets.kinds:Kinds",
        config=f"{CONFIGS}:KindsConfig",
        produces=STORED,
        targets=(TargetSpec("kind", "class"),),
        embedded=True,
        licence="generated",
        render=RENDER,
        render_heat=RENDER_HEAT,
        overlay=OVERLAY,
    ),
)

RECIPE_CODE = f"{PACKAGE}.recipes.any_series"
RECIPES = (
    RecipeSpec(
        name="any-series",
        summary="Statistics of generated series are predicted: an encoder for series of any channels and lengths",
        presets={name: f"{RECIPE_CODE}:{name}" for name in ("tiny", "small")},
        default="tiny",
    ),
)
