"""Objective ``medical3d/edges-and-places``: what edges of which direction a cell has, and where in its image it lies.

Source: histograms of oriented gradients as targets after MaskFeat (Wei et al. 2022, arXiv 2112.09133); places without
labels after position regression (Lei et al. 2021, arXiv 2012.07043).
Differs: nothing is hidden unless ``mask_ratio`` says so, then cells that are seen are predicted, too, in a term of
their own; histograms keep their size, since how much edge of which direction there is tells exposures apart (there:
each is made a unit vector); square roots, standardised over the batch; a convolutional encoder, with the mean of the
window in the place of what is hidden; places are absolute, in shares of the image (there: the offset between two
cubes), so images should show the same part of the body.

Symbols: B images, V windows an image, C channels, S edge of a window, g cells along an axis, K targets of a cell.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repcore.errors import ConfigError
from repcore.interfaces import Batch, Draws, LossTerms, Progress
from repcore_medical3d.configs.edges_and_places import EdgesAndPlacesConfig
from repcore_medical3d.encoders.anatomy import AnatomyEncoder, input_channels
from repcore_medical3d.layers.boxes import Boxes
from repcore_medical3d.layers.gradients import gradients
from repcore_medical3d.layers.intensity import Jitter, jittered
from repcore_medical3d.layers.sampling import sample_views

SEEN, HIDDEN, PLACE = "seen", "hidden", "place"
AXES = 2
KNEE = 0.2  # shares of half an image, beyond which errors of places count linearly
MOST_DEVIATIONS = 5.0  # at which errors of edges are cut off
LEAST_GRADIENT = 1e-4  # below which the square root has no slope that could be learned
LEAST_DEVIATION = 1e-3


class EdgesAndPlaces(nn.Module):
    """Encoder and a linear head for every position of its last map.

    Args:
        config: windows, masks, weights.
        encoder: of images, ``convnext`` or ``resnet``.

    Call:
        batch: ``inputs["image"]`` float (B, C, H, W) in 0 to 1.
        draws: from :meth:`draw`.
    Returns:
        terms ``seen`` and ``hidden`` (mean squared errors of standardised targets) and ``place``, those with a weight.
        Metrics: ``explained_seen`` and ``explained_hidden``, shares of variance; ``place_error`` in edges of the image,
        and beside it ``middle_error``, the error of always saying the middle.

    Raises:
        ConfigError: an encoder of volumes; windows that cells do not divide; no weight above 0.
    """

    def __init__(self, config: EdgesAndPlacesConfig, encoder: AnatomyEncoder) -> None:
        super().__init__()
        if encoder.axes != AXES:
            raise ConfigError("edges are those of images, the encoder is one of volumes", hint="encoder.spatial_dims=2")
        if not (config.gradient_weight or config.place_weight):
            raise ConfigError("gradient_weight and place_weight are both 0", field="objective.place_weight")
        self.config, self.encoder = config, encoder
        self.cells, width = _map_of(encoder, config.window_edge)
        if config.window_edge % (self.cells * config.subcells):
            raise ConfigError(
                f"window_edge={config.window_edge} is no multiple of {self.cells} cells of {config.subcells} parts",
                field="objective.window_edge",
            )
        self.targets = config.directions * config.subcells**AXES if config.gradient_weight else 0
        self.head = nn.Conv2d(width, self.targets + (AXES if config.place_weight else 0), 1)

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        """``window`` (B V, C, S, S) with changed intensities, ``origin`` and ``extent`` (B V, 2) in shares of the
        image's edges; where cells are hidden, ``hidden`` bool (B V, 1, g, g)."""
        del progress
        config, images = self.config, self.encoder.images(batch)
        edges = torch.tensor([float(one) for one in images.shape[2:]], device=images.device)
        boxes = self._boxes(len(images), edges, generator)
        cut = sample_views(images, boxes, [config.window_edge] * AXES).flatten(0, 1)
        change = Jitter(1.0, brightness=config.intensity, contrast=config.intensity, gamma=2 * config.intensity)
        found = {
            "window": jittered(cut, change, generator),
            "origin": (boxes.origin / edges).flatten(0, 1),
            "extent": (boxes.extent / edges).flatten(0, 1),
        }
        if config.mask_ratio:
            shape = (len(cut), 1, self.cells, self.cells)
            found["hidden"] = torch.rand(shape, generator=generator, device=images.device) < config.mask_ratio
        return found

    def _boxes(self, count: int, edges: Tensor, generator: torch.Generator) -> Boxes:
        """Squares of the image's own proportions at random places, (B, V, 2) in whole pixels."""
        config, device = self.config, edges.device
        low, high = config.window_share
        drawn = torch.rand(4, count, config.windows, generator=generator, device=device)
        extent = (low + (high - low) * drawn[0])[..., None] * edges
        as_they_are = torch.full_like(extent, float(config.window_edge)).minimum(edges)
        extent = torch.where((drawn[1] < config.unscaled_share)[..., None], as_they_are, extent).round().clamp_min(1)
        origin = (torch.stack([drawn[2], drawn[3]], -1) * (edges - extent)).round()
        return Boxes(origin, extent)

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        config, window, hidden = self.config, draws["window"], self._hidden(draws)
        said = self.said(window, hidden)
        terms: dict[str, Tensor] = {}
        metrics: dict[str, Tensor] = {}
        if self.targets:
            goal = standardised(self.edges(window))
            error = (said[:, : self.targets] - goal).square().clamp(max=MOST_DEVIATIONS**2).mean(1, keepdim=True)
            size = goal.square().mean(1, keepdim=True)
            for name, chosen in ((SEEN, ~hidden), (HIDDEN, hidden)):
                count = chosen.sum().clamp(min=1)
                if name == SEEN or config.mask_ratio:
                    terms[name] = (error * chosen).sum() / count
                    left = terms[name].detach() / ((size * chosen).sum() / count).clamp(min=LEAST_DEVIATION)
                    metrics[f"explained_{name}"] = 1 - left
        if config.place_weight:
            wanted = places(draws["origin"], draws["extent"], self.cells)
            guess = said[:, self.targets :]
            terms[PLACE] = F.smooth_l1_loss(guess, wanted, beta=KNEE)
            metrics["place_error"] = ((guess.detach() - wanted) / 2).norm(dim=1).mean()
            metrics["middle_error"] = (wanted / 2).norm(dim=1).mean()
        weights = {SEEN: config.gradient_weight, HIDDEN: config.gradient_weight, PLACE: config.place_weight}
        return LossTerms.of(terms, weights, counts=self.counts(batch, draws), metrics=metrics)

    def counts(self, batch: Batch, draws: Draws) -> Mapping[str, Tensor | int]:
        """Cells that are seen, that are hidden, and all, for the terms that there are."""
        hidden = self._hidden(draws)
        found: dict[str, Tensor | int] = {}
        if self.targets:
            found[SEEN] = (~hidden).sum()
            if self.config.mask_ratio:
                found[HIDDEN] = hidden.sum()
        if self.config.place_weight:
            found[PLACE] = hidden.numel()
        return found

    def _hidden(self, draws: Draws) -> Tensor:
        """Hidden cells, bool (B V, 1, g, g)."""
        window = draws["window"]
        nothing = torch.zeros(len(window), 1, self.cells, self.cells, dtype=torch.bool, device=window.device)
        found: Tensor = draws.get("hidden", nothing)
        return found

    def said(self, window: Tensor, hidden: Tensor) -> Tensor:
        """Predictions (N, K + 2, g, g) for windows (N, C, S, S) whose hidden cells have the mean of what is seen."""
        mask = F.interpolate(hidden.to(window.dtype), window.shape[2:])
        mean = (window * (1 - mask)).sum((1, 2, 3), keepdim=True)
        mean = mean / ((1 - mask).sum((1, 2, 3), keepdim=True) * window.shape[1]).clamp(min=1)
        found: Tensor = self.head(self.encoder.dense(torch.where(mask > 0, mean, window)))
        return found

    def edges(self, window: Tensor) -> Tensor:
        """Square roots of edges by direction in the parts of every cell, (N, K, g, g)."""
        parts = self.config.subcells
        found = F.adaptive_avg_pool2d(gradients(window, self.config.directions), self.cells * parts)
        return F.pixel_unshuffle(found, parts).clamp_min(LEAST_GRADIENT).sqrt()


