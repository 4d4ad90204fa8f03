"""Graph files, the generated set, and their way to batches."""

from __future__ import annotations

from repcore.specs import (
    DatasetSpec,
    PreprocessorSpec,
    TargetSpec,
    TensorSpec,
    ViewsSpec,
)

NEEDS = ("torch_geometric",)
HINTS = {"torch_geometric": "pip install torch-geometric"}
GRAPH = (
    TensorSpec("x", "N Dn", "float32 or int64"),
    TensorSpec("edge_index", "2 A", "int64"),
    TensorSpec("edge_attr", "A De", "float32 or int64", optional=True),
    TensorSpec("batch", "N", "int64"),
)
ROOT = "repcore_graphs"

STORED = (TensorSpec("graph", "", "RawGraph"),)
RENDER = f"{ROOT}.rendering.graphs:draw_sample"
OVERLAY = f"{ROOT}.rendering.graphs:overlay"
RENDER_HEAT = f"{ROOT}.rendering.graphs:draw_heat"
DATASETS = (
    DatasetSpec(
        name="tu",
        summary="TUDataset raw text, with published or stratified ten folds",
        target=f"{ROOT}.datasets.tu:TUDataset",
        config=f"{ROOT}.configs.data:TUDatasetConfig",
        produces=STORED,
        sniff=f"{ROOT}.datasets.tu:sniff",
        render=RENDER,
        overlay=OVERLAY,
        render_heat=RENDER_HEAT,
    ),
    DatasetSpec(
        name="ogb",
        summary="Open Graph Benchmark graph data sets, raw CSV",
        target=f"{ROOT}.datasets.ogb:OGBDataset",
        config=f"{ROOT}.configs.data:OGBConfig",
        produces=STORED,
        sniff=f"{ROOT}.datasets.ogb:sniff",
        render=RENDER,
        overlay=OVERLAY,
        render_heat=RENDER_HEAT,
    ),
    DatasetSpec(
        name="pyg",
        summary="torch-geometric data on disk (processed/data.pt, or a .pt file of Data objects)",
        target=f"{ROOT}.datasets.pyg:PyGDataset",
        config=f"{ROOT}.configs.data:PyGConfig",
        produces=STORED,
        sniff=f"{ROOT}.datasets.pyg_paths:sniff",
        render=RENDER,
        overlay=OVERLAY,
        render_heat=RENDER_HEAT,
        needs=NEEDS,
        hints=HINTS,
    ),
    DatasetSpec(
        name="edge-list",
        summary="Edge lists as CSV, TSV or text, one graph or many",
        target=f"{ROOT}.datasets.edge_list:EdgeListDataset",
        config=f"{ROOT}.configs.data:EdgeListConfig",
        produces=STORED,
        sniff=f"{ROOT}.datasets.edge_files:sniff",
        render=RENDER,
        overlay=OVERLAY,
        render_heat=RENDER_HEAT,
    ),
    DatasetSpec(
        name="network",
        summary="GraphML, GML, GEXF, Pajek, node-link JSON, MatrixMarket, networkx edge lists; a file or a folder",
        target=f"{ROOT}.datasets.networks:NetworkDataset",
        config=f"{ROOT}.configs.data:NetworkConfig",
        produces=STORED,
        sniff=f"{ROOT}.datasets.networks:sniff",
        render=RENDER,
        overlay=OVERLAY,
        render_heat=RENDER_HEAT,
        needs=("networkx", "scipy"),
        hints={"networkx": "pip install networkx", "scipy": "pip install scipy"},
    ),
    DatasetSpec(
        name="parts",
        summary="One large graph cut into connected parts, so that it can be trained on (--reader parts)",
        target=f"{ROOT}.datasets.parts:GraphParts",
        config=f"{ROOT}.configs.data:PartsConfig",
        produces=STORED,
        render=RENDER,
        overlay=OVERLAY,
        render_heat=RENDER_HEAT,
        needs=("networkx", "scipy", *NEEDS),
        hints={"networkx": "pip install networkx", "scipy": "pip install scipy", **HINTS},
    ),
    DatasetSpec(
        name="motifs",
        summary="Generated graphs whose class lies in how bonds go with their ends",
        target=f"{ROOT}.datasets.motifs:Motifs",
        config=f"{ROOT}.configs.data:MotifsConfig",
        produces=STORED,
        targets=(
            TargetSpec("rule", "class", names=("shift-0", "shift-1", "shift-2")),
            TargetSpec("bridge", "class", level="edge", names=("chain", "bridge")),
        ),
        render=RENDER,
        overlay=OVERLAY,
        render_heat=RENDER_HEAT,
        embedded=True,
        licence="generated",
    ),
)

PREPROCESSORS = (
    PreprocessorSpec(
        name="graph",
        summary="Labels to one-hot or codes, scaled attributes, cleaned and paired edges, PyG batches",
        target=f"{ROOT}.preprocessors.graph:GraphPreprocessor",
        config=f"{ROOT}.configs.data:GraphPreprocessorConfig",
        accepts=STORED,
        produces=GRAPH,
        baselines={
            "raw-features": f"{ROOT}.preprocessors.graph:raw_features",
            "sizes-only": f"{ROOT}.preprocessors.graph:sizes_only",
        },
        dense_baselines={"raw-elements": f"{ROOT}.preprocessors.graph:raw_elements"},
    ),
)

VIEWS = (
    ViewsSpec(
        name="graph-pair",
        summary="Two copies of a graph with nodes and edges left out and features hidden",
        target=f"{ROOT}.views.graph_views:GraphPair",
        config=f"{ROOT}.configs.views:GraphPairConfig",
        names=("a", "b"),
        role="pair",
        accepts=GRAPH,
    ),
    ViewsSpec(
        name="graph-weak-strong",
        summary="A graph with a few features hidden, and one with a fifth of its parts left out",
        target=f"{ROOT}.views.graph_views:GraphWeakStrong",
        config=f"{ROOT}.configs.views:GraphWeakStrongConfig",
        names=("weak", "strong"),
        role="weak-strong",
        accepts=GRAPH,
    ),
)
