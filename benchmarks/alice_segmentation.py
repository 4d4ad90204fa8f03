"""Fine-tuning for segmentation: a backbone with its U-shaped decoder and a new last layer, judged on whole scans.

The decoder comes along from pre-training; only the layer to classes is new, and has a learning rate of its own: at that
of the backbone a pre-trained network may stay where it finds nothing. Every second training crop holds a labelled
place; the loss is cross-entropy plus soft Dice; whole scans are predicted from overlapping cubes with Gaussian weights
and compared at their own spacing.

Symbols: B cubes, K classes, S edge.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from alice_dense import mean_of, overlap
from torch import Tensor, nn

from repcore.errors import ConfigError
from repcore.interfaces import Sample
from repcore_medical3d.datasets.volume_labels import NOT_LABELLED, LabelIds, LabelRules, labels_on
from repcore_medical3d.encoders.volume_backbone import VolumeBackbone, channels_of
from repcore_medical3d.formats.volumes import Grid
from repcore_medical3d.preprocessors.volume_slabs import bell, classes_on, joined_slabs
from repcore_medical3d.preprocessors.volumes import VolumePreprocessor, centred_start, sliding_starts
from repcore_medical3d.probes.landmarks import labels_of

CUBES_AT_ONCE = 4
JUDGED_SHARE = 0.1  # of the steps, the last ones: how well training scans were fitted
Progressed = Callable[[int, int], None]
ANY_LABELS = LabelRules(least_cover=0.0)  # the reader has judged them


@dataclass(frozen=True, kw_only=True)
class SegmentationConfig:
    """Fine-tuning with a U-shaped decoder."""

    steps: int = field(default=600, metadata={"help": "optimiser steps", "min": 1})
    warmup_share: float = field(
        default=0.1, metadata={"help": "share of the steps in which the learning rate rises", "min": 0, "max": 1}
    )
    lr: float = field(
        default=3e-3, metadata={"help": "peak learning rate of AdamW, chosen with preset tiny", "above": 0}
    )
    head_lr_factor: float = field(
        default=5.0, metadata={"help": "learning rate of the new layer to classes, over lr", "above": 0}
    )
    weight_decay: float = field(default=0.01, metadata={"help": "of AdamW", "min": 0})
    batch_size: int = field(default=8, metadata={"help": "cubes of a step", "min": 1})
    seed: int = field(default=0, metadata={"help": "of the new layer and of cubes", "min": 0})


def quiet(done: int, total: int) -> None:
    """No word on how far it is."""
    del done, total


class SegmentationNetwork(nn.Module):
    """A backbone with its decoder, and a transposed convolution (or 1^3 convolution) to classes.

    Args:
        backbone: with ``finest_decoder_map``.
        classes: K, with the background.

    Call: (B, 1, S, S, S) -> logits (B, K, S, S, S).

    Raises:
        ConfigError: a backbone without a U-shaped decoder.
    """

    def __init__(self, backbone: nn.Module, classes: int) -> None:
        super().__init__()
        if not hasattr(backbone, "finest_decoder_map"):
            raise ConfigError(
                f"{type(backbone).__name__} has no U-shaped decoder", hint="medical3d/nnformer or medical3d/swin-unetr"
            )
        self.backbone = backbone
        with torch.no_grad():
            network: VolumeBackbone = backbone  # type: ignore[assignment]  # checked above
            edge = int(network.config.crop_edge)
            finest = self._finest(torch.zeros(1, channels_of(network.config), edge, edge, edge))
        factor = edge // finest.shape[2]
        self.classifier = nn.ConvTranspose3d(finest.shape[1], classes, factor, stride=factor)
        self.ids = LabelIds(tuple(range(classes)))  # how the classes are called in label maps

    def forward(self, volume: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self._finest(volume))
        return logits

    def _finest(self, volume: Tensor) -> Tensor:
        pyramid = self.backbone.pyramid(volume)  # type: ignore[operator]
        first = self.backbone.first_decoder_map(pyramid)  # type: ignore[operator]
        found: Tensor = self.backbone.finest_decoder_map(pyramid, first, volume)  # type: ignore[operator]
        return found


@dataclass(frozen=True, slots=True)
class FineTuned:
    """A network in eval mode, and its mean loss over the last tenth of the steps (see :func:`segmentation_loss`)."""

    network: SegmentationNetwork
    loss: float


@dataclass(frozen=True, slots=True)
class LabelledScan:
    """A prepared scan with class numbers (D, H, W) on its grid, -1 = not labelled; ``ids`` says which id each is.

    ``sample`` holds the labels at their own spacing.
    """

    sample: Sample
    classes: Tensor
    grid: Grid
    ids: LabelIds


def labelled(samples: Sequence[Sample], preprocessor: VolumePreprocessor) -> list[LabelledScan]:
    """Scans with their labels on the model's grid; ids of all of them together become numbers without gaps."""
    ids = LabelIds.found_in(labels_of(sample) for sample in samples)
    found = []
    for sample in samples:
        grid = preprocessor.grid(sample.inputs)
        stored = preprocessor.labels(labels_of(sample), grid)
        found.append(LabelledScan(sample, torch.from_numpy(ids.numbers(stored)), grid, ids))
    return found


