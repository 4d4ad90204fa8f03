"""GIN for graphs with any features: generated graphs, preprocessor, encoder, recipe."""

from __future__ import annotations

from repcore.specs import (
    DatasetSpec,
    EncoderSpec,
    PreprocessorSpec,
    RecipeSpec,
    SystemSpec,
    TargetSpec,
    TensorSpec,
)
from repcore_graphs.registration.graphs import OVERLAY, RENDER, RENDER_HEAT, STORED

PAPER = "Xu et al. 2019, How Powerful are Graph Neural Networks?, ICLR (arXiv 1810.00826)"
LICENCE = "Apache-2.0"
ROOT = "repcore_graphs"
SIGNALS = (
    TensorSpec("structure", "N 17", "float32"),
    TensorSpec("edge_index", "2 A", "int64"),
    TensorSpec("graph", "N", "int64"),
    TensorSpec("signals", "T 8", "float32"),
    TensorSpec("signal_node", "T", "int64"),
    TensorSpec("signal_column", "T", "int64"),
)

DATASETS = (
    DatasetSpec(
        name="families",
        summary="Generated graphs of eight families, with features of nodes and edges of several kinds",
        target=f"{ROOT}.datasets.families:Families",
        config=f"{ROOT}.configs.gin:FamiliesConfig",
        produces=STORED,
        targets=(
            TargetSpec(
                "family",
                "class",
                names=("random", "attachment", "small-world", "blocks", "contacts", "tree", "grid", "rings"),
            ),
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
        name="signals",
        summary="Structure of each node, and every column of features as a signal on the graph; nothing is fitted",
        target=f"{ROOT}.preprocessors.signal_graph:SignalGraphPreprocessor",
        config=f"{ROOT}.configs.gin:SignalGraphConfig",
        accepts=STORED,
        produces=SIGNALS,
        baselines={
            "raw-features": f"{ROOT}.preprocessors.signal_graph:raw_features",
            "statistics": f"{ROOT}.preprocessors.signal_graph:statistics",
        },
    ),
)

ENCODERS = (
    EncoderSpec(
        name="gin",
        summary="Graph isomorphism network over structure and signals, for graphs with any features",
        target=f"{ROOT}.encoders.gin:GraphGin",
        config=f"{ROOT}.configs.gin:GraphGinConfig",
        inputs=SIGNALS,
        outputs=(TensorSpec("pooled", "B R"), TensorSpec("node", "N D")),
        poolings=("readout", "node-mean", "node-sum", "node-max"),
        levels=("node",),
        paper=PAPER,
        licence=LICENCE,
        example=f"{ROOT}.examples.gin:gin",
    ),
)

RECIPES = (
    RecipeSpec(
        name="gin",
        summary="Statistics of generated graphs, for an encoder of any graph",
        presets={"tiny": f"{ROOT}.recipes.gin:tiny", "small": f"{ROOT}.recipes.gin:small"},
        paper=PAPER,
    ),
)

SYSTEMS = (
    SystemSpec(
        name="gin",
        summary="GIN over structure and signals",
        paper=PAPER,
        licence=LICENCE,
        encoders=("gin",),
        recipes=("gin",),
        differences=(
            ("a node's input", "its label", "structure, and every column read alike as a signal", ""),
            ("sum over neighbours", "as it is", "divided by the root of one more than their number", ""),
            ("normalisation", "batch norm", "layer norm, residual layers", ""),
            (
                "a graph's vector",
                "sums of all layers",
                "a small network of mean, sum and maximum of first and last",
                "",
            ),
        ),
    ),
)
