"""Landmark error: how far, in millimetres, matches of organ centres lie from the organ centres of the other scan."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from repcore.errors import DataError
from repcore.interfaces import Sample
from repcore_medical3d.correspondence.backends import Correspondence
from repcore_medical3d.datasets.volumes import SEGMENTATION
from repcore_medical3d.formats.volumes import Volume


def labels_of(sample: Sample) -> Volume:
    """The dense label of a sample.

    Raises:
        DataError: it has none.
    """
    labels = sample.targets.get(SEGMENTATION)
    if labels is None:
        raise DataError(f"{sample.id} has no dense labels", hint="a folder of labels beside the images")
    found: Volume = labels
    return found


def centroids_mm(sample: Sample) -> dict[int, np.ndarray]:
    """Centre of each foreground class in the world."""
    labels = labels_of(sample)
    classes = labels.read(exact=True).round().astype(np.int64)
    numbers = [int(number) for number in np.unique(classes) if number]
    return {number: labels.grid.world(np.argwhere(classes == number).mean(axis=0)) for number in numbers}


def landmark_errors_mm(backend: Correspondence, pairs: Sequence[tuple[Sample, Sample]]) -> dict[int, list[float]]:
    """Distance between the match of a centre and the centre in the other scan, by class, one a pair that has both."""
    errors: dict[int, list[float]] = {}
    for first, second in pairs:
        here, there = centroids_mm(first), centroids_mm(second)
        shared = sorted(here.keys() & there.keys())
        if not shared:
            continue
        found = backend.match(first, second, np.stack([here[number] for number in shared]))
        for number, point in zip(shared, found.points_mm, strict=True):
            errors.setdefault(number, []).append(float(np.linalg.norm(point - there[number])))
    return errors