def number_of_classes(scans: Sequence[LabelledScan]) -> int:
    """Classes with the background."""
    return len(scans[0].ids.ids)


def train_segmentation(
    backbone: nn.Module, preprocessor: VolumePreprocessor, scans: Sequence[LabelledScan], config: SegmentationConfig
) -> FineTuned:
    """Fine-tune on labelled scans.

    Args:
        backbone: pre-trained or fresh; changed in place.
        preprocessor: of the model.
        scans: training scans.
        config: steps, learning rate, batch, seed.

    Raises:
        ConfigError: labels of one class only, or settings outside their range.
    """
    if config.steps < 1 or config.batch_size < 1 or config.lr <= 0:
        raise ConfigError(
            f"steps={config.steps}, batch_size={config.batch_size}, lr={config.lr:g}",
            expected="at least 1, at least 1, above 0",
        )
    classes = number_of_classes(scans)
    if classes < 2:
        raise ConfigError("the labels hold the background only")
    rng = np.random.default_rng(config.seed)
    state = torch.get_rng_state()
    torch.manual_seed(config.seed)
    network = SegmentationNetwork(backbone, classes).train()
    network.ids = scans[0].ids
    parts = [(network.backbone, config.lr), (network.classifier, config.head_lr_factor * config.lr)]
    groups = [{"params": list(part.parameters()), "lr": peak, "peak": peak} for part, peak in parts]
    optimiser = torch.optim.AdamW(groups, weight_decay=config.weight_decay)
    rise, judged = max(1.0, config.warmup_share * config.steps), math.ceil(JUDGED_SHARE * config.steps)
    losses = []
    for step in range(config.steps):
        rate = min(1.0, (step + 1) / rise) * 0.5 * (1 + math.cos(math.pi * step / config.steps))
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * rate
        cubes, answers = random_cubes(scans, preprocessor, config.batch_size, rng)
        loss = segmentation_loss(network(cubes), answers)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        losses.append(float(loss.detach()))
    torch.set_rng_state(state)
    return FineTuned(network.eval(), sum(losses[-judged:]) / judged)


