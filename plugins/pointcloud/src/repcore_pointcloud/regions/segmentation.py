"""Over-segmentation of a scene without labels: graph segmentation on differences of normals.

Source: Felzenszwalb & Huttenlocher 2004 (IJCV 59), as the ScanNet segmentator uses it. The
paper of FAC names no segmentation that its public repository would hold; the choice is ours.

Everything but the merging itself is array code. Merging follows the sorted edges one by one, as its definition wants.

Symbols: N points, E undirected edges.
"""

from __future__ import annotations

import numpy as np

from repcore_pointcloud.regions.normals import LocalShape


def neighbour_edges(neighbours: np.ndarray) -> np.ndarray:
    """Distinct undirected edges int64 (E, 2), smaller row first, of directed neighbours (N, k)."""
    count = len(neighbours)
    start = np.repeat(np.arange(count), neighbours.shape[1])
    stop = neighbours.reshape(-1)
    keys = np.unique(np.minimum(start, stop) * count + np.maximum(start, stop))
    return np.stack([keys // count, keys % count], axis=1) if count else np.zeros((0, 2), np.int64)


def edge_weights(points: np.ndarray, shape: LocalShape, edges: np.ndarray, *, convexity: bool = False) -> np.ndarray:
    """1 - |cosine| of the normals at both ends, (E,).

    Args:
        convexity: square the weight of convex edges, so that objects on a table come apart at concave ones. Needs
            normals turned towards one side.
    """
    first, second = edges[:, 0], edges[:, 1]
    cosine = np.einsum("ij,ij->i", shape.normals[first], shape.normals[second])
    weight = 1.0 - np.abs(cosine)
    if convexity:
        along = points[second] - points[first]
        convex = np.einsum("ij,ij->i", shape.normals[second] - shape.normals[first], along) > 0
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
    order = np.lexsort((edges[:, 1], edges[:, 0], weights))
    edges, weights = edges[order], weights[order]
    parent, size = list(range(count)), [1] * count
    _join_similar(edges, weights, parent, size, merge_constant)
    # only edges between different regions matter from here on
    roots = _roots(parent)
    between = edges[roots[edges[:, 0]] != roots[edges[:, 1]]]
    _join_small(between, parent, size, minimum_size)
    _, first, region = np.unique(_roots(parent), return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first, kind="stable")] = np.arange(len(first))
    return rank[region.reshape(-1)]


def _join_similar(edges: np.ndarray, weights: np.ndarray, parent: list[int], size: list[int], constant: float) -> None:
    threshold = [constant] * len(parent)
    for one, two, weight in zip(edges[:, 0].tolist(), edges[:, 1].tolist(), weights.tolist(), strict=True):
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


def _join_small(edges: np.ndarray, parent: list[int], size: list[int], minimum: int) -> None:
    for one, two in edges.tolist():
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
