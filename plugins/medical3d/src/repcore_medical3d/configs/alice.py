"""Settings of Alice. Defaults are corrected; ``PUBLISHED_ALICE`` is what the authors' code does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class AliceConfig:
    """Two crops of the same body part in two scans: distil across scans and within them, redraw what is hidden."""

    output_width: int = field(default=512, metadata={"help": "width of head outputs and of the alignment", "min": 1})
    hidden_width: int = field(default=2048, metadata={"help": "of the head's MLP", "min": 1})
    bottleneck_width: int = field(default=256, metadata={"help": "of the unit vectors before the last layer", "min": 1})
    head_inputs: Literal["standardised", "raw"] = field(
        default="standardised",
        metadata={
            "help": "standardised: mean 0, standard deviation 1 over the batch, so that heads hear what differs; "
            "raw: as published"
        },
    )
    alignment_heads: int = field(default=8, metadata={"help": "attention heads of the cross-attention", "min": 1})
    alignment_key_width: int = field(default=64, metadata={"help": "width of keys and values of a head", "min": 1})
    alignment_hidden_width: int = field(default=2048, metadata={"help": "of the alignment's MLP", "min": 1})
    alignment_dropout: float = field(
        default=0.1, metadata={"help": "dropout of the alignment; never on the target", "min": 0, "below": 1}
    )
    alignment_outputs: Literal["layer-norm", "unit"] = field(
        default="unit",
        metadata={
            "help": "unit: aligned tokens have length 1; layer-norm: as published, standard deviation 1, which meets "
            "temperatures of 0.1 and below"
        },
    )
    alignment_residual: Literal["queries", "none"] = field(
        default="none",
        metadata={
            "help": "queries: they are added to what they read out (published), so that both sides can agree "
            "without reading anything; none: only what is read out counts"
        },
    )
    alignment_teacher: Literal["shared", "ema"] = field(
        default="ema",
        metadata={
            "help": "weights on the target side: a moving average (figure), or the student's own (published code)"
        },
    )
    alignment_target: Literal["decoder", "encoder"] = field(
        default="decoder",
        metadata={"help": "teacher tokens that are keys and values: of the decoder (code), encoder (figure)"},
    )
    target_view: Literal["clean", "masked"] = field(
        default="clean",
        metadata={"help": "what the teacher sees: whole crops (code), or crops with masks of its own (figure)"},
    )
    mask_mode: Literal["zero", "token"] = field(
        default="zero",
        metadata={"help": "hidden voxels become 0 (code), or hidden tokens the learned mask token (after the figure)"},
    )
    mask_shape: Literal["cells", "columns"] = field(
        default="cells", metadata={"help": "cells: cubes; columns: full columns along the last axis (published)"}
    )
    mask_patch: int = field(default=16, metadata={"help": "edge of a hidden cell", "unit": "voxels", "min": 1})
    mask_ratio: float = field(default=0.75, metadata={"help": "share of cells that are hidden", "above": 0, "below": 1})
    reconstruction_region: Literal["masked", "all"] = field(
        default="masked", metadata={"help": "voxels that are scored: the hidden ones, or all (published)"}
    )
    reconstruction_target: Literal["normalised", "values"] = field(
        default="normalised",
        metadata={
            "help": "normalised: mean 0, standard deviation 1 in each crop; values: as published, where learning the "
            "mean brightness first takes all differences between crops out of the deep features"
        },
    )
    student_temperature: float = field(default=0.1, metadata={"help": "divides student outputs", "above": 0})
    teacher_temperature: float = field(
        default=0.04, metadata={"help": "divides teacher outputs; published 0.01", "above": 0}
    )
    teacher_temperature_start: float = field(
        default=0.04, metadata={"help": "at the start of the warm-up; published 0.008", "above": 0}
    )
    teacher_temperature_warmup: float = field(
        default=0.0, metadata={"help": "warm-up as a share of the run; published 30 of 1000 epochs", "min": 0, "max": 1}
    )
    center_momentum: float = field(
        default=0.9, metadata={"help": "of the running means of teacher outputs", "min": 0, "max": 1}
    )
    ema_start: float = field(
        default=0.996, metadata={"help": "momentum of the teacher at the start", "min": 0, "max": 1}
    )
    ema_end: float = field(default=1.0, metadata={"help": "momentum of the teacher at the end", "min": 0, "max": 1})
    is_last_layer_tied: bool = field(
        default=False,
        metadata={"help": "the teacher's token layer is its pooled layer, and no token layer is averaged (published)"},
    )
    frozen_last_layer: float = field(
        default=0.0,
        metadata={"help": "share of the run in which last layers stay; published 1 of 1000 epochs", "min": 0, "max": 1},
    )
    inter_volume_weight: float = field(default=1.0, metadata={"help": "factor of the term across scans", "min": 0})
    intra_volume_weight: float = field(default=1.0, metadata={"help": "factor of the term within a scan", "min": 0})
    distillation_ramp: float = field(
        default=0.0,
        metadata={"help": "share of the run over which both distillation terms rise from 0", "min": 0, "max": 1},
    )
    reconstruction_weight: float = field(
        default=5.0, metadata={"help": "factor of the squared error; published 10 / 2", "min": 0}
    )
    clip_per_tensor: float | None = field(
        default=None,
        metadata={
            "help": "largest gradient norm of each tensor of encoder and head; published 3; null = none",
            "above": 0,
        },
    )
    export: Literal["student", "teacher"] = field(
        default="student", metadata={"help": "which encoder becomes the model"}
    )
    collapse_patience: int = field(
        default=200,
        metadata={"help": "steps without any information in teacher outputs that end a run; 0 = never", "min": 0},
    )


PUBLISHED_ALICE = AliceConfig(
    head_inputs="raw",
    alignment_outputs="layer-norm",
    alignment_residual="queries",
    alignment_teacher="shared",
    mask_shape="columns",
    reconstruction_region="all",
    reconstruction_target="values",
    teacher_temperature=0.01,
    teacher_temperature_start=0.008,
    teacher_temperature_warmup=0.029,
    is_last_layer_tied=True,
    frozen_last_layer=0.001,
    clip_per_tensor=3.0,
)
"""What the authors' code computes (with the corrections without which it does not run)."""

