"""Tiny configurations and batches for checks and documentation: ``(config, batch)`` of every encoder and objective."""

from __future__ import annotations

from typing import Any

from repcore.interfaces import Batch
from repcore_graphs.configs.data import GraphPreprocessorConfig, MotifsConfig
from repcore_graphs.configs.ehgnn import EHGNNConfig, HyperClusterConfig, NodeEHGNNConfig
from repcore_graphs.configs.objectives import (
    EdgeReconstructionConfig,
    GraphContrastConfig,
    MaskedEdgeConfig,
    MaskedNodeConfig,
)
from repcore_graphs.datasets.motifs import Motifs
from repcore_graphs.preprocessors.graph import GraphPreprocessor


def _batch(count: int = 4) -> tuple[dict[str, Any], Batch]:
    """Facts and a batch of generated graphs."""
    reader = Motifs(MotifsConfig(size=count, most_nodes=14))
    preprocessor = GraphPreprocessor(GraphPreprocessorConfig())
    preprocessor.fit(reader, range(count))
    items = [preprocessor.prepare(reader[index])[0] for index in range(count)]
    return dict(preprocessor.facts()), preprocessor.collate(items)


def _widths(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: facts[name] for name in ("node_width", "edge_width", "node_vocabularies", "edge_vocabularies")}


def ehgnn() -> tuple[EHGNNConfig, Batch]:
    """Two layers of width 8."""
    facts, batch = _batch()
    return EHGNNConfig(hidden_width=8, layers=2, **_widths(facts)), batch


def hypercluster() -> tuple[HyperClusterConfig, Batch]:
    """Width 8, as many clusters as the data asks for."""
    facts, batch = _batch()
    return HyperClusterConfig(hidden_width=8, average_edges=facts["average_edges"], **_widths(facts)), batch


def ehgnn_node() -> tuple[NodeEHGNNConfig, Batch]:
    """Three layers of width 8."""
    facts, batch = _batch()
    return NodeEHGNNConfig(hidden_width=8, edge_hidden_width=4, layers=3, node_width=facts["node_width"]), batch


def masked_edge() -> tuple[MaskedEdgeConfig, Batch]:
    facts, batch = _batch()
    return MaskedEdgeConfig(edge_kind=facts["edge_kind"]), batch


def masked_node() -> tuple[MaskedNodeConfig, Batch]:
    return MaskedNodeConfig(), _batch()[1]


def graph_contrast() -> tuple[GraphContrastConfig, Batch]:
    return GraphContrastConfig(projection_width=8), _batch()[1]


def edge_reconstruction() -> tuple[EdgeReconstructionConfig, Batch]:
    facts, batch = _batch()
    return EdgeReconstructionConfig(edge_kind=facts["edge_kind"], node_kind=facts["node_kind"]), batch
