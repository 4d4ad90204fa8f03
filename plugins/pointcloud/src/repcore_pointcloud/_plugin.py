"""What repcore-pointcloud registers. Imports nothing heavy: the code behind each name is loaded on first use."""

from __future__ import annotations

from repcore.hooks import hookimpl
from repcore.specs import (
    CheckpointSpec,
    CommandSpec,
    DatasetSpec,
    EncoderSpec,
    ObjectiveSpec,
    OpSpec,
    PluginInfo,
    PreprocessorSpec,
    RecipeSpec,
    SystemSpec,
    TaskSpec,
    ViewsSpec,
)
from repcore_pointcloud.registration import fac, i2p_mae


@hookimpl
def repcore_plugin_info() -> PluginInfo:
    return PluginInfo(
        title="Point clouds",
        domain="pointcloud",
        api_version=1,
        summary="Shapes and scenes: I2P-MAE with a 2D guide, FAC with region contrast",
        licence="Apache-2.0",
    )


@hookimpl
def repcore_encoders() -> list[EncoderSpec]:
    return [*i2p_mae.ENCODERS, *fac.ENCODERS]


@hookimpl
def repcore_objectives() -> list[ObjectiveSpec]:
    return [*i2p_mae.OBJECTIVES, *fac.OBJECTIVES]


@hookimpl
def repcore_datasets() -> list[DatasetSpec]:
    return [*i2p_mae.DATASETS, *fac.DATASETS]


@hookimpl
def repcore_preprocessors() -> list[PreprocessorSpec]:
    return [*i2p_mae.PREPROCESSORS, *fac.PREPROCESSORS]


@hookimpl
def repcore_views() -> list[ViewsSpec]:
    return [*fac.VIEWS]


@hookimpl
def repcore_recipes() -> list[RecipeSpec]:
    return [*i2p_mae.RECIPES, *fac.RECIPES]


@hookimpl
def repcore_checkpoints() -> list[CheckpointSpec]:
    return [*i2p_mae.CHECKPOINTS, *fac.CHECKPOINTS]


@hookimpl
def repcore_ops() -> list[OpSpec]:
    return [*i2p_mae.OPS, *fac.OPS]


@hookimpl
def repcore_tasks() -> list[TaskSpec]:
    return [*i2p_mae.TASKS, *fac.TASKS]


@hookimpl
def repcore_systems() -> list[SystemSpec]:
    return [*i2p_mae.SYSTEMS, *fac.SYSTEMS]


@hookimpl
def repcore_commands() -> list[CommandSpec]:
    return [*i2p_mae.COMMANDS, *fac.COMMANDS]
