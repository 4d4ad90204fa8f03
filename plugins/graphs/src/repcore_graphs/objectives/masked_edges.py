"""Masked edge reconstruction: hide the features of some edges, predict them from their contextual embeddings.

Source: attribute masking of Hu et al. 2020 (arXiv 1905.12265) with the token of GraphMAE (Hou et al. 2022, arXiv
2205.10803), on edges. A hidden edge hides both of its directions, so an encoder that keeps directions apart cannot
read one from the other.

Symbols: E edges, B graphs, D embedded edge width, C classes or features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from repcore.errors import ConfigError
from repcore.interfaces import Batch, Draws, LossTerms, Picture, Progress
from repcore.nn.losses import masked_mean
from repcore_graphs.configs.objectives import MaskedEdgeConfig
from repcore_graphs.layers.targets import edge_target
from repcore_graphs.objectives.encoders import LevelEncoder
from repcore_graphs.objectives.masks import draw_mask, hide, replaced_words, spread_over_twins
from repcore_graphs.tensors import GraphTensors


class MaskedEdges(nn.Module):
    """Predict hidden edge features.

    Args:
        config: see :class:`MaskedEdgeConfig`.
        encoder: with a token level ``"edge"``.

    Raises:
        ConfigError: the data has no edge features, or a ratio is out of range.
    """

    def __init__(self, config: MaskedEdgeConfig, encoder: LevelEncoder) -> None:
        super().__init__()
        if not 0 < config.mask_ratio < 1 or not 0 <= config.replace_ratio <= 1:
            raise ConfigError(f"mask_ratio={config.mask_ratio}, replace_ratio={config.replace_ratio} are out of range")
        self.config, self.encoder = config, encoder
        self.target = edge_target(encoder.config, config.edge_kind)
        width = encoder.level_widths["edge"]
        self.token = nn.Parameter(torch.zeros(encoder.input_widths[1]))
        self.decoder = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, self.target.width))

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        """``hidden`` bool (E,), ``replaced`` bool (E,) and ``donor`` int64 (E,): whose features replaced edges show."""
        graph = self.encoder.read(batch.inputs)
        draws = draw_mask(
            graph.num_edges, self.config.mask_ratio, self.config.replace_ratio, generator, graph.ends.device
        )
        return spread_over_twins(draws, graph)

    def predict(self, batch: Batch, draws: Draws) -> tuple[GraphTensors, Tensor]:
        """The graph as stored, and what the decoder says of every edge while some are hidden, (E, C)."""
        raw = self.encoder.read(batch.inputs)
        graph = self.encoder.embed_edges(self.encoder.embed_nodes(raw))
        graph = graph.with_features(edges=hide(graph.edge_features(), self.token, draws))
        return raw, self.decoder(self.encoder.encode(graph).tokens["edge"].values)

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        raw, outputs = self.predict(batch, draws)
        labels = self.target.of(raw.edge_features())
        hidden: Tensor = draws["hidden"]
        loss = masked_mean(self.target.loss(outputs, labels), hidden)
        metrics: dict[str, Tensor] = {}
        if self.target.is_class:
            metrics["masked_accuracy"] = masked_mean((outputs.detach().argmax(1) == labels).float(), hidden)
        return LossTerms.of({"masked_edges": loss}, counts={"masked_edges": hidden.sum()}, metrics=metrics)

    def counts(self, batch: Batch, draws: Draws) -> Mapping[str, Any]:
        """Hidden edges."""
        return {"masked_edges": draws["hidden"].sum()}

    def picture(self, batch: Batch, draws: Draws) -> Picture:
        """The graph with its hidden edges numbered, as it is and as the model fills it in."""
        from repcore_graphs.rendering.edges import edges_picture, edges_restored

        raw, outputs = self.predict(batch, draws)
        restored = edges_restored(raw, outputs, self.target)
        hidden = draws["hidden"].cpu().numpy()
        return edges_picture(raw, restored, hidden, "hidden edges", remark=replaced_words(draws))
