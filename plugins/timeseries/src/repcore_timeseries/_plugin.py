"""What this plugin offers. Listing imports this module, so code is named by strings only."""

from __future__ import annotations

from repcore.hooks import API_VERSION, hookimpl
from repcore.specs import (
    DatasetSpec,
    EncoderSpec,
    EstimatorSpec,
    ObjectiveSpec,
    OpSpec,
    PluginInfo,
    PreprocessorSpec,
    ProbeSpec,
    RecipeSpec,
    TargetSpec,
    TaskSpec,
    TensorSpec,
    ViewsSpec,
    WriterSpec,
)

PACKAGE = "repcore_timeseries"


@hookimpl
def repcore_plugin_info() -> PluginInfo:
    return PluginInfo(
        title="Timeseries",
        domain="timeseries",
        api_version=API_VERSION,
        summary="10 kinds of parts for rows of numbers",
        licence="Apache-2.0",
    )


@hookimpl
def repcore_encoders() -> list[EncoderSpec]:
    return [
        EncoderSpec(
            name="timeseries",
            target=f"{PACKAGE}.encoders:RowEncoder",
            config=f"{PACKAGE}.configs:RowEncoderConfig",
            inputs=(TensorSpec("values", "B C"),),
            outputs=(TensorSpec("pooled", "B D"),),
            capabilities=("hidden-columns",),
            example=f"{PACKAGE}.examples:encoder",
            summary="A small network over rows of numbers",
        ),
    ]


@hookimpl
def repcore_objectives() -> list[ObjectiveSpec]:
    return [
        ObjectiveSpec(
            name="timeseries-hidden",
            target=f"{PACKAGE}.objectives:HiddenColumns",
            config=f"{PACKAGE}.configs:HiddenColumnsConfig",
            needs=("hidden-columns",),
            example=f"{PACKAGE}.examples:objective",
            summary="Guess hidden columns of a row from the others",
        ),
    ]


@hookimpl
def repcore_datasets() -> list[DatasetSpec]:
    return [
        DatasetSpec(
            name="timeseries-table",
            target=f"{PACKAGE}.datasets:RowTable",
            config=f"{PACKAGE}.configs:RowTableConfig",
            produces=(TensorSpec("values", "C"),),
            targets=(TargetSpec("kind", "class", names=("a", "b", "c")),),
            sniff=f"{PACKAGE}.datasets:sniff",
            render=f"{PACKAGE}.rendering:draw",
            embedded=True,
            summary="A CSV file of numbers, words are labels; or generated rows",
        ),
    ]


@hookimpl
def repcore_ops() -> list[OpSpec]:
    return [
        OpSpec(
            name="timeseries-distances",
            reference=f"{PACKAGE}.ops:distances",
            implementations={"products": f"{PACKAGE}.ops:distances_by_products"},
            cases=f"{PACKAGE}.ops:cases",
            priority=f"{PACKAGE}.ops:priority",
            tolerance=1e-4,
            summary="Squared distances between two sets of rows",
        ),
    ]


@hookimpl
def repcore_views() -> list[ViewsSpec]:
    return [
        ViewsSpec(
            name="timeseries-pair",
            target=f"{PACKAGE}.views:ChangedPair",
            config=f"{PACKAGE}.configs:ChangedPairConfig",
            names=("a", "b"),
            role="pair",
            summary="A row twice, with noise and with some columns at their mean",
        ),
    ]


@hookimpl
def repcore_tasks() -> list[TaskSpec]:
    return [
        TaskSpec(
            name="timeseries-class",
            target=f"{PACKAGE}.tasks:CosineClass",
            config=f"{PACKAGE}.configs:CosineClassConfig",
            target_kind="class",
            summary="One class of several by the angle to a vector of each class",
        ),
    ]


@hookimpl
def repcore_probes() -> list[ProbeSpec]:
    return [
        ProbeSpec(
            name="timeseries-centroid@1",
            target=f"{PACKAGE}.probes:CentroidProbe",
            config=f"{PACKAGE}.configs:CentroidProbeConfig",
            target_kinds=("class",),
            summary="Nearest class mean of standardised features",
        ),
    ]


@hookimpl
def repcore_estimators() -> list[EstimatorSpec]:
    return [
        EstimatorSpec(
            name="timeseries-spread",
            target=f"{PACKAGE}.estimators:Spread",
            config=f"{PACKAGE}.configs:SpreadConfig",
            summary="How far a row lies from the mean, in standard deviations",
        ),
    ]


@hookimpl
def repcore_writers() -> list[WriterSpec]:
    return [
        WriterSpec(
            name="timeseries-rows",
            target=f"{PACKAGE}.writers:RowWriter",
            suffixes=(".jsonl",),
            summary="One JSON line a row: id, status, reason, vector",
        ),
    ]


@hookimpl
def repcore_preprocessors() -> list[PreprocessorSpec]:
    return [
        PreprocessorSpec(
            name="timeseries-scaling",
            target=f"{PACKAGE}.preprocessors:Scaling",
            config=f"{PACKAGE}.configs:ScalingConfig",
            baselines={"scaled-values": f"{PACKAGE}.preprocessors:scaled_values"},
            summary="Columns with mean 0 and standard deviation 1 on the training rows",
        ),
    ]


@hookimpl
def repcore_recipes() -> list[RecipeSpec]:
    return [
        RecipeSpec(
            name="timeseries",
            presets={"tiny": f"{PACKAGE}.configs:tiny"},
            summary="Guess hidden columns, on generated rows or your table",
        ),
    ]
