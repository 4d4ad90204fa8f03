"""Settings of Adam-v2: encoders in two and three dimensions, the objective, and that of its predecessor."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class AnatomyEncoderConfig:
    """What the encoders of this system share."""

    spatial_dims: Literal[2, 3] = field(default=2, metadata={"help": "2 = images, 3 = volumes"})
    input_channels: int | None = field(default=None, metadata={"help": "channels; from the preprocessor", "min": 1})
    input_size: int | None = field(
        default=None,
        metadata={
            "help": "whole images are resized to this edge; as they come when left out",
            "unit": "pixels",
            "min": 1,
        },
    )
    mean: tuple[float, ...] | None = field(
        default=None, metadata={"help": "taken off each channel; from the preprocessor"}
    )
    deviation: tuple[float, ...] | None = field(
        default=None, metadata={"help": "divides each channel; from the preprocessor", "above": 0}
    )
    pool_grid: int = field(
        default=1,
        metadata={
            "help": "cells along each axis whose means, side by side, are the vector of an image; 1 = one mean",
            "min": 1,
            "max": 32,
        },
    )


@dataclass(frozen=True, kw_only=True)
class ConvNextConfig(AnatomyEncoderConfig):
    """ConvNeXt with the key layout of the published weights."""

    depths: tuple[int, ...] = field(
        default=(3, 3, 27, 3), metadata={"help": "blocks of each stage", "min": 1, "max": 1000}
    )
    widths: tuple[int, ...] = field(
        default=(128, 256, 512, 1024), metadata={"help": "channels of each stage", "min": 1}
    )
    kernel: int = field(default=7, metadata={"help": "edge of the depthwise kernels; 3 or 5 for volumes", "min": 1})
    stem_stride: int = field(default=4, metadata={"help": "edge of the patches that the first layer reads", "min": 1})
    mlp_ratio: int = field(default=4, metadata={"help": "hidden width of a block, of its channels", "min": 1})
    norm_epsilon: float = field(default=1e-6, metadata={"help": "added to variances in norms", "above": 0})
    layer_scale: float = field(default=1e-6, metadata={"help": "first value of the branch factors gamma", "min": 0})
    drop_path: float = field(
        default=0.0,
        metadata={
            "help": "drop probability of the last block; earlier ones rise from 0 (pre-training: 0)",
            "min": 0,
            "below": 1,
        },
    )


@dataclass(frozen=True, kw_only=True)
class ResNetConfig(AnatomyEncoderConfig):
    """MONAI's ResNet, set up to equal torchvision's in two dimensions."""

    layers: tuple[int, int, int, int] = field(
        default=(3, 4, 6, 3), metadata={"help": "blocks of each stage", "min": 1, "max": 1000}
    )
    widths: tuple[int, int, int, int] = field(
        default=(64, 128, 256, 512), metadata={"help": "channels of each stage before expansion", "min": 1}
    )
    block: Literal["bottleneck", "basic"] = field(default="bottleneck", metadata={"help": "kind of residual block"})
    norm: Literal["batch", "group", "instance"] = field(
        default="batch", metadata={"help": "batch (published); group or instance for batches below 16 and volumes"}
    )
    stem_stride: int = field(default=2, metadata={"help": "stride of the first convolution", "min": 1})


@dataclass(frozen=True, kw_only=True)
class ViewsConfig:
    """How views are cut from an image or a volume, on the device, in one batch."""

    global_size: int = field(
        default=224, metadata={"help": "edge of whole, global and part views", "unit": "pixels", "min": 1}
    )
    local_size: int = field(default=96, metadata={"help": "edge of local views", "unit": "pixels", "min": 1})
    part_size: int | None = field(
        default=None, metadata={"help": "edge of part views; global_size when left out (3-D: half of it)", "min": 1}
    )
    local_views: int = field(
        default=8, metadata={"help": "local views an image, for the joint stage in pairs", "min": 0}
    )
    granularity: tuple[int, ...] = field(
        default=(0, 1, 2), metadata={"help": "exponents n, coarse to fine: an anchor has edges / 2**n", "min": 0}
    )
    granularity_shares: tuple[float, ...] = field(
        default=(10.0, 90.0, 165.0), metadata={"help": "share of the joint stage spent at each exponent", "min": 0}
    )
    warmup_granularity_shares: tuple[float, ...] = field(
        default=(200.0, 200.0, 100.0), metadata={"help": "share of the localizability stage at each exponent", "min": 0}
    )
    branching: tuple[int, ...] = field(
        default=(2, 2),
        metadata={"help": "parts along each axis; (2, 2, 2) makes octants, 1 leaves an axis whole", "min": 1},
    )
    smallest_part: int = field(
        default=8, metadata={"help": "least edge of a part before resizing", "unit": "pixels", "min": 1}
    )
    anchor_margin: float = field(
        default=50 / 1024,
        metadata={
            "help": "border without anchors, of the edge, where room is left (published: 50 of 1024 pixels)",
            "min": 0,
            "below": 0.5,
        },
    )
    rotation_degrees: float = field(
        default=10.0, metadata={"help": "largest turn of a view", "unit": "degrees", "min": 0}
    )
    warmup_rotation_degrees: float = field(
        default=30.0, metadata={"help": "largest turn in the localizability stage", "unit": "degrees", "min": 0}
    )
    rotation_fill: Literal["image", "zero"] = field(
        default="image", metadata={"help": "corners of turned views: from the image around, or black (published)"}
    )
    jitter_chance: float = field(
        default=0.8, metadata={"help": "chance that a view's intensities are changed", "min": 0, "max": 1}
    )
    brightness: float = field(default=0.4, metadata={"help": "largest relative change of brightness", "min": 0})
    contrast: float = field(default=0.4, metadata={"help": "largest relative change of contrast", "min": 0})
    gamma: float = field(default=0.0, metadata={"help": "largest change of the logarithm of gamma (volumes)", "min": 0})
    saturation: float = field(
        default=0.2, metadata={"help": "largest relative change of saturation; colour only", "min": 0}
    )
    hue: float = field(
        default=0.1,
        metadata={"help": "largest turn of the hue; colour only", "unit": "of a circle", "min": 0, "max": 0.5},
    )
    blur: tuple[float, float] = field(
        default=(0.1, 2.0),
        metadata={"help": "standard deviation of the smoothing, range", "unit": "pixels of a view", "min": 0},
    )


@dataclass(frozen=True, kw_only=True)
class AdamV2Config:
    """Localizability, composability and decomposability."""

    views: ViewsConfig = field(default_factory=ViewsConfig, metadata={"help": "how views are cut"})
    warmup_share: float = field(
        default=0.0,
        metadata={
            "help": "leading share of the run that learns localizability alone (published: 500 of 765 epochs)",
            "min": 0,
            "max": 1,
        },
    )
    prototypes: int = field(default=65_536, metadata={"help": "outputs of the localizability head", "min": 1})
    hidden_width: int = field(default=2048, metadata={"help": "of the localizability head", "min": 1})
    bottleneck_width: int = field(
        default=256, metadata={"help": "of the unit vectors compared with prototypes", "min": 1}
    )
    head_layers: int = field(
        default=3, metadata={"help": "linear layers of the localizability head's MLP", "min": 1, "max": 1000}
    )
    head_batch_norm: bool = field(default=False, metadata={"help": "BatchNorm inside the localizability head"})
    freeze_prototype_scale: bool = field(
        default=True, metadata={"help": "keep every prototype at length 1, so that logits are cosines"}
    )
    freeze_last_layer_epochs: float = field(
        default=1.0,
        metadata={"help": "epochs during which the prototypes stay as they are", "unit": "epochs", "min": 0},
    )
    student_temperature: float = field(default=0.1, metadata={"help": "of the student's softmax", "above": 0})
    teacher_temperature: float = field(
        default=0.04, metadata={"help": "of the teacher's softmax at the end", "above": 0}
    )
    teacher_temperature_start: float = field(
        default=0.04, metadata={"help": "of the teacher's softmax at the start", "above": 0}
    )
    teacher_temperature_epochs: int = field(
        default=0, metadata={"help": "epochs of the linear way from start to end", "unit": "epochs", "min": 0}
    )
    centre_momentum: float = field(
        default=0.9, metadata={"help": "share of the old centre that stays each step", "min": 0, "max": 1}
    )
    teacher_momentum: float = field(
        default=0.996,
        metadata={"help": "share of the teacher that stays each step; rises to 1 along a cosine", "min": 0, "max": 1},
    )
    localizability_weight: float = field(default=1.0, metadata={"help": "factor of the localizability loss", "min": 0})
    composability_weight: float = field(default=1.0, metadata={"help": "factor of the composability loss", "min": 0})
    decomposability_weight: float = field(
        default=1.0, metadata={"help": "factor of the decomposability loss", "min": 0}
    )
    part_whole_reduction: Literal["mean", "sum"] = field(
        default="mean",
        metadata={"help": "over the embedding width: mean (published, makes the terms tiny) or sum (2 - 2 cos)"},
    )
    decompose_norm: Literal["joint", "per_part"] = field(
        default="joint",
        metadata={"help": "predicted parts become unit vectors together (published; cannot reach 0) or one by one"},
    )
    passes: Literal["fused", "separate"] = field(
        default="fused",
        metadata={"help": "fused: one batch a resolution; separate: a pass a part and view (published; for BatchNorm)"},
    )
    tensor_clip_norm: float | None = field(
        default=3.0, metadata={"help": "largest gradient norm of each tensor on its own; null = none", "above": 0}
    )
    export: Literal["student", "teacher"] = field(
        default="teacher", metadata={"help": "which network becomes the model (published: teacher)"}
    )
    collapse_patience: int = field(
        default=50,
        metadata={"help": "steps in a collapsed state after which the run stops; 0 = never", "unit": "steps", "min": 0},
    )


@dataclass(frozen=True, kw_only=True)
class AdamV1Config:
    """The predecessor: momentum contrast of one anatomical cell, with purposive pruning of negatives."""

    cells: tuple[int, ...] = field(
        default=(0, 2, 4), metadata={"help": "cells along each edge, coarse to fine; 0 = the whole image", "min": 0}
    )
    cells_shares: tuple[float, ...] = field(
        default=(1.0, 1.0, 1.0), metadata={"help": "share of the run spent at each number of cells", "min": 0}
    )
    size: int = field(default=224, metadata={"help": "edge of a view", "unit": "pixels", "min": 1})
    width: int = field(default=128, metadata={"help": "of the vectors that are compared", "min": 1})
    queue: int = field(default=65_536, metadata={"help": "vectors of earlier batches kept as negatives", "min": 1})
    temperature: float = field(default=0.2, metadata={"help": "divides cosines", "above": 0})
    momentum: float = field(
        default=0.999, metadata={"help": "share of the key encoder that stays each step", "min": 0, "max": 1}
    )
    pruning_threshold: float = field(
        default=0.8,
        metadata={"help": "negatives at least this similar (cosine) are left out, except at 0 cells", "min": -1},
    )
    rotation_degrees: float = field(
        default=30.0, metadata={"help": "largest turn of a view", "unit": "degrees", "min": 0}
    )
    brightness: float = field(default=0.4, metadata={"help": "largest relative change of brightness", "min": 0})
    contrast: float = field(default=0.4, metadata={"help": "largest relative change of contrast", "min": 0})
    blur: tuple[float, float] = field(
        default=(0.1, 2.0), metadata={"help": "range of the smoothing", "unit": "pixels", "min": 0}
    )
    export: Literal["student", "teacher"] = field(
        default="student", metadata={"help": "query encoder (student) or key encoder (teacher)"}
    )
