"""Two-dimensional maps of embeddings and the values they can be coloured by.

Vectors are brought to length 1 first, so that the maps and the cosine neighbours speak of the same distances.
N items, D width.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE, trustworthiness
from sklearn.preprocessing import normalize
from threadpoolctl import threadpool_limits

from repcore.report.held_out import HeldOut

COMPONENTS = 50
ALIKE = 1e-6  # of unit vectors: what float32 can tell apart
PERPLEXITY = 30.0
MOST_FOR_TSNE = 5000  # above, it takes minutes
FEWEST_FOR_TSNE = 12  # below, a perplexity of at least 3 is not possible and the picture says nothing
MOST_CLASSES = 12
MOST_GROUPS = 20


@dataclass(frozen=True, slots=True)
class Layout:
    """One map.

    Args:
        name: shown in the menu.
        points: (N, 2).
        axes: titles of both axes.
        note: how far to trust it.
    """

    name: str
    points: np.ndarray
    axes: tuple[str, str]
    note: str


@dataclass(frozen=True, slots=True)
class Colouring:
    """Values that points can be coloured by.

    Args:
        name: shown in the menu.
        values: one a point; None = unknown. For classes, a place in ``names``.
        names: class names; empty for a continuous value.
        unit: of a continuous value.
    """

    name: str
    values: list[float | None]
    names: list[str]
    unit: str = ""

    def text(self, place: int) -> str:
        """The value of one item for people, empty if unknown."""
        value = self.values[place]
        if value is None:
            return ""
        if self.names:
            return self.names[int(value)]
        return f"{value:.4g}" + (f" {self.unit}" if self.unit else "")

    def plain(self) -> dict[str, Any]:
        """For the page's script."""
        return {"name": self.name, "values": self.values, "names": self.names, "unit": self.unit}


def layouts(vectors: np.ndarray, seed: int, *, plain: bool = False) -> list[Layout]:
    """t-SNE (of the first ``COMPONENTS`` principal components) and PCA; for few or very many items PCA only.

    Args:
        vectors: (N, D), finite.
        seed: of t-SNE.
        plain: PCA only.
    """
    if len(vectors) < 3:
        return []
    with threadpool_limits(1):  # threads of one core each wait for one another at each of a thousand small steps
        return _layouts(vectors, seed, plain)


def _layouts(vectors: np.ndarray, seed: int, plain: bool) -> list[Layout]:
    values = vectors.astype(np.float64)
    peak = np.abs(values).max(1, keepdims=True)  # scikit-learn takes a length below 1e-15 for none
    unit = normalize(values / np.where(peak > 0, peak, 1.0))
    if np.ptp(unit, axis=0).max() < ALIKE:
        return [_principal(np.zeros((len(unit), 2)), np.zeros(2))]
    count = min(COMPONENTS, *unit.shape)
    reduction = PCA(count, random_state=seed, svd_solver="full")
    reduced = reduction.fit_transform(unit)
    if reduced.shape[1] < 2:
        reduced = np.pad(reduced, ((0, 0), (0, 1)))
    found = [_principal(reduced, reduction.explained_variance_ratio_)]
    if not plain and FEWEST_FOR_TSNE <= len(vectors) <= MOST_FOR_TSNE:
        found.insert(0, _neighbour_embedding(unit, reduced, seed))
    return found


def raw_layouts(raw: Mapping[str, np.ndarray], seed: int) -> list[Layout]:
    """Maps of raw inputs, as the domain's baselines see the same items, to hold those of the encoder against.

    Args:
        raw: name -> (N, D); rows of NaN have no point. t-SNE of the first only: it takes seconds.
    """
    found = []
    for number, (name, values) in enumerate(raw.items()):
        known = np.isfinite(values).all(1)
        for one in layouts(values[known], seed, plain=number > 0):
            points = np.full((len(values), 2), np.nan)
            points[known] = one.points
            note = f"Raw inputs ({name}), not the encoder: what a map shows without any training. {one.note}"
            found.append(Layout(f"raw inputs, {name}: {one.name}", points, one.axes, note))
    return found


