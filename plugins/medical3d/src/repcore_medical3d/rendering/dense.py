"""Dense vectors of images, matching between images, and joint segmentation of several images without labels.

The published pictures (dense correspondence, co-segmentation) come without a protocol; here vectors of overlapping
patches on a grid are compared. ``matching`` needs roughly aligned images (chest films, cropped organs): the place of
the best match is compared with the same place of the other image.

Symbols: P images, G places an axis, D width, s axes.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from repcore.errors import DataError
from repcore_medical3d.configs.properties import PropertiesConfig
from repcore_medical3d.encoders.anatomy import AnatomyEncoder
from repcore_medical3d.encoders.patches import embed_patches, grid_boxes
from repcore_medical3d.layers.boxes import Boxes

DENSE_PLACES = 8  # along each axis, of matching; pictures use twice as many in 2-D


def dense_vectors(encoder: AnatomyEncoder, images: Tensor, exponent: int, places: int) -> tuple[Tensor, Boxes]:
    """Vectors (P, G**s, D) of patches with edges / 2**exponent at evenly spread places, and where they are."""
    boxes = grid_boxes(images, exponent, places)
    return embed_patches(encoder, images, boxes), boxes


def matches(first: Tensor, second: Tensor) -> Tensor:
    """Number of the most similar place of the second image for each place of the first.

    Args:
        first / second: vectors (..., T, D); each image's own mean is taken off.

    Returns:
        int64 (..., T).
    """
    left = F.normalize(first - first.mean(-2, keepdim=True), dim=-1)
    right = F.normalize(second - second.mean(-2, keepdim=True), dim=-1)
    return (left @ right.transpose(-1, -2)).argmax(-1)


def matching(encoder: AnatomyEncoder, images: Tensor, config: PropertiesConfig, seed: int) -> dict[str, float]:
    """Distance between the best match in another image and the same place there, as a share of the image's diagonal.

    Raises:
        DataError: fewer than two images.
    """
    if len(images) < 2:
        raise DataError("matching needs at least two images")
    order = np.random.default_rng(seed).permutation(len(images))[: config.pairs + 1]
    chosen = images[torch.from_numpy(order)]
    vectors, boxes = dense_vectors(encoder, chosen, config.exponent, DENSE_PLACES)
    found = matches(vectors[:-1], vectors[1:])  # (pairs, T)
    centre = boxes.origin[0] + boxes.extent[0] / 2  # (T, s)
    diagonal = torch.tensor([float(edge) for edge in images.shape[2:]]).norm()
    error = (centre[found] - centre).norm(dim=-1) / diagonal
    chance = torch.cdist(centre, centre).mean() / diagonal
    is_near = error <= (boxes.extent[0, 0] / 2).norm() / diagonal
    return {
        "mean distance": float(error.mean()),
        "chance distance": float(chance),
        "within half a patch": float(is_near.double().mean()),
        "pairs": float(len(found)),
    }


def co_segmentation(
    encoder: AnatomyEncoder, images: Tensor, config: PropertiesConfig, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Groups of similar places over all images together.

    Returns:
        uint8 label images (P, H, W), 1 to the number of groups, and the grid of labels (P, G, G) they came from.

    Raises:
        DataError: volumes; their slices are drawn one by one.
    """
    from sklearn.cluster import KMeans

    if images.ndim != 4:
        raise DataError("co-segmentation pictures are drawn of images; give slices of volumes")
    places = 2 * DENSE_PLACES
    vectors, boxes = dense_vectors(encoder, images, max(2, config.exponent), places)
    flat = F.normalize((vectors - vectors.mean((0, 1))).flatten(0, 1), dim=-1)
    groups = KMeans(config.clusters, n_init=4, random_state=seed).fit_predict(flat.double().numpy())
    grid = torch.from_numpy(groups).view(len(images), places, places) + 1
    centre = boxes.origin[0] + boxes.extent[0] / 2
    rows = _nearest(centre.view(places, places, 2)[:, 0, 0], images.shape[2])
    columns = _nearest(centre.view(places, places, 2)[0, :, 1], images.shape[3])
    full = grid[:, rows][:, :, columns]
    return full.to(torch.uint8).numpy(), grid.numpy()


def _nearest(centres: Tensor, edge: int) -> Tensor:
    """Number of the nearest centre for every pixel along one axis."""
    return (torch.arange(edge)[:, None] + 0.5 - centres).abs().argmin(1)
