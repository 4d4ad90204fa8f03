"""What objectives need from a graph encoder: its steps one by one, so that masks fit between them."""

from __future__ import annotations

from typing import Any, Protocol

from repcore.interfaces import Features
from repcore_graphs.layers.targets import FeatureSizes
from repcore_graphs.tensors import GraphTensors


class LevelEncoder(Protocol):
    """An ``nn.Module`` like :class:`repcore_graphs.encoders.ehgnn.EHGNN`.

    Any encoder of another plugin with these methods works with the masked and contrastive objectives.
    """

    @property
    def config(self) -> FeatureSizes: ...

    @property
    def dim(self) -> int: ...

    @property
    def input_widths(self) -> tuple[int, int]:
        """Widths of node and edge features after embedding."""
        ...

    @property
    def level_widths(self) -> dict[str, int]:
        """Width of each token level."""
        ...

    def read(self, data: Any) -> GraphTensors:
        """Features as stored."""
        ...

    def embed_nodes(self, graph: GraphTensors) -> GraphTensors:
        """Float node features."""
        ...

    def embed_edges(self, graph: GraphTensors) -> GraphTensors:
        """Float edge features."""
        ...

    def encode(self, graph: GraphTensors) -> Features:
        """Features from embedded nodes and edges."""
        ...
