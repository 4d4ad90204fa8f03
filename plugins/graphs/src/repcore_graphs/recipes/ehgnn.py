"""Pre-training runs on graphs: ``tiny`` presets take minutes on two CPU cores, ``paper`` follows the publication."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from repcore.config import DataConfig, OptimiserConfig, Part, RunConfig, ScheduleConfig, TrainerConfig
from repcore_graphs.configs.data import GraphPreprocessorConfig, MotifsConfig
from repcore_graphs.configs.ehgnn import EHGNNConfig, HyperClusterConfig, published_hypercluster
from repcore_graphs.configs.objectives import (
    EdgeReconstructionConfig,
    GraphContrastConfig,
    MaskedEdgeConfig,
    MaskedNodeConfig,
)


def _run(
    objective: Part, *, encoder: Part | None = None, epochs: float = 40, lr: float = 1e-3, **data: Any
) -> RunConfig:
    """The parts that all recipes share."""
    return RunConfig(
        encoder=encoder or Part("graphs/ehgnn", EHGNNConfig()),
        objective=objective,
        dataset=Part("graphs/motifs", MotifsConfig()),
        preprocessor=Part("graphs/graph", GraphPreprocessorConfig()),
        data=DataConfig(**({"batch_size": 32, "bucket_by_cost": False, "validation_share": 0.1} | data)),
        optimiser=OptimiserConfig(name="adam", lr=lr, weight_decay=0.0),
        schedule=ScheduleConfig(name="cosine", warmup_steps=10, final_share=0.05),
        trainer=TrainerConfig(epochs=epochs),
    )


def masked_edge() -> RunConfig:
    """Predict hidden edge features: for graphs whose edges have types, such as bonds."""
    return _run(Part("graphs/masked-edge", MaskedEdgeConfig()), lr=2e-3)


def masked_node() -> RunConfig:
    """Restore hidden node features, GraphMAE style: works without edge features.

    The last edge convolution would only feed the readout, which this objective does not train, so there is none.
    """
    encoder = Part("graphs/ehgnn", EHGNNConfig(last_edge_layer=False))
    return _run(Part("graphs/masked-node", MaskedNodeConfig()), encoder=encoder, epochs=20)


def graph_contrast() -> RunConfig:
    """Two views of each graph, GraphCL style, with changes of edges."""
    return _run(Part("graphs/graph-contrast", GraphContrastConfig()), epochs=20, batch_size=64)


def graph_contrast_small() -> RunConfig:
    """Three times as long: some minutes for a thousand graphs."""
    run = graph_contrast()
    return replace(run, trainer=replace(run.trainer, epochs=60))


def edge_reconstruction() -> RunConfig:
    """HyperCluster autoencoder with the self term, which reaches exact reconstruction."""
    encoder = Part("graphs/hypercluster", HyperClusterConfig())
    objective = Part("graphs/edge-reconstruction", EdgeReconstructionConfig())
    return _run(objective, encoder=encoder, epochs=80, lr=1e-2)


def graph_reconstruction() -> RunConfig:
    """HyperCluster for edges and a node half of the same kind: restores nodes and edges."""
    encoder = Part("graphs/hypercluster", HyperClusterConfig(with_nodes=True))
    objective = Part("graphs/edge-reconstruction", EdgeReconstructionConfig(reconstruct="graph"))
    return _run(objective, encoder=encoder, epochs=80, lr=1e-2)


def edge_reconstruction_published() -> RunConfig:
    """The released ZINC settings: every direction an edge, no self term, 500 epochs of batch 128 at 1e-3, no decay."""
    encoder = Part("graphs/hypercluster", published_hypercluster())
    objective = Part("graphs/edge-reconstruction", EdgeReconstructionConfig())
    return _run(objective, encoder=encoder, epochs=500, lr=1e-3, batch_size=128)
