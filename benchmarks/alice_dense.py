"""What frozen dense features know about every voxel: a linear probe, Dice and surface Dice at the scan's own spacing.

Protocol ``dense-linear@1``: maps of all stages of whole scans (overlapping cubes), standardised; multinomial logistic
regression on an equal number of random voxels a class and scan, whose intercepts are then corrected to the true class
frequencies; logits are raised to the scan's own grid and compared with the labels there. A linear layer commutes with
linear interpolation, so that maps are never raised, only logits.

Symbols: C channels of all stages together, K classes, N voxels.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from repcore.errors import DataError
from repcore.interfaces import Sample
from repcore_medical3d.encoders.volume_backbone import VolumeBackbone
from repcore_medical3d.formats.volumes import Grid
from repcore_medical3d.preprocessors.volume_sliding import sliding_features
from repcore_medical3d.preprocessors.volumes import VolumePreprocessor
from repcore_medical3d.probes.landmarks import labels_of
from repcore_medical3d.probes.surface_dice import surface_dice

PROTOCOL = "dense-linear@1"
VOXELS_A_CLASS = 60  # of each class in each training scan
REGULARISATION = 10.0  # scikit-learn's C: weak, because intercepts for rare classes need large margins
LOOPS = 300
SLAB = 200_000  # voxels whose logits are made at once
Maps = Sequence[tuple[Tensor, Grid]]
MapsOf = Callable[[Sample], Maps]


@dataclass(frozen=True, slots=True)
class DenseClassifier:
    """Weights (K, C) and intercepts (K,) on raw features; ``classes`` are the label numbers of its K outputs.

    ``has_converged`` is False where the fit ended with its iterations; it is used as it is.
    """

    weights: Tensor
    intercepts: Tensor
    classes: np.ndarray
    has_converged: bool


def encoder_maps(backbone: VolumeBackbone, preprocessor: VolumePreprocessor, stages: Sequence[int]) -> MapsOf:
    """Frozen features of an encoder."""
    return lambda sample: sliding_features(backbone, preprocessor, sample, stages)


def intensity_maps(preprocessor: VolumePreprocessor) -> MapsOf:
    """Baseline without a network: the scan and three smoothed copies of it."""

    def maps(sample: Sample) -> Maps:
        prepared = preprocessor.prepared(sample)
        values = prepared.values[0].numpy()
        smoothed = [values, *(ndimage.gaussian_filter(values, sigma) for sigma in (1.0, 2.0, 4.0))]
        return [(torch.from_numpy(np.stack(smoothed)), prepared.grid)]

    return maps


def place_maps(preprocessor: VolumePreprocessor) -> MapsOf:
    """Baseline of place alone: relative coordinates, their squares and products."""

    def maps(sample: Sample) -> Maps:
        grid = preprocessor.grid(sample.inputs)
        axes = [torch.linspace(-1, 1, size) for size in grid.shape]
        x, y, z = torch.meshgrid(*axes, indexing="ij")
        return [(torch.stack([x, y, z, x * x, y * y, z * z, x * y, y * z, x * z]), grid)]

    return maps


def features_at(maps: Maps, points_mm: np.ndarray) -> Tensor:
    """Features (N, C) at places in the world, linear between tokens."""
    return torch.cat([_sampled(values, grid, points_mm) for values, grid in maps], dim=1)


def _sampled(values: Tensor, grid: Grid, points_mm: np.ndarray) -> Tensor:
    places = torch.as_tensor(grid.voxels(points_mm), dtype=torch.float32)
    scaled = (2 * places + 1) / torch.tensor(grid.shape) - 1
    found = F.grid_sample(
        values[None], scaled.flip(-1).view(1, 1, 1, -1, 3), padding_mode="border", align_corners=False
    )
    return found[0, :, 0, 0].T


def fit(maps_of: MapsOf, samples: Sequence[Sample], seed: int) -> DenseClassifier:
    """Train the probe on labelled scans.

    Raises:
        DataError: fewer than two classes.
    """
    rng = np.random.default_rng(seed)
    rows, answers = [], []
    frequency: dict[int, int] = {}
    for sample in samples:
        labels = labels_of(sample)
        classes = labels.read().round().astype(np.int64)
        numbers, counts = np.unique(classes[classes >= 0], return_counts=True)  # below 0: not labelled
        for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
            frequency[number] = frequency.get(number, 0) + count
        chosen = [_some(np.flatnonzero(classes == number), rng) for number in numbers]
        flat = np.concatenate(chosen)
        voxels = np.stack(np.unravel_index(flat, classes.shape), axis=-1)
        rows.append(features_at(maps_of(sample), labels.grid.world(voxels)))
        answers.append(classes.ravel()[flat])
    if len(frequency) < 2:
        raise DataError(f"the labels hold only class {next(iter(frequency))}", needed="two classes or more")
    return _regression(torch.cat(rows).double().numpy(), np.concatenate(answers), frequency)


def _some(places: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return places if len(places) <= VOXELS_A_CLASS else rng.choice(places, VOXELS_A_CLASS, replace=False)


def _regression(features: np.ndarray, answers: np.ndarray, frequency: Mapping[int, int]) -> DenseClassifier:
    """Standardise, fit, and fold everything into weights on raw features."""
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-6
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # ``has_converged`` says it
        model = LogisticRegression(C=REGULARISATION, max_iter=LOOPS).fit((features - mean) / deviation, answers)
    weights, intercepts = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # one row for two classes
        weights, intercepts = np.stack([-weights[0], weights[0]]) / 2, np.array([-1, 1]) * intercepts[0] / 2
    total, drawn = sum(frequency.values()), len(answers)
    for row, number in enumerate(model.classes_.tolist()):
        share = frequency[number] / total
        intercepts[row] += np.log(share) - np.log((answers == number).sum() / drawn)
    weights = weights / deviation
    intercepts = intercepts - weights @ mean
    return DenseClassifier(
        torch.from_numpy(weights).float(),
        torch.from_numpy(intercepts).float(),
        model.classes_,
        has_converged=bool((model.n_iter_ < LOOPS).all()),
    )


def predict(classifier: DenseClassifier, maps: Maps, grid: Grid) -> np.ndarray:
    """Most likely class int64 of every voxel of a grid."""
    parts, first = [], 0
    for values, lattice in maps:
        rows = classifier.weights[:, first : first + values.shape[0]]
        parts.append(((rows @ values.flatten(1)).view(-1, *values.shape[1:]), lattice))
        first += values.shape[0]
    count = int(np.prod(grid.shape))
    best = np.empty(count, np.int32)
    for begin in range(0, count, SLAB):
        flat = np.arange(begin, min(begin + SLAB, count))
        points = grid.world(np.stack(np.unravel_index(flat, grid.shape), axis=-1))
        logits = torch.stack([_sampled(values, lattice, points) for values, lattice in parts]).sum(dim=0)
        best[begin : begin + SLAB] = (logits + classifier.intercepts).argmax(dim=1).numpy()
    return np.asarray(classifier.classes[best].reshape(grid.shape))


def score(maps_of: MapsOf, classifier: DenseClassifier, samples: Sequence[Sample]) -> dict[str, float]:
    """Mean Dice and surface Dice over scans, foreground classes apart and together."""
    rows = []
    for sample in samples:
        labels = labels_of(sample)
        found = predict(classifier, maps_of(sample), labels.grid)
        rows.append(overlap(found, labels.read().round().astype(np.int64), labels.spacing_mm))
    return mean_of(rows)


def mean_of(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each figure over the scans that have it."""
    names = sorted({name for row in rows for name in row})
    return {name: float(np.nanmean([row.get(name, np.nan) for row in rows])) for name in names}