def standardised(targets: Tensor) -> Tensor:
    """Mean 0 and deviation 1 of every channel over the batch, (N, K, g, g)."""
    mean = targets.mean((0, 2, 3), keepdim=True)
    return (targets - mean) / ((targets - mean).square().mean((0, 2, 3), keepdim=True).sqrt() + LEAST_DEVIATION)


def places(origin: Tensor, extent: Tensor, cells: int) -> Tensor:
    """Centres of the cells of windows in their images, -1 to 1 from edge to edge, (N, 2, g, g): down, then across.

    Args:
        origin / extent: (N, 2) of the windows, in shares of the image's edges.
        cells: g.
    """
    steps = (torch.arange(cells, device=origin.device) + 0.5) / cells
    down, across = (2 * (origin[:, axis, None] + extent[:, axis, None] * steps) - 1 for axis in range(AXES))
    shape = (len(origin), cells, cells)
    return torch.stack([down[:, :, None].expand(shape), across[:, None, :].expand(shape)], 1)


@torch.no_grad()
def _map_of(encoder: AnatomyEncoder, edge: int) -> tuple[int, int]:
    """Positions along an axis, and channels, of the last map of a window."""
    was_training = encoder.training
    blank = torch.zeros(1, input_channels(encoder.config), edge, edge, device=next(encoder.parameters()).device)
    found = encoder.eval().dense(blank)
    encoder.train(was_training)
    return int(found.shape[2]), int(found.shape[1])
