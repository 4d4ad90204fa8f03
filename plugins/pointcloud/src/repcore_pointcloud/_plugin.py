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
from repcore_pointcloud import _scenes, _shapes


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
    return [*_shapes.ENCODERS, *_scenes.ENCODERS]


@hookimpl
def repcore_objectives() -> list[ObjectiveSpec]:
    return [*_shapes.OBJECTIVES, *_scenes.OBJECTIVES]


@hookimpl
def repcore_datasets() -> list[DatasetSpec]:
    return [*_shapes.DATASETS, *_scenes.DATASETS]


@hookimpl
def repcore_preprocessors() -> list[PreprocessorSpec]:
    return [*_shapes.PREPROCESSORS, *_scenes.PREPROCESSORS]


@hookimpl
def repcore_views() -> list[ViewsSpec]:
    return [*_scenes.VIEWS]


@hookimpl
def repcore_recipes() -> list[RecipeSpec]:
    return [*_shapes.RECIPES, *_scenes.RECIPES]


@hookimpl
def repcore_checkpoints() -> list[CheckpointSpec]:
    return [*_shapes.CHECKPOINTS, *_scenes.CHECKPOINTS]


@hookimpl
def repcore_ops() -> list[OpSpec]:
    return [*_shapes.OPS, *_scenes.OPS]


@hookimpl
def repcore_tasks() -> list[TaskSpec]:
    return [*_shapes.TASKS, *_scenes.TASKS]


@hookimpl
def repcore_systems() -> list[SystemSpec]:
    return [*_shapes.SYSTEMS, *_scenes.SYSTEMS]


@hookimpl
def repcore_commands() -> list[CommandSpec]:
    return [*_shapes.COMMANDS, *_scenes.COMMANDS]
