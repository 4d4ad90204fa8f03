"""Settings of sparse U-Nets over voxels: Res16UNet34C, SpUNet, and a narrow one for CPUs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class SparseUNetConfig:
    """Shape of a sparse U-Net; the first half of the stages goes down, the second half up."""

    input_width: int | None = field(
        default=None, metadata={"help": "channels of a voxel; null = from preprocessor", "min": 1}
    )
    stem_width: int = field(default=32, metadata={"help": "channels after the first convolution", "min": 1})
    stem_kernel: int = field(default=5, metadata={"help": "side of the first convolution", "unit": "voxels", "min": 1})
    stage_widths: tuple[int, ...] = field(
        default=(32, 64, 128, 256, 256, 128, 96, 96),
        metadata={"help": "channels of every stage, down then up", "min": 1},
    )
    stage_blocks: tuple[int, ...] = field(
        default=(2, 3, 4, 6, 2, 2, 2, 2), metadata={"help": "residual blocks of every stage", "min": 1, "max": 1000}
    )
    width_changes_at: Literal["down-convolution", "block"] = field(
        default="down-convolution", metadata={"help": "where a stage takes its width: SpUNet or Res16UNet"}
    )
    output_width: int | None = field(
        default=None, metadata={"help": "channels of a last 1 x 1 layer; null = none", "min": 1}
    )
    batch_norm_epsilon: float = field(default=1e-3, metadata={"help": "added to the variance", "above": 0})
    batch_norm_momentum: float = field(
        default=0.01, metadata={"help": "weight of a new batch's statistics", "min": 0, "max": 1}
    )
    initialisation: Literal["uniform", "truncated-normal"] = field(
        default="truncated-normal", metadata={"help": "first weights of submanifold convolutions"}
    )


SPUNET = SparseUNetConfig()
"""Pointcept `SpUNet-v1m1`."""

RES16UNET34C = SparseUNetConfig(
    stem_kernel=3, width_changes_at="block", batch_norm_epsilon=1e-5, batch_norm_momentum=0.05, initialisation="uniform"
)
"""PointContrast and CSC; model-zoo weights of SpatioTemporalSegmentation have ``stem_kernel=5``."""

NARROW = SparseUNetConfig(
    stem_width=16,
    stem_kernel=3,
    stage_widths=(16, 32, 48, 64, 64, 48, 32, 32),
    stage_blocks=(1, 1, 1, 1, 1, 1, 1, 1),
    batch_norm_momentum=0.1,
    initialisation="uniform",
)
"""About 1.2 M parameters: for CPUs and tests."""
