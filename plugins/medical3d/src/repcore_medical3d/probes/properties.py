"""Zero-shot properties of an anatomy encoder: one versioned protocol with fixed constants.

Source: the properties that Adam-v2 (arXiv 2404.15672) shows in figures; its protocols are not public, so these are our
own, and every number comes with what makes it meaningful: mismatched pairs, centred vectors (a collapsed encoder scores
1 otherwise), chance.

- ``localizability``: the same places of different images. Accuracy of the place of the nearest patch of another
  image, silhouette, and agreement (NMI) of k-means with the places.
- ``part-whole``: the vector of a patch against the mean vector of its parts: cosine, centred cosine of matched and of
  mismatched pairs, and how often the own whole is the nearest.
- ``interpolation``: three patches on a line; the middle one against the mixture (1 - t) A + t B.
- ``extrapolation``: the patch beyond B against A + t (B - A).
- ``matching``: see :mod:`repcore_medical3d.rendering.dense`.

Symbols: P images, V patches an image, N parts, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from repcore.errors import ConfigError, DataError
from repcore.interfaces import Item
from repcore_medical3d.configs.properties import PropertiesConfig
from repcore_medical3d.encoders.anatomy import AnatomyEncoder
from repcore_medical3d.encoders.patches import (
    centred_cosine,
    embed_patches,
    grid_boxes,
    off_diagonal,
    random_boxes,
    side_by_side,
    stacked_images,
)
from repcore_medical3d.formats.images import write_png
from repcore_medical3d.layers.boxes import Boxes, part_boxes
from repcore_medical3d.rendering.dense import co_segmentation, matching
from repcore_medical3d.rendering.images import side_by_side as side_by_side_pictures
from repcore_medical3d.rendering.images import with_mask

MOST_SILHOUETTE_ROWS = 2000
SHOWN_PICTURES = 4
Figures = dict[str, float]
Property = Callable[[AnatomyEncoder, Tensor, PropertiesConfig, int], Figures]


def localizability(encoder: AnatomyEncoder, images: Tensor, config: PropertiesConfig, seed: int) -> Figures:
    """Are the same places of different people near each other?"""
    from sklearn.cluster import KMeans
    from sklearn.metrics import normalized_mutual_info_score, silhouette_score

    vectors = embed_patches(encoder, images, grid_boxes(images, config.exponent, config.grid))
    people, places = vectors.shape[:2]
    flat = F.normalize(vectors.flatten(0, 1).double(), dim=-1)
    place = torch.arange(places).repeat(people)
    found = KMeans(places, n_init=4, random_state=seed).fit_predict(flat.numpy())
    return {
        "nearest-place accuracy": float(nearest_is_same_place(vectors).double().mean()),
        "chance": 1 / places,
        "silhouette": float(
            silhouette_score(
                flat.numpy(), place.numpy(), sample_size=min(len(flat), MOST_SILHOUETTE_ROWS), random_state=seed
            )
        ),
        "nmi": float(normalized_mutual_info_score(place.numpy(), found)),
    }


def nearest_is_same_place(vectors: Tensor) -> Tensor:
    """Whether the vector of another person that is nearest by cosine is of the same place, bool (P, V).

    Args:
        vectors: float (P, V, D), of V places of P people.
    """
    people, places = vectors.shape[:2]
    flat = F.normalize(vectors.flatten(0, 1).double(), dim=-1)
    person = torch.arange(people).repeat_interleave(places)
    place = torch.arange(places).repeat(people)
    similarity = flat @ flat.T
    similarity[person[:, None] == person] = -torch.inf
    return (place[similarity.argmax(1)] == place).view(people, places)


def part_whole(encoder: AnatomyEncoder, images: Tensor, config: PropertiesConfig, seed: int) -> Figures:
    """Is a whole what its parts add up to, and no other whole?"""
    generator = torch.Generator().manual_seed(seed)
    wholes = random_boxes(images, config.exponent, config.patches, generator)
    parts = part_boxes(wholes, (2,) * encoder.axes)
    vectors = embed_patches(encoder, images, side_by_side(wholes, parts)).double()
    whole = vectors[:, : config.patches].flatten(0, 1)
    composed = vectors[:, config.patches :].unflatten(1, (config.patches, -1)).mean(2).flatten(0, 1)
    raw = F.cosine_similarity(whole, composed)
    mismatched = F.cosine_similarity(whole, composed.roll(config.patches, 0))  # the next person's
    centred = centred_cosine(composed, whole)
    person = torch.arange(len(images)).repeat_interleave(config.patches)
    others = centred[person[:, None] != person]  # wholes of one person overlap, so that they are no mismatches
    return {
        "cosine": float(raw.mean()),
        "mismatched cosine": float(mismatched.mean()),
        "centred cosine": float(centred.diagonal().mean()),
        "mismatched centred cosine": float(others.mean()),
        "own whole is nearest": float((centred.argmax(1) == torch.arange(len(centred))).double().mean()),
        "chance": 1 / len(centred),
    }


def _line(
    encoder: AnatomyEncoder, images: Tensor, config: PropertiesConfig, seed: int, share: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Vectors (P V, D) of patches A, B and C = A + share (B - A) that all lie inside the image."""
    generator = torch.Generator().manual_seed(seed)
    first, second = (random_boxes(images, config.exponent, config.patches, generator) for _ in range(2))
    start, end = first.origin, second.origin
    if share > 1:  # the far end is drawn, the middle one computed, so that nothing falls outside
        end = torch.round(start + (second.origin - start) / share)
    third = torch.round(start + share * (end - start)).clamp_min(0).minimum(torch.maximum(first.origin, second.origin))
    third = torch.maximum(third, torch.minimum(first.origin, second.origin))
    boxes = Boxes(torch.cat([start, end, third], 1), torch.cat([first.extent] * 3, 1))
    a, b, c = embed_patches(encoder, images, boxes).double().chunk(3, dim=1)
    return a.flatten(0, 1), b.flatten(0, 1), c.flatten(0, 1)


