from __future__ import annotations

from repcore.hooks import API_VERSION, hookimpl
from repcore.specs import DatasetSpec, EncoderSpec, ObjectiveSpec, PluginInfo, PreprocessorSpec, RecipeSpec, SystemSpec

HERE = "tests.toys.toy_edges"


@hookimpl
def repcore_plugin_info() -> PluginInfo:
    return PluginInfo(title="Toy edges", domain="edges", api_version=API_VERSION, summary="Graphs with edge tokens")


@hookimpl
def repcore_encoders() -> list[EncoderSpec]:
    return [
        EncoderSpec(
            name="edge-net",
            target=f"{HERE}.code:EdgeNet",
            config=f"{HERE}.configs:EdgeNetConfig",
            levels=("edge", "node"),
            capabilities=("masked-edges",),
            needs=("torch_geometric",),
            hints={"torch_geometric": "pip install torch-geometric"},
            summary="Edges and nodes",
        )
    ]


@hookimpl
def repcore_objectives() -> list[ObjectiveSpec]:
    return [
        ObjectiveSpec(
            name="masked-edges",
            target=f"{HERE}.code:MaskedEdges",
            config=f"{HERE}.configs:MaskedEdgesConfig",
            needs=("edge", "masked-edges"),
            summary="Predict hidden edge attributes",
        )
    ]


@hookimpl
def repcore_datasets() -> list[DatasetSpec]:
    return [
        DatasetSpec(
            name="rings",
            target=f"{HERE}.code:Rings",
            config=f"{HERE}.configs:RingsConfig",
            embedded=True,
            summary="Rings whose edge attributes carry the class",
        )
    ]


@hookimpl
def repcore_preprocessors() -> list[PreprocessorSpec]:
    return [
        PreprocessorSpec(
            name="pyg",
            target=f"{HERE}.code:GraphBatches",
            config=f"{HERE}.configs:GraphBatchesConfig",
            baselines={"edge-means": f"{HERE}.code:edge_means"},
            summary="Joined graphs",
        )
    ]


@hookimpl
def repcore_recipes() -> list[RecipeSpec]:
    return [RecipeSpec(name="edge-net", presets={"tiny": f"{HERE}.configs:tiny"}, summary="Masked edges")]


@hookimpl
def repcore_systems() -> list[SystemSpec]:
    return [
        SystemSpec(
            name="edge-net",
            encoders=("edge-net",),
            objectives=("masked-edges",),
            recipes=("edge-net",),
            replay=f"{HERE}.code:replay",
            summary="Toy system",
        )
    ]
