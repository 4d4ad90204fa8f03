"""Settings of the SSAMBA encoder and of its masked-patch objective.

Two flavours of the same code: ``PUBLISHED_*`` runs the authors' weights exactly (paired wiring, two final norms,
short-memory backward scan); the defaults are what to train from scratch with.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class SsambaConfig:
    """A stack of bidirectional Mamba blocks over spectrogram patches."""

    width: int = field(default=192, metadata={"help": "width of tokens and of clip vectors", "min": 1})
    depth: int = field(default=24, metadata={"help": "number of blocks; even for paired wiring", "min": 1, "max": 1000})
    states: int = field(default=16, metadata={"help": "states a channel in the scan", "min": 1})
    expansion: int = field(default=2, metadata={"help": "inner channels = expansion x width", "min": 1})
    convolution_width: int = field(
        default=4, metadata={"help": "taps of the causal convolution", "unit": "tokens", "min": 1}
    )
    step_rank: int | None = field(
        default=None, metadata={"help": "rank of the step projection; width / 16 when left out", "min": 1}
    )
    patch_frequency: int = field(default=16, metadata={"help": "height of a patch", "unit": "mel bins", "min": 1})
    patch_time: int = field(default=16, metadata={"help": "length of a patch", "unit": "frames", "min": 1})
    stride_frequency: int | None = field(
        default=None, metadata={"help": "patch_frequency when left out", "unit": "mel bins", "min": 1}
    )
    stride_time: int | None = field(
        default=None, metadata={"help": "patch_time when left out", "unit": "frames", "min": 1}
    )
    mel_bins: int | None = field(
        default=None, metadata={"help": "height of the input; from the preprocessor", "min": 1}
    )
    frames: int | None = field(
        default=None,
        metadata={"help": "input length that the position table is made for; from the preprocessor", "min": 1},
    )
    position_grid: tuple[int, int] | None = field(
        default=None,
        metadata={
            "help": "rows and columns of the position table; from mel_bins, frames and strides when left out",
            "min": 1,
        },
    )
    wiring: Literal["sequential", "paired"] = field(
        default="sequential",
        metadata={
            "help": "paired: every second block sees the reversed tokens and residuals add up (published weights)"
        },
    )
    double_final_norm: bool = field(default=False, metadata={"help": "apply the final norm twice (published weights)"})
    legacy_dt_b_init: bool = field(
        default=False,
        metadata={"help": "initialise the backward scan's step as published: short memory, unlike the forward scan"},
    )
    direction_scale: float = field(default=0.5, metadata={"help": "factor on the sum of both directions", "above": 0})
    normalisation: Literal["layer", "rms"] = field(
        default="layer", metadata={"help": "norm of the blocks and at the end"}
    )
    norm_epsilon: float = field(default=1e-5, metadata={"help": "added to variances in norms", "above": 0})
    pooling: Literal["mean", "segments", "band-segments", "cls", "max"] = field(
        default="mean",
        metadata={
            "help": "clip vector: mean over patches (ft_avgtok), means of four stretches of time side by side (keeps "
            "order, four times as wide), the same for each mel band, class token (ft_cls), or maximum over patches"
        },
    )
    drop_path: float = field(
        default=0.1,
        metadata={
            "help": "drop probability of the last block; earlier ones rise linearly from 0",
            "min": 0,
            "below": 1,
        },
    )


SSAMBA_TINY = SsambaConfig()
SSAMBA_SMALL = SsambaConfig(width=384)
SSAMBA_BASE = SsambaConfig(width=768)

PUBLISHED_TINY = replace(
    SSAMBA_TINY, wiring="paired", double_final_norm=True, legacy_dt_b_init=True, mel_bins=128, frames=1024
)
"""The released tiny model: 7.3 M numbers in the file, 193 k of them in a head that nothing uses."""
PUBLISHED_SMALL = replace(PUBLISHED_TINY, width=384)
PUBLISHED_BASE = replace(PUBLISHED_TINY, width=768)


@dataclass(frozen=True, kw_only=True)
class MaskedPatchesConfig:
    """Masked spectrogram patch modelling: find (InfoNCE) and redraw (squared error) the hidden patches."""

    mask_ratio: float = field(
        default=0.6, metadata={"help": "share of a clip's patches that are hidden", "above": 0, "below": 1}
    )
    masked_patches: int | None = field(
        default=None,
        metadata={"help": "hidden patches a clip; takes the place of mask_ratio (published: 250, 300, 400)", "min": 1},
    )
    mask_sampler: Literal["cluster", "random", "legacy-cluster"] = field(
        default="cluster",
        metadata={
            "help": "cluster: square blocks, every patch equally often; random: single patches; legacy-cluster: "
            "the published sampler with its bias against low frequencies and the last patches"
        },
    )
    cluster_sizes: tuple[int, ...] = field(
        default=(3, 4, 5), metadata={"help": "sides of a block, one drawn a clip", "unit": "patches", "min": 1}
    )
    passes: Literal["shared", "separate"] = field(
        default="shared",
        metadata={"help": "shared: one mask and one encoder pass for both losses; separate: one each (published)"},
    )
    negatives: Literal["clip", "batch"] = field(
        default="clip", metadata={"help": "clip: the other hidden patches of the clip; batch: of all clips"}
    )
    softmax_over: Literal["predictions", "targets"] = field(
        default="predictions", metadata={"help": "predictions: as the published code; targets: as the paper's equation"}
    )
    similarity: Literal["dot", "cosine"] = field(
        default="dot", metadata={"help": "dot: raw products as published; cosine: unit vectors"}
    )
    temperature: float = field(default=1.0, metadata={"help": "divides similarities; published 1", "above": 0})
    contrastive_weight: float = field(default=1.0, metadata={"help": "factor of the contrastive loss", "min": 0})
    reconstruction_weight: float = field(default=10.0, metadata={"help": "factor of the squared error", "min": 0})


PUBLISHED_MASKED_PATCHES = MaskedPatchesConfig(masked_patches=400, mask_sampler="legacy-cluster", passes="separate")


@dataclass(frozen=True, kw_only=True)
class SoundTaskConfig:
    """The published fine-tuning head, with SpecAugment and mixup."""

    pooling: Literal["ft_avgtok", "ft_cls"] = field(
        default="ft_avgtok", metadata={"help": "what the head reads: the mean over patch tokens, or the class token"}
    )
    frequency_mask: int = field(
        default=0, metadata={"help": "widest band hidden while training; 0 = none", "unit": "mel bins", "min": 0}
    )
    time_mask: int = field(
        default=0, metadata={"help": "longest stretch hidden while training; 0 = none", "unit": "frames", "min": 0}
    )
    mask_level: Literal["zero", "mean"] = field(
        default="zero",
        metadata={"help": "log-mel value of what is hidden: 0 before normalisation (published), or the mean"},
    )
    noise: float = field(
        default=0.0, metadata={"help": "largest level of uniform noise on normalised values; published 0.1", "min": 0}
    )
    roll: int = field(
        default=0, metadata={"help": "largest shift in time, round the end; published 10", "unit": "frames", "min": 0}
    )
    mixup: float = field(
        default=0.0,
        metadata={"help": "share of training batches whose clips are mixed with each other", "min": 0, "max": 1},
    )
    mixup_concentration: float = field(
        default=10.0, metadata={"help": "of the beta distribution of the mixing share", "above": 0}
    )
    class_weights: Literal["none", "balanced"] = field(
        default="none", metadata={"help": "balanced: every class weighs the same, from training labels"}
    )
