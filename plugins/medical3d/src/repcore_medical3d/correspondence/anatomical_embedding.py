"""The anatomical-embedding network: a fine and a coarse unit vector for every place of a scan.

Source: Yan et al. 2022 (self-supervised anatomical embedding, arXiv 2012.02383); `alibaba-damo-academy/alice` and
`alibaba-damo-academy/self-supervised-anatomical-embedding-v2`, network files. ResNet-18 over three axes, whose depth is
(slices, rows, columns).
Differs: plain torch modules instead of the OpenMMLab stack; unused pyramid levels are left out.

Symbols: B volumes, (Z, Y, X) voxels, F embedding width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STAGE_STRIDES = ((1, 2, 2), (1, 2, 2), (1, 2, 2), (2, 2, 2))
STAGE_DEPTHS = (1, 1, 3, 3)  # kernel size along slices
BLOCKS = 2
POOL = (2, 1, 1)  # after the first stage, so that fine features have stride 2 along every axis
COARSE_STRIDE = (4, 16, 16)
FINE_STRIDE = (2, 2, 2)
INPUT_OFFSET, INPUT_RANGE = 50.0, 255.0
INPUT_WINDOW_HU = (-1024.0, 3071.0)


class ConvNorm(nn.Sequential):
    """Convolution without bias and batch norm."""

    def __init__(
        self, wide_in: int, wide_out: int, kernel: tuple[int, int, int], stride: tuple[int, int, int] = (1, 1, 1)
    ) -> None:
        padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
        super().__init__(
            nn.Conv3d(wide_in, wide_out, kernel, stride=stride, padding=padding, bias=False), nn.BatchNorm3d(wide_out)
        )


class ResidualBlock(nn.Module):
    """Two convolutions and a residual."""

    def __init__(self, wide_in: int, wide_out: int, depth: int, stride: tuple[int, int, int]) -> None:
        super().__init__()
        self.first = ConvNorm(wide_in, wide_out, (depth, 3, 3), stride)
        self.second = ConvNorm(wide_out, wide_out, (depth, 3, 3))
        is_plain = wide_in == wide_out and stride == (1, 1, 1)
        self.shortcut = nn.Identity() if is_plain else ConvNorm(wide_in, wide_out, (1, 1, 1), stride)

    def forward(self, maps: Tensor) -> Tensor:
        inner = self.second(F.relu(self.first(maps)))
        return F.relu(inner + self.shortcut(maps))


class AnatomicalEmbedding(nn.Module):
    """Dense anatomical embeddings.

    Args:
        base: channels of the stem and the first stage; published 64.
        width: F; published 128.

    Call:
        volume: float (B, 1, Z, Y, X), as :func:`embedding_input` makes it.
    Returns:
        fine (B, F, Z/2, Y/2, X/2) and coarse (B, F, Z/4, Y/16, X/16), unit vectors.
    """

    def __init__(self, base: int = 64, width: int = 128) -> None:
        super().__init__()
        self.base, self.width = base, width
        self.stem = ConvNorm(1, base, (3, 7, 7))
        widths = [base * 2**number for number in range(4)]
        self.stages = nn.ModuleList()
        wide_in = base
        for wide_out, stride, depth in zip(widths, STAGE_STRIDES, STAGE_DEPTHS, strict=True):
            blocks = [ResidualBlock(wide_in, wide_out, depth, stride)]
            blocks += [ResidualBlock(wide_out, wide_out, depth, (1, 1, 1)) for _ in range(BLOCKS - 1)]
            self.stages.append(nn.Sequential(*blocks))
            wide_in = wide_out
        self.fine_laterals = nn.ModuleList(nn.Conv3d(one, width, 1) for one in widths[:3])
        self.fine_out = nn.Conv3d(width, width, 3, padding=1)
        self.coarse_lateral = nn.Conv3d(widths[3], width, 1)
        self.coarse_out = nn.Conv3d(width, width, 3, padding=1)

    def forward(self, volume: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.stage_maps(volume)
        raised = self.fine_laterals[2](maps[2])
        for number in (1, 0):
            lateral = self.fine_laterals[number](maps[number])
            raised = lateral + F.interpolate(raised, size=lateral.shape[2:], mode="nearest")
        fine = F.normalize(self.fine_out(raised), dim=1)
        coarse = F.normalize(self.coarse_out(self.coarse_lateral(maps[3])), dim=1)
        return fine, coarse

    def stage_maps(self, volume: Tensor) -> list[Tensor]:
        """Outputs of the four stages, the first after its pooling."""
        maps, found = F.relu(self.stem(volume)), []
        for number, stage in enumerate(self.stages):
            maps = stage(maps)
            if number == 0:
                maps = F.max_pool3d(maps, POOL)
            found.append(maps)
        return found


def embedding_input(values: Tensor, window: tuple[float, float] = INPUT_WINDOW_HU) -> Tensor:
    """Values of a scan as the network wants them: clipped to the window, 0 to 255, minus 50."""
    low, high = window
    return (values.clamp(low, high) - low) / (high - low) * INPUT_RANGE - INPUT_OFFSET


def padded_to_stride(volume: Tensor) -> Tensor:
    """(B, 1, Z, Y, X) padded at its ends with its lowest value to a multiple of the coarse stride."""
    missing = [(-size) % stride for size, stride in zip(volume.shape[2:], COARSE_STRIDE, strict=True)]
    if not any(missing):
        return volume
    return F.pad(volume, (0, missing[2], 0, missing[1], 0, missing[0]), value=float(volume.min()))


@torch.no_grad()
def embed(network: AnatomicalEmbedding, volume: Tensor) -> tuple[Tensor, Tensor]:
    """Fine and coarse embeddings of one scan (Z, Y, X) in the network's units, without gradient: (F, ...) each."""
    was_training = network.training
    network.eval()
    fine, coarse = network(padded_to_stride(volume[None, None]))
    network.train(was_training)
    return fine[0], coarse[0]
