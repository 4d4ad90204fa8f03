"""Training items where labels of voxels or pixels are learned: changed and cut at random, labels alike.

Source: the few-shot protocol of Adam for films (changed intensities and random sized crops; without its elastic
deformation); Alice's fine-tuning for volumes, in which every second cube holds a labelled place.

Symbols: C channels, E edge of the grid or of a cube.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch.nn import functional as F

from repcore.data.guard import prepare_sample
from repcore.interfaces import Item, Sample
from repcore_medical3d.formats.volumes import Grid
from repcore_medical3d.layers.intensity import Jitter, jittered
from repcore_medical3d.preprocessors.images import ImagePreprocessor
from repcore_medical3d.preprocessors.volume_dense import label_volumes
from repcore_medical3d.preprocessors.volumes import VolumePreprocessor, centred_start

CHANGE = Jitter(chance=0.3, brightness=0.2, contrast=0.2, gamma=0.2)
CROP_CHANCE = 0.25
SMALLEST_CROP = 0.6  # of an edge
LABELLED_CHANCE = 0.5  # of a cube to hold a labelled place


def labelled_image(preprocessor: ImagePreprocessor, sample: Sample, generator: np.random.Generator) -> Item:
    """An image with changed intensities, at times a part of it brought back to the grid, its labels alike.

    Raises:
        ItemError: the image cannot be used.
    """
    (item,) = prepare_sample(preprocessor, sample)
    seeded = torch.Generator().manual_seed(int(generator.integers(2**62)))
    values = jittered(item.values[None], CHANGE, seeded)[0]
    if generator.random() >= CROP_CHANCE:
        return dataclasses.replace(item, values=values)
    edges = values.shape[1:]
    share = SMALLEST_CROP + (1 - SMALLEST_CROP) * generator.random()
    sides = [max(1, int(edge * share)) for edge in edges]
    firsts = [int(generator.integers(edge - side + 1)) for side, edge in zip(sides, edges, strict=True)]
    window = tuple(slice(first, first + side) for first, side in zip(firsts, sides, strict=True))
    cropped = F.interpolate(values[(None, slice(None), *window)], edges, mode="bilinear", align_corners=False)[0]
    targets = {
        name: F.interpolate(torch.from_numpy(one[window])[None, None], edges, mode="nearest")[0, 0].numpy()
        for name, one in item.targets.items()
    }
    return dataclasses.replace(item, values=cropped, targets=targets)


def labelled_cube(preprocessor: VolumePreprocessor, sample: Sample, generator: np.random.Generator) -> Item:
    """A cube anywhere in the scan; every second one around a labelled place that is no background.

    Only the block of the file that is needed is read. Labels below 1 are background or not labelled.

    Raises:
        ItemError: the scan cannot be used.
    """
    if preprocessor.config.coverage == "whole":
        return preprocessor.draw(sample, generator)
    grid, edge = preprocessor.grid(sample.inputs), preprocessor.config.crop_edge
    centre = _labelled_place(sample, grid, generator) if generator.random() < LABELLED_CHANCE else None
    if centre is None:
        centre = [int(generator.integers(size)) for size in grid.shape]
    else:
        centre = [one + int(generator.integers(-edge // 4, edge // 4 + 1)) for one in centre]
    start = [
        min(max(first, min(0, size - edge)), max(0, size - edge))
        for first, size in zip(centred_start(centre, edge), grid.shape, strict=True)
    ]
    return preprocessor.cube(sample, start)


def _labelled_place(sample: Sample, grid: Grid, generator: np.random.Generator) -> list[int] | None:
    """A labelled voxel on a grid, every one alike; None if nothing is labelled."""
    maps = list(label_volumes(sample).values())
    if not maps:
        return None
    labels = maps[int(generator.integers(len(maps)))]
    values = labels.read(exact=True)
    places = np.flatnonzero(values > 0.5)  # background and what is not labelled lie below
    if not len(places):
        return None
    voxel = np.unravel_index(places[int(generator.integers(len(places)))], values.shape)
    place = grid.voxels(labels.grid.world(np.asarray(voxel, np.float64)))
    return [int(one) for one in place.round()]
