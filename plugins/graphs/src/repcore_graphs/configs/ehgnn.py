"""Settings of the encoders. The defaults are the corrected behaviour; ``published_*`` give that of the paper's code."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


def setting(default: Any, text: str, unit: str = "", **bounds: Any) -> Any:  # dataclasses.field is typed by its default
    """A config field with its help text, unit and range."""
    return field(default=default, metadata={"help": text, "unit": unit, **bounds})


@dataclass(frozen=True, kw_only=True)
class EHGNNConfig:
    """Node network with a dual edge branch (EHGNN), optional HyperDrop or HyperCluster."""

    node_width: int | None = setting(None, "width of float node features; null = from the data", min=0)
    edge_width: int | None = setting(None, "width of float edge features, 0 = none; null = from the data", min=0)
    node_vocabularies: tuple[int, ...] | None = setting(
        None, "codes a column if nodes are integer codes, () = floats", min=1
    )
    edge_vocabularies: tuple[int, ...] | None = setting(
        None, "codes a column if edges are integer codes, () = floats", min=1
    )
    hidden_width: int = setting(64, "width of node embeddings", min=1)
    edge_hidden_width: int = setting(0, "width of edge embeddings; 0 = as nodes", min=0)
    layers: int = setting(3, "node convolutions", min=1, max=1000)
    node_conv: Literal["gin", "gcn", "gcn-edge"] = setting("gin", "node convolution; gcn and gcn-edge are published")
    edges: Literal["once", "as-stored"] = setting(
        "once", "undirected edges as one dual node, or every stored direction (published)"
    )
    edge_init: Literal["endpoints", "concat", "ones"] = setting(
        "endpoints", "features of edges that have none; ones is published and makes all scores equal"
    )
    node_to_edge: bool = setting(True, "add features of both end points in the edge branch (not in the published code)")
    self_term: bool = setting(True, "add the transformed edge itself in edge convolutions (not in the published code)")
    last_edge_layer: bool = setting(True, "one more edge convolution after the last node layer (not published)")
    edge_pool: Literal["none", "hyperdrop", "hypercluster"] = setting("hyperdrop", "pooling of edges")
    edge_ratio: float = setting(
        1.0, "hyperdrop: share of the edges of a graph that each drop keeps; 1 = weights only", above=0, max=1
    )
    score_activation: Literal["live", "clamp"] = setting(
        "live", "hyperdrop: edge weight from the score; clamp is published and has dead gradients"
    )
    ties: Literal["by-index", "unspecified"] = setting(
        "by-index", "hyperdrop: which of equally scored edges stays; unspecified (unstable sort) is published"
    )
    seeds: int = setting(8, "clusters of hypercluster and of the gmt readout", min=1)
    heads: int = setting(1, "attention heads of hypercluster and of the gmt readout", min=1)
    norm: Literal["none", "batch", "layer"] = setting(
        "batch", "normalisation after each convolution; none is published"
    )
    dropout: float = setting(0.0, "dropout after each convolution", min=0, below=1)
    readout: Literal["max-mean-sum", "sum", "mean", "max", "gmt"] = setting("max-mean-sum", "nodes to graph vector")
    readout_layers: Literal["sum", "concat", "last"] = setting(
        "concat", "how layers join in the readout; sum is published"
    )
    readout_edges: bool = setting(True, "join the same pools of the edge embeddings (not published)")
    static_shapes: bool = setting(False, "mark dropped edges instead of removing them, for torch.compile")


@dataclass(frozen=True, kw_only=True)
class NodeEHGNNConfig:
    """The node-classification variant: deep GCN, one HyperDrop every four layers, none in evaluation."""

    node_width: int | None = setting(None, "width of float node features; null = from the data", min=0)
    hidden_width: int = setting(32, "width of node embeddings", min=1)
    edge_hidden_width: int = setting(16, "width of edge embeddings", min=1)
    output_width: int = setting(
        0, "width after the last convolution; 0 = hidden_width. Published: number of classes", min=0
    )
    layers: int = setting(6, "node convolutions", min=1, max=1000)
    edges: Literal["once", "as-stored"] = setting("once", "as in ehgnn; as-stored is published")
    edge_init: Literal["endpoints", "concat"] = setting("endpoints", "edge features from nodes; concat is published")
    edge_ratio: float = setting(0.8, "share of the edges that a drop keeps while training", above=0, max=1)
    drop_every: int = setting(4, "layers l with l mod drop_every == 1 score and drop edges", "layers", min=1)
    score_activation: Literal["live", "clamp"] = setting("live", "as in ehgnn; clamp is published")
    ties: Literal["by-index", "unspecified"] = setting("by-index", "as in ehgnn; unspecified is published")
    self_term: bool = setting(True, "as in ehgnn")
    dropout: float = setting(0.5, "dropout before node convolutions and after edge convolutions", min=0, below=1)


@dataclass(frozen=True, kw_only=True)
class HyperClusterConfig:
    """Edge branch with HyperCluster: the encoder half of the edge autoencoder."""

    node_width: int | None = setting(None, "width of float node features; null = from the data", min=0)
    edge_width: int | None = setting(None, "width of float edge features, 0 = none; null = from the data", min=0)
    node_vocabularies: tuple[int, ...] | None = setting(
        None, "codes a column if nodes are integer codes, () = floats", min=1
    )
    edge_vocabularies: tuple[int, ...] | None = setting(
        None, "codes a column if edges are integer codes, () = floats", min=1
    )
    average_edges: int | None = setting(
        None, "mean number of stored arcs of a training graph, rounded up; null = from data", min=1
    )
    hidden_width: int = setting(32, "width of edge (and node) embeddings", min=1)
    layers: int = setting(2, "edge convolutions", min=1, max=1000)
    edges: Literal["once", "as-stored"] = setting("once", "as in ehgnn; as-stored is published")
    edge_init: Literal["endpoints", "concat", "ones"] = setting("endpoints", "as in ehgnn; ones is published")
    self_term: bool = setting(True, "as in ehgnn; without it, edge reconstruction stops at 0.88")
    edge_ratio: float = setting(0.15, "clusters as a share of average_edges", above=0)
    seeds: int = setting(0, "number of clusters; 0 = ceil(edge_ratio * average_edges)", min=0)
    heads: int = setting(1, "attention heads", min=1)
    layer_norm: bool = setting(False, "normalise the pooled clusters")
    softmax_over: Literal["clusters", "elements"] = setting("clusters", "axis of the assignment")
    with_nodes: bool = setting(False, "also pool nodes, for reconstruction of whole graphs (not in the published code)")


def published_graph(**changes: Any) -> EHGNNConfig:
    """HyperDrop for graph classification as released (TU data sets)."""
    values: dict[str, Any] = {
        "hidden_width": 128,
        "node_conv": "gcn",
        "edges": "as-stored",
        "edge_init": "ones",
        "node_to_edge": False,
        "self_term": False,
        "last_edge_layer": False,
        "edge_pool": "hyperdrop",
        "edge_ratio": 0.65,
        "score_activation": "clamp",
        "ties": "unspecified",
        "norm": "none",
        "readout_layers": "sum",
        "readout_edges": False,
    }
    return EHGNNConfig(**(values | changes))


def published_molecules(**changes: Any) -> EHGNNConfig:
    """HyperDrop for molecule property prediction as released (OGB data sets, integer codes)."""
    return published_graph(**({"node_conv": "gcn-edge"} | changes))


def published_nodes(**changes: Any) -> NodeEHGNNConfig:
    """The node classifier as released (Cora, Citeseer)."""
    values: dict[str, Any] = {
        "edges": "as-stored",
        "edge_init": "concat",
        "score_activation": "clamp",
        "ties": "unspecified",
        "self_term": False,
    }
    return NodeEHGNNConfig(**(values | changes))


def published_hypercluster(**changes: Any) -> HyperClusterConfig:
    """The ZINC edge autoencoder's encoder as released."""
    values: dict[str, Any] = {"edges": "as-stored", "edge_init": "ones", "self_term": False}
    return HyperClusterConfig(**(values | changes))
