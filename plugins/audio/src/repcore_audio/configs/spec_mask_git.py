"""Settings of SpecMaskGIT: tokens of a spectrogram, the transformer over them, and its objective."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from repcore_audio.configs.spectrogram import LogMelConfig


@dataclass(frozen=True, kw_only=True)
class SpecTokensConfig(LogMelConfig):
    """Log-mel patches as numbers of a small codebook; ``frames`` is a multiple of ``patch_time``."""

    mel_bins: int = field(default=80, metadata={"help": "filters of the bank, a multiple of patch_frequency", "min": 1})
    frames: int = field(
        default=848,
        metadata={
            "help": "longest clip that the encoder sees at once; longer recordings become windows",
            "unit": "frames",
            "min": 1,
        },
    )
    patch_frequency: int = field(default=16, metadata={"help": "height of a patch", "unit": "mel bins", "min": 1})
    patch_time: int = field(default=16, metadata={"help": "length of a patch", "unit": "frames", "min": 1})
    codes: int = field(default=1024, metadata={"help": "size of the codebook", "min": 2})
    tokeniser: Literal["kmeans", "vq", "import"] = field(
        default="kmeans",
        metadata={
            "help": "kmeans: centres of patches, no training; vq: a small network with a quantiser; import: the file "
            "that another model saved (tokeniser_file)"
        },
    )
    tokeniser_file: str = field(default="", metadata={"help": "tokeniser.safetensors of another model, for import"})
    tokeniser_patches: int = field(
        default=40_000, metadata={"help": "most training patches that the tokeniser is made from", "min": 2}
    )
    tokeniser_steps: int = field(
        default=2000, metadata={"help": "optimiser steps of tokeniser=vq, of 256 patches each", "min": 1}
    )
    tokeniser_seed: int = field(default=0, metadata={"help": "of the tokeniser's own randomness", "min": 0})
    code_width: int = field(
        default=32, metadata={"help": "width of the codes of tokeniser=vq; published 256", "min": 1}
    )
    commitment: float = field(
        default=0.25, metadata={"help": "factor that draws latents to their code, of tokeniser=vq", "min": 0}
    )
    reseed_after: int = field(
        default=1000,
        metadata={"help": "steps after which an unused code is drawn anew from the batch, of tokeniser=vq", "min": 1},
    )


@dataclass(frozen=True, kw_only=True)
class SpecMaskGitConfig:
    """A pre-norm transformer over the tokens of a grid; its head predicts the numbers of hidden ones."""

    width: int = field(default=768, metadata={"help": "width of tokens", "min": 1})
    depth: int = field(default=24, metadata={"help": "number of blocks", "min": 1, "max": 1000})
    heads: int = field(default=8, metadata={"help": "attention heads; divide the width", "min": 1})
    mlp_ratio: float = field(default=4.0, metadata={"help": "inner width of a block over its width", "above": 0})
    rows: int | None = field(default=None, metadata={"help": "bands of the grid; from the preprocessor", "min": 1})
    columns: int | None = field(default=None, metadata={"help": "columns of the grid; from the preprocessor", "min": 1})
    codes: int | None = field(default=None, metadata={"help": "size of the codebook; from the preprocessor", "min": 2})
    patch_size: int | None = field(
        default=None, metadata={"help": "numbers of a patch, for pictures; from the preprocessor", "min": 1}
    )
    condition_width: int | None = field(
        default=None,
        metadata={"help": "width of a condition in batch.inputs (CLAP: 512); left out: none", "min": 1},
    )
    pooling: Literal["bands", "mean", "hist"] = field(
        default="bands",
        metadata={
            "help": "clip vector: mean over time of every band side by side, mean over all tokens, or how often each "
            "code occurs (the baseline without the transformer)"
        },
    )
    dropout: float = field(default=0.0, metadata={"help": "in the blocks while training", "min": 0, "below": 1})
    norm_epsilon: float = field(default=1e-6, metadata={"help": "added to variances in norms", "above": 0})


@dataclass(frozen=True, kw_only=True)
class MaskedCodesConfig:
    """Predict the codes of hidden tokens; the share that is hidden is drawn for every clip."""

    schedule: Literal["cosine", "arccos", "linear", "pow", "log"] = field(
        default="cosine", metadata={"help": "hidden share as a function of a uniform draw"}
    )
    exponent: float = field(default=2.0, metadata={"help": "of schedule=pow: 1 - r^exponent", "above": 0})
    mask_draw: Literal["uniform", "gaussian", "minimum"] = field(
        default="uniform",
        metadata={
            "help": "uniform: share by the schedule; gaussian: truncated normal around 0.55 (MAGE); minimum: by the "
            "schedule, half at least (MaskGIT's config)"
        },
    )
    label_smoothing: float = field(
        default=0.1, metadata={"help": "share of the target spread over all codes", "min": 0, "below": 1}
    )
    condition_dropout: float = field(
        default=0.1, metadata={"help": "share of clips whose condition is hidden", "min": 0, "max": 1}
    )
    statistics_clips: int = field(
        default=500, metadata={"help": "training clips that frequencies of codes are counted on", "min": 1}
    )


@dataclass(frozen=True, kw_only=True)
class DecodingConfig:
    """Filling in unknown tokens step by step, the surest first."""

    steps: int = field(default=12, metadata={"help": "passes through the network", "min": 1, "max": 10_000})
    schedule: Literal["cosine", "arccos", "linear", "pow", "log"] = field(
        default="cosine", metadata={"help": "share that stays unknown, over the steps"}
    )
    exponent: float = field(default=2.0, metadata={"help": "of schedule=pow", "above": 0})
    temperature: float = field(default=1.0, metadata={"help": "divides logits before codes are drawn", "above": 0})
    choice_noise: float = field(
        default=4.5,
        metadata={"help": "noise on confidences at the start: larger = tokens in a more random order", "min": 0},
    )
    guidance: float = field(default=3.0, metadata={"help": "weight of the condition; 1 = no second pass", "min": 0})
    guidance_schedule: Literal["linear", "constant"] = field(
        default="linear", metadata={"help": "linear: the weight rises from 1 to guidance over the steps"}
    )
    remask: Literal["exact", "reference"] = field(
        default="exact",
        metadata={
            "help": "exact: known tokens stay and the last step leaves none unknown; reference: MaskGIT's loop, which "
            "hides one token at least at every step"
        },
    )
