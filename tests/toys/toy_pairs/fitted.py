"""An estimator, a task about points and a file of points, each in its smallest right form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repcore.errors import DataError
from repcore.estimation.rows import check_width
from repcore.evaluation.tasks.dense import at_elements, flat_tokens
from repcore.interfaces import Batch, DenseAnswer, FeatureBatch
from repcore.specs import TargetSpec


@dataclass(frozen=True, kw_only=True)
class SpreadConfig:
    floor: float = field(default=1e-6, metadata={"help": "smallest standard deviation"})


class Spread:
    """Distance from the mean in standard deviations."""

    def __init__(self, config: SpreadConfig) -> None:
        self.config = config
        self.count, self.sums, self.squares = 0, np.zeros(0), np.zeros(0)

    def fit(self, features: Iterable[FeatureBatch], target: TargetSpec | None = None) -> Spread:
        for batch in features:
            values = batch.values.astype(np.float64)
            if not self.count:
                self.sums, self.squares = np.zeros(values.shape[1]), np.zeros(values.shape[1])
            self.count += len(values)
            self.sums += values.sum(0)
            self.squares += (values**2).sum(0)
        if not self.count:
            raise DataError("nothing to fit on")
        return self

    def merge(self, other: Spread) -> Spread:
        self.count += other.count
        self.sums = self.sums + other.sums
        self.squares = self.squares + other.squares
        return self

    def maps(self, features: FeatureBatch) -> np.ndarray:
        mean = self.sums / self.count
        scale = np.sqrt(np.maximum(self.squares / self.count - mean**2, self.config.floor**2))
        return np.abs((features.values - mean) / scale).mean(1)

    def apply(self, features: FeatureBatch) -> Mapping[str, np.ndarray]:
        check_width(features, len(self.sums))
        return {"spread": self.maps(features)}

    def state(self) -> tuple[Mapping[str, np.ndarray], Mapping[str, Any]]:
        return {"sums": self.sums, "squares": self.squares}, {"count": self.count}

    def load_state(self, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
        self.sums, self.squares, self.count = arrays["sums"], arrays["squares"], int(facts["count"])


@dataclass(frozen=True, kw_only=True)
class SideConfig:
    tokens: str = field(default="", metadata={"help": "token level"})
    width: int | None = field(default=None, metadata={"help": "of its tokens"})


class SideTask(nn.Module):
    """A class for every point."""

    def __init__(self, config: SideConfig, encoder: nn.Module, target: TargetSpec) -> None:
        super().__init__()
        assert config.width is not None
        self.config, self.encoder, self.target = config, encoder, target
        self.head = nn.Linear(config.width, len(target.names))

    def fit_targets(self, values: np.ndarray) -> None:
        if np.isnan(values).all():
            raise DataError("no labelled point")

    def forward(self, batch: Batch) -> Tensor:
        tokens = self.encoder(batch).tokens[self.config.tokens]
        return at_elements(tokens, self.head(flat_tokens(tokens)))

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        known = ~torch.isnan(labels) & (labels != (-1 if self.target.ignore is None else self.target.ignore))
        if not bool(known.any()):
            return outputs.sum() * 0.0
        return F.cross_entropy(outputs[known], labels[known].long())

    def predict(self, outputs: Tensor) -> Tensor:
        return outputs.float().softmax(-1)


def write_points(path: Path, answer: DenseAnswer) -> None:
    """A line a point: its label, or its numbers."""
    is_class = answer.target is not None and answer.target.kind == "class"
    rows = answer.labels(missing=-1)[:, None] if is_class else answer.outputs
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(" ".join(f"{one:.6g}" for one in row) + "\n")
