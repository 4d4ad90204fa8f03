"""Labels to one-hot columns or codes, attributes to scaled floats; statistics come from training graphs only.

Symbols: S elements (nodes or edges), a attribute columns, c label columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from repcore.errors import ItemError


@dataclass(frozen=True, slots=True)
class FeatureEncoding:
    """How stored features of nodes or edges become tensors.

    Args:
        vocabulary: known label values of each column; one-hot places or code numbers follow this order.
        mean / scale: of each attribute column.
        codes: labels become integer codes (then attributes are not allowed beside them).
    """

    vocabulary: tuple[tuple[int, ...], ...] = ()
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    codes: bool = False

    @property
    def is_empty(self) -> bool:
        return not self.vocabulary and not self.mean

    @property
    def width(self) -> int:
        """Float columns; 0 for codes and for nothing."""
        return 0 if self.sizes else len(self.mean) + sum(len(column) for column in self.vocabulary)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Codes a column, when labels are codes."""
        return tuple(len(column) for column in self.vocabulary) if self.codes else ()

    @property
    def kind(self) -> str:
        """``"codes"``, ``"one-hot"`` (one label column alone), ``"continuous"`` or ``"none"``."""
        if self.is_empty:
            return "none"
        if self.sizes:
            return "codes"
        return "one-hot" if len(self.vocabulary) == 1 and not self.mean else "continuous"

    def encode(
        self, attributes: np.ndarray | None, labels: np.ndarray | None, count: int, what: str
    ) -> tuple[torch.Tensor | None, int]:
        """Features (S, width) float or (S, c) codes, None if there are none, and the number of elements with unknown
        labels.

        An unknown label is a row of zeros in one-hot form.

        Raises:
            ItemError: columns are missing, or a code is unknown.
        """
        if self.is_empty:
            return None, 0
        self._require(attributes, len(self.mean), f"{what} attributes")
        self._require(labels, len(self.vocabulary), f"{what} labels")
        parts = []
        if attributes is not None and self.mean:
            parts.append((attributes - np.asarray(self.mean, np.float32)) / np.asarray(self.scale, np.float32))
        unknown = np.zeros(count, bool)
        places = []
        for column, values in enumerate(self.vocabulary):
            assert labels is not None
            place, known = _places(labels[:, column], values)
            unknown |= ~known
            places.append(place)
            parts.append((place[:, None] == np.arange(len(values))) & known[:, None])
        if self.sizes:
            if unknown.any():
                row = int(np.argmax(unknown))
                assert labels is not None
                raise ItemError(
                    "unknown_label", f"{what} {row} has labels {labels[row].tolist()}, never seen in training"
                )
            return torch.from_numpy(np.stack(places, axis=1)), 0
        joined = np.concatenate(parts, axis=1).astype(np.float32)
        return torch.from_numpy(joined), int(unknown.sum())

    @staticmethod
    def _require(values: np.ndarray | None, columns: int, what: str) -> None:
        found = 0 if values is None else values.shape[1]
        if columns and found != columns:
            raise ItemError("missing_features", f"{found} columns of {what}; the model was trained on {columns}")

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "vocabulary": [list(column) for column in self.vocabulary],
            "mean": list(self.mean),
            "scale": list(self.scale),
            "codes": self.codes,
        }

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> FeatureEncoding:
        """From :meth:`to_json`."""
        return cls(
            vocabulary=tuple(tuple(int(value) for value in column) for column in state["vocabulary"]),
            mean=tuple(float(value) for value in state["mean"]),
            scale=tuple(float(value) for value in state["scale"]),
            codes=bool(state["codes"]),
        )


@dataclass(slots=True)
class FeatureStatistics:
    """Collects what an encoding needs, graph by graph."""

    labels: list[set[int]] = field(default_factory=list)
    count: int = 0
    total: np.ndarray | None = None
    squares: np.ndarray | None = None

    def add(self, attributes: np.ndarray | None, labels: np.ndarray | None) -> None:
        """Take one graph in."""
        if labels is not None:
            while len(self.labels) < labels.shape[1]:
                self.labels.append(set())
            for column, known in enumerate(self.labels):
                known.update(np.unique(labels[:, column]).tolist())
        if attributes is not None and attributes.shape[1]:
            values = attributes.astype(np.float64)
            if self.total is None or self.squares is None:
                self.total, self.squares = np.zeros(values.shape[1]), np.zeros(values.shape[1])
            self.count += len(values)
            self.total += values.sum(axis=0)
            self.squares += (values**2).sum(axis=0)

    def encoding(self, *, codes: bool, standardise: bool, vocabulary: list[list[int]] | None = None) -> FeatureEncoding:
        """The encoding; ``vocabulary`` replaces the labels seen (a reader that knows the whole data set's)."""
        seen = vocabulary or [sorted(column) for column in self.labels]
        mean: tuple[float, ...] = ()
        scale: tuple[float, ...] = ()
        if self.total is not None and self.squares is not None and not (codes and seen):
            average = self.total / max(self.count, 1)
            deviation = np.sqrt(np.maximum(self.squares / max(self.count, 1) - average**2, 0.0))
            deviation = np.where(deviation > 1e-8, deviation, 1.0)
            mean = tuple((average if standardise else average * 0).tolist())
            scale = tuple((deviation if standardise else deviation * 0 + 1).tolist())
        return FeatureEncoding(tuple(tuple(column) for column in seen), mean, scale, codes and bool(seen))


def _places(values: np.ndarray, vocabulary: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Position of each value in an ascending vocabulary, and whether it is there."""
    known_values = np.asarray(vocabulary, dtype=np.int64)
    place = np.searchsorted(known_values, values).clip(max=max(len(known_values) - 1, 0))
    known = known_values[place] == values if known_values.size else np.zeros(values.shape, bool)
    return place.astype(np.int64), known
