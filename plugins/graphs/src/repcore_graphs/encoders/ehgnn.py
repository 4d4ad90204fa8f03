"""EHGNN: a node network and a dual edge branch that score, drop and weight each other's messages.

Source: Jo et al. 2021 (arXiv 2106.15845), sections 3.1 and 3.3; public repository harryjo97/EHGNN.
Differs by default (the published behaviour of each is a setting, see ``configs/ehgnn.py``): edges take part as one
dual node each instead of two; edges without features start from their end points instead of from ones; scores stay
trainable; edge convolutions have a self term and see their end points; GIN with edge features instead of GCN; batch
normalisation.

Symbols: N nodes, E edges, B graphs, H hidden width, He edge hidden width.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from repcore.errors import ConfigError
from repcore.interfaces import Batch, Features, Tokens
from repcore_graphs.configs.ehgnn import EHGNNConfig
from repcore_graphs.encoders.inputs import GraphInputs
from repcore_graphs.layers.edge_convolution import DualHypergraphConv
from repcore_graphs.layers.hyper_cluster import Clusters, SeedAttention
from repcore_graphs.layers.hyper_drop import HyperDrop
from repcore_graphs.layers.node_convolution import build_node_convolution
from repcore_graphs.layers.readout import POOLS, MultisetReadout, pool_by_graph
from repcore_graphs.tensors import GraphTensors


@dataclass(frozen=True, slots=True)
class LayerTrace:
    """What one layer computed.

    Args:
        nodes: (N, H) after activation.
        edges: (E_l, He) after activation, before dropping; None where the layer has no edge convolution.
        score: (E_l,) tanh scores, None without a drop.
        kept: positions into the edges of this layer that stayed; None without a drop or with static shapes.
        keep: bool (E_l,), the same as a mask; None without a drop.
    """

    nodes: Tensor
    edges: Tensor | None
    score: Tensor | None
    kept: Tensor | None
    keep: Tensor | None


class EHGNN(nn.Module):
    """Graph encoder with node, edge and graph embeddings.

    Args:
        config: all widths known.

    Call:
        batch: ``batch.inputs`` is a torch-geometric ``Batch``.
    Returns:
        Features: ``pooled`` (B, dim); levels ``"node"`` (N, H) and ``"edge"`` (E, He), ragged, with ``source`` of the
        edge level
        mapping stored arcs to edges; ``"cluster"`` (B, S, He) with HyperCluster. An edge that HyperDrop removed keeps
        the embedding of the last layer it lived in. ``extras``: ``edge_score`` (E,), last tanh score each edge had,
        ``edge_ends`` (2, E), ``clusters``.

    Raises:
        ConfigError: a width is missing, or there is no edge convolution at all.
    """

    def __init__(self, config: EHGNNConfig) -> None:
        super().__init__()
        self.config = config
        hidden, edge_hidden = config.hidden_width, config.edge_hidden_width or config.hidden_width
        self.inputs = GraphInputs(config, edge_init=config.edge_init, code_width=hidden)
        edge_layers = config.layers if config.last_edge_layer else config.layers - 1
        if edge_layers < 1:
            raise ConfigError(f"layers={config.layers} leaves no edge convolution", hint="last_edge_layer=true")
        node_widths = [self.inputs.node_width] + [hidden] * config.layers
        edge_widths = [self.inputs.edge_width] + [edge_hidden] * edge_layers
        self.node_convs = nn.ModuleList(
            build_node_convolution(
                config.node_conv, node_widths[layer], hidden, edge_width=edge_widths[min(layer, edge_layers)]
            )
            for layer in range(config.layers)
        )
        self.edge_convs = nn.ModuleList(
            DualHypergraphConv(
                edge_widths[layer],
                edge_hidden,
                self_term=config.self_term,
                node_width=hidden if config.node_to_edge else 0,
            )
            for layer in range(edge_layers)
        )
        drops = config.layers - 1 if config.edge_pool == "hyperdrop" else 0
        self.drops = nn.ModuleList(self._drop(edge_hidden) for _ in range(drops))
        self.node_norms = _norms(config.norm, hidden, config.layers)
        self.edge_norms = _norms(config.norm, edge_hidden, edge_layers)
        self.dropout = nn.Dropout(config.dropout)
        self._build_readout(hidden, edge_hidden)

    def _drop(self, width: int) -> HyperDrop:
        config = self.config
        return HyperDrop(
            width,
            ratio=config.edge_ratio,
            activation=config.score_activation,
            ties=config.ties,
            static_shapes=config.static_shapes,
        )

    def _build_readout(self, hidden: int, edge_hidden: int) -> None:
        config = self.config
        self.gmt = MultisetReadout(hidden, seeds=config.seeds, heads=config.heads) if config.readout == "gmt" else None
        width = hidden if self.gmt is not None else hidden * len(POOLS[config.readout])
        if self.gmt is None and config.readout_layers == "concat":
            width *= config.layers
        if config.readout_edges:
            width += edge_hidden * len(POOLS.get(config.readout, ("mean",)))
        self.cluster: SeedAttention | None = None
        if config.edge_pool == "hypercluster":
            self.cluster = SeedAttention(edge_hidden, config.seeds, heads=config.heads)
            self.cluster_key = DualHypergraphConv(edge_hidden, edge_hidden, self_term=config.self_term)
            self.cluster_value = DualHypergraphConv(edge_hidden, edge_hidden, self_term=config.self_term)
            width += edge_hidden
        self.dim = width

    # ------------------------------------------------------------------------------------------ steps

    def read(self, data: Any) -> GraphTensors:
        """A torch-geometric ``Batch`` or ``Data`` as tensors, features as stored."""
        return self.inputs.read(data, edges=self.config.edges)

    def embed_nodes(self, graph: GraphTensors) -> GraphTensors:
        """Float node features: codes become embeddings, floats stay."""
        return self.inputs.embed_nodes(graph)

    def embed_edges(self, graph: GraphTensors) -> GraphTensors:
        """Float edge features: codes become embeddings, missing ones are initialised from the current nodes."""
        return self.inputs.embed_edges(graph)

    @property
    def input_widths(self) -> tuple[int, int]:
        """Widths of node and edge features after embedding: where masks put their tokens."""
        return self.inputs.node_width, self.inputs.edge_width

    @property
    def level_widths(self) -> dict[str, int]:
        """Width of each token level."""
        return {"node": self.config.hidden_width, "edge": self.config.edge_hidden_width or self.config.hidden_width}

    @property
    def depth(self) -> int:
        """Number of the last layer."""
        return len(self.node_convs)

    @property
    def first_layer(self) -> int:
        """Lowest layer of :meth:`token_width`: node features before the first convolution have a width of their own."""
        return 1

    def token_width(self, level: str = "node") -> int:
        """Width of nodes (at every layer from ``first_layer``), of ``edge``, or of ``embedding``: what
        :meth:`embed_tokens` gives."""
        return self.inputs.node_width if level == "embedding" else self.level_widths[level]

    def embed_tokens(self, batch: Batch) -> Tokens:
        """Node features before the first convolution, (N, Dn)."""
        graph = self.embed_nodes(self.read(batch.inputs))
        return Tokens(graph.nodes, owner=graph.node_graph)

    def encode_tokens(
        self, tokens: Tokens, batch: Batch, layers: Sequence[int] = (), until: int | None = None
    ) -> Features:
        """Features of node features, some of which may have been replaced; edges without features start from them."""
        return self._run(self.read(batch.inputs).with_features(nodes=tokens.values), layers, until)

    def encode(self, graph: GraphTensors, trace: list[LayerTrace] | None = None, until: int | None = None) -> Features:
        """Run the layers on embedded features.

        Args:
            graph: with float nodes and edges.
            trace: receives one entry a layer when given.
            until: last layer to compute, 1 or more; None = all.
        """
        whole, origin = graph, None
        nodes, weight = graph.nodes, None
        per_layer: list[Tensor] = []
        embedded: Tensor | None = None
        score: Tensor | None = None
        for layer, conv in enumerate(itertools.islice(self.node_convs, until)):
            nodes = self._after(conv(graph, nodes, graph.edges, weight), self.node_norms, layer)
            per_layer.append(nodes)
            if layer >= len(self.edge_convs):
                _record(trace, LayerTrace(nodes, None, None, None, None))
                continue
            edges = self.edge_convs[layer](graph, graph.edge_features(), nodes)
            edges = self._after(edges, self.edge_norms, layer)
            graph = graph.with_features(edges=edges)
            embedded = _remember(embedded, edges, origin, graph)
            if layer >= len(self.drops):
                _record(trace, LayerTrace(nodes, edges, None, None, None))
                continue
            drop = self.drops[layer](graph)
            _record(trace, LayerTrace(nodes, edges, drop.score, drop.kept, drop.keep))
            score = _remember(score, drop.score, origin, graph)
            graph, weight = drop.graph, drop.weight
            if drop.kept is not None:
                origin = drop.kept if origin is None else origin[drop.kept]
        assert embedded is not None
        return self._features(whole, graph, per_layer, embedded, score)

    def forward(self, batch: Batch, layers: Sequence[int] = (), until: int | None = None) -> Features:
        """``until``: the last layer to compute, 1 or more; what depends on later ones is then read from it."""
        return self._run(self.embed_nodes(self.read(batch.inputs)), layers, until)

    def _run(self, graph: GraphTensors, layers: Sequence[int], until: int | None) -> Features:
        most = self.depth if until is None else until
        wrong = [number for number in layers if not 0 <= number <= most]
        if wrong or not 1 <= most <= self.depth:
            raise ConfigError(f"the encoder has no layer {wrong[0] if wrong else most}", expected=f"1 to {self.depth}")
        graph = self.embed_edges(graph)
        trace: list[LayerTrace] = []
        features = self.encode(graph, trace, until)
        if layers:
            outputs = [graph.nodes, *(step.nodes for step in trace)]
            features.layers = {number: Tokens(outputs[number], owner=graph.node_graph) for number in layers}
        return features

    def pool(self, features: Features, name: str) -> Tensor:
        """Further poolings: ``"node-mean"``, ``"edge-mean"`` and so on for max and sum: (B, D)."""
        if name == "readout":
            return features.pooled
        level, _, how = name.rpartition("-")
        tokens = features.tokens.get(level)
        if tokens is None or tokens.owner is None or how not in ("mean", "max", "sum"):
            raise ConfigError(f"pooling {name!r} is not known", expected="'readout', 'node-mean', 'edge-sum', ...")
        return pool_by_graph(tokens.values, tokens.owner, features.pooled.shape[0], how=(how,))

    # --------------------------------------------------------------------------------------- internals

    def _after(self, values: Tensor, norms: nn.ModuleList | None, layer: int) -> Tensor:
        # a batch norm of no rows or one row has no statistics to learn
        if norms is not None and (values.shape[0] > 1 or not self.training):
            values = norms[layer](values)
        return self.dropout(torch.relu_(values))  # what a convolution or a norm gives is nobody else's

    def _features(
        self, whole: GraphTensors, graph: GraphTensors, per_layer: list[Tensor], edges: Tensor, score: Tensor | None
    ) -> Features:
        parts = [self._read_nodes(graph, per_layer)]
        tokens = {
            "node": Tokens(per_layer[-1], owner=graph.node_graph),
            "edge": Tokens(edges, owner=whole.edge_graph, source=whole.arc_edge),
        }
        extras: dict[str, Any] = {"edge_ends": whole.ends}
        if self.config.readout_edges:
            how = POOLS.get(self.config.readout, ("mean",))
            parts.append(pool_by_graph(edges, whole.edge_graph, whole.num_graphs, how=how, weight=whole.multiplicity))
        if self.cluster is not None:
            clusters = self._cluster(whole, edges)
            parts.append(clusters.values.mean(dim=1))
            tokens["cluster"] = Tokens(clusters.values)
            extras["clusters"] = clusters
        if score is not None:
            extras["edge_score"] = score
        return Features(pooled=torch.cat(parts, dim=1), tokens=tokens, extras=extras)

    def _read_nodes(self, graph: GraphTensors, per_layer: list[Tensor]) -> Tensor:
        if self.gmt is not None:
            return self.gmt(graph, per_layer[-1])
        how = POOLS[self.config.readout]
        if self.config.readout_layers == "last":
            per_layer = per_layer[-1:]
        pooled = [pool_by_graph(nodes, graph.node_graph, graph.num_graphs, how=how) for nodes in per_layer]
        return torch.cat(pooled, dim=1) if self.config.readout_layers == "concat" else torch.stack(pooled).sum(0)

    def _cluster(self, graph: GraphTensors, edges: Tensor) -> Clusters:
        assert self.cluster is not None
        keys, values = self.cluster_key(graph, edges), self.cluster_value(graph, edges)
        return self.cluster(
            keys, values, graph.edge_graph, num_graphs=graph.num_graphs, multiplicity=graph.multiplicity
        )


def _norms(kind: str, width: int, count: int) -> nn.ModuleList | None:
    if kind == "none":
        return None
    return nn.ModuleList(nn.BatchNorm1d(width) if kind == "batch" else nn.LayerNorm(width) for _ in range(count))


def _record(trace: list[LayerTrace] | None, step: LayerTrace) -> None:
    if trace is not None:
        trace.append(step)


def _remember(known: Tensor | None, values: Tensor, origin: Tensor | None, graph: GraphTensors) -> Tensor:
    """Values by original edge, where edges that are gone keep what they had last."""
    if known is None:
        return values
    if origin is not None:
        return known.index_copy(0, origin, values)
    if graph.is_whole:
        return values
    alive = graph.multiplicity > 0
    return torch.where(alive if values.ndim == 1 else alive[:, None], values, known)