FIGURE_ALICE = AliceConfig(alignment_target="encoder", alignment_teacher="ema", target_view="masked", mask_mode="token")
"""After the architecture figures."""


@dataclass(frozen=True, kw_only=True)
class AlicePairsConfig:
    """How two crops of one body part are found."""

    correspondence: Literal["coordinates", "registration", "light", "checkpoint"] = field(
        default="coordinates",
        metadata={
            "help": "coordinates: same place in the body's box (aligned data); registration: affine; light, "
            "checkpoint: an anatomical-embedding network, whose weights views.network names"
        },
    )
    network: str = field(
        default="", metadata={"help": "weights of the anatomical-embedding network, for light and checkpoint"}
    )
    crop_edge: int | None = field(
        default=None, metadata={"help": "edge of the cubes; from the preprocessor", "unit": "voxels", "min": 1}
    )
    tries: int = field(
        default=8, metadata={"help": "most places that are tried; the best is used. Published 101", "min": 1}
    )
    least_score: float | None = field(
        default=None, metadata={"help": "score that ends the search; null = the back-end's own, published 0.7"}
    )
    jitter: float = field(
        default=0.25,
        metadata={
            "help": "how far the matched place may be off, as a share of a cube's edge, so that place is no cue",
            "min": 0,
        },
    )
    foreground: float = field(
        default=0.05, metadata={"help": "a place must be brighter than this after scaling; published 0 at -125 HU"}
    )
    overhang: float = field(
        default=0.25,
        metadata={
            "help": "how far a cube may reach beyond the scan, as a share of its edge; published: any distance",
            "min": 0,
        },
    )
    store: str = field(
        default="",
        metadata={"help": "folder where embeddings are kept; in memory only when left out (light, checkpoint)"},
    )
    partner: Literal["other", "same"] = field(
        default="other", metadata={"help": "the second scan: another one, or the same (a control)"}
    )
