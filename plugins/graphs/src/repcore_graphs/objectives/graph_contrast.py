"""Graph contrast: two views of each graph attract, views of other graphs repel (InfoNCE over the batch, both
directions).

Source: GraphCL (You et al. 2020, arXiv 2010.13902); constants of PyGCL's GraphCL example.
Differs: augmentations know edges (see ``augmentations.py``); hidden nodes and edges show learned tokens instead of
zeros.

Symbols: B graphs, D graph width, P projection width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repcore.errors import ConfigError
from repcore.interfaces import Batch, Draws, LossTerms, Picture, Progress
from repcore.nn.losses import info_nce
from repcore_graphs.configs.objectives import GraphContrastConfig
from repcore_graphs.objectives.augmentations import check_names, draw_augmentation
from repcore_graphs.objectives.encoders import LevelEncoder
from repcore_graphs.tensors import GraphTensors

CHANGES = ("hide_nodes", "hide_edges", "drop_edges")


class GraphContrast(nn.Module):
    """InfoNCE between two views of each graph.

    Args:
        config: see :class:`GraphContrastConfig`.
        encoder: any graph encoder with ``pooled`` features.

    Raises:
        ConfigError: unknown augmentation, or a share outside [0, 1].
    """

    def __init__(self, config: GraphContrastConfig, encoder: LevelEncoder) -> None:
        super().__init__()
        check_names(config.augmentations)
        if not 0 <= config.strength <= 1 or not 0 < config.walk_share <= 1:
            raise ConfigError(f"strength={config.strength}, walk_share={config.walk_share} are no shares")
        self.config, self.encoder = config, encoder
        node_width, edge_width = encoder.input_widths
        self.node_token = nn.Parameter(torch.zeros(node_width))
        self.edge_token = nn.Parameter(torch.zeros(edge_width))
        width = config.projection_width
        self.projection = nn.Sequential(nn.Linear(int(encoder.dim), width), nn.ReLU(), nn.Linear(width, width))

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        """What each view changes: ``first_hide_nodes`` (N,), ``second_drop_edges`` (E,) and so on."""
        graph = self.encoder.read(batch.inputs)
        names = ("first", "second") if self.config.both_views else ("second",)
        draws: dict[str, Tensor] = {}
        for view in names:
            drawn = draw_augmentation(
                graph,
                self.config.augmentations,
                strength=self.config.strength,
                walk_share=self.config.walk_share,
                generator=generator,
            )
            draws |= {f"{view}_{name}": drawn[name] for name in CHANGES}
        return draws

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        raw = self.encoder.read(batch.inputs)
        first, second = self._project(raw, draws, "first"), self._project(raw, draws, "second")
        temperature = self.config.temperature
        loss = 0.5 * (
            info_nce(first, second, temperature=temperature) + info_nce(second, first, temperature=temperature)
        )
        similarity = first.detach() @ second.detach().T
        found = (similarity.argmax(1) == torch.arange(len(first), device=first.device)).float().mean()
        return LossTerms.of({"contrast": loss}, metrics={"partner_found": found})

    def picture(self, batch: Batch, draws: Draws) -> Picture:
        """Both views of the graph, and how alike their projections are."""
        from repcore_graphs.rendering.views import views_picture

        raw = self.encoder.read(batch.inputs)
        views = {
            f"{view} view": {
                name: draws[f"{view}_{name}"].cpu().numpy() for name in CHANGES if f"{view}_{name}" in draws
            }
            for view in ("first", "second")
        }
        first, second = self._project(raw, draws, "first"), self._project(raw, draws, "second")
        return views_picture(raw, views, float((first * second).sum()))

    def _project(self, raw: GraphTensors, draws: Draws, view: str) -> Tensor:
        """Unit projections of one view, (B, P)."""
        graph = self.encoder.embed_nodes(raw)
        if f"{view}_drop_edges" not in draws:
            return F.normalize(self.projection(self.encoder.encode(self.encoder.embed_edges(graph)).pooled), dim=1)
        hidden = draws[f"{view}_hide_nodes"][:, None]
        graph = graph.with_features(nodes=torch.where(hidden, self.node_token.to(graph.nodes.dtype), graph.nodes))
        graph = self.encoder.embed_edges(graph)
        edges = graph.edge_features()
        masked = draws[f"{view}_hide_edges"][:, None]
        graph = graph.with_features(edges=torch.where(masked, self.edge_token.to(edges.dtype), edges))
        kept = (~draws[f"{view}_drop_edges"]).nonzero().squeeze(1)
        return F.normalize(self.projection(self.encoder.encode(graph.select_edges(kept)).pooled), dim=1)
