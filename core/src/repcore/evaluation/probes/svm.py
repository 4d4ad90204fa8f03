"""``svm@1``: linear support vector machine on standardised frozen features, C chosen on train only.

The grid is searched by stratified cross-validation with balanced accuracy; features are standardised inside each fold.
Margins are used as scores, so that AUROC and average precision need no calibration. Missing labels are left out, a
multilabel target is one machine a task.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from repcore.errors import ConfigError
from repcore.evaluation.metrics import Scores
from repcore.evaluation.probes.classification import score_classifier
from repcore.evaluation.probes.configs import SvmProbeConfig
from repcore.evaluation.probes.preparation import Standardiser, constants_of, prepare, require_kind
from repcore.interfaces import ProbeSplit
from repcore.specs import TargetSpec

PATIENCE = 2  # grid points without improvement that end the search


class SvmProbe:
    """See the module; an implementation of :class:`repcore.interfaces.Probe`. The seed shuffles the folds.

    Raises:
        ConfigError: the grid is empty, or fewer than two folds.
    """

    uses_seed = True

    def __init__(self, config: SvmProbeConfig) -> None:
        low, high = config.inverse_penalty_exponent_low, config.inverse_penalty_exponent_high
        if config.inverse_penalties < 1 or low > high:
            raise ConfigError(f"svm@1 has no C between 10^{low:g} and 10^{high:g} in {config.inverse_penalties} points")
        if config.folds < 2:
            raise ConfigError(f"folds={config.folds} is less than 2", field="folds")
        self.config = config
        self.grid = np.logspace(low, high, config.inverse_penalties)

    def constants(self) -> Mapping[str, Any]:
        return constants_of(
            "svm@1",
            self.config,
            classifier="linear SVM, squared hinge, L2, one against the rest",
            selection=f"balanced accuracy over stratified folds of train, C upwards until {PATIENCE} are no better; "
            "middle of the grid if a class has one row",
            features="standardised by training rows, constant features become 0",
            rows="train part only; the validation part is not used",
        )

    def score(
        self, features: np.ndarray, labels: np.ndarray, target: TargetSpec, split: ProbeSplit, seed: int
    ) -> Scores:
        """Metrics on the test part.

        Args:
            features: (N, D).
            labels: class numbers (N,), or 0/1 (N, K); NaN = missing.
            seed: order of the rows in the folds.

        Raises:
            ConfigError: the target is a regression target.
            DataError, ShapeError: as :func:`repcore.evaluation.probes.preparation.prepare`.
        """
        require_kind("svm@1", target, ("class", "multilabel"), "ridge@1")
        data = prepare(features, labels, target, split)
        fit = partial(self._margins, seed=seed)
        return score_classifier(data, target, fit, threshold=0.0)

    def _margins(
        self, train: np.ndarray, labels: np.ndarray, test: np.ndarray, class_count: int, *, seed: int
    ) -> tuple[np.ndarray, list[str]]:
        """Margins (n, C); a class without training rows lies below all others."""
        numbers = labels.astype(np.int64)
        counts = np.bincount(numbers, minlength=class_count)
        folds = min(self.config.folds, int(counts[counts > 0].min()))
        keep = np.isfinite(Standardiser.fit(train).scale)
        train, test = train[:, keep], test[:, keep]
        notes = []
        if not keep.any():
            train, test = np.zeros((len(train), 1)), np.zeros((len(test), 1))
            notes.append("all features are constant on train")
        machine = LinearSVC(dual=len(train) <= train.shape[1], max_iter=self.config.max_iterations, random_state=seed)
        pipeline = make_pipeline(StandardScaler(), machine)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            if folds >= 2:
                best = self._best(pipeline, train, numbers, StratifiedKFold(folds, shuffle=True, random_state=seed))
            else:
                notes.append("a class has one training row: middle of the C grid taken")
                best = float(self.grid[self.grid.size // 2])
            model = pipeline.set_params(linearsvc__C=best).fit(train, numbers)
        if any(issubclass(one.category, ConvergenceWarning) for one in caught):
            notes.append(f"not converged after {self.config.max_iterations} iterations in some fits")
        decision = model.decision_function(test)
        known = model.classes_
        if known.size == 2:
            decision = np.stack([-decision, decision], axis=1)
        margins = np.full((len(test), class_count), decision.min() - 1.0)
        margins[:, known] = decision
        return margins, notes

    def _best(self, pipeline: Pipeline, train: np.ndarray, numbers: np.ndarray, folds: StratifiedKFold) -> float:
        """The C with the best cross-validated score, from small to large; ends when ``PATIENCE`` were no better.

        Weakly penalised machines are by far the slowest to fit, and past the optimum nothing is gained there.
        """
        best, best_score, idle = float(self.grid[0]), -np.inf, 0
        for value in self.grid:
            pipeline.set_params(linearsvc__C=value)
            score = float(cross_val_score(pipeline, train, numbers, scoring="balanced_accuracy", cv=folds).mean())
            best, best_score, idle = (float(value), score, 0) if score > best_score else (best, best_score, idle + 1)
            if idle == PATIENCE:
                break
        return best
