"""A U-shaped decoder for any encoder of images or volumes: outputs at every pixel or voxel.

Backbones of volumes bring their own decoder along (``finest_decoder_map``); only the last layer is new. Encoders with
stages (``convnext``, ``resnet``) get :class:`StagesDecoder` on the maps of all of them.

Symbols: B images, K outputs, S edges.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repcore.errors import ConfigError
from repcore.interfaces import Batch
from repcore_medical3d.encoders.anatomy import AnatomyEncoder, input_channels
from repcore_medical3d.encoders.convnext import CONVOLUTIONS
from repcore_medical3d.encoders.volume_backbone import channels_of

TRIED_EDGE = 64  # pixels of the image that shows the widths of all stages


class StagesDecoder(nn.Module):
    """Outputs at full size from the maps of all stages.

    Args:
        depths: channels of the image and of every stage, fine to coarse.
        outputs: K.
        width: channels of every level.
        axes: 2 or 3.

    Call:
        maps: (B, C_i, *S_i), the first at full size.
    Returns:
        scores (B, K, *S).
    """

    def __init__(self, depths: Sequence[int], outputs: int, width: int, axes: int) -> None:
        super().__init__()
        convolution = CONVOLUTIONS[axes]
        self.mode = "bilinear" if axes == 2 else "trilinear"
        self.reduce = nn.ModuleList([convolution(depth, width, 1) for depth in depths])
        self.mix = nn.ModuleList(
            [
                nn.Sequential(
                    convolution(width, width, 3, padding=1), nn.GroupNorm(math.gcd(width, 8), width), nn.GELU()
                )
                for _ in depths[1:]
            ]
        )
        self.score = convolution(width, outputs, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        found = self.reduce[-1](maps[-1])
        for level in range(len(maps) - 2, -1, -1):
            found = F.interpolate(found, maps[level].shape[2:], mode=self.mode, align_corners=False)
            found = self.mix[level](found + self.reduce[level](maps[level]))
        scores: Tensor = self.score(found)
        return scores


def has_own_decoder(encoder: nn.Module) -> bool:
    """Whether a decoder came along with the encoder."""
    return hasattr(encoder, "finest_decoder_map")


def decoder_for(encoder: nn.Module, outputs: int, width: int) -> nn.Module:
    """What :func:`decoded` needs beside the encoder: a transposed convolution (1^3 where the encoder's own decoder
    reaches full size), or a :class:`StagesDecoder`.

    Args:
        outputs: K.
        width: channels of a :class:`StagesDecoder`.

    Raises:
        ConfigError: an encoder without a U-shaped decoder and without stages for one.
    """
    if not (has_own_decoder(encoder) or isinstance(encoder, AnatomyEncoder)):
        raise ConfigError(
            f"{type(encoder).__name__} has no U-shaped decoder and no stages for one",
            hint="medical3d/nnformer, swin-unetr, convnext or resnet, or --task voxel-classification",
        )
    was_training = encoder.training
    with torch.no_grad():
        own = has_own_decoder(encoder)
        found = _on_decoder(encoder.eval(), outputs) if own else _on_stages(encoder.eval(), outputs, width)
    encoder.train(was_training)
    return found


def decoded(encoder: nn.Module, decoder: nn.Module, batch: Batch) -> Tensor:
    """Outputs (B, K, *S) at every pixel or voxel.

    Args:
        decoder: from :func:`decoder_for` of this encoder.
    """
    known: Any = encoder  # either kind
    maps = finest_map(encoder, batch.inputs["volume"]) if has_own_decoder(encoder) else known.stage_maps(batch)
    outputs: Tensor = decoder(maps)
    return outputs


def finest_map(backbone: nn.Module, volume: Tensor) -> Tensor:
    """The decoder's last map (B, C, s, s, s) of cubes (B, channels, S, S, S)."""
    pyramid = backbone.pyramid(volume)  # type: ignore[operator]  # a backbone of volumes
    first = backbone.first_decoder_map(pyramid)  # type: ignore[operator]
    found: Tensor = backbone.finest_decoder_map(pyramid, first, volume)  # type: ignore[operator]
    return found


def _on_decoder(encoder: nn.Module, outputs: int) -> nn.Module:
    settings: Any = encoder.config  # of a backbone of volumes
    edge = int(settings.crop_edge)
    device = next(encoder.parameters()).device
    finest = finest_map(encoder, torch.zeros(1, channels_of(settings), edge, edge, edge, device=device))
    factor = edge // finest.shape[2]
    return nn.ConvTranspose3d(finest.shape[1], outputs, factor, stride=factor)


def _on_stages(encoder: Any, outputs: int, width: int) -> nn.Module:
    shape = (1, input_channels(encoder.config), *[TRIED_EDGE] * encoder.axes)
    blank = torch.zeros(shape, device=next(encoder.parameters()).device)
    name = "image" if encoder.axes == 2 else "volume"
    depths = [one.shape[1] for one in encoder.stage_maps(Batch(inputs={name: blank}, size=1))]
    return StagesDecoder(depths, outputs, width, encoder.axes)
