"""Over-segmentation of a scene without labels: graph segmentation on differences of normals.

Source: Felzenszwalb & Huttenlocher 2004 (IJCV 59), as the ScanNet segmentator uses it. The
paper of FAC names no segmentation that its public repository would hold; the choice is ours.

Everything but the merging itself is array code. Merging follows the sorted edges one by one, as its definition wants.

Symbols: N points, E undirected edges.
"""

from __future__ import annotations

import itertools

import numpy as np

from repcore_pointcloud.regions.normals import LocalShape

BLOCK = 1 << 18  # points or edges that are worked on at once
EDGES_AT_ONCE = 1 << 20  # edges that exist as Python numbers at once
SAMPLED, RANGES = 10_000, 16  # weights that tell where ranges of equal size end, and how many of these


def neighbour_edges(neighbours: np.ndarray) -> np.ndarray:
    """Distinct undirected edges int32 (E, 2), smaller row first, in rising order, of directed neighbours (N, k).

    An edge is written by its smaller row, or by the larger one if the smaller does not know it: nothing is there twice,
    so that no table of all directed edges has to be sorted.
    """
    count = len(neighbours)
    keys = _joined([_edge_keys(neighbours, first) for first in range(0, count, BLOCK)])
    keys.sort()
    edges = keys.view(np.int32).reshape(-1, 2)  # the ends of an edge take the place of its key
    for begin in range(0, len(keys), BLOCK):
        part = slice(begin, begin + BLOCK)
        one, two = np.divmod(keys[part], count)
        edges[part, 0], edges[part, 1] = one, two
    return edges


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """All parts int64 in one array; each ends where it was copied."""
    keys = np.empty(sum(map(len, parts)), np.int64)
    stop = len(keys)
    while parts:
        part = parts.pop()
        keys[stop - len(part) : stop] = part
        stop -= len(part)
    return keys


def _edge_keys(neighbours: np.ndarray, first: int) -> np.ndarray:
    """Smaller row x N + larger row of the edges that the rows of one block write, int64."""
    count = len(neighbours)
    stop = neighbours[first : first + BLOCK]
    start = np.arange(first, first + len(stop))[:, None]
    writes = start < stop
    later = np.argwhere(start > stop)  # the smaller row writes it, where it knows the larger one
    larger = first + later[:, 0]
    smaller = stop[later[:, 0], later[:, 1]]
    unknown = np.ones(len(later), bool)
    for begin in range(0, len(later), BLOCK):
        part = slice(begin, begin + BLOCK)
        unknown[part] = ~(neighbours[smaller[part]] == larger[part, None]).any(axis=1)
    writes[later[unknown, 0], later[unknown, 1]] = True
    row, place = np.nonzero(writes)
    one, two = (first + row).astype(np.int64), stop[row, place].astype(np.int64)
    keys = np.minimum(one, two) * count + np.maximum(one, two)
    # a point may stand twice among the neighbours of another only where a caller made the table
    return np.unique(keys) if len(keys) else keys


def edge_weights(points: np.ndarray, shape: LocalShape, edges: np.ndarray, *, convexity: bool = False) -> np.ndarray:
    """1 - |cosine| of the normals at both ends, (E,).

    Args:
        convexity: square the weight of convex edges, so that objects on a table come apart at concave ones. Needs
            normals turned towards one side.
    """
    weights = np.empty(len(edges), np.float64)
    for begin in range(0, len(edges), BLOCK):
        part = slice(begin, begin + BLOCK)
        weights[part] = _edge_weights(points, shape.normals, edges[part], convexity)
    return weights


def _edge_weights(points: np.ndarray, normals: np.ndarray, edges: np.ndarray, convexity: bool) -> np.ndarray:
    first, second = edges[:, 0], edges[:, 1]
    cosine = np.einsum("ij,ij->i", normals[first], normals[second])
    weight: np.ndarray = 1.0 - np.abs(cosine)
    if convexity:
        along = points[second] - points[first]
        convex = np.einsum("ij,ij->i", normals[second] - normals[first], along) > 0
        weight = np.where(convex, weight**2, weight)
    return weight


