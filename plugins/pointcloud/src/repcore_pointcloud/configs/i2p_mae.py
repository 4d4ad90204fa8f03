"""Settings of the hierarchical point encoder, of masked point modelling with or without a 2D teacher, and of tasks.

The defaults are the corrected behaviour; ``PUBLISHED_*`` run the authors' weights exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class PointEncoderConfig:
    """Three levels of tokens, each a group of neighbours among the tokens of the level below."""

    groups: tuple[int, int, int] = field(
        default=(512, 256, 64), metadata={"help": "tokens of the fine, middle and coarse level", "min": 1}
    )
    neighbours: tuple[int, int, int] = field(
        default=(16, 8, 8), metadata={"help": "points or finer tokens that a token of each level is made of", "min": 1}
    )
    widths: tuple[int, int, int] = field(
        default=(96, 192, 384), metadata={"help": "width of the tokens of each level", "min": 1}
    )
    depths: tuple[int, int, int] = field(
        default=(5, 5, 5), metadata={"help": "transformer blocks of each level", "min": 1, "max": 1000}
    )
    heads: int = field(default=6, metadata={"help": "attention heads, the same number on each level", "min": 1})
    mlp_ratio: float = field(default=4.0, metadata={"help": "feed-forward width = ratio x token width", "above": 0})
    point_widths: tuple[int, int] = field(
        default=(128, 256), metadata={"help": "inner widths of the first embedding, point by point", "min": 1}
    )
    joint_width: int = field(
        default=512, metadata={"help": "inner width of the first embedding after its maximum", "min": 1}
    )
    drop_path: float = field(
        default=0.1,
        metadata={"help": "rate of the last block; earlier ones rise linearly from 0", "min": 0, "below": 1},
    )
    local_radius: tuple[float, float, float] = field(
        default=(0.0, 0.0, 0.0),
        metadata={
            "help": "tokens further apart do not attend to each other; 0 = no limit",
            "unit": "cloud radii",
            "min": 0,
        },
    )
    exclude_origin: float | None = field(
        default=None,
        metadata={
            "help": "squared distance from the origin up to which a point is never chosen as a centre; the published "
            "kernel has 0.001, which makes tokens depend on where the cloud lies; none when left out",
            "unit": "cloud radii squared",
            "min": 0,
        },
    )
    hide_unreached: bool = field(
        default=True,
        metadata={
            "help": "leave out finer tokens that no coarser group holds: masked in every step of pre-training, and in "
            "the published features too; tasks that fine-tune show them"
        },
    )
    token_norms: bool = field(default=True, metadata={"help": "layer norm of the tokens that each level gives out"})
    legacy_radius_mask: bool = field(
        default=False,
        metadata={"help": "block a pair only if it is far apart and padding, as the published pre-training code does"},
    )
    pooling: Literal["max", "mean", "mean-max", "mean-plus-max", "all-levels"] = field(
        default="max",
        metadata={
            "help": "vector of a cloud from its coarse tokens: max (I2P-MAE), both side by side and twice as wide "
            "(mean-max), or their sum (Point-M2AE); all-levels: mean and max of the tokens of every level side by side"
        },
    )
    arithmetic: Literal["fast", "published"] = field(
        default="fast",
        metadata={
            "help": "published: the same sums in the published order, to the last bit and slower, for comparisons that "
            "amplify rounding (batch norms over very few rows)"
        },
    )
    norm_epsilon: float = field(default=1e-5, metadata={"help": "added to variances in layer norms", "above": 0})
    batch_norm_epsilon: float = field(default=1e-5, metadata={"help": "added to variances in batch norms", "above": 0})
    batch_norm_momentum: float = field(
        default=0.1, metadata={"help": "weight of a batch in the running statistics", "min": 0, "max": 1}
    )


PUBLISHED_ENCODER = PointEncoderConfig(exclude_origin=1e-3)
"""The one released size: 12.65 M parameters."""


@dataclass(frozen=True, kw_only=True)
class MaskedPointsConfig:
    """Masked point modelling: redraw hidden neighbourhoods, and with a teacher also what it sees in visible ones."""

    teacher: Literal["classical", "none", "random", "clip-local"] = field(
        default="classical",
        metadata={
            "help": "2D guide. classical: fixed gradient and depth features, no download (not the paper's results); "
            "none: Point-M2AE's objective; random: fixed random convolutions, a control; clip-local: a CLIP or other "
            "vision transformer from `teacher_path`"
        },
    )
    teacher_path: str = field(
        default="",
        metadata={"help": "for clip-local: a transformers folder, an OpenAI file, or an authors' checkpoint"},
    )
    teacher_seed: int = field(default=0, metadata={"help": "weights of the random teacher", "min": 0})
    teacher_width: int = field(default=32, metadata={"help": "features of the random teacher", "min": 1})
    teacher_heads: int | None = field(
        default=None,
        metadata={"help": "attention heads of a CLIP file that does not say it; width / 64 when left out", "min": 1},
    )
    teacher_image_norm: Literal["imagenet", "own"] = field(
        default="imagenet",
        metadata={"help": "mean and standard deviation of clip-local's images: of ImageNet (published), or its own"},
    )
    image_size: int = field(default=224, metadata={"help": "side of the depth images", "unit": "pixels", "min": 1})
    splat: int = field(
        default=5, metadata={"help": "side of the square that a point covers", "unit": "pixels", "min": 1}
    )
    mask_ratio: float = field(
        default=0.8, metadata={"help": "share of the coarse tokens that is hidden", "above": 0, "below": 1}
    )
    saliency: Literal["zscore", "raw", "proportional", "uniform"] = field(
        default="zscore",
        metadata={
            "help": "how the teacher's attention decides what stays visible. zscore: softmax of standardised scores; "
            "raw: softmax of the scores themselves, nearly uniform (published); proportional; uniform: not at all"
        },
    )
    saliency_temperature: float = field(default=1.0, metadata={"help": "divides standardised scores", "above": 0})
    weight_3d: float = field(default=1.0, metadata={"help": "factor of the point loss", "min": 0})
    weight_2d: float = field(default=1.0, metadata={"help": "factor of the feature loss", "min": 0})
    predicted_points: int | None = field(
        default=None,
        metadata={
            "help": "points drawn a hidden token; as many as it has when left out (published Point-M2AE: 16)",
            "min": 1,
        },
    )
    decoder_depths: tuple[int, int] = field(
        default=(1, 1),
        metadata={"help": "transformer blocks of the coarse and the middle decoder stage", "min": 0, "max": 1000},
    )
    decoder_drop_path: float = field(
        default=0.1, metadata={"help": "rate of the decoder's last block", "min": 0, "below": 1}
    )
    propagation_blocks: int = field(
        default=1, metadata={"help": "residual units between the decoder stages", "min": 0, "max": 1000}
    )
    propagation_neighbours: int = field(
        default=3, metadata={"help": "coarse tokens that a finer one is mixed from", "min": 1}
    )
    points: int | None = field(
        default=None, metadata={"help": "random subset of each cloud in every step; all points when left out", "min": 1}
    )
    scale: tuple[float, float] = field(
        default=(2 / 3, 3 / 2), metadata={"help": "range of the random stretch of each axis of each cloud", "above": 0}
    )
    shift: float = field(
        default=0.2, metadata={"help": "largest random shift along each axis", "unit": "cloud radii", "min": 0}
    )
    rotation: Literal["none", "up-axis", "any"] = field(
        default="none", metadata={"help": "random turn of each cloud (published: none)"}
    )
    up_axis: Literal["x", "y", "z"] = field(default="y", metadata={"help": "axis of rotation=up-axis"})
    skip_masked_groups: bool = field(
        default=False,
        metadata={
            "help": "embed only visible groups, about a third less work; batch norms then see visible groups only"
        },
    )
    legacy_first_token: bool = field(
        default=False,
        metadata={"help": "token 0 of the batch's first cloud is always visible on finer levels, as published"},
    )


PUBLISHED_I2P_MAE = MaskedPointsConfig(teacher="clip-local", saliency="raw", legacy_first_token=True)
PUBLISHED_POINT_M2AE = MaskedPointsConfig(
    teacher="none", saliency="uniform", legacy_first_token=True, predicted_points=16
)


@dataclass(frozen=True, kw_only=True)
class PointAugmentationConfig:
    """What every training batch of a task goes through, on the device."""

    scale: tuple[float, float] = field(
        default=(2 / 3, 3 / 2), metadata={"help": "range of the random stretch of each axis of each cloud", "above": 0}
    )
    shift: float = field(
        default=0.2, metadata={"help": "largest random shift along each axis", "unit": "cloud radii", "min": 0}
    )
    rotation: Literal["none", "up-axis", "any"] = field(default="none", metadata={"help": "random turn of each cloud"})
    up_axis: Literal["x", "y", "z"] = field(default="y", metadata={"help": "axis of rotation=up-axis"})
    points: int | None = field(
        default=None, metadata={"help": "random subset of each training cloud; all when left out", "min": 1}
    )


@dataclass(frozen=True, kw_only=True)
class ShapeClassConfig(PointAugmentationConfig):
    """Classification head of the published fine-tuning."""

    pooling: Literal["mean-plus-max", "mean-max"] = field(
        default="mean-plus-max",
        metadata={"help": "sum of mean and maximum (ModelNet40), or both side by side (ScanObjectNN)"},
    )
    hidden_widths: tuple[int, int] = field(default=(256, 256), metadata={"help": "inner widths of the head", "min": 1})
    dropout: float = field(default=0.5, metadata={"help": "after each inner layer of the head", "min": 0, "below": 1})
    label_smoothing: float = field(
        default=0.2,
        metadata={"help": "share of the target spread over the other classes; ScanObjectNN 0", "min": 0, "below": 1},
    )
    local_radius: tuple[float, float, float] = field(
        default=(0.0, 0.0, 0.0),
        metadata={
            "help": "local attention while fine-tuning; published 0.32, 0.64, 1.28",
            "unit": "cloud radii",
            "min": 0,
        },
    )
    neighbours: tuple[int, int, int] | None = field(
        default=None,
        metadata={"help": "group sizes while fine-tuning (the tokenizer takes any); unchanged if left out", "min": 1},
    )
    votes: int = field(
        default=1,
        metadata={"help": "predictions averaged over augmented copies of a cloud; 1 = the cloud itself", "min": 1},
    )


@dataclass(frozen=True, kw_only=True)
class PartSegmentationConfig(PointAugmentationConfig):
    """Per-point head of Point-M2AE's part segmentation."""

    propagation_widths: tuple[int, int] = field(
        default=(1536, 1024), metadata={"help": "widths of each level's map to the points", "min": 1}
    )
    head_widths: tuple[int, int, int] = field(
        default=(1024, 512, 256), metadata={"help": "inner widths of the head", "min": 1}
    )
    dropout: float = field(
        default=0.5, metadata={"help": "after the first inner layer of the head", "min": 0, "below": 1}
    )
    categories: int = field(
        default=0, metadata={"help": "object categories given beside the points; 0 = none", "min": 0}
    )


PUBLISHED_SHAPE_CLASS = ShapeClassConfig(local_radius=(0.32, 0.64, 1.28), neighbours=(48, 24, 24))
SCANOBJECT_SHAPE_CLASS = replace(
    PUBLISHED_SHAPE_CLASS,
    pooling="mean-max",
    label_smoothing=0.0,
    neighbours=(32, 16, 16),
    scale=(0.9, 1.1),
    shift=0.0,
    rotation="up-axis",
)
