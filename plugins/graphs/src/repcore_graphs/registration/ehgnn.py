"""EHGNN: dual hypergraph encoders, objectives, recipes, checkpoints, tasks."""

from __future__ import annotations

from repcore.specs import (
    CheckpointSpec,
    CommandSpec,
    EncoderSpec,
    ObjectiveSpec,
    OpSpec,
    RecipeSpec,
    SystemSpec,
    TaskSpec,
    TensorSpec,
)
from repcore_graphs.registration.graphs import GRAPH, HINTS, NEEDS

PAPER = "Jo et al. 2021, Edge Representation Learning with Hypergraphs, NeurIPS (arXiv 2106.15845)"
LICENCE = "Apache-2.0 (written from the paper; the published code has no licence file and is not copied)"
ROOT = "repcore_graphs"

SHARED = {"inputs": GRAPH, "paper": PAPER, "licence": LICENCE, "needs": NEEDS, "hints": HINTS}
ENCODERS = (
    EncoderSpec(
        name="ehgnn",
        summary="Node network with a dual edge branch, HyperDrop or HyperCluster, GMT readout",
        target=f"{ROOT}.encoders.ehgnn:EHGNN",
        config=f"{ROOT}.configs.ehgnn:EHGNNConfig",
        outputs=(TensorSpec("pooled", "B D"), TensorSpec("node", "N H"), TensorSpec("edge", "E He")),
        poolings=("readout", "node-mean", "node-sum", "node-max", "edge-mean", "edge-sum", "edge-max"),
        levels=("node", "edge"),
        capabilities=("graph-steps", "layers", "embed-tokens", "encode-tokens", "until"),
        example=f"{ROOT}.examples.ehgnn:ehgnn",
        **SHARED,  # type: ignore[arg-type]
    ),
    EncoderSpec(
        name="hypercluster",
        summary="Edge convolutions pooled into soft clusters",
        target=f"{ROOT}.encoders.hypercluster:HyperClusterEncoder",
        config=f"{ROOT}.configs.ehgnn:HyperClusterConfig",
        outputs=(TensorSpec("pooled", "B D"), TensorSpec("edge", "E H"), TensorSpec("cluster", "B S H")),
        poolings=("clusters", "cluster-mean", "edge-mean", "edge-sum", "edge-max"),
        levels=("edge", "cluster"),
        capabilities=("edge-clusters",),
        example=f"{ROOT}.examples.ehgnn:hypercluster",
        **SHARED,  # type: ignore[arg-type]
    ),
    EncoderSpec(
        name="ehgnn-node",
        summary="Deep GCN that drops edges while training, for node classification",
        target=f"{ROOT}.encoders.ehgnn_node:NodeEHGNN",
        config=f"{ROOT}.configs.ehgnn:NodeEHGNNConfig",
        outputs=(TensorSpec("pooled", "B D"), TensorSpec("node", "N D"), TensorSpec("edge", "E He")),
        poolings=("mean", "max"),
        levels=("node", "edge"),
        example=f"{ROOT}.examples.ehgnn:ehgnn_node",
        **SHARED,  # type: ignore[arg-type]
    ),
)

OBJECTIVES = (
    ObjectiveSpec(
        name="masked-edge",
        summary="Predict hidden edge features from their context",
        target=f"{ROOT}.objectives.masked_edges:MaskedEdges",
        config=f"{ROOT}.configs.objectives:MaskedEdgeConfig",
        needs=("edge", "graph-steps"),
        paper="Hu et al. 2020 (arXiv 1905.12265), on edges",
        licence=LICENCE,
        example=f"{ROOT}.examples.ehgnn:masked_edge",
    ),
    ObjectiveSpec(
        name="masked-node",
        summary="Restore hidden node features with a scaled cosine error",
        target=f"{ROOT}.objectives.masked_nodes:MaskedNodes",
        config=f"{ROOT}.configs.objectives:MaskedNodeConfig",
        needs=("node", "graph-steps"),
        # an edge convolution after the last node layer (encoder.last_edge_layer, off in the recipe) trains nothing
        unused_parameters_ok=("encoder.edge_convs.*", "encoder.edge_norms.*"),
        paper="Hou et al. 2022 (arXiv 2205.10803)",
        licence=LICENCE,
        example=f"{ROOT}.examples.ehgnn:masked_node",
    ),
    ObjectiveSpec(
        name="graph-contrast",
        summary="InfoNCE between views of a graph, with changes of edges",
        target=f"{ROOT}.objectives.graph_contrast:GraphContrast",
        config=f"{ROOT}.configs.objectives:GraphContrastConfig",
        needs=("graph-steps",),
        paper="You et al. 2020 (arXiv 2010.13902)",
        licence=LICENCE,
        example=f"{ROOT}.examples.ehgnn:graph_contrast",
    ),
    ObjectiveSpec(
        name="edge-reconstruction",
        summary="Restore edges (or whole graphs) from HyperCluster's clusters",
        target=f"{ROOT}.objectives.edge_reconstruction:EdgeReconstruction",
        config=f"{ROOT}.configs.objectives:EdgeReconstructionConfig",
        needs=("edge-clusters",),
        paper=PAPER,
        licence=LICENCE,
        example=f"{ROOT}.examples.ehgnn:edge_reconstruction",
    ),
)