def merge_regions(
    count: int, edges: np.ndarray, weights: np.ndarray, *, merge_constant: float, minimum_size: int
) -> np.ndarray:
    """Region of every point, int64 (N,), numbered by first appearance.

    Edges are taken by (weight, first row, second row). Two regions join if the weight is at most the threshold of each:
    the weight that last joined it plus ``merge_constant`` over its size. Then, in the same order, a region smaller than
    ``minimum_size`` joins whatever lies across the edge.

    Args:
        count: N.
        edges / weights: (E, 2) and (E,).
    """
    order = _merging_order(edges, weights)
    parent, size = list(range(count)), [1] * count
    _join_similar(edges, weights, order, parent, size, merge_constant)
    del weights
    _join_small(edges, order, parent, size, minimum_size)
    _, first, region = np.unique(_roots(parent), return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first, kind="stable")] = np.arange(len(first))
    return rank[region.reshape(-1)]


def _merging_order(edges: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Rows of the edges by weight, then by both rows."""
    step = np.diff(edges[:, 0])
    in_order = bool((step >= 0).all()) and not bool((np.diff(edges[:, 1])[step == 0] < 0).any())
    del step
    kind = np.int64 if len(weights) > np.iinfo(np.int32).max else np.int32
    if not in_order:
        return np.lexsort((edges[:, 1], edges[:, 0], weights)).astype(kind)
    return stable_order(weights).astype(kind, copy=False)  # of neighbour_edges: a stable sort keeps their order


def stable_order(weights: np.ndarray) -> np.ndarray:
    """As ``np.argsort(weights, kind="stable")``, by ranges of weights: int32, and little memory beside, where it fits.

    Args:
        weights: (E,), no NaN.
    """
    if len(weights) <= EDGES_AT_ONCE or len(weights) > np.iinfo(np.int32).max:
        return np.argsort(weights, kind="stable")
    sample = np.sort(weights[:: max(1, len(weights) // SAMPLED)])
    ends = sample[:: max(1, len(sample) // RANGES)][1:]
    bounds = [-np.inf, *np.unique(ends).tolist(), np.inf]
    order, begin = np.empty(len(weights), np.int32), 0
    for low, high in itertools.pairwise(bounds):  # equal weights lie in one range
        rows = np.flatnonzero((weights > low) & (weights <= high)).astype(np.int32)
        order[begin : begin + len(rows)] = rows[np.argsort(weights[rows], kind="stable")]
        begin += len(rows)
    return order


def _join_similar(
    edges: np.ndarray, weights: np.ndarray, order: np.ndarray, parent: list[int], size: list[int], constant: float
) -> None:
    threshold = [constant] * len(parent)
    for begin in range(0, len(order), EDGES_AT_ONCE):
        part = order[begin : begin + EDGES_AT_ONCE]
        ends, values = edges[part], weights[part].tolist()
        for one, two, weight in zip(ends[:, 0].tolist(), ends[:, 1].tolist(), values, strict=True):
            while parent[one] != one:
                parent[one] = one = parent[parent[one]]
            while parent[two] != two:
                parent[two] = two = parent[parent[two]]
            if one != two and weight <= threshold[one] and weight <= threshold[two]:
                if size[one] < size[two]:
                    one, two = two, one
                parent[two] = one
                size[one] += size[two]
                threshold[one] = weight + constant / size[one]


def _join_small(edges: np.ndarray, order: np.ndarray, parent: list[int], size: list[int], minimum: int) -> None:
    roots = _roots(parent).astype(np.int32)  # only edges between different regions matter from here on
    for begin in range(0, len(order), EDGES_AT_ONCE):
        ends = edges[order[begin : begin + EDGES_AT_ONCE]]
        for one, two in ends[roots[ends[:, 0]] != roots[ends[:, 1]]].tolist():
            while parent[one] != one:
                parent[one] = one = parent[parent[one]]
            while parent[two] != two:
                parent[two] = two = parent[parent[two]]
            if one != two and (size[one] < minimum or size[two] < minimum):
                if size[one] < size[two]:
                    one, two = two, one
                parent[two] = one
                size[one] += size[two]


def _roots(parent: list[int]) -> np.ndarray:
    """Last ancestor of every point, by doubling."""
    roots = np.asarray(parent)
    while True:
        further = roots[roots]
        if (further == roots).all():
            return roots
        roots = further
