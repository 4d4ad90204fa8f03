"""Where views lie: anchors, their parts, crops around the same centre, and crops at random places.

Source: method of Adam-v2 (arXiv 2404.15672) as its public code has it (`MR-HosseinzadehTaher/Eden`, data loader);
written for any number of axes. Boxes are whole voxels along axes in array order (2-D: y, x; 3-D: z, y, x).

Differs: all boxes of a batch are drawn at once; ten tries are drawn together and the first that fits is taken; the
margin is a share of the edge instead of 50 pixels; any branching along each axis (a perfect power of 2^d and others).

Symbols: B images, V views an image, s axes, N = product of the branching.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from repcore.errors import ConfigError

TRIES = 10  # redraws of a crop before its shape is clamped, as published


@dataclass(frozen=True, slots=True)
class Boxes:
    """Boxes in voxels: ``origin`` and ``extent``, float (..., s) with whole values."""

    origin: Tensor
    extent: Tensor

    def stacked(self) -> Tensor:
        """(..., 2s): origin then extent."""
        return torch.cat([self.origin, self.extent], dim=-1)

    def __getitem__(self, index: slice) -> Boxes:
        """Views of each image: (B, V, s) -> (B, v, s)."""
        return Boxes(self.origin[:, index], self.extent[:, index])


def joined(boxes: Sequence[Boxes]) -> Boxes:
    """Views of several sets side by side: (B, sum V, s)."""
    return Boxes(torch.cat([one.origin for one in boxes], 1), torch.cat([one.extent for one in boxes], 1))


def check_branching(branching: Sequence[int], axes: int) -> int:
    """Number of parts N.

    Raises:
        ConfigError: not one whole number from 1 to 4 an axis, or a single part.
    """
    if len(branching) != axes:
        raise ConfigError(
            f"branching={tuple(branching)} has {len(branching)} axes, the data {axes}", hint=f"{(2,) * axes}"
        )
    if any(not 1 <= one <= 4 for one in branching) or math.prod(branching) < 2:
        raise ConfigError(f"branching={tuple(branching)} is not 1 to 4 parts along each axis, at least 2 in all")
    return math.prod(branching)


def branching_for(parts: int, axes: int) -> tuple[int, ...]:
    """Equal branching along every axis that gives this number of parts.

    Raises:
        ConfigError: the number is not a perfect power (4, 9, 16 in 2-D; 8, 27 in 3-D).
    """
    for edge in range(2, 5):
        if edge**axes == parts:
            return (edge,) * axes
    known = ", ".join(str(edge**axes) for edge in range(2, 5))
    raise ConfigError(
        f"parts={parts} cannot be split evenly along {axes} axes",
        expected=known,
        hint="views.branching takes unequal splits, for example (2, 4)",
    )


def part_boxes(whole: Boxes, branching: Sequence[int]) -> Boxes:
    """Equal parts of each box, last axis fastest; what does not divide is left out at the far end.

    Args:
        whole: (..., s).
        branching: parts along each axis.

    Returns:
        Boxes (..., N, s).
    """
    split = whole.extent.new_tensor(list(branching))
    extent = torch.floor(whole.extent / split)
    places = list(itertools.product(*(range(count) for count in branching)))
    steps = whole.extent.new_tensor(places)  # (N, s)
    origin = whole.origin[..., None, :] + steps * extent[..., None, :]
    return Boxes(origin, extent[..., None, :].expand_as(origin).contiguous())


def usable_granularity(edges: Sequence[int], branching: Sequence[int], smallest_part: int) -> int:
    """Largest exponent n at which every part still has ``smallest_part`` voxels along each axis; 0 at least."""
    ratios = [edge / (parts * smallest_part) for edge, parts in zip(edges, branching, strict=True)]
    return max(0, math.floor(math.log2(max(1.0, min(ratios)))))


def anchor_boxes(
    edges: Sequence[int], exponent: int, count: int, *, margin: float, generator: torch.Generator, square: bool = False
) -> Boxes:
    """One box an image with edges / 2**exponent at a random place.

    Args:
        edges: of the images.
        exponent: granularity n; 0 is the whole image.
        count: number of images B.
        margin: border left out on every side, as a share of the edge, where more than that is left to move in.
        square: edges alike, of the shortest (the localizability stage).

    Returns:
        Boxes (B, 1, s).
    """
    sides = [edge // 2**exponent for edge in edges]
    sides = [min(sides)] * len(sides) if square else sides
    device = generator.device
    chance = torch.rand(count, 1, len(edges), generator=generator, device=device)
    lower, upper = [], []
    for edge, side in zip(edges, sides, strict=True):
        room, border = edge - side, round(margin * edge)
        inside = room - 2 * border > border
        lower.append(border if inside else 0)
        upper.append(room - border if inside else room)
    low = torch.tensor(lower, device=device, dtype=torch.float32)
    span = torch.tensor(upper, device=device, dtype=torch.float32) - low
    origin = low + torch.floor(chance * (span + 1)).minimum(span)
    return Boxes(origin, torch.tensor(sides, device=device, dtype=torch.float32).expand_as(origin).contiguous())


def centred_sides(extent: Tensor, fraction: Tensor, log_ratio: Tensor) -> tuple[Tensor, Tensor]:
    """Edges of a crop with a share of a box's size, and whether they fit into it.

    Args:
        extent: (..., s).
        fraction: share of the area; in 3-D its root is the share of each edge, as in 2-D: (...).
        log_ratio: logarithms of the factors along the axes, which add up to 0: (..., s).

    Returns:
        edges (..., s) and bool (...). In 2-D the area is that of the published boxes, whatever the box's shape; in 3-D
        each edge is a share of the box's own edge, so that thin volumes can be cropped at all.
    """
    reference = extent.prod(-1, keepdim=True).sqrt() if extent.shape[-1] == 2 else extent
    sides = torch.round(reference * fraction[..., None].sqrt() * log_ratio.exp())
    return sides, ((sides >= 1) & (sides <= extent)).all(-1)


def centred_origin(whole: Boxes, sides: Tensor) -> Tensor:
    """Corner of a crop around the centre of a box, rounded down."""
    return whole.origin + torch.floor((whole.extent - sides) / 2)


@dataclass(frozen=True, slots=True)
class CropRange:
    """Share of the area, and range of width / height, of a random crop."""

    area: tuple[float, float]
    aspect: tuple[float, float] = (3 / 4, 4 / 3)


def random_crops(whole: Boxes, ranges: Sequence[CropRange], *, is_centred: bool, generator: torch.Generator) -> Boxes:
    """One crop a range from each box.

    Args:
        whole: (B, 1, s).
        ranges: V of them.
        is_centred: around the box's centre, or anywhere inside it.

    Returns:
        Boxes (B, V, s).
    """
    count, axes = whole.extent.shape[0], whole.extent.shape[-1]
    device = whole.extent.device
    shape = (count, len(ranges), TRIES)

    def uniform(bounds: list[tuple[float, float]]) -> Tensor:
        low, high = torch.tensor(bounds, device=device).unbind(-1)
        chance = torch.rand(shape, generator=generator, device=device)
        return low[:, None] + chance * (high - low)[:, None]

    extent = whole.extent[:, :, None, :].expand(*shape, axes)
    fraction = uniform([one.area for one in ranges])
    sides, fits = centred_sides(extent, fraction, _log_ratios(ranges, axes, shape, generator))
    first = fits.to(torch.uint8).argmax(-1)[..., None, None].expand(*shape[:2], 1, axes)
    chosen = sides.gather(2, first).squeeze(2)  # (B, V, s)
    chosen = torch.where(fits.any(-1)[..., None], chosen, _clamped(whole.extent.expand_as(chosen), ranges))
    if is_centred:
        return Boxes(centred_origin(whole, chosen), chosen)
    room = whole.extent - chosen
    chance = torch.rand(chosen.shape, generator=generator, device=device)
    return Boxes(whole.origin + torch.floor(chance * (room + 1)).minimum(room), chosen)


def _log_ratios(
    ranges: Sequence[CropRange], axes: int, shape: tuple[int, int, int], generator: torch.Generator
) -> Tensor:
    """Logarithms of the edge factors, (B, V, TRIES, s), that add up to 0 over the axes."""
    device = generator.device
    low = torch.tensor([math.log(one.aspect[0]) for one in ranges], device=device)[:, None]
    high = torch.tensor([math.log(one.aspect[1]) for one in ranges], device=device)[:, None]
    if axes == 2:
        half = (low + torch.rand(shape, generator=generator, device=device) * (high - low)) / 2
        return torch.stack([-half, half], dim=-1)  # y, x
    chance = torch.rand((*shape, axes), generator=generator, device=device)
    drawn = (low + chance.movedim(-1, 0) * (high - low)).movedim(0, -1) / 2
    return drawn - drawn.mean(-1, keepdim=True)


def _clamped(extent: Tensor, ranges: Sequence[CropRange]) -> Tensor:
    """Largest crop with an allowed shape, for the rare case that no try fits; the whole box in 3-D."""
    if extent.shape[-1] != 2:
        return extent
    height, width = extent.unbind(-1)  # (B, V)
    low, high = extent.new_tensor([one.aspect for one in ranges]).unbind(-1)
    ratio = (width / height).maximum(low).minimum(high)
    return torch.stack([torch.round((width / ratio).minimum(height)), torch.round((height * ratio).minimum(width))], -1)
