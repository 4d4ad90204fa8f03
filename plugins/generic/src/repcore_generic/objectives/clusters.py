"""Spherical k-means with a stated rule for every tie and every empty cluster, and the nearest centres of each item.

Symbols: n items, D width, K clusters, l labels an item.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from repcore.errors import DataError

TIE = 1e-12
BLOCK = 65536


@dataclass(frozen=True, slots=True)
class Clustering:
    """Result of :func:`spherical_kmeans`.

    Args:
        centres: unit rows (K, D).
        assignment: int64 (n,) nearest centre under the last iteration's centres.
        inertia: (iterations,) mean of 1 - cosine at the start of each iteration.
    """

    centres: Tensor
    assignment: Tensor
    inertia: Tensor


def nearest(features: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Nearest centre (n,) and its cosine (n,) for unit rows; of equals within 1e-12 the lowest number."""
    numbers, values = [], []
    for block in features.split(BLOCK):
        cosine = block @ centres.T
        best = cosine.amax(1)
        numbers.append((cosine >= best[:, None] - TIE).int().argmax(1))
        values.append(best)
    return torch.cat(numbers), torch.cat(values)


def spherical_kmeans(features: Tensor, initial: Tensor, iterations: int) -> Clustering:
    """Clusters of directions.

    Args:
        features: (n, D), of any length but 0.
        initial: row numbers (K,) of the first centres.
        iterations: at most; stops before where nothing changes.

    Raises:
        DataError: a row is 0 or not finite, or there are more clusters than rows.
    """
    rows = features.double()
    if not bool(rows.isfinite().all()) or bool((rows.norm(dim=1) == 0).any()):
        raise DataError("a feature vector is zero or not finite", hint="leave such rows out of the clustering")
    if len(initial) > len(rows):
        raise DataError(f"{len(initial)} clusters of {len(rows)} items", hint=f"at most {len(rows) // 4} clusters")
    rows = F.normalize(rows, dim=1)
    centres = rows[initial].clone()
    inertia = []
    owner = torch.full((len(rows),), -1, dtype=torch.int64)
    for _ in range(iterations):
        before = owner
        owner, cosine = nearest(rows, centres)
        inertia.append(1.0 - cosine.mean())
        owner = _filled(owner, cosine, len(centres))
        centres = _centres(rows, owner, len(centres))
        if torch.equal(owner, before):
            break
    return Clustering(centres, owner, torch.stack(inertia))


def _filled(owner: Tensor, cosine: Tensor, count: int) -> Tensor:
    """Each empty cluster, in order, takes the item that fits its own cluster least, where that keeps another."""
    owner, cosine = owner.clone(), cosine.clone()
    for empty in range(count):
        sizes = torch.bincount(owner, minlength=count)
        if sizes[empty] > 0:
            continue
        free = sizes[owner] > 1
        item = int(torch.where(free, cosine, float("inf")).argmin())
        owner[item] = empty
        cosine[item] = 1.0
    return owner


def _centres(rows: Tensor, owner: Tensor, count: int) -> Tensor:
    total = rows.new_zeros(count, rows.shape[1]).index_add(0, owner, rows)
    return F.normalize(total, dim=1)


def nearest_labels(features: Tensor, centres: Tensor, count: int) -> Tensor:
    """The ``count`` nearest centres of each row, nearest first, int64 (n, count); of equals the lowest number first."""
    rows = F.normalize(features.double(), dim=1)
    unit = F.normalize(centres.double(), dim=1)
    blocks = [
        (block @ unit.T).sort(dim=1, descending=True, stable=True).indices[:, :count] for block in rows.split(BLOCK)
    ]
    return torch.cat(blocks)


def ambiguous_share(features: Tensor, centres: Tensor, count: int, gap: float = 0.02) -> float:
    """Share of items whose last label is hardly nearer than the next centre."""
    cosine = (
        (F.normalize(features.double(), dim=1) @ F.normalize(centres.double(), dim=1).T).sort(1, descending=True).values
    )
    return float(((cosine[:, count - 1] - cosine[:, count]) < gap).double().mean())
