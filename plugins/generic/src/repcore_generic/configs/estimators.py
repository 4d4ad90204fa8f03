"""Settings of the estimators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from repcore.config.schema import setting


def _share(name: str, value: float) -> None:
    if not 0.0 < value < 1.0:
        raise ValueError(f"{name}={value} is not between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class GaussianAnomalyConfig:
    """One Gaussian of normal feature vectors, with conformal thresholds."""

    components: Literal["all", "head", "tail"] = setting("all", "principal directions that distances are measured in")
    variance_share: float = setting(0.9, "share of the variance at which head and tail part", above=0, below=1)
    probability: float = setting(0.95, "share of new normal items that the threshold lets pass", above=0, below=1)
    calibration_share: float = setting(
        0.2, "share of the normal items held out for threshold and p-values", above=0, below=1
    )
    neighbours: int = setting(5, "nearest normal items whose mean distance stands beside", min=1)
    kept: int = setting(5000, "normal vectors kept for those neighbours", "items", min=0)

    def __post_init__(self) -> None:
        for name in ("variance_share", "probability", "calibration_share"):
            _share(name, getattr(self, name))
        for name in ("neighbours", "kept"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is below 1")


@dataclass(frozen=True, kw_only=True)
class LabelShiftConfig:
    """Classes from the domains that items come from."""

    classes: int = setting(2, "number of classes to look for", min=2)
    clusters: int | None = setting(None, "clusters of the domain posteriors; null = three for each class", min=2)
    starts: int = setting(20, "random starts of the factorisation", min=1)
    updates: int = setting(500, "multiplicative updates of each start", min=1)
    shuffles: int = setting(10, "fits to shuffled domains that the real one is held against", min=3)
    force: bool = setting(
        False, "go on where domains leave traces beyond their mix of classes, or are told no better than shuffled ones"
    )
    seed: int = setting(0, "seed of split, clusters and starts", min=0)

    def __post_init__(self) -> None:
        if self.classes < 2:
            raise ValueError(f"classes={self.classes} is below 2")
        if self.clusters is not None and self.clusters < self.classes:
            raise ValueError(f"clusters={self.clusters} is below classes={self.classes}")
        for name in ("starts", "updates"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is below 1")
        if self.shuffles < 3:
            raise ValueError(f"shuffles={self.shuffles} is below 3")


@dataclass(frozen=True, kw_only=True)
class SparseCodesConfig:
    """A TopK dictionary of token features."""

    features: int | None = setting(None, "entries of the dictionary; null = four times the width", min=1)
    k: int = setting(16, "entries that may be active in a token", min=1)
    steps: int = setting(2000, "optimiser steps", "steps", min=1)
    batch_size: int = setting(2048, "tokens of a step", "tokens", min=1)
    lr: float = setting(2e-3, "learning rate, falling over the last third", above=0)
    most_tokens: int = setting(200_000, "tokens kept for training, drawn evenly", "tokens", min=1)
    dead_after: int = setting(50, "steps without firing after which an entry counts as dead", "steps", min=1)
    auxiliary_weight: float = setting(1.0 / 32.0, "weight of what dead entries learn from", min=0)
    seed: int = setting(0, "seed of start and order", min=0)

    def __post_init__(self) -> None:
        for name in ("k", "steps", "batch_size", "most_tokens", "dead_after"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is below 1")
        if not self.lr > 0:
            raise ValueError(f"lr={self.lr} is not above 0")


@dataclass(frozen=True, kw_only=True)
class ClustersConfig:
    """Spherical k-means of feature vectors."""

    clusters: int | None = setting(None, "number of clusters; null = one for 20 items, 8 at least", min=2)
    iterations: int = setting(25, "most iterations", min=1)
    seed: int = setting(0, "seed of the first centres", min=0)

    def __post_init__(self) -> None:
        if self.clusters is not None and self.clusters < 2:
            raise ValueError(f"clusters={self.clusters} is below 2")
        if self.iterations < 1:
            raise ValueError(f"iterations={self.iterations} is below 1")
