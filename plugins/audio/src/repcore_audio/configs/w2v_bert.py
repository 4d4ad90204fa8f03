"""Settings of the W2v-BERT encoder and of its objective.

The defaults are the published values where something was published; ``PUBLISHED_LARGE`` is the size of the released
checkpoint. Where public codes differ from each other or hurt, the default is the corrected one, and a flag brings the
other back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class W2vBertConfig:
    """Conformer layers over frames of 20 or 40 ms."""

    width: int = field(default=256, metadata={"help": "width of frames and of clip vectors", "min": 1})
    depth: int = field(
        default=8, metadata={"help": "number of layers, lower and upper ones together", "min": 1, "max": 1000}
    )
    heads: int = field(default=4, metadata={"help": "attention heads; divide the width", "min": 1})
    feed_forward_width: int = field(default=1024, metadata={"help": "inner width of both feed-forward parts", "min": 1})
    kernel: int = field(default=31, metadata={"help": "taps of the causal convolution", "unit": "frames", "min": 1})
    left_positions: int = field(
        default=64, metadata={"help": "farthest frame before that attention tells apart", "unit": "frames", "min": 0}
    )
    right_positions: int = field(
        default=8, metadata={"help": "farthest frame behind that attention tells apart", "unit": "frames", "min": 0}
    )
    front_end: Literal["conv", "stacked"] = field(
        default="conv",
        metadata={
            "help": "conv: two convolutions with stride 2, a frame every 4 log-mel frames (paper); stacked: pairs of "
            "log-mel frames side by side, a frame every 2 (released checkpoint)"
        },
    )
    channels: int = field(default=64, metadata={"help": "channels of the two convolutions of front_end=conv", "min": 1})
    mel_bins: int | None = field(
        default=None, metadata={"help": "height of the input; from the preprocessor", "min": 1}
    )
    pooling: Literal["mean", "max", "segments"] = field(
        default="mean",
        metadata={
            "help": "clip vector: mean or maximum over frames, or means of four stretches of time side by side (keeps "
            "order, four times as wide)"
        },
    )
    dropout: float = field(
        default=0.0, metadata={"help": "on the result of every branch while training", "min": 0, "below": 1}
    )
    norm_epsilon: float = field(default=1e-5, metadata={"help": "added to variances in norms", "above": 0})


PUBLISHED_LARGE = W2vBertConfig(
    width=1024, depth=24, heads=16, feed_forward_width=4096, kernel=31, front_end="stacked", mel_bins=80
)
"""The released encoder of 580 million parameters."""


@dataclass(frozen=True, kw_only=True)
class CodeTargetsConfig:
    """Contrast against quantised frames below, prediction of their codes above, in one pass."""

    lower_layers: int | None = field(
        default=None, metadata={"help": "layers below the contrast; half of them when left out", "min": 1}
    )
    groups: int = field(default=1, metadata={"help": "codebooks of the product quantiser", "min": 1})
    codebook: int = field(default=1024, metadata={"help": "codes of a codebook", "min": 2})
    code_width: int = field(default=1024, metadata={"help": "width of the codes of all groups together", "min": 1})
    contrast_width: int = field(default=768, metadata={"help": "width in which frames meet codes", "min": 1})
    project: bool = field(
        default=True,
        metadata={"help": "false: compare layer outputs with codes as they are (code_width = width; WeNet)"},
    )
    codes: Literal["hard", "soft"] = field(
        default="hard",
        metadata={
            "help": "hard: one code a group, gradient straight through, equal codes are no negatives; soft: mixtures "
            "of codes, so that equal codes stay negatives (WeNet)"
        },
    )
    targets: Literal["clean", "sampled"] = field(
        default="clean",
        metadata={"help": "codes to predict: the likeliest ones, or those drawn with Gumbel noise (public codes)"},
    )
    negatives: int = field(default=100, metadata={"help": "other hidden frames of the clip in a contrast", "min": 1})
    kappa: float = field(default=0.1, metadata={"help": "divides cosines in the contrast", "above": 0})
    tau_start: float = field(default=2.0, metadata={"help": "Gumbel temperature of the first step", "above": 0})
    tau_end: float = field(
        default=0.5, metadata={"help": "Gumbel temperature of the last step; published 0.1", "above": 0}
    )
    tau_decay: float | None = field(
        default=None,
        metadata={
            "help": "factor a step down to tau_end (published 0.999995); left out: geometric over the run",
            "above": 0,
            "max": 1,
        },
    )
    start_probability: float = field(
        default=0.065, metadata={"help": "share of frames at which a hidden span starts", "min": 0, "max": 1}
    )
    span: int = field(default=10, metadata={"help": "length of a hidden span", "unit": "frames", "min": 1})
    noise: float = field(
        default=0.1, metadata={"help": "standard deviation of what stands in place of hidden frames", "above": 0}
    )
    perplexity_over: Literal["valid", "masked"] = field(
        default="valid", metadata={"help": "frames whose codes should be diverse: all, or the hidden ones"}
    )
    contrast_weight: float = field(default=1.0, metadata={"help": "factor of contrast and diversity", "min": 0})
    diversity_weight: float = field(
        default=0.1, metadata={"help": "factor of the diversity inside the contrast", "min": 0}
    )
    prediction_weight: float = field(default=1.0, metadata={"help": "factor of the prediction of codes", "min": 0})
    prediction_warmup: int = field(
        default=0,
        metadata={"help": "steps over which the prediction's factor rises from a tenth; WeNet 25,000", "min": 0},
    )
    feature_penalty: float = field(
        default=0.0, metadata={"help": "factor of the mean square of the front end's output; WeNet 0.01", "min": 0}
    )
    warm_heads: float = field(
        default=0.0,
        metadata={
            "help": "first share of the run in which the encoder stays as it is: for released weights, whose quantiser "
            "and heads start anew (0.1)",
            "min": 0,
            "below": 1,
        },
    )
