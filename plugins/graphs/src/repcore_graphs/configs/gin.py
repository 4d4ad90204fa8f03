"""Settings of the encoder for any graph, its preprocessor, and the generated graphs that it learns from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from repcore_graphs.configs.ehgnn import setting


@dataclass(frozen=True, kw_only=True)
class SignalGraphConfig:
    """From stored graphs to structure and signals; nothing is learned from data."""

    duplicate_edges: Literal["first", "keep"] = setting("first", "of repeated (source, target) keep the first, or all")
    self_edges: Literal["keep", "drop"] = setting("keep", "edges from a node to itself")


@dataclass(frozen=True, kw_only=True)
class GraphGinConfig:
    """A graph isomorphism network whose input is the same for all graphs."""

    width: int = setting(96, "width of nodes", min=1)
    signal_width: int = setting(12, "width of a node's column before columns are joined", min=1)
    layers: int = setting(3, "number of layers: how many edges away a node sees", min=1, max=1000)
    readout_width: int = setting(256, "width of a graph's vector", min=1)


@dataclass(frozen=True, kw_only=True)
class FamiliesConfig:
    """Generated graphs of eight families with generated features of nodes and edges."""

    size: int = setting(8000, "graphs", "graphs", min=1)
    seed: int = setting(0, "of all graphs", min=0)
    least_nodes: int = setting(3, "smallest graph", "nodes", min=3)
    usual_nodes: int = setting(22, "half of the graphs are smaller", "nodes", min=3)
    most_nodes: int = setting(150, "largest graph, but for a few nodes more where rings are closed", "nodes", min=3)
