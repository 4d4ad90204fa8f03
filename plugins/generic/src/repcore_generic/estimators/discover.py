"""Estimator ``generic/label-shift``: classes from domains, with the control for traces that domains leave."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from scipy.special import softmax
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression

from repcore.errors import DataError
from repcore.estimation.rows import check_width, gathered
from repcore.interfaces import FeatureBatch
from repcore.specs import TargetSpec
from repcore_generic.configs.estimators import LabelShiftConfig
from repcore_generic.estimators.label_shift import (
    Mixes,
    artefact_control,
    check_identifiable,
    class_posteriors,
    cluster_counts,
    flattened,
    multiplicative,
)
from repcore_generic.estimators.sampling import place_of

FEWEST_ITEMS = 10
STRENGTHS = (0.01, 0.1, 1.0, 10.0)


class LabelShift:
    """Fitted on pooled vectors and the domain of each item.

    Args:
        config: settings.
    """

    def __init__(self, config: LabelShiftConfig) -> None:
        self.config = config
        self.arrays: dict[str, np.ndarray] = {}
        self.facts: dict[str, Any] = {}

    def fit(self, features: Iterable[FeatureBatch], target: TargetSpec | None = None) -> LabelShift:
        """Domain classifier on one half, everything else on the other.

        Raises:
            DataError: fewer domains than classes, domains that do not differ, or domains that leave traces.
        """
        if target is None or target.kind != "class":
            raise DataError("label shift needs the domain of each item", hint="--label COLUMN of site, scanner, ...")
        ids, rows, domains, names = self._collected(features, target)
        half = np.asarray([place_of(one, self.config.seed) < 0.5 for one in ids])
        self._fit_classifier(rows[half], domains[half])
        posterior = self._posterior(rows[~half])
        mixes = self._mixes(posterior, domains[~half])
        condition = check_identifiable(mixes.class_given_domain)
        self._control(posterior, domains[~half], mixes.class_given_domain)
        shares = np.bincount(domains, minlength=len(names)) / len(domains)
        self.arrays |= {"mixes": mixes.class_given_domain, "shares": shares}
        self.facts |= {"domains": names, "condition_number": condition, "items": len(ids)}
        return self

    def _collected(
        self, features: Iterable[FeatureBatch], target: TargetSpec
    ) -> tuple[list[str], np.ndarray, np.ndarray, list[str]]:
        every = gathered(features)
        ids, values, domain = every.ids, every.values.astype(np.float64), every.targets[target.name]
        known = np.isfinite(domain)
        counts = np.bincount(domain[known].astype(np.int64), minlength=len(target.names))
        kept = np.flatnonzero(counts >= FEWEST_ITEMS)
        if len(kept) < self.config.classes:
            raise DataError(
                f"{len(kept)} domains with {FEWEST_ITEMS} items or more are too few for {self.config.classes} classes",
                hint="at least as many domains as classes",
            )
        renumbered = np.full(len(counts), -1)
        renumbered[kept] = np.arange(len(kept))
        number = np.where(known, renumbered[np.where(known, domain, 0).astype(np.int64)], -1)
        used = number >= 0
        names = [target.name_of(int(one)) for one in kept]
        self.arrays["domain_numbers"] = renumbered
        return [one for one, good in zip(ids, used, strict=True) if good], values[used], number[used], names

    def _fit_classifier(self, rows: np.ndarray, domains: np.ndarray) -> None:
        """Multinomial logistic regression; its strength by held-out log-loss."""
        mean, scale = rows.mean(0), rows.std(0)
        scale = np.where(scale > 0, scale, 1.0)
        scaled = (rows - mean) / scale
        held = np.arange(len(rows)) % 5 == 0
        losses = []
        for strength in STRENGTHS:
            model = LogisticRegression(C=strength, max_iter=500).fit(scaled[~held], domains[~held])
            guess = np.full((int(held.sum()), domains.max() + 1), 1e-12)
            guess[:, model.classes_] = model.predict_proba(scaled[held])
            losses.append(-np.log(guess[np.arange(len(guess)), domains[held]].clip(1e-12)).mean())
        best = LogisticRegression(C=STRENGTHS[int(np.argmin(losses))], max_iter=500).fit(scaled, domains)
        weight, bias = best.coef_, best.intercept_
        if len(best.classes_) == 2:  # scikit-learn keeps one row for two classes
            weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
        self.arrays |= {"classifier": weight / scale, "bias": bias - (weight / scale) @ mean}

    def _posterior(self, rows: np.ndarray) -> np.ndarray:
        result: np.ndarray = softmax(rows @ self.arrays["classifier"].T + self.arrays["bias"], axis=1)
        return result

    def _mixes(self, posterior: np.ndarray, domains: np.ndarray) -> Mixes:
        clusters = self.config.clusters or 3 * self.config.classes
        found = KMeans(clusters, n_init=5, random_state=self.config.seed).fit_predict(posterior)
        counts = cluster_counts(found, domains, (clusters, posterior.shape[1]))
        table = counts / counts.sum(0)
        rng = np.random.default_rng(self.config.seed)
        domain_count, classes = posterior.shape[1], self.config.classes
        every = [
            multiplicative(
                table.T, rng.uniform(0.1, 1.0, (domain_count, classes)), rng.uniform(0.1, 1.0, (classes, clusters)),
                self.config.updates,
            )
            for _ in range(self.config.starts)
        ]  # fmt: skip
        errors = np.asarray([one.error for one in every])
        self.facts |= {"error": float(errors.min()), "error_spread": float(errors.std())}
        return every[int(errors.argmin())]

    def _control(self, posterior: np.ndarray, domains: np.ndarray, mixes: np.ndarray) -> None:
        accuracy, ceiling = artefact_control(posterior, domains, mixes)
        error = float(np.sqrt(ceiling * (1 - ceiling) / len(domains)))
        self.facts |= {"domain_accuracy": accuracy, "accuracy_ceiling": ceiling}
        if accuracy > ceiling + 3 * error and not self.config.force:
            raise DataError(
                f"domains are told with accuracy {accuracy:.3f}, classes alone allow {ceiling:.3f}: "
                "items carry traces of their domain (device, site), and the classes found would be those",
                hint="force=true goes on all the same",
            )

    def apply(self, features: FeatureBatch) -> Mapping[str, np.ndarray]:
        """Columns ``class``, ``p:0`` ... of each class, and ``domain_entropy`` in nats."""
        check_width(features, self.arrays["classifier"].shape[1])
        count = len(features.ids)
        known = np.isfinite(features.values).all(1)
        posterior = self._posterior(features.values[known].astype(np.float64))
        flat = flattened(posterior, self.arrays["shares"])
        plain, _ = class_posteriors(flat, self.arrays["mixes"], np.zeros(len(flat), np.int64))
        probabilities = self._with_domains(flat, plain, features, known)
        columns = {"class": np.full(count, np.nan)}
        columns["class"][known] = probabilities.argmax(1)
        for number in range(probabilities.shape[1]):
            columns[f"p:{number}"] = np.full(count, np.nan)
            columns[f"p:{number}"][known] = probabilities[:, number]
        columns["domain_entropy"] = np.full(count, np.nan)
        columns["domain_entropy"][known] = -(posterior * np.log(posterior.clip(1e-300))).sum(1)
        return columns

    def _with_domains(
        self, flat: np.ndarray, plain: np.ndarray, features: FeatureBatch, known: np.ndarray
    ) -> np.ndarray:
        """p(y | x, d) where the item's domain is known, p(y | x) elsewhere."""
        domain = next(iter(features.targets.values()), None)
        if domain is None:
            return plain
        labels = domain[known]
        numbers = self.arrays["domain_numbers"]
        inside = np.isfinite(labels) & (np.where(np.isfinite(labels), labels, -1) < len(numbers))
        place = np.where(inside, numbers[np.where(inside, labels, 0).astype(np.int64)], -1)
        result = plain.copy()
        told = place >= 0
        result[told] = class_posteriors(flat[told], self.arrays["mixes"], place[told])[1]
        return result

    def state(self) -> tuple[Mapping[str, np.ndarray], Mapping[str, Any]]:
        """Arrays and facts."""
        return self.arrays, self.facts

    def load_state(self, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
        """What :meth:`state` gave."""
        self.arrays, self.facts = dict(arrays), dict(facts)
