"""The node-classification variant of EHGNN: a deep GCN whose edges are dropped while training.

Source: Jo et al. 2021 (arXiv 2106.15845), section 4.5; public repository harryjo97/EHGNN (Cora and Citeseer).
Differs by default: edges once, end-point features that do not depend on direction, live scores, self term (settings).
As published: the first convolutions use unnormalised sums of neighbours; after layer 0 edges start from their end
points; layers l with l mod 4 == 1 score the edges; training keeps the best share, evaluation keeps all of them; from
then on the weights are normalised symmetrically without added loops. Score layers of other depths, unused in the
publication, do not exist here.

Symbols: N nodes, E edges, A arcs, H hidden width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from repcore.errors import ConfigError
from repcore.interfaces import Batch, Features, Tokens
from repcore_graphs.configs.ehgnn import NodeEHGNNConfig
from repcore_graphs.layers.edge_convolution import DualHypergraphConv, initial_edges
from repcore_graphs.layers.hyper_drop import HyperDrop
from repcore_graphs.layers.node_convolution import GraphConvolution
from repcore_graphs.layers.readout import pool_by_graph
from repcore_graphs.tensors import GraphTensors, from_pyg


@dataclass(frozen=True, slots=True)
class NodeTrace:
    """Scores of one drop (E_l,) and the positions that training keeps."""

    score: Tensor
    kept: Tensor


class NodeEHGNN(nn.Module):
    """Node encoder for (usually one) graph.

    Args:
        config: ``node_width`` known.

    Call:
        batch: ``batch.inputs`` is a torch-geometric ``Batch``.
    Returns:
        Features: ``pooled`` is the mean node, levels ``"node"`` (N, output width) and ``"edge"`` (E, edge hidden
        width).
    """

    def __init__(self, config: NodeEHGNNConfig) -> None:
        super().__init__()
        if not config.node_width:
            raise ConfigError("node_width is not known", hint="train on data, or set encoder.node_width")
        if config.layers < 2:
            raise ConfigError(f"layers={config.layers} leaves no edge convolution", hint="layers=2 or more")
        self.config = config
        self.dim = config.output_width or config.hidden_width
        widths = [config.node_width] + [config.hidden_width] * (config.layers - 1) + [self.dim]
        self.node_convs = nn.ModuleList(
            GraphConvolution(widths[layer], widths[layer + 1], loops=False) for layer in range(config.layers)
        )
        edge_widths = [2 * config.hidden_width] + [config.edge_hidden_width] * (config.layers - 1)
        self.edge_convs = nn.ModuleList(
            DualHypergraphConv(edge_widths[layer], config.edge_hidden_width, self_term=config.self_term)
            for layer in range(config.layers - 1)
        )
        self.drops = nn.ModuleDict(
            {
                str(layer): HyperDrop(
                    config.edge_hidden_width,
                    ratio=config.edge_ratio,
                    activation=config.score_activation,
                    ties=config.ties,
                    lowest=1e-4,  # a weight of 0 would leave nodes without any degree
                )
                for layer in range(config.layers - 1)
                if layer % config.drop_every == 1
            }
        )
        self.dropout = nn.Dropout(config.dropout)

    @property
    def level_widths(self) -> dict[str, int]:
        """Width of each token level."""
        return {"node": self.dim, "edge": self.config.edge_hidden_width}

    def forward(self, batch: Batch, layers: Sequence[int] = ()) -> Features:
        graph = from_pyg(batch.inputs, edges=self.config.edges)
        outputs: list[Tensor] = [graph.nodes]
        features = self.encode(graph.with_features(edges=None), outputs=outputs)
        features.layers = {number: Tokens(outputs[number], owner=graph.node_graph) for number in layers}
        return features

    def encode(
        self,
        graph: GraphTensors,
        *,
        drop_edges: bool | None = None,
        trace: list[NodeTrace] | None = None,
        outputs: list[Tensor] | None = None,
    ) -> Features:
        """Run the layers.

        Args:
            graph: float nodes; edge features of the data are not used.
            drop_edges: keep only the best share; None = only while training.
            trace: receives one entry a drop.
            outputs: receives the nodes after each layer.
        """
        dropping = self.training if drop_edges is None else drop_edges
        whole, nodes, weight = graph, graph.nodes, None
        embedded: Tensor | None = None
        origin = torch.arange(graph.num_edges, device=nodes.device)
        for layer, conv in enumerate(self.node_convs):
            nodes = conv(graph, self.dropout(nodes), None, weight)
            if layer == len(self.node_convs) - 1:
                break
            nodes = torch.relu(nodes)
            if outputs is not None:
                outputs.append(nodes)
            if layer == 0:
                graph = graph.with_features(
                    edges=initial_edges(graph.with_features(nodes=nodes), self.config.edge_init)
                )
            edges = self.dropout(torch.relu(self.edge_convs[layer](graph, graph.edge_features())))
            graph = graph.with_features(edges=edges)
            embedded = edges if embedded is None else embedded.index_copy(0, origin, edges)
            if str(layer) in self.drops:
                graph, weight, origin = self._drop(layer, graph, origin, dropping, trace)
        if outputs is not None:
            outputs.append(nodes)
        assert embedded is not None
        tokens = {
            "node": Tokens(nodes, owner=whole.node_graph),
            "edge": Tokens(embedded, owner=whole.edge_graph, source=whole.arc_edge),
        }
        pooled = pool_by_graph(nodes, whole.node_graph, whole.num_graphs, how=("mean",))
        return Features(pooled=pooled, tokens=tokens, extras={"edge_ends": whole.ends})

    def _drop(
        self,
        layer: int,
        graph: GraphTensors,
        origin: Tensor,
        dropping: bool,
        trace: list[NodeTrace] | None,
    ) -> tuple[GraphTensors, Tensor, Tensor]:
        """The graph after the scoring of this layer, weights of its edges, and their original numbers."""
        drop: Any = self.drops[str(layer)]
        score = drop.score(graph)
        kept = drop.choose(graph, score).kept()
        if trace is not None:
            trace.append(NodeTrace(score, kept))
        weight = drop.weights(score)
        if not dropping:
            return graph, weight, origin
        return graph.select_edges(kept), weight[kept], origin[kept]
