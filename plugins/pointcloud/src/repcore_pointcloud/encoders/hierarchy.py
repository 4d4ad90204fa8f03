"""Tokens of a cloud on several levels: evenly chosen centres, and the nearest finer centres of each.

Levels nest: a coarser choice of centres is the beginning of the finer one, so farthest point sampling runs once.

Symbols: B clouds, N points, G groups of a level, K neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from repcore.ops import Op


@dataclass(frozen=True, slots=True)
class Level:
    """One level.

    Args:
        centres: (B, G, 3).
        index: int64 (B, G, K), members in ascending distance: rows of the cloud, or of the next finer level's centres.
    """

    centres: Tensor
    index: Tensor


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """All levels of a batch of clouds, finest first.

    Args:
        points: (B, N, 3).
        chosen: int64 (B, G of the finest level), rows of the cloud; coarser levels are its beginning.
        levels: finest first.
    """

    points: Tensor
    chosen: Tensor
    levels: tuple[Level, ...]

    def parents(self, level: int) -> Tensor:
        """Coordinates that ``levels[level].index`` refers to, (B, N or G, 3)."""
        return self.points if level == 0 else self.levels[level - 1].centres


class Grouping:
    """Builds hierarchies.

    Args:
        groups / neighbours: G and K of each level, finest first; G never rises.
        exclude_origin: see :class:`repcore_pointcloud.configs.i2p_mae.PointEncoderConfig`.
    """

    def __init__(self, groups: Sequence[int], neighbours: Sequence[int], exclude_origin: float | None = None) -> None:
        self.groups, self.neighbours = tuple(groups), tuple(neighbours)
        self.excluded = -1.0 if exclude_origin is None else exclude_origin
        self._farthest = Op("pointcloud/farthest-points")
        self._nearest = Op("pointcloud/nearest-points")
        self.group_points = Op("pointcloud/group-points")

    @torch.no_grad()
    def __call__(self, points: Tensor) -> Hierarchy:
        chosen: Tensor = self._farthest(points, self.groups[0], excluded=self.excluded)
        finest = points.gather(1, chosen[..., None].expand(-1, -1, 3))
        levels: list[Level] = []
        for number, (groups, neighbours) in enumerate(zip(self.groups, self.neighbours, strict=True)):
            centres = finest[:, :groups]
            parents = points if number == 0 else levels[-1].centres
            index: Tensor = self._nearest(centres, parents, neighbours)
            levels.append(Level(centres, index))
        return Hierarchy(points, chosen, tuple(levels))

    def neighbourhoods(self, hierarchy: Hierarchy, level: int) -> Tensor:
        """Coordinates of the members relative to their centre, (B, G, K, 3)."""
        one = hierarchy.levels[level]
        members: Tensor = self.group_points(hierarchy.parents(level), one.index, one.centres)
        return members


def spread_to_finer(coarsest: Tensor, hierarchy: Hierarchy, *, legacy_first_token: bool = False) -> tuple[Tensor, ...]:
    """Visible tokens of every level from the visible coarse ones: all members of a visible token are visible.

    Args:
        coarsest: bool (B, G of the coarsest level), True = visible.
        hierarchy: levels that the masks are for.
        legacy_first_token: also show token 0 of the first cloud on each finer level wherever anything is masked, as the
            published code does: it multiplies the indices of masked groups by zero instead of leaving them out.

    Returns:
        bool (B, G) for each level, finest first.
    """
    visible = [coarsest]
    for number in range(len(hierarchy.levels) - 1, 0, -1):
        index, finer = hierarchy.levels[number].index, hierarchy.levels[number - 1].centres
        shown = visible[0][..., None].expand_as(index)
        hits = torch.zeros(finer.shape[:2], dtype=torch.int32, device=index.device)
        hits.scatter_add_(1, index.flatten(1), shown.flatten(1).int())
        if legacy_first_token:
            hits[0, 0] += (~visible[0]).any()
        visible.insert(0, hits > 0)
    return tuple(visible)


@dataclass(frozen=True, slots=True)
class VisibleSlots:
    """Visible tokens of a batch moved to the left and padded to the longest row.

    Args:
        order: int64 (B, V), token of each slot; padding slots name masked tokens.
        valid: bool (B, V), False = padding.
        visible: bool (B, G), the mask itself.
    """

    order: Tensor
    valid: Tensor
    visible: Tensor

    def take(self, values: Tensor) -> Tensor:
        """(B, G, C) to (B, V, C), zero in padding slots."""
        taken = values.gather(1, self.order[..., None].expand(-1, -1, values.shape[-1]))
        return taken.masked_fill(~self.valid[..., None], 0.0)

    def put(self, grid: Tensor, values: Tensor) -> Tensor:
        """The grid (B, G, C) with the visible tokens replaced by (B, V, C)."""
        # padding slots write to masked tokens, which the choice below leaves as they were
        place = self.order[..., None].expand_as(values)
        written = torch.zeros_like(grid, dtype=values.dtype).scatter(1, place, values)
        return torch.where(self.visible[..., None], written, grid)


CUDA_MULTIPLE = 16  # lengths on a GPU are rounded up, so that compiled code sees few of them


def visible_slots(visible: Tensor) -> VisibleSlots:
    """Slots for a mask; reads the longest row back to the host."""
    longest = int(visible.sum(1).max()) if visible.numel() else 0
    if visible.device.type == "cuda":
        longest = min(visible.shape[1], -(-longest // CUDA_MULTIPLE) * CUDA_MULTIPLE)
    order = torch.argsort((~visible).to(torch.uint8), dim=1, stable=True)[:, :longest]
    return VisibleSlots(order, visible.gather(1, order), visible)