def overlap(
    found: np.ndarray, labels: np.ndarray, spacing_mm: Sequence[float], tolerance_mm: float = 1.0
) -> dict[str, float]:
    """Dice and surface Dice of each foreground class that is in the labels, and their means.

    Voxels with an id below 0 are not labelled and count for nothing.
    """
    result: dict[str, float] = {}
    for number in np.unique(labels).tolist():
        if number <= 0:
            continue
        mine, true = (found == number) & (labels >= 0), labels == number
        result[f"dice_{number}"] = float(2 * (mine & true).sum() / (mine.sum() + true.sum()))
        result[f"surface_dice_{number}"] = surface_dice(mine, true, spacing_mm, tolerance_mm)
    for kind in ("dice", "surface_dice"):
        values = [value for name, value in result.items() if name.rsplit("_", 1)[0] == kind]
        result[kind] = float(np.mean(values)) if values else float("nan")
    return result


def constants() -> dict[str, Any]:
    """Everything that fixes the protocol, for the record."""
    return {
        "protocol": PROTOCOL, "voxels_a_class_and_scan": VOXELS_A_CLASS, "C": REGULARISATION, "max_iter": LOOPS,
        "intercepts": "corrected to class frequencies", "stages": "all", "standardised": True,
    }  # fmt: skip
