from __future__ import annotations

from repcore.hooks import API_VERSION, hookimpl
from repcore.specs import (
    CommandSpec,
    DatasetSpec,
    DenseWriterSpec,
    EncoderSpec,
    EstimatorSpec,
    ObjectiveSpec,
    PluginInfo,
    PreprocessorSpec,
    ProbeSpec,
    RecipeSpec,
    SystemSpec,
    TargetSpec,
    TaskSpec,
    TensorSpec,
    ViewsSpec,
    WriterSpec,
)

HERE = "tests.toys.toy_pairs"


@hookimpl
def repcore_plugin_info() -> PluginInfo:
    return PluginInfo(title="Toy pairs", domain="pairs", api_version=API_VERSION, summary="Ragged sets, two views")


@hookimpl
def repcore_encoders() -> list[EncoderSpec]:
    return [
        EncoderSpec(
            name="set-net",
            target=f"{HERE}.code:SetNet",
            config=f"{HERE}.configs:SetNetConfig",
            inputs=(TensorSpec("points", "S 2"), TensorSpec("owner", "S", "int64")),
            outputs=(TensorSpec("pooled", "B D"),),
            poolings=("mean", "max"),
            levels=("point",),
            summary="Points to sets",
        )
    ]


@hookimpl
def repcore_objectives() -> list[ObjectiveSpec]:
    return [
        ObjectiveSpec(
            name="two-views",
            target=f"{HERE}.code:TwoViews",
            config=f"{HERE}.configs:TwoViewsConfig",
            needs=("point",),
            views="jitter",
            summary="Contrast with an EMA teacher, and masked points",
        )
    ]


@hookimpl
def repcore_datasets() -> list[DatasetSpec]:
    return [
        DatasetSpec(
            name="blobs",
            target=f"{HERE}.code:Blobs",
            config=f"{HERE}.configs:BlobsConfig",
            embedded=True,
            targets=(TargetSpec("kind", "class", names=("line", "ring", "cloud")),),
            sniff=f"{HERE}.extras:sniff",
            render=f"{HERE}.code:draw",
            summary="Lines, rings and clouds",
        )
    ]


@hookimpl
def repcore_preprocessors() -> list[PreprocessorSpec]:
    return [
        PreprocessorSpec(
            name="sets",
            target=f"{HERE}.code:Sets",
            config=f"{HERE}.configs:SetsConfig",
            baselines={"moments": f"{HERE}.code:moments"},
            splits={"by-content": f"{HERE}.extras:by_content"},
            divisions={"third": f"{HERE}.extras:thirds"},
            summary="Centred ragged sets",
        )
    ]


@hookimpl
def repcore_views() -> list[ViewsSpec]:
    return [
        ViewsSpec(
            name="jitter",
            target=f"{HERE}.code:Jitter",
            config=f"{HERE}.configs:JitterConfig",
            names=("a", "b"),
            summary="Two noisy subsets",
        )
    ]


@hookimpl
def repcore_recipes() -> list[RecipeSpec]:
    return [RecipeSpec(name="set-net", presets={"tiny": f"{HERE}.configs:tiny"}, summary="Two-view sets")]


@hookimpl
def repcore_systems() -> list[SystemSpec]:
    return [
        SystemSpec(
            name="set-net",
            encoders=("set-net",),
            objectives=("two-views",),
            recipes=("set-net",),
            replay=f"{HERE}.code:replay",
            summary="Toy system",
        )
    ]


@hookimpl
def repcore_probes() -> list[ProbeSpec]:
    return [
        ProbeSpec(
            name="centroid@1",
            target=f"{HERE}.extras:Centroid",
            config=f"{HERE}.extras:CentroidConfig",
            target_kinds=("class",),
            summary="Nearest class mean",
        ),
        ProbeSpec(
            name="spread@1",
            target=f"{HERE}.extras:Spread",
            config=f"{HERE}.extras:SpreadConfig",
            sees="model",
            example=f"{HERE}.extras:spread_example",
            summary="How far apart vectors lie",
        ),
    ]


@hookimpl
def repcore_tasks() -> list[TaskSpec]:
    return [
        TaskSpec(
            name="kind",
            target=f"{HERE}.extras:KindTask",
            config=f"{HERE}.extras:KindConfig",
            target_kind="class",
            summary="Line, ring or cloud",
        ),
        TaskSpec(
            name="side",
            target=f"{HERE}.fitted:SideTask",
            config=f"{HERE}.fitted:SideConfig",
            target_kind="class",
            target_level="point",
            summary="Left or right of a line",
        ),
    ]


@hookimpl
def repcore_estimators() -> list[EstimatorSpec]:
    return [
        EstimatorSpec(
            name="spread",
            target=f"{HERE}.fitted:Spread",
            config=f"{HERE}.fitted:SpreadConfig",
            summary="Distance from the mean",
        )
    ]


@hookimpl
def repcore_dense_writers() -> list[DenseWriterSpec]:
    return [
        DenseWriterSpec(
            name="points",
            target=f"{HERE}.fitted:write_points",
            level="point",
            suffixes=(".points.txt",),
            summary="A line a point",
        )
    ]


@hookimpl
def repcore_writers() -> list[WriterSpec]:
    return [
        WriterSpec(name="rows", target=f"{HERE}.extras:CsvWriter", suffixes=(".csv",), summary="Comma separated rows")
    ]


@hookimpl
def repcore_commands() -> list[CommandSpec]:
    return [CommandSpec(name="count", target=f"{HERE}.extras:count_command", summary="Count points")]
