"""What every probe does before it fits: check shapes and rows, drop missing labels, encode classes, standardise.

A probe never sees test rows while fitting: statistics come from labelled training rows only.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from repcore.data.label_numbers import check_size, mean_and_deviation
from repcore.errors import ConfigError, DataError, ShapeError
from repcore.evaluation.metrics import CLASS_METRICS, REGRESSION_METRICS, Scores
from repcore.interfaces import ProbeSplit
from repcore.specs import TargetSpec


@dataclass(frozen=True, slots=True)
class Prepared:
    """Train and test parts of one target.

    Args:
        train / test: float64 features (n, D).
        train_labels / test_labels: float64 (n, K), NaN = missing; class targets: one column of class numbers.
        classes: class targets: the original label of each class number.
        test_rows: row numbers of the test part in the data.
    """

    train: np.ndarray
    test: np.ndarray
    train_labels: np.ndarray
    test_labels: np.ndarray
    classes: np.ndarray
    test_rows: np.ndarray


def prepare(features: np.ndarray, labels: np.ndarray, target: TargetSpec, split: ProbeSplit) -> Prepared:
    """Checked train and test arrays; rows without any label are left out, classes are numbered from 0.

    Args:
        features: (N, D), finite in the rows of the split.
        labels: (N,) or (N, K); NaN (or ``target.ignore``) = missing.

    Raises:
        ShapeError: features are not (N, D) or labels have another number of rows.
        DataError: a split part is empty or names rows that do not exist; features hold NaN or Inf.
    """
    values = np.asarray(features)
    truth = _label_matrix(labels, target)
    if values.ndim != 2 or len(values) != len(truth):
        raise ShapeError(
            f"features have shape {values.shape}; a probe expects (N, D) with N={len(truth)}, one row a label"
        )
    labelled = has_label(truth, target)
    parts = {name: _rows(getattr(split, name), name, len(values), labelled) for name in ("train", "test")}
    used = np.concatenate(list(parts.values()))
    broken = ~np.isfinite(values[used]).all(axis=1)
    if broken.any():
        raise DataError(
            f"features hold NaN or Inf in {int(broken.sum())} of {used.size} rows of the split",
            rows=", ".join(str(row) for row in used[broken][:5]),
            hint="leave rows that could not be embedded out of the split",
        )
    classes = np.zeros(0)
    if target.kind == "class":
        classes, numbers = np.unique(truth[used, 0], return_inverse=True)
        truth = truth.copy()
        truth[used, 0] = numbers
    train, test = parts["train"], parts["test"]
    if target.kind in ("regression", "landmark"):
        Standardiser.of_labels(truth[train], target.name)
    return Prepared(
        train=values[train].astype(np.float64),
        test=values[test].astype(np.float64),
        train_labels=truth[train],
        test_labels=truth[test],
        classes=classes,
        test_rows=test,
    )


def has_label(labels: np.ndarray, target: TargetSpec) -> np.ndarray:
    """Rows of (N,) or (N, K) with any label, bool (N,)."""
    values = np.asarray(labels, np.float64).reshape(len(labels), -1)
    missing: np.ndarray = np.isnan(values)
    if target.ignore is not None:
        missing |= values == target.ignore
    result: np.ndarray = np.asarray(~missing.all(1))
    return result


def _label_matrix(labels: np.ndarray, target: TargetSpec) -> np.ndarray:
    truth = np.asarray(labels, dtype=np.float64)
    truth = truth[:, None] if truth.ndim == 1 else truth
    if truth.ndim != 2:
        raise ShapeError(f"labels of '{target.name}' have shape {truth.shape}; a probe expects (N,) or (N, K)")
    if target.kind == "class" and truth.shape[1] != 1:
        raise ShapeError(
            f"labels of '{target.name}' have {truth.shape[1]} columns; a class target has one class number a row",
            hint="kind='multilabel' for several yes/no labels",
        )
    if target.ignore is not None:
        truth = np.where(truth == target.ignore, np.nan, truth)
    if target.kind == "multilabel" and not np.isin(truth[~np.isnan(truth)], (0.0, 1.0)).all():
        raise DataError(f"labels of '{target.name}' are not 0, 1 or missing", hint="kind='regression'")
    check_size(truth, target)
    return truth


def _rows(part: np.ndarray, name: str, count: int, labelled: np.ndarray) -> np.ndarray:
    rows = np.asarray(part, dtype=np.int64).ravel()
    if rows.size and (rows.min() < 0 or rows.max() >= count):
        raise DataError(f"the {name} split names row {int(rows.max())}, but there are {count} rows")
    if not rows.size:
        raise DataError(
            f"the {name} split is empty", hint="too few rows or groups for this split; --split random, or folds"
        )
    kept = rows[labelled[rows]]
    if not kept.size:
        raise DataError(f"the {name} split has no labelled row", rows=rows.size)
    return kept


@dataclass(frozen=True, slots=True)
class Standardiser:
    """Mean 0 and standard deviation 1 by training statistics; a feature that is constant on train becomes 0.

    (Dividing a constant feature by its rounding noise would let it explode on test rows.)
    """

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def fit(cls, train: np.ndarray) -> Standardiser:
        """Statistics of (n, D); spreads below float32 resolution of the feature's size count as constant."""
        mean, deviation = train.mean(axis=0), train.std(axis=0)
        constant = deviation <= 1e-7 * np.maximum(np.abs(mean), np.abs(train).max(axis=0, initial=0.0))
        return cls(mean, np.where(constant, np.inf, deviation))

    @classmethod
    def of_labels(cls, train: np.ndarray, name: str = "") -> Standardiser:
        """Statistics of labels (n, K), NaN left out, whose spread may be small beside their mean.

        Raises:
            DataError: they differ by so little that squares of it are zero.
        """
        columns = [column[~np.isnan(column)] for column in train.T]
        found = np.asarray([mean_and_deviation(one, name) if one.size else (0.0, 0.0) for one in columns])
        return cls(found[:, 0], np.where(found[:, 1] > 0, found[:, 1], np.inf))

    def __call__(self, values: np.ndarray) -> np.ndarray:
        return (values - self.mean) / self.scale


def require_kind(protocol: str, target: TargetSpec, kinds: tuple[str, ...], instead: str) -> None:
    """Refuse a target kind that a protocol is not defined for.

    Raises:
        ConfigError: names the protocol to use instead.
    """
    if target.kind not in kinds:
        raise ConfigError(
            f"{protocol} cannot probe '{target.name}', a {target.kind} target",
            expected=" or ".join(kinds),
            hint=f"--protocol {instead}",
        )


def metric_names(target: TargetSpec) -> tuple[str, ...]:
    """Metrics reported for a kind of target."""
    return REGRESSION_METRICS if target.kind in ("regression", "landmark") else CLASS_METRICS


def with_rows(scores: Scores, prepared: Prepared) -> Scores:
    """Remember which data rows the predictions belong to."""
    scores.rows = prepared.test_rows
    return scores


def constants_of(protocol: str, config: Any, **rules: str) -> dict[str, Any]:  # Any: each protocol's own dataclass
    """Everything that fixes a protocol: its version, its settings and its written rules."""
    return {"protocol": protocol, **asdict(config), **rules}