def _along(encoder: AnatomyEncoder, images: Tensor, config: PropertiesConfig, seed: int, share: float) -> Figures:
    a, b, c = _line(encoder, images, config, seed, share)
    predicted = (1 - share) * a + share * b
    centred = centred_cosine(predicted, c)
    return {
        f"cosine at {share:g}": float(F.cosine_similarity(predicted, c).median()),
        f"centred cosine at {share:g}": float(centred.diagonal().median()),
        f"mismatched centred cosine at {share:g}": float(off_diagonal(centred).mean()),
    }


def interpolation(encoder: AnatomyEncoder, images: Tensor, config: PropertiesConfig, seed: int) -> Figures:
    """Does the way between two places lead through the places between them?"""
    figures: Figures = {}
    for share in config.mix_shares:
        figures |= _along(encoder, images, config, seed, share)
    return figures


def extrapolation(encoder: AnatomyEncoder, images: Tensor, config: PropertiesConfig, seed: int) -> Figures:
    """And beyond them?"""
    figures: Figures = {}
    for share in config.reach_shares:
        figures |= _along(encoder, images, config, seed, share)
    return figures


PROPERTIES: Mapping[str, Property] = {
    "localizability": localizability,
    "part-whole": part_whole,
    "interpolation": interpolation,
    "extrapolation": extrapolation,
    "matching": matching,
}


class AnatomyProperties:
    """Protocol ``medical3d/anatomy-properties@1``: all of these about the same images, figures as ``name: figure``.

    Args:
        config: constants.
    """

    shown = (
        "localizability: nearest-place accuracy", "localizability: nmi", "part-whole: centred cosine",
        "part-whole: own whole is nearest", "interpolation: centred cosine at 0.5",
        "extrapolation: centred cosine at 1.5", "matching: within half a patch",
    )  # fmt: skip
    lower_is_better = ("matching: mean distance", "part-whole: mismatched centred cosine")

    def __init__(self, config: PropertiesConfig) -> None:
        self.config, self.most_rows = config, config.most_images

    def material(self, rows: Sequence[Sequence[Item]]) -> Tensor:
        """Images of one size (P, C, *E).

        Raises:
            DataError: none, or of several sizes.
        """
        return stacked_images([items[0].values for items in rows])

    def score(self, encoder: Any, material: Tensor, seed: int) -> Figures:
        """Every figure of every property.

        Raises:
            ConfigError: no anatomy encoder. DataError: fewer than two images.
        """
        if not isinstance(encoder, AnatomyEncoder):
            raise ConfigError(
                f"the model is a {type(encoder).__name__}; properties need medical3d/convnext or medical3d/resnet"
            )
        if len(material) < 2:
            raise DataError(f"{len(material)} image can be used; places are compared between two at least")
        images = material.to(encoder.get_buffer("mean").device)
        return {
            f"{name}: {figure}": value
            for name, function in PROPERTIES.items()
            for figure, value in function(encoder, images, self.config, seed).items()
        }

    def pictures(self, encoder: Any, material: Tensor) -> Mapping[str, bytes]:
        """Groups of similar places over the first images together; nothing of volumes."""
        if material.ndim != 4:
            return {}
        chosen = material[:SHOWN_PICTURES]
        labels, _ = co_segmentation(encoder, chosen, self.config, 0)
        grey = (chosen.mean(1).numpy() * 255).round().astype(np.uint8)
        drawn = [with_mask(np.repeat(one[..., None], 3, 2), mask) for one, mask in zip(grey, labels, strict=True)]
        return {"co-segmentation.png": write_png(side_by_side_pictures(drawn))}

    def constants(self) -> dict[str, Any]:
        """What fixes the protocol, written beside each result."""
        return {"protocol": "anatomy-properties@1", **asdict(self.config)}
