"""Constants of the built-in probe protocols. A change of a default here is a new protocol version (``linear@2``)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class LinearProbeConfig:
    """``linear@1``: logistic regression on standardised features."""

    inverse_penalty: float = field(
        default=0.05,
        metadata={"help": "C in 0.5 |w|^2 + C * sum of log losses; fixed, not tuned", "unit": "", "above": 0},
    )
    max_iterations: int = field(
        default=2000, metadata={"help": "L-BFGS iterations at most", "unit": "iterations", "min": 1}
    )
    class_weight: Literal["none", "balanced"] = field(
        default="none", metadata={"help": "balanced = each class weighs the same in the loss", "unit": ""}
    )


@dataclass(frozen=True, kw_only=True)
class RidgeProbeConfig:
    """``ridge@1``: ridge regression on standardised features, penalty by exact leave-one-out on train."""

    penalty_exponent_low: float = field(
        default=-1.0, metadata={"help": "smallest penalty is 10 to this power", "unit": "log10", "min": -30, "max": 30}
    )
    penalty_exponent_high: float = field(
        default=5.0, metadata={"help": "largest penalty is 10 to this power", "unit": "log10", "min": -30, "max": 30}
    )
    penalties: int = field(
        default=13, metadata={"help": "grid points, evenly spaced in log10", "unit": "points", "min": 1}
    )


@dataclass(frozen=True, kw_only=True)
class NeighbourProbeConfig:
    """``knn@1``: similarity-weighted vote or mean of the nearest training rows by cosine."""

    neighbours: int = field(
        default=20, metadata={"help": "neighbours k; all training rows if fewer", "unit": "rows", "min": 1}
    )
    temperature: float = field(
        default=0.07, metadata={"help": "weight = exp(cosine / temperature)", "unit": "", "above": 0}
    )


@dataclass(frozen=True, kw_only=True)
class RetrievalProbeConfig:
    """``retrieval@1``: nothing to set."""


@dataclass(frozen=True, kw_only=True)
class SvmProbeConfig:
    """``svm@1``: linear SVM (squared hinge, L2) on standardised features, C by cross-validation on train."""

    inverse_penalty_exponent_low: float = field(
        default=-5.0, metadata={"help": "smallest C", "unit": "log10", "min": -30, "max": 30}
    )
    inverse_penalty_exponent_high: float = field(
        default=1.0, metadata={"help": "largest C", "unit": "log10", "min": -30, "max": 30}
    )
    inverse_penalties: int = field(
        default=7, metadata={"help": "grid points, even in log10", "unit": "points", "min": 1}
    )
    folds: int = field(default=5, metadata={"help": "stratified folds on train", "unit": "folds", "min": 2})
    max_iterations: int = field(
        default=1000, metadata={"help": "liblinear iterations at most", "unit": "iterations", "min": 1}
    )


@dataclass(frozen=True, kw_only=True)
class FewShotProbeConfig:
    """``fewshot@1``: episodes of a few classes with a few labelled rows each."""

    ways: int = field(default=5, metadata={"help": "classes an episode", "unit": "classes", "min": 2})
    shots: int = field(default=5, metadata={"help": "labelled training rows a class", "unit": "rows", "min": 1})
    queries: int = field(default=15, metadata={"help": "test rows a class at most", "unit": "rows", "min": 1})
    episodes: int = field(default=400, metadata={"help": "episodes drawn from the seed", "unit": "episodes", "min": 1})
    head: Literal["centroid", "ridge"] = field(
        default="centroid", metadata={"help": "nearest class mean, or ridge on one-hot classes", "unit": ""}
    )
    penalty: float = field(default=1.0, metadata={"help": "ridge penalty of head='ridge'", "unit": "", "above": 0})


@dataclass(frozen=True, kw_only=True)
class CentredProbeConfig:
    """``centred@1``: ridge or logistic regression on features of their own scale, penalty chosen on train."""

    folds: int = field(default=3, metadata={"help": "stratified folds on train", "unit": "folds", "min": 2})
    max_iterations: int = field(
        default=500, metadata={"help": "L-BFGS iterations at most", "unit": "iterations", "min": 1}
    )


@dataclass(frozen=True, kw_only=True)
class ForestProbeConfig:
    """``forest@1``: random forest."""

    trees: int = field(default=100, metadata={"help": "trees of a forest", "unit": "trees", "min": 1})
    most_rows: int = field(
        default=20_000, metadata={"help": "training rows at most; a random part of more", "unit": "rows", "min": 3}
    )


@dataclass(frozen=True, kw_only=True)
class KernelSvmProbeConfig:
    """``rbf-svm@1``: SVM with a Gaussian kernel, C by cross-validation on train."""

    folds: int = field(default=3, metadata={"help": "stratified folds on train", "unit": "folds", "min": 2})
    most_rows: int = field(
        default=5_000, metadata={"help": "training rows at most; a random part of more", "unit": "rows", "min": 3}
    )
