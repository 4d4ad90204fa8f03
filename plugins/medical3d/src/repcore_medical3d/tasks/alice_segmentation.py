"""Fine-tuning for segmentation: a backbone with its U-shaped decoder and a new last layer, judged on whole scans.

The decoder comes along from pre-training; only the layer to classes is new, and learns at a rate of its own: at that of
the backbone a pre-trained network may stay where it finds nothing. Every second training crop holds a labelled
place; the loss is cross-entropy plus soft Dice; whole scans are predicted from overlapping cubes with Gaussian weights
and compared at their own spacing.

Symbols: B cubes, K classes, S edge.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repcore.errors import ConfigError
from repcore.interfaces import Sample
from repcore_medical3d.configs.alice import SegmentationConfig
from repcore_medical3d.encoders.volume_backbone import VolumeBackbone
from repcore_medical3d.formats.volumes import Grid
from repcore_medical3d.preprocessors.volumes import VolumePreprocessor, centred_start, sliding_starts
from repcore_medical3d.probes.alice_dense import labels_of, mean_of, overlap

CUBES_AT_ONCE = 4
JUDGED_SHARE = 0.1  # of the steps, the last ones: how well training scans were fitted
SIGMA_SHARE = 0.125  # deviation of the Gaussian weight, as a share of a cube's edge


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
            finest = self._finest(torch.zeros(1, int(network.config.input_channels), edge, edge, edge))
        factor = edge // finest.shape[2]
        self.classifier = nn.ConvTranspose3d(finest.shape[1], classes, factor, stride=factor)

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
    """A prepared scan with class numbers (D, H, W) on its grid; ``sample`` holds the labels at their own spacing."""

    sample: Sample
    classes: Tensor
    grid: Grid


def labelled(samples: Sequence[Sample], preprocessor: VolumePreprocessor) -> list[LabelledScan]:
    """Scans with their labels on the model's grid."""
    found = []
    for sample in samples:
        grid = preprocessor.grid(sample.inputs)
        found.append(LabelledScan(sample, preprocessor.labels(labels_of(sample), grid), grid))
    return found


def number_of_classes(scans: Sequence[LabelledScan]) -> int:
    """Highest class number and one."""
    return 1 + max(int(scan.classes.max()) for scan in scans)


def train_segmentation(
    backbone: nn.Module, preprocessor: VolumePreprocessor, scans: Sequence[LabelledScan], config: SegmentationConfig
) -> FineTuned:
    """Fine-tune on labelled scans.

    Args:
        backbone: pre-trained or fresh; changed in place.
        preprocessor: of the model.
        scans: training scans.
        config: steps, rate, batch, seed.

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
        places = torch.nonzero(scan.classes) if number % 2 == 0 else torch.empty(0, 3)
        if len(places):
            centre = places[int(rng.integers(len(places)))].numpy() + rng.integers(-edge // 4, edge // 4 + 1, 3)
        else:
            centre = rng.integers(scan.grid.shape)
        start = []
        for first, size in zip(centred_start(centre.tolist(), edge), scan.grid.shape, strict=True):
            low, high = sorted((0, size - edge))
            start.append(int(np.clip(first, low, high)))
        cubes.append(preprocessor.crop(scan.sample, start, (edge,) * 3).values)
        answers.append(preprocessor.labels(labels_of(scan.sample), scan.grid.moved(start, (edge,) * 3)))
    return torch.stack(cubes), torch.stack(answers)


def segmentation_loss(logits: Tensor, answers: Tensor) -> Tensor:
    """Cross-entropy plus 1 - soft Dice, the latter over foreground classes that occur in the batch."""
    probability = torch.softmax(logits, dim=1)
    truth = F.one_hot(answers, logits.shape[1]).movedim(-1, 1).to(probability.dtype)
    both = (probability * truth).sum(dim=(0, 2, 3, 4))
    size = (probability + truth).sum(dim=(0, 2, 3, 4))
    present = truth.sum(dim=(0, 2, 3, 4)) > 0
    present[0] = False
    dice = (2 * both + 1e-5) / (size + 1e-5)
    missing = 1 - dice[present].mean() if bool(present.any()) else logits.sum() * 0
    return F.cross_entropy(logits, answers) + missing


@torch.no_grad()
def segment(network: SegmentationNetwork, preprocessor: VolumePreprocessor, sample: Sample) -> np.ndarray:
    """Class numbers int64 of a whole scan on the scan's own grid."""
    grid, edge = preprocessor.grid(sample.inputs), preprocessor.config.crop_edge
    starts = sliding_starts(grid.shape, edge, preprocessor.config.overlap)
    axis = torch.arange(edge) - (edge - 1) / 2
    bell = torch.exp(-0.5 * (axis / (SIGMA_SHARE * edge)) ** 2)
    weight = (bell[:, None, None] * bell[:, None] * bell).clamp(min=1e-4)
    low = np.minimum(np.asarray(starts).min(axis=0), 0)
    extent = np.maximum(np.asarray(starts).max(axis=0) + edge, grid.shape) - low
    total: Tensor | None = None
    for begin in range(0, len(starts), CUBES_AT_ONCE):
        chosen = starts[begin : begin + CUBES_AT_ONCE]
        logits = network(torch.stack([preprocessor.crop(sample, one, (edge,) * 3).values for one in chosen]))
        if total is None:
            total = torch.zeros(logits.shape[1], *extent.tolist())
        for one, start in zip(logits, chosen, strict=True):
            place = tuple(slice(int(f - b), int(f - b) + edge) for f, b in zip(start, low, strict=True))
            total[(slice(None), *place)] += torch.softmax(one, dim=0) * weight
    assert total is not None
    return _on_own_grid(total, grid.moved(low.tolist(), (int(extent[0]), int(extent[1]), int(extent[2]))), sample)


def _on_own_grid(probability: Tensor, grid: Grid, sample: Sample) -> np.ndarray:
    """Most likely class at the scan's own voxels."""
    own = sample.inputs.grid
    voxels = np.stack(np.meshgrid(*map(np.arange, own.shape), indexing="ij"), axis=-1)
    places = torch.as_tensor(grid.voxels(own.world(voxels)), dtype=torch.float32)
    scaled = ((2 * places + 1) / torch.tensor(grid.shape) - 1).flip(-1)
    found = F.grid_sample(probability[None], scaled[None], padding_mode="border", align_corners=False)
    best: np.ndarray = found[0].argmax(dim=0).numpy()
    return best


def score_segmentation(
    network: SegmentationNetwork, preprocessor: VolumePreprocessor, samples: Sequence[Sample]
) -> dict[str, float]:
    """Mean Dice and surface Dice over scans at their own spacing."""
    rows = []
    for sample in samples:
        labels = labels_of(sample)
        truth = labels.read().round().astype(np.int64)
        rows.append(overlap(segment(network, preprocessor, sample), truth, labels.spacing_mm))
    return mean_of(rows)
