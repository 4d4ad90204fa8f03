"""Gradients of grey values by direction, as histograms of oriented gradients count them.

Source: Dalal and Triggs 2005, Histograms of Oriented Gradients for Human Detection. Differs: directions of the whole
circle, and no contrast normalisation of blocks.

Symbols: N images, C channels, H x W pixels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def gradients(images: Tensor, directions: int) -> Tensor:
    """Length of the grey-value gradient at every pixel, shared by the two nearest of so many directions of the circle.

    Args:
        images: (N, C, H, W); the mean of their channels counts.

    Returns:
        (N, directions, H, W); 0 along the border.
    """
    grey = images.mean(1)
    across = F.pad(grey[:, 1:-1, 2:] - grey[:, 1:-1, :-2], (1, 1, 1, 1))
    down = F.pad(grey[:, 2:, 1:-1] - grey[:, :-2, 1:-1], (1, 1, 1, 1))
    angle = torch.atan2(down, across) / (2 * math.pi) * directions
    first = angle.floor()
    second_share = angle - first
    length = (across.square() + down.square()).sqrt()
    found = images.new_zeros(len(images), directions, *grey.shape[1:])
    for number, share in ((first, 1 - second_share), (first + 1, second_share)):
        found.scatter_add_(1, (number.long() % directions)[:, None], (share * length)[:, None])
    return found
