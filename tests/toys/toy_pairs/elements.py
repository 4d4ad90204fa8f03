"""The toy of ragged pairs with what few domains have: a training item around labels, and a metric of elements.

A listing module of its own, since both change what fine-tuning and scores of the plain toy are.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from repcore.hooks import hookimpl
from repcore.interfaces import Item, Sample
from repcore.specs import PreprocessorSpec
from tests.toys.toy_pairs import _plugin
from tests.toys.toy_pairs.code import Sets

HERE = "tests.toys.toy_pairs.elements"
repcore_plugin_info = _plugin.repcore_plugin_info
repcore_encoders = _plugin.repcore_encoders
repcore_objectives = _plugin.repcore_objectives
repcore_datasets = _plugin.repcore_datasets
repcore_views = _plugin.repcore_views
repcore_recipes = _plugin.repcore_recipes


@hookimpl
def repcore_preprocessors() -> list[PreprocessorSpec]:
    (one,) = _plugin.repcore_preprocessors()
    changes = {"labelled_item": f"{HERE}:labelled_points", "element_metrics": {"share": f"{HERE}:Share"}}
    return [dataclasses.replace(one, **changes)]


def labelled_points(preprocessor: Sets, sample: Sample, generator: np.random.Generator) -> Item:
    """Points in another order, jittered; most of a set, and a labelled one in any case."""
    (name, labels), count = next(iter(sample.targets.items())), len(sample.inputs)
    order = generator.permutation(count)
    known = np.flatnonzero(np.isfinite(labels[order]))
    chosen = np.union1d(np.arange(max(2, count // 2)), known[:1]).astype(int)
    points = sample.inputs[order[chosen]] - preprocessor.mean + 0.01 * generator.normal(size=(len(chosen), 2))
    return Item(points.astype(np.float32), {"points": len(chosen)}, targets={name: labels[order[chosen]]})


class Share:
    """Share of the labelled elements of a class that are answered right."""

    def __init__(self, value: float | None) -> None:
        self.name = "share" if value is None else f"share-{value:g}"

    def __call__(self, sample: Sample, truth: np.ndarray, answered: np.ndarray, classes: int) -> np.ndarray:
        own = [answered[truth == number] == number for number in range(classes)]
        return np.array([one.mean() if len(one) else np.nan for one in own])
