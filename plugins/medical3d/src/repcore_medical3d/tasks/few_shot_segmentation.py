"""Segmentation from a few labelled images: a U-shaped decoder on an anatomy encoder, Dice loss, Dice score.

Source: the few-shot protocol of Adam (3, 6, 12, 24 labelled images; AdamW 2e-4, warm-up, cosine; Dice loss over the
flattened batch with smooth 1). Differs: any number of axes; a light decoder; intensities and crops as augmentation,
without elastic deformation.

Symbols: B images, K classes with the background, s axes.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repcore.config import ScheduleConfig
from repcore.errors import ConfigError, DataError
from repcore.training.optimisers import lr_factor
from repcore_medical3d.configs.anatomy_tasks import FewShotConfig
from repcore_medical3d.encoders.anatomy import AnatomyEncoder, Backbone
from repcore_medical3d.encoders.convnext import CONVOLUTIONS
from repcore_medical3d.views.intensity import Jitter, jittered

SMOOTH = 1.0
SMALLEST_CROP = 0.6  # of an edge


class UDecoder(nn.Module):
    """Class scores at full size from the maps of all stages.

    Args:
        encoder: gives stage maps; trained along.
        classes: K.
        width: channels of every level.

    Call:
        images: (B, C, *E) in 0 to 1.
    Returns:
        scores (B, K, *E).
    """

    def __init__(self, encoder: AnatomyEncoder, classes: int, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        convolution = CONVOLUTIONS[encoder.axes]
        device = next(encoder.parameters()).device
        channels = encoder.config.input_channels or 1
        with torch.no_grad():
            probe = torch.zeros(1, channels, *[64] * encoder.axes, device=device)
            depths = [one.shape[1] for one in cast(Backbone, encoder.backbone).stages_of(probe)]
        self.reduce = nn.ModuleList([convolution(depth, width, 1) for depth in (channels, *depths)])
        self.mix = nn.ModuleList(
            [
                nn.Sequential(
                    convolution(width, width, 3, padding=1), nn.GroupNorm(math.gcd(width, 8), width), nn.GELU()
                )
                for _ in depths
            ]
        )
        self.score = convolution(width, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        views = self.encoder.standardised(images)
        maps = [views, *cast(Backbone, self.encoder.backbone).stages_of(views)]
        mode = "bilinear" if self.encoder.axes == 2 else "trilinear"
        found = self.reduce[-1](maps[-1])
        for level in range(len(maps) - 2, -1, -1):
            found = F.interpolate(found, maps[level].shape[2:], mode=mode, align_corners=False)
            found = self.mix[level](found + self.reduce[level](maps[level]))
        scores: Tensor = self.score(found)
        return scores


def dice_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """1 - mean Dice of the foreground classes, each over the whole flattened batch.

    Args:
        scores: (B, K, *E).
        labels: int64 (B, *E).
    """
    shares = scores.softmax(1)
    truth = F.one_hot(labels, scores.shape[1]).movedim(-1, 1).to(shares.dtype)
    axes = (0, *range(2, scores.ndim))
    overlap, total = (shares * truth).sum(axes), (shares + truth).sum(axes)
    return 1.0 - ((2 * overlap + SMOOTH) / (total + SMOOTH))[1:].mean()


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """Images (B, C, *E) in 0 to 1, labels int64 (B, *E), and the number of classes K."""

    images: Tensor
    labels: Tensor
    classes: int

    def rows(self, chosen: np.ndarray) -> LabelledImages:
        """Some of them."""
        index = torch.from_numpy(chosen)
        return LabelledImages(self.images[index], self.labels[index], self.classes)


def dice_scores(model: UDecoder, data: LabelledImages, batch_size: int = 16) -> list[float]:
    """Dice of each foreground class over the images that have it, in eval mode; nan where none has."""
    model.eval()
    overlap, total = torch.zeros(data.classes), torch.zeros(data.classes)
    with torch.no_grad():
        for first in range(0, len(data.images), batch_size):
            rows = slice(first, first + batch_size)
            found = F.one_hot(model(data.images[rows]).argmax(1), data.classes).flatten(0, -2).float()
            truth = F.one_hot(data.labels[rows], data.classes).flatten(0, -2).float()
            overlap += (found * truth).sum(0)
            total += found.sum(0) + truth.sum(0)
    return [float(2 * o / t) if t > 0 else math.nan for o, t in zip(overlap[1:], total[1:], strict=True)]


def fit_segmentation(encoder: AnatomyEncoder, data: LabelledImages, config: FewShotConfig, seed: int) -> UDecoder:
    """Train encoder and decoder on the labelled images; the given encoder is not changed.

    Raises:
        ConfigError: settings outside their range.
    """
    if config.steps < 1 or config.batch_size < 1:
        raise ConfigError(f"steps={config.steps}, batch_size={config.batch_size}: at least 1 each")
    generator = torch.Generator().manual_seed(seed)
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    model = UDecoder(copy.deepcopy(encoder), data.classes, config.width)
    torch.set_rng_state(state)
    model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.lr)
    shape = ScheduleConfig(warmup_steps=round(config.warmup_share * config.steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: lr_factor(step, config.steps, shape))
    size = min(config.batch_size, len(data.images))
    for _ in range(config.steps):
        rows = torch.randperm(len(data.images), generator=generator)[:size]
        images, labels = augmented(data.images[rows], data.labels[rows], config, generator)
        optimiser.zero_grad(set_to_none=True)
        dice_loss(model(images), labels).backward()
        optimiser.step()
        schedule.step()
    return model.eval()


def augmented(
    images: Tensor, labels: Tensor, config: FewShotConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Changed intensities, and for the whole batch perhaps one random sized crop of images and labels alike."""
    jitter = Jitter(config.jitter_chance, config.brightness, config.brightness, config.gamma)
    images = jittered(images, jitter, generator)
    if float(torch.rand((), generator=generator)) >= config.crop_chance:
        return images, labels
    edges = images.shape[2:]
    share = SMALLEST_CROP + (1 - SMALLEST_CROP) * float(torch.rand((), generator=generator))
    window = [slice(None), slice(None)]
    for edge in edges:
        side = max(1, int(edge * share))
        first = int(torch.randint(edge - side + 1, (1,), generator=generator))
        window.append(slice(first, first + side))
    mode = "bilinear" if len(edges) == 2 else "trilinear"
    cropped = F.interpolate(images[tuple(window)], edges, mode=mode, align_corners=False)
    pieces = labels[:, None].float()[tuple(window)]
    return cropped, F.interpolate(pieces, edges, mode="nearest")[:, 0].long()


