"""Edge (and graph) reconstruction through HyperCluster: a label-free autoencoder on edges.

Source: Jo et al. 2021 (arXiv 2106.15845), sections 3.2 and 4.1; public repository harryjo97/EHGNN (ZINC trainer).
Differs: validation there applies a softmax before the cross-entropy; whole-graph reconstruction is not released and is
here the same autoencoder with a node half. Continuous features are compared by mean squared error.

Symbols: E edges, N nodes, H hidden width, C classes or features of an edge.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from repcore.errors import ConfigError
from repcore.interfaces import Batch, Draws, Features, LossTerms, Picture, Progress
from repcore_graphs.configs.objectives import EdgeReconstructionConfig
from repcore_graphs.encoders.hypercluster import HyperClusterEncoder
from repcore_graphs.layers.edge_convolution import DualHypergraphConv
from repcore_graphs.layers.node_convolution import GraphConvolution
from repcore_graphs.layers.targets import FeatureTarget, edge_target, node_target
from repcore_graphs.tensors import GraphTensors


class EdgeDecoder(nn.Module):
    """Unpooled edges -> convolutions on the original structure -> logits.

    Args:
        width: H.
        out_width: C.
        layers: hidden convolutions before the last one.
        self_term: as in the encoder.
    """

    def __init__(self, width: int, out_width: int, *, layers: int, self_term: bool) -> None:
        super().__init__()
        self.convs = nn.ModuleList(DualHypergraphConv(width, width, self_term=self_term) for _ in range(layers))
        self.last = DualHypergraphConv(width, out_width, self_term=self_term)

    def forward(self, graph: GraphTensors, edges: Tensor) -> Tensor:
        """(E, H) -> (E, C)."""
        for conv in self.convs:
            edges = torch.relu(conv(graph, edges))
        return self.last(graph, edges)


class EdgeReconstruction(nn.Module):
    """Restore every edge of a graph from its clusters.

    Args:
        config: see :class:`EdgeReconstructionConfig`.
        encoder: a HyperCluster encoder; for ``reconstruct="graph"`` one with nodes.

    Raises:
        ConfigError: the data has no edge features to restore, or nodes are wanted from an encoder without them.
    """

    def __init__(self, config: EdgeReconstructionConfig, encoder: HyperClusterEncoder) -> None:
        super().__init__()
        self.config, self.encoder = config, encoder
        width = encoder.config.hidden_width
        self.edge_target: FeatureTarget = edge_target(encoder.config, config.edge_kind)
        self.decoder = EdgeDecoder(
            width, self.edge_target.width, layers=encoder.config.layers, self_term=encoder.config.self_term
        )
        self.node_decoder: nn.ModuleList | None = None
        if config.reconstruct == "graph":
            _require_nodes(encoder)
            self.node_target = node_target(encoder.config, config.node_kind)
            self.node_decoder = nn.ModuleList(
                [GraphConvolution(width, width), GraphConvolution(width, self.node_target.width)]
            )

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        """Nothing is random here."""
        return {}

    def logits(self, features: Features) -> Tensor:
        """Decoder output for every edge, (E, C)."""
        return self.decoder(features.extras["graph"], features.extras["clusters"].unpool())

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        raw, features = self._encoded(batch)
        logits = self.logits(features)
        edge_labels = self.edge_target.of(raw.edge_features())
        # an edge that stands for two arcs counts twice, as in the publication
        terms = {"edges": _weighted_mean(self.edge_target.loss(logits, edge_labels), raw.multiplicity)}
        weights = {"edges": 1.0}
        metrics: dict[str, Any] = {}
        if self.edge_target.is_class and raw.num_edges:
            metrics |= _edge_metrics(logits, edge_labels, raw)
        counts: dict[str, Any] = {"edges": raw.multiplicity.sum()}
        if self.node_decoder is not None:
            restored = self._nodes(features)
            terms["nodes"] = self.node_target.loss(restored, self.node_target.of(raw.nodes)).mean()
            weights["nodes"] = self.config.node_weight
            counts["nodes"] = raw.num_nodes
        return LossTerms.of(terms, weights, counts=counts, metrics=metrics)

    def counts(self, batch: Batch, draws: Draws) -> Mapping[str, Any]:
        """Items in each term's mean, known before the forward pass."""
        counts = {"edges": batch.inputs.edge_index.shape[1]}
        return counts if self.node_decoder is None else counts | {"nodes": batch.inputs.num_nodes}

    def picture(self, batch: Batch, draws: Draws) -> Picture:
        """The graph as it is and as restored from its clusters; edges that came out worst are numbered."""
        from repcore_graphs.rendering.edges import edges_picture, edges_restored

        raw, features = self._encoded(batch)
        restored = edges_restored(raw, self.logits(features), self.edge_target)
        every = np.ones(raw.num_edges, bool)
        return edges_picture(raw, restored, every, "edges", numbered=restored.worst())

    def _encoded(self, batch: Batch) -> tuple[GraphTensors, Features]:
        """The graph as stored, and its features."""
        raw = self.encoder.read(batch.inputs)
        return raw, self.encoder.encode(self.encoder.embed_edges(self.encoder.embed_nodes(raw)))

    def _nodes(self, features: Features) -> Tensor:
        assert self.node_decoder is not None
        graph = features.extras["graph"]
        nodes = torch.relu(self.node_decoder[0](graph, features.extras["node_clusters"].unpool(), None, None))
        return self.node_decoder[1](graph, nodes, None, None)


def _require_nodes(encoder: HyperClusterEncoder) -> None:
    if not encoder.config.with_nodes:
        raise ConfigError("reconstruct='graph' needs an encoder that pools nodes", hint="encoder.with_nodes=true")


def _weighted_mean(losses: Tensor, weight: Tensor) -> Tensor:
    return (losses * weight).sum() / weight.sum().clamp(min=1)


def _edge_metrics(logits: Tensor, labels: Tensor, graph: GraphTensors) -> dict[str, Tensor]:
    """Share of edges restored, and of graphs with every edge restored ("exact match")."""
    right = logits.detach().argmax(1) == labels
    wrong = torch.zeros(graph.num_graphs, device=logits.device).index_add(0, graph.edge_graph, (~right).float())
    return {
        "edge_accuracy": _weighted_mean(right.float(), graph.multiplicity),
        "exact_match": (wrong == 0).float().mean(),
    }


def reconstruction_accuracy(objective: EdgeReconstruction, batch: Batch) -> dict[str, float]:
    """Edge accuracy and exact match of one batch in evaluation mode."""
    objective.eval()
    with torch.no_grad():
        terms = objective(batch, {})
    return {name: float(value) for name, value in terms.metrics.items()}
