"""Versions of a model: do vectors of a later one find what an earlier one stored?

Definitions of Biondi et al. 2024 (CVPR): a pair of versions is compatible if the later one's queries on the earlier
one's gallery score above the earlier one's own queries. Differs from their code: means run over the lower triangle,
true zeros included, and the nearest class is compared by its label.

Symbols: V versions, N vectors, E their width, C classes, Q queries.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def incompatible(scores: Tensor) -> Tensor:
    """Pairs (i, j), i > j, of a matrix (V, V) in which queries of version i on the gallery of j find no more than those
    of j did."""
    later = torch.ones_like(scores, dtype=torch.bool).tril(-1)
    return later & ~(scores > scores.diagonal()[None])


def compatibility(scores: Tensor) -> Tensor:
    """Share of compatible pairs among the first 2, 3, ... V versions, (V - 1,); of one version: none."""
    bad = incompatible(scores).sum(1).cumsum(0)[1:].double()
    pairs = torch.arange(1, len(scores)).cumsum(0)
    return 1.0 - bad / pairs


def average_score(scores: Tensor, *, published: bool = False) -> Tensor:
    """Mean of the lower triangle with its diagonal. ``published``: true zeros are left out, and the unit is per cent
    unless the last row holds a perfect score."""
    if not published:
        lower = torch.ones_like(scores, dtype=torch.bool).tril()
        return scores[lower].mean()
    factor = 100.0 if bool(scores[-1].max() < 1) else 1.0
    return factor * scores[scores != 0].mean()


def templates(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Unit mean of the unit vectors of each class (C, E), and the classes in ascending order."""
    classes, place = labels.unique(return_inverse=True)
    sums = torch.zeros(len(classes), features.shape[1], dtype=features.dtype).index_add(0, place, _unit(features))
    return _unit(sums), classes


def identified(
    queries: Tensor, query_labels: Tensor, gallery: Tensor, gallery_labels: Tensor, *, by_row: bool = False
) -> Tensor:
    """Whether the closest class mean of the gallery is a query's own class, bool (Q,).

    Args:
        by_row: compare the number of the mean with the label, as published.
    """
    means, classes = templates(gallery, gallery_labels)
    nearest = (_unit(queries) @ means.T).argmax(1)
    return (nearest if by_row else classes[nearest]) == query_labels


def _unit(rows: Tensor) -> Tensor:
    return F.normalize(rows, dim=-1, eps=1e-12)


def gallery_rows(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Half of the rows of each class, rounded up, drawn: bool (N,). A class of one row is in the gallery alone."""
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for name in labels.unique():
        rows = (labels == name).nonzero()[:, 0]
        order = torch.randperm(len(rows), generator=generator)
        chosen[rows[order[: -(-len(rows) // 2)]]] = True
    return chosen


def cross_scores(vectors: list[Tensor], labels: Tensor, gallery: Tensor) -> tuple[Tensor, Tensor]:
    """Share of right queries, float64.

    Args:
        vectors: (N, E) of each version, the oldest first, of the same rows.
        labels: (N,). gallery: bool (N,), the others are queries.

    Returns:
        (V, V): queries of version i on the gallery of j, 0 above the diagonal; and the same for each class that has
        queries, (C, V, V).
    """
    count, asked = len(vectors), labels[~gallery]
    classes = asked.unique()
    whole = torch.zeros(count, count, dtype=torch.float64)
    single = torch.zeros(len(classes), count, count, dtype=torch.float64)
    for i in range(count):
        for j in range(i + 1):
            right = identified(vectors[i][~gallery], asked, vectors[j][gallery], labels[gallery]).double()
            whole[i, j] = right.mean()
            single[:, i, j] = torch.stack([right[asked == one].mean() for one in classes])
    return whole, single
