"""Patches of images and their vectors: what the property evaluations of anatomy encoders are made of.

Symbols: P images, V patches an image, C channels, D width, s axes.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from repcore.errors import DataError
from repcore_medical3d.encoders.anatomy import AnatomyEncoder
from repcore_medical3d.layers.boxes import Boxes, joined
from repcore_medical3d.layers.sampling import sample_views

PATCHES_AT_ONCE = 256


def view_size(encoder: AnatomyEncoder, images: Tensor) -> int:
    """Edge at which the encoder looks at a patch: its input size, or the images' shortest edge."""
    return encoder.config.input_size or min(images.shape[2:])


@torch.no_grad()
def embed_patches(encoder: AnatomyEncoder, images: Tensor, boxes: Boxes) -> Tensor:
    """Vectors (P, V, D) of boxes (P, V, s) of images (P, C, *E), each resized to the encoder's input, in eval mode."""
    was_training = encoder.training
    encoder.eval()
    size = [view_size(encoder, images)] * encoder.axes
    step = max(1, PATCHES_AT_ONCE // boxes.origin.shape[1])
    found = []
    for first in range(0, len(images), step):
        rows = slice(first, first + step)
        views = sample_views(images[rows], Boxes(boxes.origin[rows], boxes.extent[rows]), size)
        found.append(encoder.embed(views.flatten(0, 1)).unflatten(0, views.shape[:2]))
    encoder.train(was_training)
    return torch.cat(found)


def random_boxes(images: Tensor, exponent: int, count: int, generator: torch.Generator) -> Boxes:
    """``count`` boxes an image with edges / 2**exponent at uniform places: (P, count, s)."""
    edges = images.shape[2:]
    sides = torch.tensor([float(edge // 2**exponent) for edge in edges])
    room = torch.tensor([float(edge) for edge in edges]) - sides
    chance = torch.rand(len(images), count, len(edges), generator=generator)
    origin = torch.floor(chance * (room + 1)).minimum(room)
    return Boxes(origin, sides.expand_as(origin).contiguous())


def grid_boxes(images: Tensor, exponent: int, grid: int) -> Boxes:
    """Boxes with edges / 2**exponent at the same ``grid``**s evenly spread places of every image.

    Raises:
        DataError: the boxes would fill the image, so that all places are one.
    """
    if exponent < 1 or grid < 2:
        raise DataError(f"exponent={exponent} and grid={grid} leave no different places", hint="exponent=1 grid=3")
    edges = images.shape[2:]
    sides = [edge // 2**exponent for edge in edges]
    lines = [torch.linspace(0, edge - side, grid).round() for edge, side in zip(edges, sides, strict=True)]
    origin = torch.tensor(list(itertools.product(*(line.tolist() for line in lines))))
    origin = origin.expand(len(images), -1, -1).contiguous()
    extent = torch.tensor([float(side) for side in sides]).expand_as(origin).contiguous()
    return Boxes(origin, extent)


def side_by_side(first: Boxes, parts: Boxes) -> Boxes:
    """Boxes (P, V, s) and parts (P, V, N, s) as (P, V + V N, s)."""
    flat = Boxes(parts.origin.flatten(1, 2), parts.extent.flatten(1, 2))
    return joined([first, flat])


def centred_cosine(first: Tensor, second: Tensor) -> Tensor:
    """Cosines (M, M) of two sets of vectors (M, D), each with its own mean taken off."""
    left = F.normalize(first - first.mean(0), dim=-1)
    right = F.normalize(second - second.mean(0), dim=-1)
    return left @ right.T


def off_diagonal(values: Tensor) -> Tensor:
    """All entries of a square matrix but the diagonal's."""
    return values[~torch.eye(len(values), dtype=torch.bool)]


def stacked_images(images: Sequence[Tensor]) -> Tensor:
    """Images of one size as a batch.

    Raises:
        DataError: none, or of different sizes.
    """
    if not images:
        raise DataError("no image can be used")
    shapes = sorted({tuple(one.shape) for one in images})
    if len(shapes) > 1:
        raise DataError(
            f"images have {len(shapes)} sizes, for example {shapes[0]} and {shapes[-1]}",
            hint="preprocess them to one size (preprocessor.coverage=centre for volumes)",
        )
    return torch.stack(list(images))
