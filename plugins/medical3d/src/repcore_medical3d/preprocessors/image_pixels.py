"""Pixels of single images: boxes, even splits, and antialiased resizing with Pillow.

Symbols: H x W pixels, C channels, s axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from repcore_medical3d.layers.boxes import Boxes, part_boxes


def crop_box(image: Tensor, box: Boxes) -> Tensor:
    """The pixels inside one box of whole voxels; leading axes are spatial: (*E, ...) -> (*extent, ...)."""
    start, length = box.origin.long().tolist(), box.extent.long().tolist()
    return image[tuple(slice(first, first + count) for first, count in zip(start, length, strict=True))]


def split_pixels(image: Tensor, branching: Sequence[int]) -> Tensor:
    """Even parts of an image or volume whose leading axes are spatial, last axis fastest.

    Returns:
        (N, *part, ...); what does not divide is left out at the far end.
    """
    axes = len(branching)
    whole = Boxes(torch.zeros(axes), torch.tensor([float(edge) for edge in image.shape[:axes]]))
    boxes = part_boxes(whole, branching)
    count = math.prod(branching)
    return torch.stack([crop_box(image, Boxes(boxes.origin[k], boxes.extent[k])) for k in range(count)])


def resized_pixels(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Bicubic with antialiasing, by Pillow.

    Args:
        image: uint8 (H, W, 3), or uint8 or float32 (H, W).
        size: new height and width.

    Returns:
        the same type and number of axes.
    """
    from PIL import Image

    array = image.contiguous().numpy()
    if array.shape[:2] == size:
        return image
    drawn = Image.fromarray(array).resize((size[1], size[0]), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(drawn))
