"""Settings of the backbones that Alice trains."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class NnFormerConfig:
    """The published backbone: convolutional stem, four window-attention stages, skip-attention decoder."""

    crop_edge: int | None = field(
        default=None, metadata={"help": "edge of the cubes; from the preprocessor", "unit": "voxels", "min": 1}
    )
    input_channels: int | None = field(
        default=None, metadata={"help": "channels of a scan; from the preprocessor", "min": 1}
    )
    width: int = field(default=48, metadata={"help": "channels after the stem; doubles with every stage", "min": 1})
    depths: tuple[int, ...] = field(
        default=(2, 2, 2, 2), metadata={"help": "blocks of the encoder's stages", "min": 1, "max": 1000}
    )
    heads: tuple[int, ...] = field(
        default=(6, 12, 24, 48), metadata={"help": "attention heads of the stages", "min": 1}
    )
    windows: tuple[int, ...] = field(
        default=(4, 4, 8, 4),
        metadata={"help": "edge of the attention windows of the stages", "unit": "tokens", "min": 1},
    )
    mlp_ratio: float = field(default=4.0, metadata={"help": "hidden width of a block's MLP over its width", "above": 0})
    use_qkv_bias: bool = field(default=True, metadata={"help": "biases of query, key and value"})
    norm_epsilon: float = field(default=1e-5, metadata={"help": "added to variances in norms", "above": 0})
    drop_path: float = field(
        default=0.2,
        metadata={
            "help": "drop probability of the last block; earlier ones rise linearly from 0",
            "min": 0,
            "below": 1,
        },
    )
    legacy_relative_index: bool = field(
        default=False,
        metadata={"help": "index of the position biases as published, in which different offsets share an entry"},
    )


@dataclass(frozen=True, kw_only=True)
class SwinUnetrConfig:
    """MONAI's SwinUNETR: shifted windows and a convolutional decoder."""

    crop_edge: int | None = field(
        default=None,
        metadata={
            "help": "edge of the cubes, a multiple of 32 from 64 on; from the preprocessor",
            "unit": "voxels",
            "min": 1,
        },
    )
    input_channels: int | None = field(
        default=None, metadata={"help": "channels of a scan; from the preprocessor", "min": 1}
    )
    width: int = field(default=48, metadata={"help": "channels after the stem, a multiple of 12", "min": 1})
    depths: tuple[int, int, int, int] = field(
        default=(2, 2, 2, 2), metadata={"help": "blocks of the stages", "min": 1, "max": 1000}
    )
    heads: tuple[int, int, int, int] = field(default=(3, 6, 12, 24), metadata={"help": "attention heads", "min": 1})
    window: int = field(default=7, metadata={"help": "edge of the attention windows", "unit": "tokens", "min": 1})
    is_version_2: bool = field(default=False, metadata={"help": "residual convolutions before the stages (VoCo)"})
    drop_path: float = field(default=0.0, metadata={"help": "drop probability of the last block", "min": 0, "below": 1})


@dataclass(frozen=True, kw_only=True)
class VolumeVitConfig:
    """MONAI's ViT with a transposed-convolution decoder of our own."""

    crop_edge: int | None = field(
        default=None, metadata={"help": "edge of the cubes; from the preprocessor", "unit": "voxels", "min": 1}
    )
    input_channels: int | None = field(
        default=None, metadata={"help": "channels of a scan; from the preprocessor", "min": 1}
    )
    patch: int = field(default=16, metadata={"help": "edge of a patch, a power of two", "unit": "voxels", "min": 1})
    width: int = field(default=768, metadata={"help": "width of the tokens", "min": 1})
    mlp_width: int = field(default=3072, metadata={"help": "hidden width of the MLPs", "min": 1})
    depth: int = field(default=12, metadata={"help": "blocks", "min": 1, "max": 1000})
    heads: int = field(default=12, metadata={"help": "attention heads", "min": 1})