RECIPE_AT = f"{ROOT}.recipes.ehgnn"
RECIPES = (
    RecipeSpec(
        name="masked-edge", summary="Predict hidden edge features", presets={"tiny": f"{RECIPE_AT}:masked_edge"}
    ),
    RecipeSpec(
        name="masked-node", summary="Restore hidden node features", presets={"tiny": f"{RECIPE_AT}:masked_node"}
    ),
    RecipeSpec(
        name="graph-contrast",
        summary="Contrast of views",
        presets={"tiny": f"{RECIPE_AT}:graph_contrast", "small": f"{RECIPE_AT}:graph_contrast_small"},
        default="tiny",
    ),
    RecipeSpec(
        name="edge-reconstruction",
        summary="HyperCluster autoencoder",
        presets={
            "tiny": f"{RECIPE_AT}:edge_reconstruction",
            "graph": f"{RECIPE_AT}:graph_reconstruction",
            "paper": f"{RECIPE_AT}:edge_reconstruction_published",
        },
        paper=PAPER,
    ),
)

CONVERTERS = f"{ROOT}.checkpoints.convert"
LAYOUTS = f"{ROOT}.checkpoints.ehgnn"  # told without torch-geometric
CHECKPOINTS = (
    CheckpointSpec(
        name="ehgnn-graph",
        summary="Graph and molecule classifiers of the published code",
        target=f"{CONVERTERS}:convert_graph",
        sniff=f"{LAYOUTS}:sniff_graph",
        encoder="ehgnn",
        options={"edge_ratio": (), "vocabulary": ()},
    ),
    CheckpointSpec(
        name="ehgnn-node",
        summary="Node classifiers of the published code",
        target=f"{CONVERTERS}:convert_nodes",
        sniff=f"{LAYOUTS}:sniff_nodes",
        encoder="ehgnn-node",
        options={"edge_ratio": ()},
    ),
    CheckpointSpec(
        name="ehgnn-clusters",
        summary="HyperCluster edge autoencoders of the published code",
        target=f"{CONVERTERS}:convert_clusters",
        sniff=f"{LAYOUTS}:sniff_clusters",
        encoder="hypercluster",
        options={"vocabulary": ()},
    ),
)

DUAL_CONVOLUTION = f"{ROOT}.ops.dual_hypergraph_conv"
OPS = (
    OpSpec(
        name="dual-hypergraph-conv",
        summary="Hypergraph convolution over edges",
        reference=f"{DUAL_CONVOLUTION}.torch:dual_hypergraph_conv",
        implementations={"endpoints": f"{DUAL_CONVOLUTION}.endpoints:dual_hypergraph_conv"},
        cases=f"{DUAL_CONVOLUTION}.cases:cases",
        priority=f"{DUAL_CONVOLUTION}.cases:priority",
        tolerance=1e-5,
    ),
)

TASKS = (
    TaskSpec(
        name="graph-class",
        summary="Graph classification with the published three-layer head",
        target=f"{ROOT}.tasks.graph:GraphClassification",
        config=f"{ROOT}.configs.tasks:GraphTaskConfig",
        target_kind="class",
    ),
    TaskSpec(
        name="graph-multilabel",
        summary="Several yes/no labels a graph with the published head",
        target=f"{ROOT}.tasks.graph:GraphMultilabel",
        config=f"{ROOT}.configs.tasks:GraphTaskConfig",
        target_kind="multilabel",
    ),
    TaskSpec(
        name="node-class",
        summary="Classification of every node",
        target=f"{ROOT}.tasks.node:NodeClassification",
        config=f"{ROOT}.configs.tasks:NodeTaskConfig",
        target_kind="class",
        target_level="node",
    ),
)

COMMANDS = (
    CommandSpec(
        name="draw",
        summary="Draw graphs with the importance of their edges",
        target=f"{ROOT}.commands.draw:draw_command",
    ),
)

DIFFERENCES = (
    (
        "undirected edges",
        "both directions are dual nodes",
        "one dual node of multiplicity 2",
        "encoder.edges=as-stored",
    ),
    ("missing edge features", "ones: all scores equal", "from both end points", "encoder.edge_init=ones"),
    ("edge weights", "clamp(tanh): dead for negative scores", "(1 + tanh) / 2", "encoder.score_activation=clamp"),
    ("dual convolution", "averages only", "with a self term", "encoder.self_term=false"),
    ("hyperedge features", "ignored", "end points are added", "encoder.node_to_edge=false"),
    ("equal scores", "unstable sort", "smaller edge number first", "encoder.ties=unspecified"),
    ("edge ratio 1.0", "one edge a graph with current torch-geometric", "keeps every edge", ""),
    ("node convolution", "GCN", "GIN with edge features", "encoder.node_conv=gcn"),
    ("several heads", "fail when unpooling", "assignment averaged over heads", ""),
    ("validation loss of the autoencoder", "softmax before cross-entropy", "cross-entropy of logits", ""),
)


SYSTEMS = (
    SystemSpec(
        name="ehgnn",
        summary="Dual hypergraph transformation, HyperDrop, HyperCluster",
        paper=PAPER,
        licence=LICENCE,
        encoders=("ehgnn", "hypercluster", "ehgnn-node"),
        objectives=("masked-edge", "masked-node", "graph-contrast", "edge-reconstruction"),
        recipes=("masked-edge", "masked-node", "graph-contrast", "edge-reconstruction"),
        checkpoints=("ehgnn-graph", "ehgnn-node", "ehgnn-clusters"),
        replay=f"{ROOT}.verification.ehgnn:replay",
        differences=DIFFERENCES,
    ),
)
