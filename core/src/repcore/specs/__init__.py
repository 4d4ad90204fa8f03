"""What plugins register: frozen descriptions whose code is a ``"package.module:attribute"`` string.

Nothing here imports more than the standard library, so that listing every plugin costs milliseconds.
A spec's ``name`` is short (``"i2p-mae"``); users see it as ``<domain>/<name>``.
Each spec checks its own fields and raises ``PluginError`` naming the field.
"""

from __future__ import annotations

from collections.abc import Mapping

from repcore.specs.base import (
    GENERIC,
    NAME_PATTERN,
    NO_MAPPING,
    TARGET_PATTERN,
    Labels,
    PluginInfo,
    Spec,
    Status,
    TargetKind,
    TargetLevel,
    TargetSpec,
    TensorSpec,
    ViewsRole,
)
from repcore.specs.boxed import ModelSpec, models_in
from repcore.specs.runs import (
    DatasetSpec,
    EncoderSpec,
    ObjectiveSpec,
    PreprocessorSpec,
    RecipeSpec,
    ViewsSpec,
)
from repcore.specs.systems import (
    CheckpointSpec,
    CommandSpec,
    OpSpec,
    Published,
    SystemSpec,
)
from repcore.specs.uses import (
    DenseWriterSpec,
    EstimatorSpec,
    ProbeSpec,
    TaskSpec,
    WriterSpec,
)

__all__ = [
    "GENERIC",
    "HOOK_OF_KIND",
    "NAME_PATTERN",
    "NO_MAPPING",
    "SPEC_TYPES",
    "TARGET_PATTERN",
    "CheckpointSpec",
    "CommandSpec",
    "DatasetSpec",
    "DenseWriterSpec",
    "EncoderSpec",
    "EstimatorSpec",
    "Labels",
    "ModelSpec",
    "ObjectiveSpec",
    "OpSpec",
    "PluginInfo",
    "PreprocessorSpec",
    "ProbeSpec",
    "Published",
    "RecipeSpec",
    "Spec",
    "Status",
    "SystemSpec",
    "TargetKind",
    "TargetLevel",
    "TargetSpec",
    "TaskSpec",
    "TensorSpec",
    "ViewsRole",
    "ViewsSpec",
    "WriterSpec",
    "models_in",
]

SPEC_TYPES: tuple[type[Spec], ...] = (
    EncoderSpec, ObjectiveSpec, DatasetSpec, PreprocessorSpec, ViewsSpec, RecipeSpec, SystemSpec,
    CheckpointSpec, OpSpec, TaskSpec, ProbeSpec, EstimatorSpec, WriterSpec, DenseWriterSpec, CommandSpec, ModelSpec,
)  # fmt: skip
"""Every kind of spec; the hook that returns a kind is ``repcore_<plural of kind>``."""

HOOK_OF_KIND: Mapping[str, str] = {
    spec.kind: "repcore_" + (spec.kind if spec.kind.endswith("s") else spec.kind + "s").replace("-", "_")
    for spec in SPEC_TYPES
}
