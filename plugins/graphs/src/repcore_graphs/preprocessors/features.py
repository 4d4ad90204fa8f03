"""Labels to one-hot columns or codes, attributes to scaled floats; statistics come from training graphs only.

Symbols: S elements (nodes or edges), a attribute columns, c label columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from repcore.errors import ItemError

Label = int | str
"""A stored label: a code of the file, or a word such as ``single`` of a bond."""


@dataclass(frozen=True, slots=True)
class FeatureEncoding:
    """How stored features of nodes or edges become tensors.

    Args:
        vocabulary: known label values of each column (codes or words); one-hot places and codes follow this order.
        mean / scale: of each attribute column.
        codes: labels become integer codes (then attributes are not allowed beside them).
        attribute_names / label_names: of the columns, where the training data name them; other data are joined by
            them, whatever the order of their columns.
    """

    vocabulary: tuple[tuple[Label, ...], ...] = ()
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    codes: bool = False
    attribute_names: tuple[str, ...] = ()
    label_names: tuple[str, ...] = ()

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
        self,
        attributes: np.ndarray | None,
        labels: np.ndarray | None,
        count: int,
        what: str,
        columns: Mapping[str, tuple[str, ...]] | None = None,
    ) -> tuple[torch.Tensor | None, int]:
        """Features (S, width) float or (S, c) codes, None if there are none, and the number of elements with unknown
        labels.

        An unknown label is a row of zeros in one-hot form. ``columns`` are those of the graph.

        Raises:
            ItemError: columns are missing or have other names, or a code is unknown.
        """
        if self.is_empty:
            return None, 0
        self._require(attributes, len(self.mean), f"{what} attributes")
        self._require(labels, len(self.vocabulary), f"{what} labels")
        given = columns or {}
        attributes = _by_name(attributes, self.attribute_names, given.get(f"{what}_attributes", ()), what)
        labels = _by_name(labels, self.label_names, given.get(f"{what}_labels", ()), what)
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

    def unused(self, attributes: np.ndarray | None, labels: np.ndarray | None, what: str) -> str:
        """What of a graph's features this encoding has no place for, in words; empty where there is nothing."""
        given = ((attributes, bool(self.mean), "attributes"), (labels, bool(self.vocabulary), "labels"))
        ignored = [
            f"{values.shape[1]} columns of {what} {kind}"
            for values, is_used, kind in given
            if values is not None and values.shape[1] and not is_used
        ]
        return f"{' and '.join(ignored)} are not used: the model was trained without" if ignored else ""

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
            **({"attribute_names": list(self.attribute_names)} if self.attribute_names else {}),
            **({"label_names": list(self.label_names)} if self.label_names else {}),
        }

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> FeatureEncoding:
        """From :meth:`to_json`."""
        return cls(
            vocabulary=tuple(
                tuple(value if isinstance(value, str) else int(value) for value in column)
                for column in state["vocabulary"]
            ),
            mean=tuple(float(value) for value in state["mean"]),
            scale=tuple(float(value) for value in state["scale"]),
            codes=bool(state["codes"]),
            attribute_names=tuple(map(str, state.get("attribute_names", ()))),
            label_names=tuple(map(str, state.get("label_names", ()))),
        )


@dataclass(slots=True)
class _Sums:
    """Of attributes with one number of columns."""

    graphs: int = 0
    count: int = 0
    total: np.ndarray | float = 0.0
    squares: np.ndarray | float = 0.0


@dataclass(slots=True)
class FeatureStatistics:
    """Collects what an encoding needs, graph by graph and by number of columns; the most frequent number counts."""

    labels: dict[int, tuple[int, list[set[Label]]]] = field(default_factory=dict)
    sums: dict[int, _Sums] = field(default_factory=dict)
    names: dict[tuple[str, int], tuple[str, ...]] = field(default_factory=dict)

    def add(
        self, attributes: np.ndarray | None, labels: np.ndarray | None, columns: Mapping[str, tuple[str, ...]]
    ) -> None:
        """Take one graph in; ``columns`` names those of its features, by ``attributes`` and ``labels``."""
        for kind, names in columns.items():
            self.names.setdefault((kind, len(names)), names)
        if labels is not None and labels.shape[1]:
            graphs, known = self.labels.setdefault(labels.shape[1], (0, [set() for _ in range(labels.shape[1])]))
            self.labels[labels.shape[1]] = (graphs + 1, known)
            for column, values in enumerate(known):
                values.update(np.unique(labels[:, column]).tolist())
        if attributes is not None and attributes.shape[1]:
            sums = self.sums.setdefault(attributes.shape[1], _Sums())
            values64 = attributes.astype(np.float64)
            sums.graphs += 1
            sums.count += len(values64)
            sums.total = sums.total + values64.sum(axis=0)
            sums.squares = sums.squares + (values64**2).sum(axis=0)

    def encoding(
        self, *, codes: bool, standardise: bool, vocabulary: Sequence[Sequence[Label]] | None = None
    ) -> FeatureEncoding:
        """The encoding; ``vocabulary`` replaces the labels seen (a reader that knows the whole data set's)."""
        _, columns = max(self.labels.values(), key=lambda one: one[0], default=(0, []))
        seen = vocabulary or [sorted(column, key=lambda one: (isinstance(one, str), one)) for column in columns]
        mean: tuple[float, ...] = ()
        scale: tuple[float, ...] = ()
        if self.sums and not (codes and seen):
            sums = max(self.sums.values(), key=lambda one: one.graphs)
            average = np.asarray(sums.total) / max(sums.count, 1)
            deviation = np.sqrt(np.maximum(np.asarray(sums.squares) / max(sums.count, 1) - average**2, 0.0))
            deviation = np.where(deviation > 1e-8, deviation, 1.0)
            mean = tuple((average if standardise else average * 0).tolist())
            scale = tuple((deviation if standardise else deviation * 0 + 1).tolist())
        attributes = self.names.get(("attributes", len(mean)), ())
        labels = self.names.get(("labels", len(seen)), ())
        vocabularies = tuple(tuple(column) for column in seen)
        return FeatureEncoding(vocabularies, mean, scale, codes and bool(seen), attributes, labels)


def _by_name(
    values: np.ndarray | None, wanted: tuple[str, ...], given: tuple[str, ...], what: str
) -> np.ndarray | None:
    """Columns in the order of training; as they are where one side has no names.

    Raises:
        ItemError: the names are others.
    """
    if values is None or not wanted or not given or wanted == given:
        return values
    if set(wanted) != set(given):
        lacking = [one for one in wanted if one not in given]
        raise ItemError(
            "missing_features", f"{what} columns are {', '.join(given)}; the model was trained on {', '.join(lacking)}"
        )
    return values[:, [given.index(one) for one in wanted]]


def _places(values: np.ndarray, vocabulary: tuple[Label, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Position of each value in a vocabulary, and whether it is there; numbers and words are compared as written."""
    place_of = {str(value): place for place, value in enumerate(vocabulary)}
    distinct, inverse = np.unique(values, return_inverse=True)
    places = np.asarray([place_of.get(str(value), -1) for value in distinct.tolist()], np.int64)[inverse.reshape(-1)]
    return np.maximum(places, 0), places >= 0
