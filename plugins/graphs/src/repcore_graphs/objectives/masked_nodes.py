"""Masked node features, GraphMAE style: hide nodes, encode, hide their codes again, restore the features.

Source: Hou et al. 2022 (arXiv 2205.10803); public repository THUDM/GraphMAE (MIT).
Loss: mean over hidden nodes of (1 - cos(restored, original))^power. The decoder is one graph convolution on re-masked
codes. Differs: the token stands in for embedded features, so integer codes work; codes are restored as joined one-hot
rows.

Symbols: N nodes, H hidden width, D restored width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repcore.errors import ConfigError
from repcore.interfaces import Batch, Draws, LossTerms, Picture, Progress
from repcore.nn.losses import masked_mean
from repcore_graphs.configs.objectives import MaskedNodeConfig
from repcore_graphs.layers.node_convolution import GraphConvolution
from repcore_graphs.layers.targets import one_hot_codes
from repcore_graphs.objectives.encoders import LevelEncoder
from repcore_graphs.objectives.masks import draw_mask, hide, replaced_words
from repcore_graphs.tensors import GraphTensors


class MaskedNodes(nn.Module):
    """Restore hidden node features.

    Args:
        config: see :class:`MaskedNodeConfig`.
        encoder: with a token level ``"node"``.

    Raises:
        ConfigError: a ratio or the power is out of range.
    """

    def __init__(self, config: MaskedNodeConfig, encoder: LevelEncoder) -> None:
        super().__init__()
        if not 0 < config.mask_ratio < 1 or not 0 <= config.replace_ratio <= 1 or config.power < 1:
            raise ConfigError(
                f"mask_ratio={config.mask_ratio}, replace_ratio={config.replace_ratio}, power={config.power}",
                expected="0 < mask_ratio < 1, 0 <= replace_ratio <= 1, power >= 1",
            )
        self.config, self.encoder = config, encoder
        width = encoder.level_widths["node"]
        self.vocabularies = tuple(encoder.config.node_vocabularies or ())
        out_width = sum(self.vocabularies) if self.vocabularies else int(encoder.config.node_width or 0)
        self.token = nn.Parameter(torch.zeros(encoder.input_widths[0]))
        self.to_decoder = nn.Linear(width, width, bias=False)
        self.decoder = GraphConvolution(width, out_width)

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        """``hidden`` bool (N,), ``replaced`` bool (N,) and ``donor`` int64 (N,)."""
        nodes = batch.inputs.x
        return draw_mask(len(nodes), self.config.mask_ratio, self.config.replace_ratio, generator, nodes.device)

    def restore(self, batch: Batch, draws: Draws) -> tuple[GraphTensors, Tensor, Tensor]:
        """The graph as stored, original features and restored ones, (N, D) each."""
        raw = self.encoder.read(batch.inputs)
        graph = self.encoder.embed_nodes(raw)
        # edges without features of their own start from their end points, so nodes are hidden first
        graph = graph.with_features(nodes=hide(graph.nodes, self.token, draws))
        graph = self.encoder.embed_edges(graph)
        nodes = self.encoder.encode(graph).tokens["node"].values
        codes = self.to_decoder(nodes).masked_fill(draws["hidden"][:, None], 0.0)
        restored = self.decoder(graph, codes, None, None)
        original = one_hot_codes(raw.nodes, self.vocabularies) if self.vocabularies else raw.nodes
        return raw, original.float(), restored.float()

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        _, original, restored = self.restore(batch, draws)
        hidden: Tensor = draws["hidden"]
        similarity = F.cosine_similarity(restored, original, dim=1)
        loss = masked_mean((1 - similarity).clamp(min=0).pow(self.config.power), hidden)
        metrics = {"cosine": masked_mean(similarity.detach(), hidden)}
        return LossTerms.of({"masked_nodes": loss}, counts={"masked_nodes": hidden.sum()}, metrics=metrics)

    def picture(self, batch: Batch, draws: Draws) -> Picture:
        """The graph with its hidden nodes numbered, as it is and as the model restores it."""
        from repcore_graphs.rendering.nodes import nodes_picture

        raw, original, restored = self.restore(batch, draws)
        similarity = F.cosine_similarity(restored, original, dim=1)
        return nodes_picture(
            raw, original, restored, similarity=similarity, hidden=draws["hidden"], remark=replaced_words(draws)
        )

    def counts(self, batch: Batch, draws: Draws) -> Mapping[str, Any]:
        """Hidden nodes."""
        return {"masked_nodes": draws["hidden"].sum()}
