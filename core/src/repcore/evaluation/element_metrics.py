"""Metrics of answers about elements that only a domain can give, such as distances between surfaces.

A preprocessor's spec names them (``element_metrics``); ``--metric NAME`` or ``NAME:VALUE`` chooses among them. Each is
a class, called as ``target(value)`` with the number behind the colon (None = its default), with

    name                                                    for results, with its value: ``surface-dice-1mm``
    __call__(sample, truth, answered, classes) -> (K,)      one number a class of one sample; NaN where there is none

where truth and answered are class numbers of the sample's own shape, -1 = no label, no answer.

Symbols: K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from repcore.data.guard import named_guard
from repcore.errors import ConfigError, closest
from repcore.evaluation.metrics import Scores
from repcore.interfaces import Sample
from repcore.registry import Registry


class ElementMetric(Protocol):
    """See the module's head."""

    name: str

    def __call__(self, sample: Sample, truth: np.ndarray, answered: np.ndarray, classes: int) -> np.ndarray: ...


def element_metrics(registry: Registry, preprocessor: str, words: Sequence[str] = ()) -> list[ElementMetric]:
    """Metrics of a preprocessor by name; all with their defaults if none is named.

    Raises:
        ConfigError: no such metric, or no number behind the colon.
    """
    entry = registry.preprocessor(preprocessor)
    known = entry.spec.element_metrics
    found: list[ElementMetric] = []
    for word in words or known:
        name, _, text = word.partition(":")
        if name not in known:
            raise ConfigError(
                f"--metric {word!r}: {preprocessor} has no such metric of elements",
                did_you_mean=closest(name, known),
                known=", ".join(known) or "none",
            )
        try:
            value = float(text) if text else None
        except ValueError as error:
            raise ConfigError(f"--metric {word!r}: {text!r} is not a number", hint=f"{name}:2") from error
        target = entry.load("element_metrics", name)
        with named_guard(target, f"--metric {word}"):
            found.append(target(value))
    return found


@dataclass(slots=True)
class MetricRecord:
    """Figures of the test rows under each metric, (K,) a row."""

    metrics: Sequence[ElementMetric]
    rows: dict[str, list[np.ndarray]] = field(default_factory=dict)

    def add(self, sample: Sample, truth: np.ndarray, answered: np.ndarray, classes: int) -> dict[str, float | None]:
        """Measure one row; returns the mean over its classes by metric, None where no class has a figure."""
        found: dict[str, float | None] = {}
        for metric in self.metrics:
            with named_guard(metric, f"metric {metric.name}"):
                values = np.asarray(metric(sample, truth, answered, classes), np.float64).reshape(classes)
            self.rows.setdefault(metric.name, []).append(values)
            found[metric.name] = None if np.isnan(values).all() else float(np.nanmean(values))
        return found

    def into(self, scores: Scores, names: Sequence[str]) -> Scores:
        """Add to scores: the mean over items of the mean over an item's classes, each class apart, and what is missing.

        Args:
            names: K class names.
        """
        for name, rows in self.rows.items():
            table = np.stack(rows)
            known = ~np.isnan(table)
            each = [row[there].mean() for row, there in zip(table, known, strict=True) if there.any()]
            scores[name] = float(np.mean(each)) if each else float("nan")
            for k, class_name in enumerate(names):
                own = table[known[:, k], k]
                if len(own):
                    scores.tasks.setdefault(class_name, {})[name] = float(own.mean())
            short = [f"{one} {int(n)}" for one, n in zip(names, known.sum(0), strict=True) if 0 < n < len(table)]
            if short:
                scores.notes = (*scores.notes, f"{name}: of {len(table)} items these have a figure: {', '.join(short)}")
            if not each:
                scores.notes = (*scores.notes, f"{name}: no item has a class that is measured")
        return scores
