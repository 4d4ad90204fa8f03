"""``fewshot@1``: how well classes can be told apart from a few labelled rows each.

An episode draws ``ways`` classes, ``shots`` training rows of each as support and up to ``queries`` test rows of each;
the value is the mean accuracy over episodes. Support comes from the train part and queries from the test part, so a
group-aware split stays leakage-free. Features are centred by the train part and brought to unit length.

Source: Wang et al. 2019, SimpleShot (arXiv 1911.04623), centred and normalised nearest centroid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.preprocessing import normalize

from repcore.errors import ConfigError
from repcore.evaluation.metrics import Scores
from repcore.evaluation.probes.configs import FewShotProbeConfig
from repcore.evaluation.probes.preparation import constants_of, prepare, require_kind
from repcore.interfaces import ProbeSplit
from repcore.specs import TargetSpec


class FewShotProbe:
    """See the module; an implementation of :class:`repcore.interfaces.Probe`. The seed draws the episodes.

    Raises:
        ConfigError: fewer than two ways, or no shots, queries or episodes.
    """

    uses_seed = True

    def __init__(self, config: FewShotProbeConfig) -> None:
        for name, least in (("ways", 2), ("shots", 1), ("queries", 1), ("episodes", 1)):
            if getattr(config, name) < least:
                raise ConfigError(f"{name}={getattr(config, name)} is less than {least}", field=name)
        self.config = config

    def constants(self) -> Mapping[str, Any]:
        return constants_of(
            "fewshot@1",
            self.config,
            features="centred by the train part, unit length",
            episodes_from="support from the train part, queries from the test part",
        )

    def score(
        self, features: np.ndarray, labels: np.ndarray, target: TargetSpec, split: ProbeSplit, seed: int
    ) -> Scores:
        """``accuracy``: mean over episodes; the 95 % interval of that mean is in the notes.

        Args:
            features: (N, D).
            labels: class numbers (N,); NaN = missing.
            seed: of the episodes.

        Raises:
            ConfigError: not a class target.
            DataError, ShapeError: as :func:`repcore.evaluation.probes.preparation.prepare`.
        """
        require_kind("fewshot@1", target, ("class",), "linear@1")
        data = prepare(features, labels, target, split)
        config = self.config
        support = [np.flatnonzero(data.train_labels[:, 0] == c) for c in range(data.classes.size)]
        queries = [np.flatnonzero(data.test_labels[:, 0] == c) for c in range(data.classes.size)]
        usable = [c for c in range(data.classes.size) if support[c].size >= config.shots and queries[c].size]
        if len(usable) < config.ways:
            reason = (
                f"{len(usable)} classes have {config.shots} training rows and a test row; "
                f"an episode needs ways={config.ways}"
            )
            return Scores.undefined(("accuracy",), reason)
        centre = data.train.mean(axis=0)
        train, test = normalize(data.train - centre), normalize(data.test - centre)
        generator = np.random.default_rng(seed)
        values = [
            self._episode(train, test, [(support[c], queries[c]) for c in self._draw(usable, generator)], generator)
            for _ in range(config.episodes)
        ]
        half_width = 1.96 * float(np.std(values)) / math.sqrt(len(values))
        return Scores({"accuracy": float(np.mean(values))}, [f"95 % interval of the episode mean +-{half_width:.3f}"])

    def _draw(self, usable: Sequence[int], generator: np.random.Generator) -> Sequence[int]:
        return [int(c) for c in generator.choice(usable, self.config.ways, replace=False)]

    def _episode(
        self,
        train: np.ndarray,
        test: np.ndarray,
        rows: Sequence[tuple[np.ndarray, np.ndarray]],
        generator: np.random.Generator,
    ) -> float:
        """Accuracy of one episode, mean over its classes (each class weighs the same)."""
        shots = [train[generator.choice(known, self.config.shots, replace=False)] for known, _ in rows]
        asked = [test[generator.choice(pool, min(self.config.queries, pool.size), replace=False)] for _, pool in rows]
        weight, bias = self._centroid(shots) if self.config.head == "centroid" else self._ridge(shots)
        hits = [np.mean((part @ weight + bias).argmax(axis=1) == way) for way, part in enumerate(asked)]
        return float(np.mean(hits))

    def _centroid(self, shots: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Linear form of the nearest centroid: argmin |x - m|^2 = argmax x.m - |m|^2 / 2."""
        means = np.stack([part.mean(axis=0) for part in shots], axis=1)  # (D, W)
        return means, -0.5 * (means**2).sum(axis=0)

    def _ridge(self, shots: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Ridge on one-hot classes in its dual form: support rows are far fewer than features."""
        rows = np.concatenate(shots)  # (W*S, D)
        classes = np.repeat(np.eye(len(shots)), [len(part) for part in shots], axis=0)
        gram = rows @ rows.T + self.config.penalty * np.eye(len(rows))
        return rows.T @ np.linalg.solve(gram, classes), np.zeros(len(shots))
