"""HyperDrop: score every edge, keep the best share of each graph, weight the next node convolution by the score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from repcore.errors import ConfigError
from repcore_graphs.layers.edge_convolution import DualHypergraphConv
from repcore_graphs.ops.edge_pooling import EdgeSelection, Ties, topk_edges
from repcore_graphs.tensors import GraphTensors

ScoreActivation = Literal["live", "clamp"]


@dataclass(frozen=True, slots=True)
class Drop:
    """What one HyperDrop step decided.

    Args:
        graph: the graph after the drop, with its edge features.
        score: tanh score of every edge before the drop, (E,).
        weight: weight of every edge of ``graph``, the only way for gradients to reach the scores.
        kept: positions (into the edges before) that stayed, grouped by graph and falling score; None where edges keep
            their places: with static shapes, and with ratio 1.
        keep: bool (E,), the same as a mask.
    """

    graph: GraphTensors
    score: Tensor
    weight: Tensor
    kept: Tensor | None
    keep: Tensor


class HyperDrop(nn.Module):
    """Edge pooling that never removes a node.

    Source: Jo et al. 2021 (arXiv 2106.15845), section 3.3; public repository harryjo97/EHGNN.
    Differs: ``"live"`` weights (1 + tanh s) / 2 by default. The published clamp(tanh s, 0, 1) (``"clamp"``) has no
    gradient for
    negative scores, and about half of all initialisations start with every score negative, so the edge branch never
    trains.

    Args:
        width: of the edge features.
        ratio: share of the edges of each graph that stays.
        activation: ``"live"`` or ``"clamp"``.
        lowest: lower end of the clamp.
        ties: what decides between equal scores; the published code leaves it to an unstable sort.
        static_shapes: mark dropped edges instead of removing them: same values, compiles as one graph, costs more on
            CPU.
    """

    def __init__(
        self,
        width: int,
        *,
        ratio: float,
        activation: ScoreActivation = "live",
        lowest: float = 0.0,
        ties: Ties = "by-index",
        static_shapes: bool = False,
    ) -> None:
        super().__init__()
        if activation not in ("live", "clamp"):
            raise ConfigError(f"score_activation={activation!r} is not known", expected="'live' or 'clamp'")
        self.score_conv = DualHypergraphConv(width, 1)
        self.ratio, self.activation, self.lowest = ratio, activation, lowest
        self.ties: Ties = ties
        self.static_shapes = static_shapes

    def score(self, graph: GraphTensors) -> Tensor:
        """tanh score of every edge, (E,)."""
        return torch.tanh(self.score_conv(graph, graph.edge_features()).squeeze(-1))

    def weights(self, score: Tensor) -> Tensor:
        """Edge weights in [0, 1] from scores."""
        return (1 + score) / 2 if self.activation == "live" else score.clamp(self.lowest, 1.0)

    def choose(self, graph: GraphTensors, score: Tensor) -> EdgeSelection:
        """Which edges stay."""
        alive = None if graph.is_whole else graph.multiplicity > 0
        return topk_edges(score, graph.edge_graph, self.ratio, num_graphs=graph.num_graphs, alive=alive, ties=self.ties)

    def forward(self, graph: GraphTensors) -> Drop:
        score = self.score(graph)
        weight = self.weights(score)
        if self.ratio == 1.0:  # every edge stays where it is; only the weights matter
            return Drop(graph, score, weight, None, torch.ones_like(graph.edge_graph, dtype=torch.bool))
        chosen = self.choose(graph, score)
        if self.static_shapes:
            return Drop(graph.mask_edges(chosen.keep), score, weight, None, chosen.keep)
        kept = chosen.kept()
        return Drop(graph.select_edges(kept), score, weight[kept], kept, chosen.keep)
