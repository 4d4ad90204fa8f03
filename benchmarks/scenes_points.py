"""Dense probes of scenes: how far the features of points and regions tell classes apart, without training the encoder.

Core's ``dense-linear@1`` and ``dense-knn@1`` (standardised features, 600 labelled points of each class) on draws that
``repcore probe`` does not make: a share of all labelled points for label-efficient figures, means of regions, several
stages side by side, and sectors of one scan as folds; tested on every labelled point of the test groups. The same
encoder with random weights and hand-crafted geometry always stand beside, on the same points.

Symbols: N points, D channels, K classes, R regions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from torch import nn

from repcore.data.seeds import generator
from repcore.errors import ConfigError, DataError
from repcore.evaluation.dense_metrics import confusion, overlaps
from repcore.evaluation.probes.dense import (
    DenseLinearConfig,
    DenseLinearProbe,
    DenseNeighbourConfig,
    DenseNeighbourProbe,
)
from repcore.interfaces import Sample
from repcore_pointcloud.preprocessors.scene import ScenePreprocessor, hand_crafted
from repcore_pointcloud.preprocessors.scene_geometry import PreparedScene
from repcore_pointcloud.probes.scene_features import Stages, voxel_features

Kind = Literal["linear", "knn"]
CRAFTED = "hand-crafted"
PER_CLASS = DenseLinearConfig().per_class


@dataclass(frozen=True, slots=True)
class LabelledPoints:
    """Points with a label, of one or many scenes.

    Args:
        labels: int64 (N,), classes from 0.
        is_train: bool (N,).
        features: name -> float32 (N, D).
        region: int64 (N,), region over all scenes; -1 = none.
        names: class numbers of the data, (K,).
    """

    labels: np.ndarray
    is_train: np.ndarray
    features: Mapping[str, np.ndarray]
    region: np.ndarray
    names: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DenseScore:
    """Figures of one set of features; ``per_class`` is the IoU of each class, NaN where it does not occur."""

    mean_iou: float
    accuracy: float
    per_class: tuple[float, ...]


def score_points(
    points: LabelledPoints, name: str, *, seed: int, kind: Kind = "linear", share: float | None = None
) -> DenseScore:
    """Fit on training points, score on test points.

    Args:
        name: which features.
        seed: of the draw of training points; the same points for every set of features.
        kind: classifier.
        share: of all labelled training points instead of 600 a class: 0.01 and 0.1 are the label-efficient figures.

    Raises:
        DataError: fewer than two classes among the training points, or no test point.
    """
    rows = training_rows(points, seed=seed, share=share)
    test = np.flatnonzero(~points.is_train)
    if not len(test):
        raise DataError("no labelled point is left for testing", hint="other --test groups")
    matrix = points.features[name]
    probe = DenseLinearProbe(DenseLinearConfig()) if kind == "linear" else DenseNeighbourProbe(DenseNeighbourConfig())
    predicted = probe.fit(matrix[rows], points.labels[rows]).predict(matrix[test])
    counts = confusion(points.labels[test], predicted, len(points.names))
    overlap = overlaps(counts)[0]
    return DenseScore(float(np.nanmean(overlap)), float(np.trace(counts) / len(test)), tuple(overlap.tolist()))


def training_rows(points: LabelledPoints, *, seed: int, share: float | None) -> np.ndarray:
    """Balanced rows (600 a class, fewer where a class has fewer), or a share of all, at least one a class."""
    rng = generator(seed, "scene-points")
    rows = []
    for number in range(len(points.names)):
        own = rng.permutation(np.flatnonzero(points.is_train & (points.labels == number)))
        wanted = PER_CLASS if share is None else max(1, round(share * len(own)))
        rows.append(own[:wanted])
    return np.sort(np.concatenate(rows))


def region_points(points: LabelledPoints) -> LabelledPoints:
    """One row a region: mean features, the most frequent label, training if most of its points are."""
    inside = points.region >= 0
    distinct, index = np.unique(points.region[inside], return_inverse=True)
    number = np.bincount(index).astype(np.float64)
    votes = np.zeros((len(distinct), len(points.names)))
    np.add.at(votes, (index, points.labels[inside]), 1.0)
    train_share = np.bincount(index, points.is_train[inside]) / number
    features = {}
    for name, matrix in points.features.items():
        sums = np.zeros((len(distinct), matrix.shape[1]))
        np.add.at(sums, index, matrix[inside])
        features[name] = (sums / number[:, None]).astype(np.float32)
    return LabelledPoints(votes.argmax(1), train_share > 0.5, features, distinct, points.names)


# ---------------------------------------------------------------------------------------- collecting


def collect_points(
    preprocessor: ScenePreprocessor,
    encoders: Mapping[str, nn.Module],
    samples: Sequence[Sample],
    *,
    label: str,
    ignored: Sequence[int] = (),
    group: str = "",
    test: Sequence[str | int] = (),
    stages: Stages = "last",
) -> LabelledPoints:
    """Features of every labelled point under every encoder, and hand-crafted geometry.

    Args:
        preprocessor: as saved with the model.
        encoders: name -> encoder in eval mode.
        samples: scenes with a label of every point.
        label / ignored / group / test: as in :func:`labelled_rows`.
        stages: whose features, see :func:`repcore_pointcloud.probes.scene_features.voxel_features`.

    Raises:
        ConfigError: a label that a scene lacks. DataError: no labelled point.
    """
    labels, train, region = [], [], []
    features: dict[str, list[np.ndarray]] = {name: [] for name in (*encoders, CRAFTED)}
    regions = 0
    for sample in samples:
        scene = preprocessor.geometry(sample)
        rows, is_train = labelled_rows(sample, scene, label=label, ignored=ignored, group=group, test=test)
        labels.append(np.asarray(sample.targets[label])[rows])
        train.append(is_train)
        own, found = _features_of(preprocessor, encoders, replace(sample, inputs=scene), rows, stages)
        region.append(own + regions)
        regions += len(scene.foreground)
        for name, values in found.items():
            features[name].append(values)
    if not sum(map(len, labels)):
        raise DataError(f"no point has a label {label!r}")
    names, numbers = np.unique(np.concatenate(labels), return_inverse=True)
    joined = {name: np.concatenate(one) for name, one in features.items()}
    classes = tuple(names.tolist())
    return LabelledPoints(numbers.reshape(-1), np.concatenate(train), joined, np.concatenate(region), classes)


def _features_of(
    preprocessor: ScenePreprocessor, encoders: Mapping[str, nn.Module], sample: Sample, rows: np.ndarray, stages: Stages
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Region (n,) and features (n, D) of points of one prepared scene."""
    item = preprocessor.prepare(sample)[0]
    voxel, batch = item.values["source"][rows], preprocessor.collate([item])
    found = {name: voxel_features(encoder, batch, stages)[voxel] for name, encoder in encoders.items()}
    found[CRAFTED] = hand_crafted(sample.inputs)[sample.inputs.source[rows]]
    return item.values["region"][voxel], found


def labelled_rows(
    sample: Sample, scene: PreparedScene, *, label: str, ignored: Sequence[int], group: str, test: Sequence[str | int]
) -> tuple[np.ndarray, np.ndarray]:
    """Points (n,) of a scene that have a label and coordinates, and which of them are for training, bool (n,).

    Args:
        label / ignored: which label, and values that mean none.
        group: a second label that divides points (sectors of a scan); empty = scenes are divided.
        test: values of ``group``, or ids of scenes, that are tested.

    Raises:
        ConfigError: a label that the scene lacks.
    """
    for wanted in filter(None, (label, group)):
        if wanted not in sample.targets:
            raise ConfigError(f"scene {sample.id} has no label {wanted!r}", labels=", ".join(sample.targets))
    values = np.asarray(sample.targets[label])
    kept = np.flatnonzero((scene.source >= 0) & ~np.isin(values, list(ignored)))
    divider = np.asarray(sample.targets[group])[kept].astype(str) if group else np.full(len(kept), sample.id)
    return kept, ~np.isin(divider, [str(one) for one in test])
