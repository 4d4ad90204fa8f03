"""Nearest neighbours in embedding space, against what any two items share.

Cosine similarities alone say little: features of many encoders point into a narrow cone, and a similarity of 0.9 may be
what two random items have. Every figure is therefore shown beside the same figure over all pairs. N items, K nearest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.preprocessing import normalize

from repcore.report.map import Colouring

QUERIES = 6
NEAREST = 5


@dataclass(frozen=True, slots=True)
class Near:
    """One neighbour: its place among the items, cosine similarity, and the share of all pairs less similar than it."""

    place: int
    similarity: float
    closer_than: float


@dataclass(frozen=True, slots=True)
class Query:
    """An item and its nearest, nearest first."""

    place: int
    nearest: tuple[Near, ...]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How much neighbours share a label, and how much random pairs do.

    ``is_class``: shares of pairs with the same class (higher is better); otherwise mean absolute differences (lower).
    """

    name: str
    is_class: bool
    unit: str
    neighbours: float
    all_pairs: float

    @property
    def verdict(self) -> str:
        """What the two numbers say, in words."""
        if self.all_pairs == 0.0:
            return "no difference to see: the label hardly varies"
        ratio = self.neighbours / self.all_pairs
        if self.is_class:
            return f"neighbours share it {ratio:.2g} times as often as random pairs"
        return f"neighbours differ {ratio:.0%} as much as random pairs"


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """Neighbours of some items and figures over all.

    Args:
        queries: items drawn at random with their nearest.
        pair_mean / pair_deviation: cosine similarity of all pairs.
        near_mean: mean similarity of an item with its ``NEAREST`` nearest.
        pair_sample / near_sample: similarities for a histogram.
        agreements: one a label.
    """

    queries: tuple[Query, ...]
    pair_mean: float
    pair_deviation: float
    near_mean: float
    pair_sample: np.ndarray
    near_sample: np.ndarray
    agreements: tuple[Agreement, ...]


def neighbourhood(
    vectors: np.ndarray, colourings: Sequence[Colouring], generator: np.random.Generator
) -> Neighbourhood | None:
    """Neighbours among the given items; None for fewer than three.

    Args:
        vectors: (N, D), finite; N a thousand at most, since all pairs are compared.
        colourings: labels to compare between neighbours.
        generator: draws the queries.
    """
    count = len(vectors)
    if count < 3:
        return None
    unit = normalize(vectors.astype(np.float64))
    similarity = np.clip(unit @ unit.T, -1.0, 1.0)  # (N, N)
    pairs = np.sort(similarity[np.triu_indices(count, 1)])
    np.fill_diagonal(similarity, -np.inf)
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, : min(NEAREST, count - 1)]  # (N, K)
    near = np.take_along_axis(similarity, nearest, axis=1)
    chosen = np.sort(generator.choice(count, min(QUERIES, count), replace=False))
    queries = tuple(
        Query(
            int(place),
            tuple(
                Near(int(other), float(value), float(np.searchsorted(pairs, value) / len(pairs)))
                for other, value in zip(nearest[place], near[place], strict=True)
            ),
        )
        for place in chosen
    )
    agreements = [_agreement(one, nearest) for one in colourings]
    return Neighbourhood(
        queries=queries,
        pair_mean=float(pairs.mean()),
        pair_deviation=float(pairs.std()),
        near_mean=float(near.mean()),
        pair_sample=pairs,
        near_sample=near.ravel(),
        agreements=tuple(one for one in agreements if one is not None),
    )


def _agreement(colouring: Colouring, nearest: np.ndarray) -> Agreement | None:
    """Over all pairs whose labels are both known; None if there are none."""
    values = np.array([np.nan if value is None else value for value in colouring.values])
    known = values[np.isfinite(values)]
    first, second = np.repeat(values, nearest.shape[1]), values[nearest.ravel()]
    both = np.isfinite(first) & np.isfinite(second)
    if len(known) < 2 or not both.any():
        return None
    if colouring.names:
        counts = np.unique(known, return_counts=True)[1]
        chance = float((counts * (counts - 1)).sum() / (len(known) * (len(known) - 1)))
        return Agreement(colouring.name, True, "", float((first == second)[both].mean()), chance)
    ordered = np.sort(known)  # mean |a - b| over pairs from the order statistics: sum of (2 i - n + 1) x_i
    weights = 2 * np.arange(len(ordered)) - len(ordered) + 1
    chance = float((weights * ordered).sum() * 2 / (len(ordered) * (len(ordered) - 1)))
    return Agreement(colouring.name, False, colouring.unit, float(np.abs(first - second)[both].mean()), chance)