def _principal(reduced: np.ndarray, shares: np.ndarray) -> Layout:
    known = [*shares[:2], 0.0]  # one-dimensional vectors have one share
    axes = tuple(f"component {number + 1} ({100 * known[number]:.0f} % of the variance)" for number in range(2))
    note = "PCA is linear: distances mean the same everywhere, but only two directions of variation are visible."
    return Layout("PCA", reduced[:, :2], (axes[0], axes[1]), note)


def _neighbour_embedding(unit: np.ndarray, reduced: np.ndarray, seed: int) -> Layout:
    perplexity = min(PERPLEXITY, (len(unit) - 1) / 3)
    spread = (
        reduced / np.abs(reduced).max()
    )  # where spreads round to nothing, t-SNE's own start is not finite and crashes
    points = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(spread.astype(np.float32))
    neighbours = min(10, (len(unit) - 1) // 2)
    kept = trustworthiness(unit, points, n_neighbors=neighbours)
    note = (
        f"t-SNE of the first {reduced.shape[1]} principal components (perplexity {perplexity:.3g}, seed {seed}). "
        f"Trustworthiness {kept:.2f} for {neighbours} neighbours (1 = every neighbour on the map is one in the full "
        "space). Sizes of clusters and the gaps between them mean nothing."
    )
    return Layout("t-SNE", points.astype(np.float64), ("t-SNE 1", "t-SNE 2"), note)


def colourings(found: HeldOut) -> list[Colouring]:
    """Every label, then group (if there are few), item size, and length of the vector."""
    result: list[Colouring] = []
    for spec, values in found.labels:
        columns = values[:, None] if values.ndim == 1 else values
        names = _column_names(spec.name, spec.names if spec.kind == "multilabel" else (), columns.shape[1])
        for name, column in zip(names, columns.T, strict=True):
            if np.isfinite(column).any():
                class_names = spec.names if spec.kind == "class" else ("no", "yes")
                is_class = spec.kind in ("class", "multilabel")
                result.append(_classes(name, column, class_names) if is_class else _number(name, column, spec.unit))
    if 1 < len(set(found.groups)) <= MOST_GROUPS:
        numbers = {name: place for place, name in enumerate(sorted(set(found.groups)))}
        result.append(_classes("group", np.array([float(numbers[one]) for one in found.groups]), tuple(numbers)))
    for name, values in (
        ("item size (tokens, nodes, ...)", found.sizes),
        ("length of the vector", np.linalg.norm(found.vectors, axis=1) if len(found) else found.sizes),
    ):
        if len(values) and np.ptp(values) > 0:
            result.append(_number(name, values, ""))
    return result


def _column_names(name: str, tasks: tuple[str, ...], width: int) -> list[str]:
    if width == 1 and not tasks:
        return [name]
    return [f"{name}: {tasks[place] if place < len(tasks) else place + 1}" for place in range(width)]


def _number(name: str, column: np.ndarray, unit: str) -> Colouring:
    values = [float(f"{value:.6g}") if np.isfinite(value) else None for value in column]
    return Colouring(name, values, [], unit)


def _classes(name: str, column: np.ndarray, names: tuple[str, ...]) -> Colouring:
    """Classes in their own order; beyond ``MOST_CLASSES`` the rarest are gathered under "other"."""
    known = [int(value) for value in column if np.isfinite(value)]
    counts = Counter(known)
    kept = sorted(counts)
    if len(kept) > MOST_CLASSES:
        kept = sorted(one for one, _ in counts.most_common(MOST_CLASSES - 1))
    place_of = {number: place for place, number in enumerate(kept)}
    shown = [names[number] if 0 <= number < len(names) else str(number) for number in kept]
    values: list[float | None] = [
        float(place_of.get(int(value), len(kept))) if np.isfinite(value) else None for value in column
    ]
    if len(counts) > len(kept):
        shown.append(f"other ({len(counts) - len(kept)} classes)")
    return Colouring(name, values, shown)
