"""Zero-shot properties of an anatomy encoder, as versioned evaluations with fixed constants.

Source: the properties that Adam-v2 (arXiv 2404.15672) shows in figures; its protocols are not public, so these are our
own, and every number comes with what makes it meaningful: mismatched pairs, centred vectors (a collapsed encoder scores
1 otherwise), chance.

- ``localizability@1``: the same places of different images. Accuracy of the place of the nearest patch of another
  image, silhouette, and agreement (NMI) of k-means with the places.
- ``part-whole@1``: the vector of a patch against the mean vector of its parts: cosine, centred cosine of matched and of
  mismatched pairs, and how often the own whole is the nearest.
- ``interpolation@1``: three patches on a line; the middle one against the mixture (1 - t) A + t B.
- ``extrapolation@1``: the patch beyond B against A + t (B - A).
- ``matching@1``: see :mod:`repcore_medical3d.rendering.dense`.

Symbols: P images, V patches an image, N parts, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from repcore.errors import RegistryError, closest
from repcore_medical3d.configs.properties import PropertiesConfig
from repcore_medical3d.encoders.anatomy import AnatomyEncoder
from repcore_medical3d.probes.patches import (
    centred_cosine,
    embed_patches,
    grid_boxes,
    off_diagonal,
    random_boxes,
    side_by_side,
)
from repcore_medical3d.rendering.dense import matching
from repcore_medical3d.views.boxes import Boxes, part_boxes

MOST_SILHOUETTE_ROWS = 2000
Figures = dict[str, float]
Property = Callable[[AnatomyEncoder, Tensor, PropertiesConfig, int], Figures]


def localizability(encoder: AnatomyEncoder, images: Tensor, config: PropertiesConfig, seed: int) -> Figures:
    """Are the same places of different people near each other?"""
    from sklearn.cluster import KMeans
    from sklearn.metrics import normalized_mutual_info_score, silhouette_score

    vectors = embed_patches(encoder, images, grid_boxes(images, config.exponent, config.grid))
    people, places = vectors.shape[:2]
    flat = F.normalize(vectors.flatten(0, 1).double(), dim=-1)
    person = torch.arange(people).repeat_interleave(places)
    place = torch.arange(places).repeat(people)
    similarity = flat @ flat.T
    similarity[person[:, None] == person] = -torch.inf
    accuracy = (place[similarity.argmax(1)] == place).double().mean()
    found = KMeans(places, n_init=4, random_state=seed).fit_predict(flat.numpy())
    return {
        "nearest-place accuracy": float(accuracy),
        "chance": 1 / places,
        "silhouette": float(
            silhouette_score(
                flat.numpy(), place.numpy(), sample_size=min(len(flat), MOST_SILHOUETTE_ROWS), random_state=seed
            )
        ),
        "nmi": float(normalized_mutual_info_score(place.numpy(), found)),
    }


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
    "localizability@1": localizability,
    "part-whole@1": part_whole,
    "interpolation@1": interpolation,
    "extrapolation@1": extrapolation,
    "matching@1": matching,
}


def property_named(name: str) -> Property:
    """An evaluation by name and version.

    Raises:
        RegistryError: there is none.
    """
    if name not in PROPERTIES:
        raise RegistryError(
            f"no property {name!r}", did_you_mean=closest(name, PROPERTIES), known=", ".join(PROPERTIES)
        )
    return PROPERTIES[name]


def constants(name: str, config: PropertiesConfig) -> dict[str, Any]:
    """What fixes an evaluation, written beside each result."""
    return {"protocol": name, **asdict(config)}
