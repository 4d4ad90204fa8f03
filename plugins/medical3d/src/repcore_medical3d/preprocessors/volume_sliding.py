"""Dense feature maps of whole scans from overlapping cubes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from repcore.interfaces import Sample
from repcore_medical3d.encoders.volume_backbone import VolumeBackbone, channels_of
from repcore_medical3d.formats.volumes import Grid
from repcore_medical3d.preprocessors.volumes import VolumePreprocessor

LEAST_WEIGHT = 1e-3  # of a token at a corner of its cube
CUBES_AT_ONCE = 8


@torch.no_grad()
def sliding_features(
    backbone: VolumeBackbone,
    preprocessor: VolumePreprocessor,
    sample: Sample,
    stages: Sequence[int],
    progress: Callable[[int, int], None] | None = None,
) -> list[tuple[Tensor, Grid]]:
    """Maps of a scan, averaged where cubes overlap, with weights that fall towards the faces of a cube.

    Args:
        stages: numbers of maps in the pyramid, 0 the finest.
        progress: called with cubes done and cubes in all.

    Returns:
        for each stage the map float32 (C, d, h, w) and its lattice in the world. Cubes start at multiples of the
        coarsest stage's token, so that tokens of all cubes fall on one lattice.
    """
    module: nn.Module = backbone  # type: ignore[assignment]  # the protocol says what the module can do
    was_training = module.training
    module.eval()
    device = next(module.parameters()).device
    edge, grid = preprocessor.config.crop_edge, preprocessor.grid(sample.inputs)
    deepest = edge // _map_edge(backbone, edge, max(stages), device)
    starts = aligned_starts(grid.shape, edge, preprocessor.config.overlap, deepest)
    firsts = np.asarray(starts).min(axis=0)
    extent = np.asarray(starts).max(axis=0) + edge - firsts
    sums: dict[int, Tensor] = {}
    weights: dict[int, Tensor] = {}
    for begin in range(0, len(starts), CUBES_AT_ONCE):
        chosen = starts[begin : begin + CUBES_AT_ONCE]
        cubes = torch.stack([preprocessor.crop(sample, start, (edge, edge, edge)).values for start in chosen])
        maps = backbone.pyramid(cubes.to(device))
        for stage in stages:
            if stage not in sums:
                token = edge // maps[stage].shape[1]
                shape = [int(side) // token for side in extent]
                sums[stage] = torch.zeros(maps[stage].shape[-1], *shape)
                weights[stage] = torch.zeros(1, *shape)
            places = [[int(a) - int(b) for a, b in zip(start, firsts, strict=True)] for start in chosen]
            _add(sums[stage], weights[stage], maps[stage].cpu(), places, edge)
        if progress is not None:
            progress(min(begin + CUBES_AT_ONCE, len(starts)), len(starts))
    module.train(was_training)
    return [_finished(sums[stage].div_(weights[stage]), grid, firsts, extent) for stage in stages]


def aligned_starts(shape: Sequence[int], edge: int, overlap: float, step: int) -> list[tuple[int, int, int]]:
    """First voxels of cubes that cover a scan, all at multiples of ``step`` from the first one."""
    sides = []
    for size in shape:
        stride = max(step, round(edge * (1 - overlap) / step) * step)
        count = 1 + max(0, -(-(size - edge) // stride))
        covered = edge + (count - 1) * stride
        first = (size - covered) // 2
        sides.append([first + number * stride for number in range(count)])
    return [(one, two, three) for one in sides[0] for two in sides[1] for three in sides[2]]


def _map_edge(backbone: VolumeBackbone, edge: int, stage: int, device: torch.device) -> int:
    """Tokens along a map of this stage."""
    channels = channels_of(backbone.config)
    return int(backbone.pyramid(torch.zeros(1, channels, edge, edge, edge, device=device))[stage].shape[1])


def _add(total: Tensor, weights: Tensor, maps: Tensor, places: Sequence[Sequence[int]], edge: int) -> None:
    """Put the maps (n, d, h, w, C) of some cubes in their places (first voxels in the joint map)."""
    count = maps.shape[1]
    ramp = 1.0 - torch.linspace(-1, 1, count + 2)[1:-1].abs()
    weight = (ramp[:, None, None] * ramp[:, None] * ramp).clamp(min=LEAST_WEIGHT)
    for one, place in zip(maps, places, strict=True):
        box = tuple(slice(first * count // edge, first * count // edge + count) for first in place)
        total[(slice(None), *box)] += one.movedim(-1, 0) * weight
        weights[(slice(None), *box)] += weight


def _finished(values: Tensor, grid: Grid, firsts: np.ndarray, extent: np.ndarray) -> tuple[Tensor, Grid]:
    """A map with its lattice: the place of a token is the centre of the voxels that it covers."""
    token = int(extent[0]) // values.shape[1]
    affine = grid.affine.copy()
    affine[:3, :3] *= token
    affine[:3, 3] = grid.world(firsts + (token - 1) / 2)
    return values, Grid(affine, (int(values.shape[1]), int(values.shape[2]), int(values.shape[3])))
