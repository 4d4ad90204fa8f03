"""Edge encoder with HyperCluster: edges of each graph pooled into a few soft clusters.

Source: Jo et al. 2021 (arXiv 2106.15845), sections 3.2 and 4.1; public repository harryjo97/EHGNN (ZINC model).
Differs by default: edges once, end-point features for edges without any, self term, heads that work. ``with_nodes``
adds the node half of the paper's graph reconstruction, which is not released: GCN nodes pooled by seeds of their own.

Symbols: N nodes, E edges, B graphs, S clusters, H hidden width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from repcore.errors import ConfigError
from repcore.interfaces import Batch, Features, Tokens
from repcore_graphs.configs.ehgnn import HyperClusterConfig
from repcore_graphs.encoders.inputs import GraphInputs
from repcore_graphs.layers.edge_convolution import DualHypergraphConv
from repcore_graphs.layers.hyper_cluster import Clusters, SeedAttention
from repcore_graphs.layers.node_convolution import GraphConvolution
from repcore_graphs.layers.readout import pool_by_graph
from repcore_graphs.tensors import GraphTensors


def number_of_seeds(config: HyperClusterConfig) -> int:
    """ceil(edge_ratio * average_edges), or the number set directly.

    Raises:
        ConfigError: neither is known.
    """
    if config.seeds:
        return config.seeds
    if not config.average_edges:
        raise ConfigError("neither seeds nor average_edges is known", hint="train on data, or set encoder.seeds")
    return max(1, math.ceil(config.edge_ratio * config.average_edges))


class HyperClusterEncoder(nn.Module):
    """Edge convolutions, then S clusters a graph.

    Args:
        config: widths known.

    Call:
        batch: ``batch.inputs`` is a torch-geometric ``Batch``.
    Returns:
        Features: ``pooled`` (B, S * H [+ S * H]): all clusters side by side, in the order of their seeds; levels
        ``"edge"``
        (E, H), with ``with_nodes`` ``"node"`` (N, H), and ``"cluster"`` (B, S, H). ``extras``: ``clusters``,
        ``node_clusters``, ``graph``.
    """

    def __init__(self, config: HyperClusterConfig) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_width
        self.inputs = GraphInputs(config, edge_init=config.edge_init, code_width=width)
        widths = [self.inputs.edge_width] + [width] * config.layers
        self.edge_convs = nn.ModuleList(self._conv(widths[layer]) for layer in range(config.layers))
        self.num_seeds = number_of_seeds(config)
        self.key, self.value = self._conv(width), self._conv(width)
        self.cluster = self._seeds()
        self.node_convs: nn.ModuleList | None = None
        if config.with_nodes:
            node_widths = [self.inputs.node_width] + [width] * config.layers
            self.node_convs = nn.ModuleList(GraphConvolution(node_widths[i], width) for i in range(config.layers))
            self.node_key, self.node_value = GraphConvolution(width, width), GraphConvolution(width, width)
            self.node_cluster = self._seeds()
        self.dim = self.num_seeds * width * (2 if config.with_nodes else 1)

    def _conv(self, in_width: int) -> DualHypergraphConv:
        return DualHypergraphConv(in_width, self.config.hidden_width, self_term=self.config.self_term)

    def _seeds(self) -> SeedAttention:
        config = self.config
        return SeedAttention(
            config.hidden_width,
            self.num_seeds,
            heads=config.heads,
            layer_norm=config.layer_norm,
            softmax_over=config.softmax_over,
        )

    def read(self, data: Any) -> GraphTensors:
        """A torch-geometric ``Batch`` or ``Data`` as tensors, features as stored."""
        return self.inputs.read(data, edges=self.config.edges)

    def embed_nodes(self, graph: GraphTensors) -> GraphTensors:
        """Float node features."""
        return self.inputs.embed_nodes(graph)

    def embed_edges(self, graph: GraphTensors) -> GraphTensors:
        """Float edge features, initialised from the current nodes where there are none."""
        return self.inputs.embed_edges(graph)

    @property
    def input_widths(self) -> tuple[int, int]:
        """Widths of node and edge features after embedding."""
        return self.inputs.node_width, self.inputs.edge_width

    @property
    def level_widths(self) -> dict[str, int]:
        """Width of each token level."""
        width = self.config.hidden_width
        return {"edge": width, "cluster": width} | ({"node": width} if self.config.with_nodes else {})

    def encode(self, graph: GraphTensors, trace: list[Tensor] | None = None) -> Features:
        """Run the layers on embedded features.

        Args:
            graph: with float nodes and edges.
            trace: receives the edges after each layer when given.
        """
        edges = graph.edge_features()
        for conv in self.edge_convs:
            edges = torch.relu(conv(graph, edges))
            if trace is not None:
                trace.append(edges)
        clusters = self.cluster(
            self.key(graph, edges),
            self.value(graph, edges),
            graph.edge_graph,
            num_graphs=graph.num_graphs,
            multiplicity=graph.multiplicity,
        )
        tokens = {
            "edge": Tokens(edges, owner=graph.edge_graph, source=graph.arc_edge),
            "cluster": Tokens(clusters.values),
        }
        extras: dict[str, Any] = {"clusters": clusters, "graph": graph, "edge_ends": graph.ends}
        pooled = [clusters.values.flatten(1)]
        if self.node_convs is not None:
            nodes, node_clusters = self._nodes(graph)
            tokens["node"] = Tokens(nodes, owner=graph.node_graph)
            extras["node_clusters"] = node_clusters
            pooled.append(node_clusters.values.flatten(1))
        return Features(pooled=torch.cat(pooled, dim=1), tokens=tokens, extras=extras)

    def forward(self, batch: Batch, layers: Sequence[int] = ()) -> Features:
        graph = self.embed_edges(self.embed_nodes(self.read(batch.inputs)))
        trace: list[Tensor] = []
        features = self.encode(graph, trace)
        if layers:
            outputs = [graph.edge_features(), *trace]
            features.layers = {number: Tokens(outputs[number], owner=graph.edge_graph) for number in layers}
        return features

    def pool(self, features: Features, name: str) -> Tensor:
        """``"clusters"`` (all, side by side), ``"cluster-mean"``, ``"edge-mean"``, ``"edge-sum"``, ...: (B, D)."""
        if name == "clusters":
            return features.pooled
        if name == "cluster-mean":
            return features.tokens["cluster"].values.mean(dim=1)
        level, _, how = name.rpartition("-")
        tokens = features.tokens.get(level)
        if tokens is None or tokens.owner is None or how not in ("mean", "max", "sum"):
            raise ConfigError(f"pooling {name!r} is not known", expected="'clusters', 'cluster-mean', 'edge-mean', ...")
        return pool_by_graph(tokens.values, tokens.owner, features.pooled.shape[0], how=(how,))

    def _nodes(self, graph: GraphTensors) -> tuple[Tensor, Clusters]:
        assert self.node_convs is not None
        nodes = graph.nodes
        for conv in self.node_convs:
            nodes = torch.relu(conv(graph, nodes, None, None))
        keys, values = self.node_key(graph, nodes, None, None), self.node_value(graph, nodes, None, None)
        return nodes, self.node_cluster(keys, values, graph.node_graph, num_graphs=graph.num_graphs)
