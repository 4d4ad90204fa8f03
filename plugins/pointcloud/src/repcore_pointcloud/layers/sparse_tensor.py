"""Features on active voxels, and the rule for coordinates that occur twice.

Symbols: V voxels, C channels, N rows before merging.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from repcore.errors import ConfigError, ShapeError
from repcore_pointcloud.ops.sparse_conv3d.sites import Sites, unique_coordinates

MergeRule = Literal["mean", "sum", "max", "first"]


@dataclass(frozen=True, slots=True)
class SparseTensor:
    """Features (V, C) of a set of voxels; all tensors on the same voxels share one :class:`Sites` and its rulebooks.

    Raises:
        ShapeError: other numbers of rows.
    """

    features: Tensor
    sites: Sites

    def __post_init__(self) -> None:
        if self.features.ndim != 2 or len(self.features) != len(self.sites):
            raise ShapeError(f"features {tuple(self.features.shape)} for {len(self.sites)} voxels")

    def replaced(self, features: Tensor) -> SparseTensor:
        """Other features on the same voxels."""
        return SparseTensor(features, self.sites)


def merge_duplicates(coordinates: Tensor, features: Tensor, rule: MergeRule = "mean") -> tuple[SparseTensor, Tensor]:
    """One voxel a distinct coordinate, in ascending (b, x, y, z).

    Args:
        coordinates: int (N, 4), rows may repeat.
        features: float (N, C).
        rule: what a voxel gets from its rows: their mean, sum, largest value a channel, or the row that came first.

    Returns:
        voxels, and int64 (N,): the voxel of every row.

    Raises:
        ConfigError: an unknown rule.
    """
    distinct, index = unique_coordinates(coordinates)
    shape = (len(distinct), features.shape[1])
    wide = index[:, None].expand_as(features)
    if rule == "first":
        first = torch.full((len(distinct),), len(index), dtype=torch.long, device=index.device)
        first.scatter_reduce_(0, index, torch.arange(len(index), device=index.device), "amin")
        merged = features[first]
    elif rule == "max":
        merged = features.new_zeros(shape).scatter_reduce(0, wide, features, "amax", include_self=False)
    elif rule in ("mean", "sum"):
        merged = features.new_zeros(shape).scatter_add(0, wide, features)
        if rule == "mean":
            merged = merged / torch.bincount(index, minlength=len(distinct))[:, None]
    else:
        raise ConfigError(f"merge rule {rule!r} is unknown", expected="mean, sum, max, first")
    return SparseTensor(merged, Sites(distinct)), index
