"""What every backbone of volumes offers to objectives and to dense evaluation, and what they share.

A backbone gives a pyramid of maps from fine to coarse, the first (coarsest) stage of a decoder, and the cube redrawn.
Maps are channels last, (B, d, h, w, C).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from repcore.interfaces import Batch, Features, Tokens

LEVELS = ("stage3", "stage2", "stage1", "stage0")
"""Token levels of :class:`Features`; the coarsest is the default."""

TOGETHER, BETWEEN, DEEP = "all", "all-linear", "deep-linear"
READOUTS = (TOGETHER, BETWEEN, DEEP)
"""Readouts of every backbone: all stages side by side, at the finest tokens or linearly between tokens; the coarser
half of the stages, which know the surroundings, between tokens."""


class VolumeBackbone(Protocol):
    """An ``nn.Module`` that Alice can train. ``widths`` from fine to coarse; ``dim`` is the last of them."""

    config: Any  # the backbone's own dataclass
    dim: int
    widths: tuple[int, ...]
    stem_stride: int

    @property
    def decoder_width(self) -> int: ...

    def pyramid(self, volume: Tensor, hidden: Tensor | None = None) -> list[Tensor]: ...

    def first_decoder_map(self, pyramid: Sequence[Tensor]) -> Tensor: ...

    def reconstruct(self, pyramid: Sequence[Tensor], first: Tensor, volume: Tensor) -> Tensor: ...

    def forward(self, batch: Batch, layers: Sequence[int] = ()) -> Features: ...


def channels_of(config: Any) -> int:  # a backbone's own dataclass
    """Channels of the input; 1 where neither the config nor a preprocessor says it."""
    return 1 if config.input_channels is None else int(config.input_channels)


def pyramid_features(maps: Sequence[Tensor], stem_stride: int) -> Features:
    """Features of a pyramid: pooled is the mean over the coarsest map; positions are token centres in voxels.

    The finest tokens say in ``source`` which of them each voxel has, for answers about voxels.
    """
    coarsest = maps[-1]
    tokens = {}
    for depth in range(len(maps)):
        number = len(maps) - 1 - depth
        values = maps[number]
        stride = stem_stride * maps[0].shape[1] / values.shape[1]
        tokens[f"stage{number}"] = Tokens(
            values=values.flatten(1, 3), position=token_centres(values.shape[1:4], stride, values)
        )
    tokens["stage0"].source = voxel_tokens(maps[0].shape[:4], stem_stride, maps[0])
    return Features(pooled=coarsest.mean(dim=(1, 2, 3)), tokens=tokens)


def stages_together(backbone: VolumeBackbone, name: str, batch: Batch) -> Tokens:
    """Stages side by side.

    Args:
        name: ``all``: at the finest tokens, coarse stages from the token in which each lies, (B, T, sum of widths);
            ``source`` as of the finest. ``all-linear``: at every voxel, linear between the tokens of each stage.
            ``deep-linear``: the same of the coarser half of the stages.
    """
    maps = backbone.pyramid(batch.inputs["volume"])
    is_linear = name != TOGETHER
    stride = 1 if is_linear else backbone.stem_stride
    edges = tuple(size * backbone.stem_stride // stride for size in maps[0].shape[1:4])
    read = maps[len(maps) // 2 :] if name == DEEP else maps
    values = torch.cat([_carried(one.movedim(-1, 1), edges, is_linear) for one in read], dim=1).movedim(1, -1)
    return Tokens(
        values.flatten(1, 3),
        position=token_centres(edges, stride, maps[0]),
        source=voxel_tokens(values.shape[:4], stride, maps[0]),
    )


def _carried(values: Tensor, edges: tuple[int, ...], is_linear: bool) -> Tensor:
    """A map (B, C, d, h, w) at so many places along each axis."""
    if values.shape[2:] == edges:
        return values
    if is_linear:
        return F.interpolate(values, edges, mode="trilinear", align_corners=False)
    return F.interpolate(values, edges, mode="nearest")


def token_centres(shape: Sequence[int], stride: float, like: Tensor) -> Tensor:
    """Centre of each token in voxels of the cube, (B, T, 3)."""
    axes = [(torch.arange(size, device=like.device) + 0.5) * stride - 0.5 for size in shape]
    centres = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(1, -1, 3)
    return centres.expand(like.shape[0], -1, -1)


def voxel_tokens(shape: Sequence[int], stride: int, like: Tensor) -> Tensor:
    """Number of the token in which each voxel lies, int64 (B * D * H * W,), counted over the batch.

    Args:
        shape: (B, d, h, w) of the map.
        stride: voxels of a token along each axis.
    """
    count, sides = shape[0], [torch.arange(size * stride, device=like.device) // stride for size in shape[1:]]
    inner = (sides[0][:, None, None] * shape[2] + sides[1][:, None]) * shape[3] + sides[2]
    first = torch.arange(count, device=like.device) * (shape[1] * shape[2] * shape[3])
    return (first[:, None] + inner.reshape(1, -1)).reshape(-1)


def sinusoid_table(edge: int, width: int) -> Tensor:
    """Fixed positions (edge^3, width): sine and cosine pairs that take the three axes in turn, from fast to slow."""
    pairs = torch.arange(width // 2)
    axis, level = pairs % 3, pairs // 3
    rate = 10_000.0 ** (-level / max(1, (width // 2 + 2) // 3))
    places = torch.stack(torch.meshgrid(*[torch.arange(edge)] * 3, indexing="ij"), dim=-1).reshape(-1, 3)
    angle = places[:, axis].float() * rate
    table = torch.zeros(edge**3, width)
    table[:, 0 : 2 * len(pairs) : 2], table[:, 1 : 2 * len(pairs) : 2] = angle.sin(), angle.cos()
    return table