def shots_of(count: int, shots: int, seed: int) -> np.ndarray:
    """Rows that are labelled for a number of shots; smaller numbers are contained in larger ones.

    Raises:
        DataError: there are fewer rows.
    """
    if shots > count:
        raise DataError(f"{shots} labelled images are wanted, there are {count}")
    return np.sort(np.random.default_rng(seed).permutation(count)[:shots])


def few_shot_table(
    encoders: dict[str, Sequence[AnatomyEncoder]],
    train: LabelledImages,
    test: LabelledImages,
    config: FewShotConfig,
    progress: Callable[[int, int, str], None] = lambda done, total, words: None,
) -> dict[str, dict[int, list[float]]]:
    """Mean foreground Dice on the test images by start, number of labelled images, and seed.

    Args:
        encoders: name of a start -> one encoder a seed.
        progress: called after every training with how many are done, how many there are, and which it was.
    """
    table: dict[str, dict[int, list[float]]] = {}
    done, total = 0, sum(len(starts) for starts in encoders.values()) * len(config.shots)
    for name, starts in encoders.items():
        table[name] = {}
        for shots in config.shots:
            scores = []
            for seed, encoder in enumerate(starts):
                chosen = train.rows(shots_of(len(train.images), shots, seed))
                model = fit_segmentation(encoder, chosen, config, seed)
                scores.append(float(np.nanmean(dice_scores(model, test))))
                done += 1
                progress(done, total, f"{name}, {shots} labelled, seed {seed}: Dice {scores[-1]:.3f}")
            table[name][shots] = scores
    return table
