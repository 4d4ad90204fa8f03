"""Estimators ``generic/gaussian-anomaly`` and ``-tokens``: how unlike normal items, with a threshold that holds.

One Gaussian is wrong for normal items of several kinds: the mean distance to the nearest normal items stands beside.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from repcore.errors import DataError
from repcore.estimation.rows import check_width
from repcore.interfaces import FeatureBatch, ReportGroup, ReportItem, ReportSection
from repcore.specs import TargetSpec
from repcore_generic.configs.estimators import GaussianAnomalyConfig
from repcore_generic.estimators.gaussian import (
    Components,
    Gaussian,
    Moments,
    conformal_p_values,
    conformal_threshold,
    fewest_calibrated,
    head_or_tail,
)
from repcore_generic.estimators.normal_scores import neighbour_distances, root_mean_square_distances
from repcore_generic.estimators.sampling import EvenSample, place_of

SEED = 0
FEWEST = 20
STRANGEST = 10


class GaussianAnomaly:
    """Fitted on pooled vectors, or on tokens: then an item's score is that of its strangest token.

    Args:
        config: settings.
    """

    def __init__(self, config: GaussianAnomalyConfig) -> None:
        self.config = config
        self.gaussian: Gaussian | None = None
        self.components: Components | None = None
        self.normal = np.zeros((0, 0), np.float32)
        self.calibration = np.zeros(0)
        self.centre = np.zeros(0)

    def fit(self, features: Iterable[FeatureBatch], target: TargetSpec | None = None) -> GaussianAnomaly:
        """One pass over normal items; a share of them, chosen by id, is kept apart for the threshold.

        Raises:
            DataError: too few items, or items that are all equal.
        """
        del target
        moments: Moments | None = None
        sample = EvenSample(self.config.kept, SEED)
        apart: list[FeatureBatch] = []
        items, tokens = 0, False
        for batch in features:
            tokens = tokens or batch.owner is not None
            held = np.asarray([place_of(one, SEED) < self.config.calibration_share for one in batch.ids], bool)
            owner = np.arange(len(batch.ids)) if batch.owner is None else batch.owner
            mine = ~held[owner]
            items += len(batch.ids)
            if held.any():
                apart.append(_part(batch, held, owner))
            rows = batch.values[mine]
            if len(rows):
                moments = moments or Moments(rows.astype(np.float64).mean(0))
                moments.add(rows)
                sample.add(rows)
        if items < FEWEST or moments is None:
            raise DataError(f"{items} normal items are too few", expected=f"at least {FEWEST}")
        self._settle(moments, sample.rows)
        self.calibration = np.sort(np.concatenate([self.scores(one) for one in apart])) if apart else np.zeros(0)
        self.calibration = self.calibration[np.isfinite(self.calibration)]
        self._tell_limits()
        if len(self.normal) < self.config.neighbours and not tokens:
            warnings.warn(
                f"neighbours={self.config.neighbours} of {len(self.normal)} normal items: all {len(self.normal)} are "
                "used",
                stacklevel=2,
            )
        return self

    def _tell_limits(self) -> None:
        """Say where no score can lie beyond the threshold, and what would change that."""
        probability, held = self.config.probability, len(self.calibration)
        if np.isfinite(conformal_threshold(self.calibration, probability)):
            return
        needed = fewest_calibrated(probability)
        warnings.warn(
            f"the threshold is infinite, no item counts as an anomaly: {held} normal items were held out, "
            f"probability={probability:g} needs {needed:,} (about {needed / self.config.calibration_share:,.0f} normal "
            f"items in all)" + (f"; more normal items, or probability={held / (held + 1):.3g} at most" if held else ""),
            stacklevel=3,
        )

    def _settle(self, moments: Moments, rows: np.ndarray) -> None:
        self.normal, self.centre = rows.copy(), moments.mean
        if self.config.components == "all":
            self.gaussian = Gaussian.of(moments)
            return
        self.components = head_or_tail(rows, self.config.variance_share, self.config.components)
        self.gaussian = Gaussian.of(Moments.of(self.components.project(rows)))

    def scores(self, features: FeatureBatch) -> np.ndarray:
        """Mahalanobis distance of each item (its strangest token), float64 (items,); NaN without a finite vector."""
        each = self.maps(features)
        if features.owner is None:
            return each
        result = np.full(len(features.ids), -np.inf)
        np.maximum.at(result, features.owner, each)
        return np.where(np.isneginf(result), np.nan, result)

    def maps(self, features: FeatureBatch) -> np.ndarray:
        """Distance of every row of values: of items, or of tokens."""
        assert self.gaussian is not None  # fit or load_state came before
        values = features.values
        check_width(features, len(self.centre))
        result = np.full(len(values), np.nan)
        known = np.isfinite(values).all(1) if values.size else np.zeros(len(values), bool)
        rows = values[known] if self.components is None else self.components.project(values[known])
        result[known] = self.gaussian.distances(rows)
        return result

    def apply(self, features: FeatureBatch) -> Mapping[str, np.ndarray]:
        """Columns ``score``, ``p_value``, ``anomaly`` (1 = beyond the threshold) and baselines."""
        score = self.scores(features)
        threshold = conformal_threshold(self.calibration, self.config.probability)
        self._tell_limits()
        beyond = np.where(np.isfinite(score), (score > threshold).astype(np.float64), np.nan)
        columns = {"score": score, "p_value": conformal_p_values(self.calibration, score), "anomaly": beyond}
        if features.owner is not None:
            return columns
        known = np.isfinite(score)
        for name in ("root_mean_square", "neighbours"):
            columns[name] = np.full(len(score), np.nan)
        rows = features.values[known]
        if len(rows):
            columns["root_mean_square"][known] = root_mean_square_distances(rows, self.centre)
            columns["neighbours"][known] = neighbour_distances(rows, self.normal, self.config.neighbours)
        return columns

    def report(
        self, columns: Mapping[str, np.ndarray], maps: Callable[[list[int]], list[np.ndarray]]
    ) -> list[ReportSection]:
        """Histogram of scores with the threshold, and the ten strangest rows (with tokens: which are strange)."""
        score = columns["score"]
        threshold = conformal_threshold(self.calibration, self.config.probability)
        known = np.flatnonzero(np.isfinite(score))
        order = known[np.argsort(-score[known], kind="stable")][:STRANGEST]
        heats: list[np.ndarray | None] = [None] * len(order)
        if len(order) and "neighbours" not in columns:  # fitted on tokens
            heats = [np.asarray(one) for one in maps([int(row) for row in order])]
        items = [
            ReportItem(int(row), f"row {row}: score {score[row]:.4g}, p = {columns['p_value'][row]:.3g}", heat)
            for row, heat in zip(order, heats, strict=True)
        ]
        beyond = int(np.nansum(columns["anomaly"]))
        held = len(self.calibration)
        text = (
            f"{beyond:,} of {len(known):,} rows lie beyond the threshold ({threshold:.4g}), which lets "
            f"{self.config.probability:.0%} of new normal items pass ({held} held out to set it)."
            if np.isfinite(threshold)
            else f"{held} normal items: too few were held out for a threshold at {self.config.probability:.0%}."
        )
        return [
            ReportSection("How unlike normal items", text, score, threshold),
            ReportSection("The strangest rows", "", groups=[ReportGroup("", items)]),
        ]

    def state(self) -> tuple[Mapping[str, np.ndarray], Mapping[str, Any]]:
        """Arrays and facts."""
        assert self.gaussian is not None  # only a fitted one is saved
        arrays = {
            "mean": self.gaussian.mean, "cholesky": self.gaussian.cholesky, "normal": self.normal,
            "calibration": self.calibration, "centre": self.centre,
        }  # fmt: skip
        if self.components is not None:
            arrays |= {"directions": self.components.directions, "directions_mean": self.components.mean}
        threshold = conformal_threshold(self.calibration, self.config.probability)
        facts = {
            "fitted_on": self.gaussian.count, "width": len(self.centre), "shrinkage": self.gaussian.shrinkage,
            "calibration_items": len(self.calibration),
            "threshold": threshold if np.isfinite(threshold) else "infinite",
        }  # fmt: skip
        return arrays, facts

    def load_state(self, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
        """What :meth:`state` gave."""
        self.gaussian = Gaussian(arrays["mean"], arrays["cholesky"], float(facts["shrinkage"]), int(facts["fitted_on"]))
        self.normal, self.calibration, self.centre = arrays["normal"], arrays["calibration"], arrays["centre"]
        if "directions" in arrays:
            self.components = Components(arrays["directions"], arrays["directions_mean"])


def _part(batch: FeatureBatch, held: np.ndarray, owner: np.ndarray) -> FeatureBatch:
    """The items that are kept apart, renumbered."""
    numbers = np.cumsum(held) - 1
    ids = [one for one, kept in zip(batch.ids, held, strict=True) if kept]
    rows = held[owner]
    return FeatureBatch(ids, batch.values[rows], None if batch.owner is None else numbers[owner[rows]])
