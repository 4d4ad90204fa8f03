"""What a label-free objective restores: classes of one-hot or coded features, or continuous features.

Symbols: S elements (edges or nodes), C classes or features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from repcore.errors import ConfigError

FeatureKind = Literal["one-hot", "codes", "continuous"]


class FeatureSizes(Protocol):
    """The part of an encoder config that this module reads."""

    @property
    def node_width(self) -> int | None: ...

    @property
    def edge_width(self) -> int | None: ...

    @property
    def node_vocabularies(self) -> Sequence[int] | None: ...

    @property
    def edge_vocabularies(self) -> Sequence[int] | None: ...


@dataclass(frozen=True, slots=True)
class FeatureTarget:
    """How raw features become targets and how predictions are judged.

    Args:
        kind: ``"one-hot"`` and ``"codes"`` (its first column) are classes, ``"continuous"`` is regressed.
        width: C, outputs of a decoder.
    """

    kind: FeatureKind
    width: int

    @property
    def is_class(self) -> bool:
        return self.kind != "continuous"

    def of(self, raw: Tensor) -> Tensor:
        """Targets from features as stored: int64 (S,) classes, or float (S, C)."""
        if self.kind == "one-hot":
            return raw.argmax(dim=1)
        return raw[:, 0] if self.kind == "codes" else raw

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy or mean squared error of each element, (S,)."""
        if self.is_class:
            return F.cross_entropy(outputs, targets, reduction="none")
        return (outputs - targets).square().mean(dim=1)


def edge_target(sizes: FeatureSizes, kind: str | None) -> FeatureTarget:
    """The target of edges.

    Raises:
        ConfigError: the data has no edge features.
    """
    if sizes.edge_vocabularies:
        return FeatureTarget("codes", sizes.edge_vocabularies[0])
    if not sizes.edge_width:
        raise ConfigError(
            "this objective restores edge features, and the data has none",
            hint="repcore graphs train masked-node (or graph-contrast), which need no edge features",
        )
    return FeatureTarget("continuous" if kind in (None, "continuous") else "one-hot", sizes.edge_width)


def node_target(sizes: FeatureSizes, kind: str | None) -> FeatureTarget:
    """The target of nodes."""
    if sizes.node_vocabularies:
        return FeatureTarget("codes", sizes.node_vocabularies[0])
    return FeatureTarget("continuous" if kind in (None, "continuous") else "one-hot", int(sizes.node_width or 0))


def one_hot_codes(codes: Tensor, vocabularies: Sequence[int]) -> Tensor:
    """Columns of codes as one joined one-hot row: (S, K) -> float (S, sum of vocabularies)."""
    columns = [F.one_hot(codes[:, place], size) for place, size in enumerate(vocabularies)]
    return torch.cat(columns, dim=1).float()
