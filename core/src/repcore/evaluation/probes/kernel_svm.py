"""``rbf-svm@1``: SVM with a Gaussian kernel on standardised features, C by cross-validation on train.

What raw descriptors of shapes and sounds are usually given to; the kernel's width is that of scikit-learn's ``scale``.
Margins are the scores, one against the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.svm import SVC

from repcore.evaluation.metrics import Scores
from repcore.evaluation.probes.classification import score_classifier
from repcore.evaluation.probes.configs import KernelSvmProbeConfig
from repcore.evaluation.probes.forest import some_rows
from repcore.evaluation.probes.preparation import Standardiser, constants_of, prepare, require_kind
from repcore.interfaces import ProbeSplit
from repcore.specs import TargetSpec

GRID = (1.0, 10.0, 100.0)


class KernelSvmProbe:
    """See the module; an implementation of :class:`repcore.interfaces.Probe`. Folds are the same for every seed."""

    uses_seed = False

    def __init__(self, config: KernelSvmProbeConfig) -> None:
        self.config = config

    def constants(self) -> Mapping[str, Any]:
        return constants_of(
            "rbf-svm@1",
            self.config,
            classifier=f"SVM, Gaussian kernel, C of {', '.join(f'{one:g}' for one in GRID)} by balanced accuracy over "
            "stratified folds of train; the middle one if a class has one row",
            features="standardised by training rows, constant features become 0",
            rows="train part only, a random part above most_rows; the validation part is not used",
        )

    def score(
        self, features: np.ndarray, labels: np.ndarray, target: TargetSpec, split: ProbeSplit, seed: int
    ) -> Scores:
        """Metrics on the test part. See :meth:`repcore.interfaces.Probe.score`."""
        require_kind("rbf-svm@1", target, ("class", "multilabel"), "centred@1")
        data = prepare(features, labels, target, split)
        return score_classifier(data, target, self._margins, threshold=0.0)

    def _margins(
        self, train: np.ndarray, labels: np.ndarray, test: np.ndarray, class_count: int
    ) -> tuple[np.ndarray, list[str]]:
        """Margins (n, C); a class without training rows lies below all others."""
        rows, notes = some_rows(len(train), self.config.most_rows)
        numbers = labels[rows].astype(np.int64)
        standardise = Standardiser.fit(train[rows])
        counts = np.bincount(numbers)
        folds = min(self.config.folds, int(counts[counts > 0].min()))
        model = SVC(C=GRID[1], kernel="rbf", gamma="scale", decision_function_shape="ovr")
        if folds >= 2:
            several = StratifiedKFold(folds, shuffle=True, random_state=0)
            model = GridSearchCV(model, {"C": GRID}, scoring="balanced_accuracy", cv=several)
        else:
            notes.append("a class has one training row: middle of the C grid taken")
        model.fit(standardise(train[rows]), numbers)
        decision = model.decision_function(standardise(test))
        if decision.ndim == 1:
            decision = np.stack([-decision, decision], axis=1)
        margins = np.full((len(test), class_count), decision.min() - 1.0)
        margins[:, model.classes_] = decision
        return margins, notes
