"""What repcore-medical3d registers. Imports nothing heavy: the code behind each name is loaded on first use.

The lists themselves are in ``registration``: one module a system (``adam_v2``, ``alice``), one each for images and
volumes. Each module may define any of the tuples that are gathered here.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

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
    ProbeSpec,
    RecipeSpec,
    SystemSpec,
    TaskSpec,
    ViewsSpec,
    WriterSpec,
)
from repcore_medical3d.registration import adam_v2, alice, images, volumes

PARTS: tuple[ModuleType, ...] = (images, volumes, adam_v2, alice)


def _gathered(name: str) -> list[Any]:  # tuples of one kind of spec each
    return [spec for part in PARTS for spec in getattr(part, name, ())]


@hookimpl
def repcore_plugin_info() -> PluginInfo:
    return PluginInfo(
        title="Medical images",
        domain="medical3d",
        api_version=1,
        summary="CT and MR volumes and radiographs: Alice and Adam-v2, in two and three dimensions",
        licence="Apache-2.0",
    )


@hookimpl
def repcore_encoders() -> list[EncoderSpec]:
    return _gathered("ENCODERS")


@hookimpl
def repcore_objectives() -> list[ObjectiveSpec]:
    return _gathered("OBJECTIVES")


@hookimpl
def repcore_datasets() -> list[DatasetSpec]:
    return _gathered("DATASETS")


@hookimpl
def repcore_preprocessors() -> list[PreprocessorSpec]:
    return _gathered("PREPROCESSORS")


@hookimpl
def repcore_views() -> list[ViewsSpec]:
    return _gathered("VIEWS")


@hookimpl
def repcore_recipes() -> list[RecipeSpec]:
    return _gathered("RECIPES")


@hookimpl
def repcore_systems() -> list[SystemSpec]:
    return _gathered("SYSTEMS")


@hookimpl
def repcore_checkpoints() -> list[CheckpointSpec]:
    return _gathered("CHECKPOINTS")


@hookimpl
def repcore_ops() -> list[OpSpec]:
    return _gathered("OPS")


@hookimpl
def repcore_tasks() -> list[TaskSpec]:
    return _gathered("TASKS")


@hookimpl
def repcore_probes() -> list[ProbeSpec]:
    return _gathered("PROBES")


@hookimpl
def repcore_writers() -> list[WriterSpec]:
    return _gathered("WRITERS")


@hookimpl
def repcore_commands() -> list[CommandSpec]:
    return _gathered("COMMANDS")
