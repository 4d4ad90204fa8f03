"""Training of the anatomical-embedding network on own scans, without labels.

Source: Yan et al. 2022 (arXiv 2012.02383); `alibaba-damo-academy/self-supervised-anatomical-embedding-v2`.
Differs: places are compared at their exact coordinates by interpolation, not at the nearest voxels; weights start from
random instead of an inflated ImageNet network; coarse negatives exclude one neighbourhood in all directions.

Symbols: B scans, P places in each, F width, N cells.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from repcore.config import ScheduleConfig
from repcore.errors import ConfigError
from repcore.training.optimisers import lr_factor
from repcore_medical3d.configs.correspondence import EmbeddingTrainingConfig
from repcore_medical3d.correspondence.anatomical_embedding import COARSE_STRIDE, FINE_STRIDE, AnatomicalEmbedding

Report = Callable[[int, int, float], None]


@dataclass(frozen=True, slots=True)
class CropPair:
    """Two crops (1, Z, Y, X) of one scan, and P places in voxels of each, (P, 3) in order z, y, x; ``scan`` names it in
    millimetres."""

    first: Tensor
    second: Tensor
    places_first: Tensor
    places_second: Tensor
    places_mm: Tensor
    frame_second: tuple[Tensor, Tensor]  # centre in voxels of the scan, zoom: crop voxel -> scan voxel


def train_embedding(
    volumes: Sequence[Tensor], config: EmbeddingTrainingConfig, report: Report | None = None
) -> AnatomicalEmbedding:
    """A network trained on scans.

    Args:
        volumes: (Z, Y, X) each, as :func:`repcore_medical3d.correspondence.embeddings.network_input` makes them.
        config: sizes, losses, optimiser.
        report: called with step, steps and loss.

    Raises:
        ConfigError: no scan, or settings outside their range.
    """
    if not volumes:
        raise ConfigError("there is no scan to train on")
    if any(size % stride for size, stride in zip(config.crop, COARSE_STRIDE, strict=True)):
        raise ConfigError(f"crop={config.crop} is no multiple of {COARSE_STRIDE}", field="crop", hint="16 48 48")
    generator = torch.Generator().manual_seed(config.seed)
    state = torch.get_rng_state()
    torch.manual_seed(config.seed)
    network = AnatomicalEmbedding(config.base, config.width).train()
    torch.set_rng_state(state)
    optimiser = torch.optim.SGD(network.parameters(), config.lr, momentum=0.9, weight_decay=config.weight_decay)
    schedule = ScheduleConfig(warmup_steps=config.warmup_steps)
    for step in range(config.steps):
        for group in optimiser.param_groups:
            group["lr"] = config.lr * lr_factor(step, config.steps, schedule)
        chosen = torch.randint(len(volumes), (config.batch_size,), generator=generator).tolist()
        loss = pair_loss(network, [crop_pair(volumes[row], config, generator) for row in chosen], config, generator)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimiser.step()
        if report is not None:
            report(step + 1, config.steps, float(loss.detach()))
    return network.eval()


def crop_pair(volume: Tensor, config: EmbeddingTrainingConfig, generator: torch.Generator) -> CropPair:
    """Two crops with their own zoom and noise that overlap by half on average, and random places of the overlap."""
    size, whole = torch.tensor(config.crop, dtype=torch.float32), torch.tensor(volume.shape, dtype=torch.float32)
    low, high = config.scale
    zooms = low + (high - low) * torch.rand(2, generator=generator)
    margin = torch.minimum(size / 2, whole / 2)
    centre = margin + torch.rand(3, generator=generator) * (whole - 2 * margin)
    centres = [centre, centre + (torch.rand(3, generator=generator) - 0.5) * size * 0.5]
    crops = []
    for middle, zoom in zip(centres, zooms, strict=True):
        crop = _cut(volume, config.crop, middle, zoom)
        deviation = crop.std() * config.noise * torch.rand((), generator=generator)
        crops.append(crop + deviation * torch.randn(crop.shape, generator=generator))
    half = [size * zoom / 2 - zoom for zoom in zooms]
    begin = torch.maximum(centres[0] - half[0], centres[1] - half[1])
    end = torch.minimum(centres[0] + half[0], centres[1] + half[1])
    places = begin + torch.rand(config.points, 3, generator=generator) * (end - begin).clamp(min=0)
    inside = [(places - middle) / zoom + (size - 1) / 2 for middle, zoom in zip(centres, zooms, strict=True)]
    frame = centres[1], zooms[1]
    return CropPair(crops[0], crops[1], inside[0], inside[1], places * config.spacing_mm, frame)


def _cut(volume: Tensor, shape: tuple[int, int, int], centre: Tensor, zoom: Tensor) -> Tensor:
    """A zoomed crop (1, Z, Y, X); the border is repeated outside."""
    axes = [(torch.arange(size) - (size - 1) / 2) * zoom + middle for size, middle in zip(shape, centre, strict=True)]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    scaled = (2 * places + 1) / torch.tensor(volume.shape) - 1
    found = F.grid_sample(
        volume[None, None], scaled.flip(-1)[None].to(volume.dtype), padding_mode="border", align_corners=False
    )
    return found[0]


def pair_loss(
    network: AnatomicalEmbedding,
    pairs: Sequence[CropPair],
    config: EmbeddingTrainingConfig,
    generator: torch.Generator,
) -> Tensor:
    """Sum of the fine and the coarse InfoNCE, mean over scans."""
    crops = torch.stack([*(pair.first for pair in pairs), *(pair.second for pair in pairs)])
    fine, coarse = network(crops)
    count, losses = len(pairs), []
    for number, pair in enumerate(pairs):
        near = [_at(fine[number + side * count], places, FINE_STRIDE) for side, places in enumerate(_places(pair))]
        far = [_at(coarse[number + side * count], places, COARSE_STRIDE) for side, places in enumerate(_places(pair))]
        own_fine, own_coarse = fine[number + count], coarse[number + count]
        fine_away = _distances(pair, own_fine, FINE_STRIDE, config)
        coarse_away = _distances(pair, own_coarse, COARSE_STRIDE, config)
        fine_logits = near[0] @ own_fine.flatten(1)  # (P, N)
        with torch.no_grad():
            raised = F.interpolate(own_coarse[None], size=own_fine.shape[1:], mode="trilinear")[0]
            hard = fine_logits + far[0] @ F.normalize(raised, dim=0).flatten(1)
            chosen = _hard_negatives(hard, fine_away > config.neighbourhood_mm, config, generator)
        losses.append(_info_nce((near[0] * near[1]).sum(-1), fine_logits.gather(1, chosen), config.temperature))
        others = coarse[[row for row in range(len(coarse)) if row % count != number]].transpose(0, 1).flatten(1)
        own = (far[0] @ own_coarse.flatten(1)).masked_fill(coarse_away <= config.coarse_neighbourhood_mm, -math.inf)
        negatives = torch.cat([own, far[0] @ others], dim=1)
        losses.append(_info_nce((far[0] * far[1]).sum(-1), negatives, config.temperature))
    return torch.stack(losses).sum() / count


def _places(pair: CropPair) -> tuple[Tensor, Tensor]:
    return pair.places_first, pair.places_second


def _at(maps: Tensor, places: Tensor, stride: tuple[int, int, int]) -> Tensor:
    """Unit vectors (P, F) at voxels of the crop; a cell's place is the centre of its voxels."""
    step = torch.tensor(stride, dtype=places.dtype)
    cells = (places + 0.5) / step - 0.5
    scaled = (2 * cells + 1) / torch.tensor(maps.shape[1:]) - 1
    found = F.grid_sample(maps[None], scaled.flip(-1).view(1, 1, 1, -1, 3), padding_mode="border", align_corners=False)
    return F.normalize(found[0, :, 0, 0].T, dim=-1)