def random_cubes(
    scans: Sequence[LabelledScan], preprocessor: VolumePreprocessor, count: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Cubes (B, 1, S, S, S) and their classes; every second one is around a labelled place."""
    edge = preprocessor.config.crop_edge
    cubes, answers = [], []
    for number in range(count):
        scan = scans[int(rng.integers(len(scans)))]
        places = torch.nonzero(scan.classes > 0) if number % 2 == 0 else torch.empty(0, 3)
        if len(places):
            centre = places[int(rng.integers(len(places)))].numpy() + rng.integers(-edge // 4, edge // 4 + 1, 3)
        else:
            centre = rng.integers(scan.grid.shape)
        start = []
        for first, size in zip(centred_start(centre.tolist(), edge), scan.grid.shape, strict=True):
            low, high = sorted((0, size - edge))
            start.append(int(np.clip(first, low, high)))
        cubes.append(preprocessor.crop(scan.sample, start, (edge,) * 3).values)
        stored = preprocessor.labels(labels_of(scan.sample), scan.grid.moved(start, (edge,) * 3))
        answers.append(torch.from_numpy(scan.ids.numbers(stored)))
    return torch.stack(cubes), torch.stack(answers)


def segmentation_loss(logits: Tensor, answers: Tensor) -> Tensor:
    """Cross-entropy plus 1 - soft Dice, the latter over foreground classes that occur in the batch.

    Voxels with the answer -1 are not labelled and count in neither.
    """
    is_labelled = (answers != NOT_LABELLED)[:, None]
    probability = torch.softmax(logits, dim=1) * is_labelled
    truth = F.one_hot(answers.clamp(min=0), logits.shape[1]).movedim(-1, 1).to(probability.dtype) * is_labelled
    both = (probability * truth).sum(dim=(0, 2, 3, 4))
    size = (probability + truth).sum(dim=(0, 2, 3, 4))
    present = truth.sum(dim=(0, 2, 3, 4)) > 0
    present[0] = False
    dice = (2 * both + 1e-5) / (size + 1e-5)
    missing = 1 - dice[present].mean() if bool(present.any()) else logits.sum() * 0
    return F.cross_entropy(logits, answers, ignore_index=NOT_LABELLED) + missing


@torch.no_grad()
def segment(
    network: SegmentationNetwork, preprocessor: VolumePreprocessor, sample: Sample, progress: Progressed = quiet
) -> np.ndarray:
    """Label ids int64 of a whole scan on the scan's own grid; memory grows with a slab of cubes, not with the scan.

    Args:
        progress: called with cubes done and cubes in all.
    """
    grid, edge = preprocessor.grid(sample.inputs), preprocessor.config.crop_edge
    starts = sliding_starts(grid.shape, edge, preprocessor.config.overlap)
    weight = bell((edge,) * 3)
    low = np.minimum(np.asarray(starts).min(axis=0), 0)
    extent = np.maximum(np.asarray(starts).max(axis=0) + edge, grid.shape) - low

    def blocks() -> Iterator[tuple[list[int], Tensor]]:
        for begin in range(0, len(starts), CUBES_AT_ONCE):
            chosen = starts[begin : begin + CUBES_AT_ONCE]
            cubes = torch.stack([preprocessor.crop(sample, one, (edge,) * 3).values for one in chosen])
            shares = torch.softmax(network(cubes), dim=1)
            for one, start in zip(shares, chosen, strict=True):
                yield [int(f - b) for f, b in zip(start, low, strict=True)], one
            progress(min(begin + CUBES_AT_ONCE, len(starts)), len(starts))

    lattice = grid.moved(low.tolist(), (int(extent[0]), int(extent[1]), int(extent[2])))
    found = classes_on(joined_slabs(blocks(), weight, extent.tolist()), lattice, sample.inputs.grid)
    return network.ids.stored(found)


def score_segmentation(
    network: SegmentationNetwork,
    preprocessor: VolumePreprocessor,
    samples: Sequence[Sample],
    progress: Progressed = quiet,
) -> dict[str, float]:
    """Mean Dice and surface Dice over scans in the world: a label map on another grid is brought to its image's."""
    rows = []
    for sample in samples:
        labels, _ = labels_on(labels_of(sample), sample.inputs.grid, ANY_LABELS)
        truth = labels.read().round().astype(np.int64)
        rows.append(overlap(segment(network, preprocessor, sample, progress), truth, labels.spacing_mm))
    return mean_of(rows)
