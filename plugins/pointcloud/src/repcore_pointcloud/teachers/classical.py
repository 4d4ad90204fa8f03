"""The embedded teacher: fixed gradient, blob and occupancy features of depth images, no weights to download.

On a 14 x 14 grid of a depth image: gradient directions in 8 bins normalised by block, differences of Gaussians at
3 scales of occupancy and of shading, mean shading and occupancy at two scales, and the occupancy profile of the cell's
row and column, which looks beyond the cell. Saliency is gradient strength plus blob strength. Results with this teacher
are not the paper's.

Symbols: M images, S pixels a side, h cells a side, C features.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repcore_pointcloud.teachers.maps import TeacherMaps

CELLS = 14
WORKING_SIZE = 56  # four pixels a cell: features are of cells, not of pixels
DIRECTIONS = 8
SCALES = (0.75, 1.5, 3.0)  # of the Gaussians, in working pixels; each is compared with twice its width


class ClassicalTeacher(nn.Module):
    """Fixed features of depth images.

    Call:
        depth: (M, S, S), sums of depths, 0 where nothing is drawn (op ``pointcloud/depth-views``).
    Returns:
        :class:`TeacherMaps` with 22 features and saliency on 14 x 14 cells.
    """

    channels = DIRECTIONS + 2 * len(SCALES) + 2 * 2 + 4
    standardised_targets = True  # the squared error is sensitive to scale, and these channels have none of their own

    def forward(self, depth: Tensor) -> TeacherMaps:
        depth = depth.float()
        size = (WORKING_SIZE, WORKING_SIZE)
        drawn = torch.stack([(depth != 0).float(), torch.sigmoid(depth) - 0.5], dim=1)
        occupied, shade = F.interpolate(drawn, size, mode="area").split(1, dim=1)  # (M, 1, W, W) each
        strength, directions = _gradients(shade + 0.5 * occupied)
        blobs = torch.cat([_blob(image, scale) for image in (occupied, shade) for scale in SCALES], dim=1)
        profiles = _profiles(occupied)
        features = torch.cat(
            [
                directions,
                _cells(blobs),
                _cells(torch.cat([shade, occupied], 1)),
                _cells(_blurred(torch.cat([shade, occupied], 1), 2 * SCALES[-1])),
                profiles,
            ],
            dim=1,
        )
        saliency = _unit(_cells(strength)) + _unit(_cells(blobs.abs().sum(1, keepdim=True)))
        return TeacherMaps(features, saliency[:, 0])


def _cells(image: Tensor) -> Tensor:
    """Means over the cells of the grid."""
    return F.adaptive_avg_pool2d(image, CELLS)


def _unit(image: Tensor) -> Tensor:
    """Divided by its mean over the image."""
    return image / image.mean((1, 2, 3), keepdim=True).clamp(min=1e-6)


def _gradients(image: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient strength (M, 1, W, W), and the share of each direction in each cell, (M, 8, 14, 14)."""
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    down = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    right = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    strength = (down.square() + right.square()).sqrt()
    turn = torch.atan2(down, right) * (DIRECTIONS / (2 * math.pi)) % DIRECTIONS  # (M, 1, W, W) in [0, 8)
    bins = torch.arange(DIRECTIONS, device=image.device, dtype=image.dtype)[:, None, None]
    away = (turn - bins).abs()
    share = (1.0 - torch.minimum(away, DIRECTIONS - away)).clamp_(min=0.0) * strength  # split between two bins
    histogram = _cells(share)
    energy = F.avg_pool2d(histogram.square().sum(1, keepdim=True), 3, stride=1, padding=1, count_include_pad=False)
    return strength, histogram / (energy.sqrt() + 1e-3)


def _blob(image: Tensor, scale: float) -> Tensor:
    """Difference of two Gaussians."""
    return _blurred(image, scale) - _blurred(image, 2 * scale)


def _blurred(image: Tensor, scale: float) -> Tensor:
    """Gaussian blur as a product with a band matrix on each side: an image has so few pixels that this is fastest."""
    place = torch.arange(image.shape[-1], device=image.device, dtype=image.dtype)
    band = torch.exp(-0.5 * ((place[:, None] - place) / scale).square()) / (scale * math.sqrt(2 * math.pi))
    return band @ image @ band.T  # nothing beyond the border, as in the empty part of the image


def _profiles(occupied: Tensor) -> Tensor:
    """How full a cell's row and column are, and how far the cell is along what is drawn in them: (M, 4, 14, 14)."""
    cells = _cells(occupied)
    found = []
    for axis in (2, 3):
        total = cells.sum(axis, keepdim=True)
        before = cells.cumsum(axis) - 0.5 * cells
        found += [(total / CELLS).expand_as(cells), before / total.clamp(min=1e-3)]
    return torch.cat(found, dim=1)
