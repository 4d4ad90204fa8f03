"""Settings of the label-free objectives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from repcore_graphs.configs.ehgnn import setting


@dataclass(frozen=True, kw_only=True)
class EdgeReconstructionConfig:
    """Restore all edges (or the whole graph) from HyperCluster's clusters."""

    edge_kind: Literal["one-hot", "codes", "continuous", "none"] | None = setting(
        None, "what edge features are; null = from the data"
    )
    node_kind: Literal["one-hot", "codes", "continuous"] | None = setting(
        None, "what node features are; null = from the data"
    )
    reconstruct: Literal["edges", "graph"] = setting("edges", "edges only (published), or edges and nodes")
    node_weight: float = setting(1.0, "weight of the node term", min=0)


@dataclass(frozen=True, kw_only=True)
class MaskedEdgeConfig:
    """Predict hidden edge features from their context."""

    edge_kind: Literal["one-hot", "codes", "continuous", "none"] | None = setting(
        None, "what edge features are; null = from the data"
    )
    mask_ratio: float = setting(0.25, "share of the edges of a batch that is hidden", above=0, max=1)
    replace_ratio: float = setting(
        0.0, "share of the hidden edges that show another edge's features instead of the token", min=0, max=1
    )


@dataclass(frozen=True, kw_only=True)
class MaskedNodeConfig:
    """Restore hidden node features, GraphMAE style."""

    mask_ratio: float = setting(
        0.5, "share of the nodes of a batch that is hidden; GraphMAE 0.25 to 0.75", above=0, max=1
    )
    replace_ratio: float = setting(
        0.05, "share of the hidden nodes that show another node's features; GraphMAE 0 to 0.1", min=0, max=1
    )
    power: float = setting(2.0, "exponent of the cosine error; GraphMAE 1 to 3", above=0)


@dataclass(frozen=True, kw_only=True)
class GraphContrastConfig:
    """InfoNCE between two augmented views of each graph, GraphCL style, with changes of edges."""

    augmentations: tuple[str, ...] = setting(
        ("drop-edges", "drop-nodes", "mask-nodes", "mask-edges", "subgraph"),
        "one is drawn for each graph of the second view",
    )
    both_views: bool = setting(False, "augment both views instead of one against the graph itself")
    strength: float = setting(
        0.2, "share of nodes or edges that an augmentation changes; GraphCL 0.1 to 0.2", min=0, below=1
    )
    walk_share: float = setting(
        0.8, "share of the nodes that the random walk of 'subgraph' tries to visit", above=0, max=1
    )
    temperature: float = setting(0.2, "of InfoNCE", above=0)
    projection_width: int = setting(128, "width of the projection that is compared", min=1)
