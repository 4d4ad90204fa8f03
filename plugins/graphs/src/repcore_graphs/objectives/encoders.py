"""What objectives need from a graph encoder: its steps one by one, so that masks fit between them."""

from __future__ import annotations

from typing import Any

from torch import nn

from repcore.interfaces import Features
from repcore_graphs.objectives.targets import FeatureSizes
from repcore_graphs.tensors import GraphTensors


class LevelEncoder(nn.Module):
    """Base for typing only: :class:`repcore_graphs.encoders.ehgnn.EHGNN` has this form and does not inherit from it.

    ``read`` gives features as stored, ``embed_nodes`` and ``embed_edges`` floats, ``encode`` the features. Any encoder of another
    plugin with these methods works with the masked and contrastive objectives.
    """

    config: FeatureSizes
    dim: int
    input_widths: tuple[int, int]
    level_widths: dict[str, int]

    def read(self, data: Any) -> GraphTensors:
        raise NotImplementedError

    def embed_nodes(self, graph: GraphTensors) -> GraphTensors:
        raise NotImplementedError

    def embed_edges(self, graph: GraphTensors) -> GraphTensors:
        raise NotImplementedError

    def encode(self, graph: GraphTensors) -> Features:
        raise NotImplementedError
