"""Estimator ``generic/label-shift``: classes from domains, with the control for traces that domains leave."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

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
    flattened,
)
from repcore_generic.estimators.sampling import place_of
from repcore_generic.estimators.shift_controls import (
    DomainClassifier,
    best_of,
    factorisations,
    mix_spread,
    shuffled_domains,
    stability,
)

FEWEST_ITEMS = 10
ENOUGH_ITEMS, SURE_ITEMS = 50, 150  # of a domain: below, mixes are rough; below, plain clusters often do better
LARGE_CONDITION = 8.0
LEAST_STABLE = 0.5
SHOWN = 5


class LabelShift:
    """Fitted on pooled vectors and the domain of each item.

    Args:
        config: settings.
    """

    def __init__(self, config: LabelShiftConfig) -> None:
        self.config = config
        self.arrays: dict[str, np.ndarray] = {}
        self.facts: dict[str, Any] = {}
        self.classifier = DomainClassifier(np.zeros((0, 0)), np.zeros(0), float("nan"))

    def fit(self, features: Iterable[FeatureBatch], target: TargetSpec | None = None) -> LabelShift:
        """Domain classifier on one half, everything else on the other.

        Raises:
            DataError: fewer domains than classes, domains that do not differ, that are told no better than shuffled
                ones, or that leave traces.
        """
        if target is None or target.kind != "class":
            raise DataError("label shift needs the domain of each item", hint="--label COLUMN of site, scanner, ...")
        ids, rows, domains, names = self._collected(features, target)
        half = _halves(ids, domains, self.config.seed)
        self.classifier = DomainClassifier.fit(rows[half], domains[half], len(names))
        every = factorisations(self.classifier.posterior(rows[~half]), domains[~half], self.config)
        errors = np.asarray([one.error for one in every])
        mixes = best_of(every)
        shares = np.bincount(domains, minlength=len(names)) / len(domains)
        self.arrays |= {
            "classifier": self.classifier.weight, "bias": self.classifier.bias,
            "mixes": mixes.class_given_domain, "shares": shares,
        }  # fmt: skip
        self.facts |= {
            "domains": names, "items": len(ids),
            "error": float(errors.min()), "error_spread": float(errors.std()),
        }  # fmt: skip
        self._controls(rows, domains, half, every)
        condition = check_identifiable(mixes.class_given_domain)
        self.facts["condition_number"] = condition
        self._check_sizes(domains, names, condition)
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
        few = [target.name_of(int(one)) for one in np.flatnonzero((counts > 0) & (counts < FEWEST_ITEMS))]
        self.facts["domains_left_out"] = ", ".join(few) or "none"
        return [one for one, good in zip(ids, used, strict=True) if good], values[used], number[used], names

    def _controls(self, rows: np.ndarray, domains: np.ndarray, half: np.ndarray, every: list[Mixes]) -> None:
        """Refuse classes that shuffled domains, or traces of domains, would give as well; the figures are facts."""
        posterior, held = self.classifier.posterior(rows[~half]), domains[~half]
        mixes = best_of(every).class_given_domain
        shuffled = shuffled_domains(rows, domains, half, self.classifier.strength, self.config)
        accuracy, ceiling = artefact_control(posterior, held, mixes)
        self.facts |= {
            "domain_area": shuffled.area, "domain_area_shuffled": float(shuffled.areas.mean()),
            "domain_accuracy": accuracy, "domain_accuracy_shuffled": shuffled.accuracy, "accuracy_ceiling": ceiling,
            "mix_spread": mix_spread(mixes), "mix_spread_shuffled": float(shuffled.spreads.mean()),
        }  # fmt: skip
        error = float(np.sqrt(ceiling * (1 - ceiling) / len(held)))
        if shuffled.area <= shuffled.needed and not self.config.force:
            raise DataError(
                f"domains are told no better than shuffled ones (area under the ROC curve {shuffled.area:.3f}; "
                f"shuffled {shuffled.areas.mean():.3f} +- {shuffled.areas.std(ddof=1):.3f}): "
                "the classes found would be noise",
                expected=f"an area above {shuffled.needed:.3f}",
                hint="more items a domain, domains whose mixes differ, or a model whose features tell the classes; "
                "force=true goes on all the same",
            )
        if accuracy > ceiling + 3 * error and not self.config.force:
            raise DataError(
                f"domains are told with accuracy {accuracy:.3f}, classes alone allow {ceiling:.3f}: "
                "items carry traces of their domain (device, site), and the classes found would be those",
                hint="force=true goes on all the same",
            )
        starts, halves = stability(posterior, held, self.arrays["shares"], every, self.config)
        self.facts |= {"stability_starts": starts, "stability_halves": halves}
        if self.facts["mix_spread"] <= shuffled.spreads.max():
            warnings.warn(
                f"mixes of classes differ between domains by {self.facts['mix_spread']:.2f}, and by up to "
                f"{shuffled.spreads.max():.2f} where domains are shuffled: classes may be noise",
                stacklevel=2,
            )
        if halves < LEAST_STABLE:
            warnings.warn(
                f"fits to two halves of the items hardly agree on classes (adjusted Rand index {halves:.2f}, of 1): "
                "more items, or other classes=K",
                stacklevel=2,
            )

    def _check_sizes(self, domains: np.ndarray, names: list[str], condition: float) -> None:
        counts = np.bincount(domains, minlength=len(names))
        small = [f"{name} ({count})" for name, count in zip(names, counts, strict=True) if count < ENOUGH_ITEMS]
        if small:
            more = f" and {len(small) - SHOWN} more" if len(small) > SHOWN else ""
            warnings.warn(
                f"domains with fewer than {ENOUGH_ITEMS} items: {', '.join(small[:SHOWN])}{more}; "
                "their mixes are rough",
                stacklevel=2,
            )
        elif len(domains) < SURE_ITEMS * len(names):
            warnings.warn(
                f"{len(domains) / len(names):.0f} items a domain: below {SURE_ITEMS}, clusters of the vectors "
                "(repcore fit clusters) often follow classes better",
                stacklevel=2,
            )
        if condition > LARGE_CONDITION:
            warnings.warn(
                f"domains differ little in their mix of classes (condition number {condition:.3g}, better below "
                f"{LARGE_CONDITION:g}): classes are told with large errors",
                stacklevel=2,
            )

    def apply(self, features: FeatureBatch) -> Mapping[str, np.ndarray]:
        """Columns ``class``, ``p:0`` ... of each class, and ``domain_entropy`` in nats."""
        check_width(features, self.arrays["classifier"].shape[1])
        count = len(features.ids)
        known = np.isfinite(features.values).all(1)
        posterior = self.classifier.posterior(features.values[known].astype(np.float64))
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
        self.classifier = DomainClassifier(arrays["classifier"], arrays["bias"], float("nan"))


def _halves(ids: list[str], domains: np.ndarray, seed: int) -> np.ndarray:
    """Which items the classifier is fitted on, bool (n,): of every domain the half whose ids come first."""
    places = np.asarray([place_of(one, seed) for one in ids])
    half = np.zeros(len(ids), bool)
    for domain in np.unique(domains):
        mine = np.flatnonzero(domains == domain)
        half[mine[np.argsort(places[mine], kind="stable")[: (len(mine) + 1) // 2]]] = True
    return half
