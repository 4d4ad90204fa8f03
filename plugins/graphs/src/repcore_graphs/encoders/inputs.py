"""From a torch-geometric batch to float node and edge features; what all graph encoders start with."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from repcore.errors import ConfigError, ShapeError
from repcore_graphs.layers.categorical import CategoricalEmbedding
from repcore_graphs.layers.edge_convolution import EdgeInit, initial_edge_width, initial_edges
from repcore_graphs.ops.dht import EdgeCounting
from repcore_graphs.tensors import GraphTensors, from_pyg


class InputWidths(Protocol):
    """The part of a config that this module reads."""

    @property
    def node_width(self) -> int | None: ...

    @property
    def edge_width(self) -> int | None: ...

    @property
    def node_vocabularies(self) -> tuple[int, ...] | None: ...

    @property
    def edge_vocabularies(self) -> tuple[int, ...] | None: ...


class GraphInputs(nn.Module):
    """Embeds codes, passes floats, initialises missing edge features.

    Args:
        config: widths and vocabularies.
        edge_init: for edges without features.
        code_width: width of embedded codes.

    Raises:
        ConfigError: no node width and no vocabulary is known.
    """

    def __init__(self, config: InputWidths, *, edge_init: EdgeInit, code_width: int) -> None:
        super().__init__()
        node_codes, edge_codes = config.node_vocabularies or (), config.edge_vocabularies or ()
        if not node_codes and not config.node_width:
            raise ConfigError(
                "node_width is not known",
                meaning="width of the node features",
                hint="train on data (it is then read from there), or set encoder.node_width",
            )
        self.edge_init: EdgeInit = edge_init
        self.atom = CategoricalEmbedding(node_codes, code_width) if node_codes else None
        self.bond = CategoricalEmbedding(edge_codes, code_width) if edge_codes else None
        self.node_width = code_width if node_codes else int(config.node_width or 0)
        self.given_edge_width = code_width if edge_codes else int(config.edge_width or 0)
        self.edge_width = initial_edge_width(self.given_edge_width, self.node_width, edge_init)
        self.raw_widths = (len(node_codes) or self.node_width, len(edge_codes) or self.given_edge_width)

    def read(self, data: Any, *, edges: EdgeCounting) -> GraphTensors:
        """Tensors of a torch-geometric ``Batch`` or ``Data``.

        Raises:
            ShapeError: features do not have the widths of the config.
        """
        graph = from_pyg(data, edges=edges)
        if not torch.compiler.is_compiling():
            self._check("node features x", graph.nodes, self.raw_widths[0])
            if self.raw_widths[1]:
                self._check("edge features edge_attr", graph.edges, self.raw_widths[1])
        return graph

    def _check(self, name: str, values: Tensor | None, width: int) -> None:
        if values is None:
            raise ShapeError(f"{name} are missing; the encoder was built for width {width}")
        if values.ndim != 2 or values.shape[1] != width:
            raise ShapeError(f"{name} have shape {tuple(values.shape)}; the encoder was built for (_, {width})")

    def embed_nodes(self, graph: GraphTensors) -> GraphTensors:
        return graph if self.atom is None else graph.with_features(nodes=self.atom(graph.nodes))

    def embed_edges(self, graph: GraphTensors) -> GraphTensors:
        if self.bond is not None:
            return graph.with_features(edges=self.bond(graph.edge_features()))
        if self.given_edge_width:
            return graph
        return graph.with_features(edges=initial_edges(graph, self.edge_init))