def _distances(pair: CropPair, maps: Tensor, stride: tuple[int, int, int], config: EmbeddingTrainingConfig) -> Tensor:
    """Millimetres (P, N) between the places and the cells of the second crop."""
    axes = [(torch.arange(size) + 0.5) * step - 0.5 for size, step in zip(maps.shape[1:], stride, strict=True)]
    cells = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3)
    centre, zoom = pair.frame_second
    middle = (torch.tensor(config.crop, dtype=torch.float32) - 1) / 2
    return torch.cdist(pair.places_mm, ((cells - middle) * zoom + centre) * config.spacing_mm)


def _hard_negatives(
    similarity: Tensor, allowed: Tensor, config: EmbeddingTrainingConfig, generator: torch.Generator
) -> Tensor:
    """Random cells (P, n) among the most similar allowed ones."""
    ranked = similarity.masked_fill(~allowed, -math.inf)
    hardest = ranked.topk(min(config.hardest, ranked.shape[1]), dim=1).indices
    keep = torch.randint(hardest.shape[1], (len(hardest), min(config.negatives, hardest.shape[1])), generator=generator)
    return hardest.gather(1, keep)


def _info_nce(positive: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """-log softmax of the positive among the negatives."""
    logits = torch.cat([positive[:, None], negatives], dim=1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64))
