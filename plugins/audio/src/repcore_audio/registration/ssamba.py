"""SSAMBA: encoder, objective, recipe, checkpoints, scan, tasks."""

from __future__ import annotations

from repcore.specs import (
    CheckpointSpec,
    CommandSpec,
    EncoderSpec,
    ObjectiveSpec,
    RecipeSpec,
    SystemSpec,
    TaskSpec,
    TensorSpec,
)
from repcore_audio.registration.recordings import LENGTHS, SPECTROGRAM

PACKAGE = "repcore_audio"
PAPER = "Shams et al. 2024, SSAMBA, arXiv 2405.11831 (IEEE SLT 2024)"
LICENCE = "Apache-2.0 (this implementation); the authors' repository is BSD 3-clause"

ENCODERS = (
    EncoderSpec(
        name="ssamba",
        summary="Bidirectional Mamba over log-mel patches; clips of any length",
        target=f"{PACKAGE}.encoders.ssamba:Ssamba",
        config=f"{PACKAGE}.configs.ssamba:SsambaConfig",
        inputs=(SPECTROGRAM, LENGTHS),
        outputs=(TensorSpec("patches", "B P E"), TensorSpec("columns", "B T E")),
        poolings=("default", "mean", "cls", "max", "segments", "band-segments"),
        levels=("patches", "columns"),
        capabilities=("masked-patches", "layers", "embed-tokens", "encode-tokens", "until", "feed-forward-blocks"),
        paper=PAPER,
        licence=LICENCE,
        example=f"{PACKAGE}.examples.ssamba:ssamba",
    ),
)

OBJECTIVES = (
    ObjectiveSpec(
        name="masked-patches",
        summary="Find and redraw hidden spectrogram patches (InfoNCE and squared error)",
        target=f"{PACKAGE}.objectives.ssamba:MaskedPatches",
        config=f"{PACKAGE}.configs.ssamba:MaskedPatchesConfig",
        needs=("masked-patches",),
        decay_rule=f"{PACKAGE}.objectives.ssamba:has_weight_decay",
        paper=PAPER,
        licence=LICENCE,
        example=f"{PACKAGE}.examples.ssamba:masked_patches",
    ),
)

RECIPE_CODE = f"{PACKAGE}.recipes.ssamba"
PRESETS = ("tiny", "small", "scratch", "paper-tiny", "paper-small", "paper-base")
RECIPES = (
    RecipeSpec(
        name="ssamba",
        summary="Masked spectrogram patch modelling",
        presets={name: f"{RECIPE_CODE}:{name.replace('-', '_')}" for name in PRESETS},
        default="tiny",
        paper=PAPER,
    ),
)

FILES = [f"ssamba_{size}_{masked}.pth" for size in ("tiny", "small", "base") for masked in (250, 300, 400)]
CHECKPOINTS = (
    CheckpointSpec(
        name="ssamba",
        summary="Published SSAMBA weights, pre-trained or fine-tuned",
        target=f"{PACKAGE}.checkpoints.ssamba:convert",
        sniff=f"{PACKAGE}.checkpoints.ssamba:sniff",
        encoder="ssamba",
        options={
            "grid": (),
            "stride": (),
            "wiring": ("paired", "sequential"),
            "statistics": ("audioset", "esc50", "speechcommands", "urban8k"),
            "length": ("fixed", "variable"),
            "kind": ("class", "labels"),
            "head": ("mean", "cls"),
        },
        files=tuple(FILES),
        licence="BSD 3-clause repository",
    ),
)

TASK_CONFIG = f"{PACKAGE}.configs.ssamba:SoundTaskConfig"
TASKS = (
    TaskSpec(
        name="sound-class",
        summary="One class a clip, with SpecAugment and mixup",
        target=f"{PACKAGE}.tasks.sounds:SoundClassTask",
        config=TASK_CONFIG,
        target_kind="class",
        encoders=("ssamba",),
    ),
    TaskSpec(
        name="sound-labels",
        summary="Several labels a clip, with SpecAugment and mixup",
        target=f"{PACKAGE}.tasks.sounds:SoundLabelsTask",
        config=TASK_CONFIG,
        target_kind="multilabel",
        encoders=("ssamba",),
    ),
)

COMMANDS = (
    CommandSpec(
        name="stats",
        summary="Log-mel mean and standard deviation of a data set",
        target=f"{PACKAGE}.commands.stats:stats_command",
    ),
)

DIFFERENCES = (
    ("wiring", "blocks in pairs, residual doubles at every pair", "plain pre-norm residual", "encoder.wiring"),
    ("final norm", "applied twice", "applied once", "encoder.double_final_norm"),
    ("backward scan", "short memory at the start", "as the forward scan", "encoder.legacy_dt_b_init"),
    ("masks", "blocks, biased against low bands and last patches", "every patch alike", "objective.mask_sampler"),
    ("passes", "two encoder passes with two masks a step", "one pass serves both losses", "objective.passes"),
    ("negatives", "hidden patches of the same clip", "the same; all clips on request", "objective.negatives"),
    ("softmax", "over predictions in code, over targets in the paper", "as the code", "objective.softmax_over"),
    ("length", "pad or cut to 1024 frames, padding is seen", "any length, padding is marked", "preprocessor.length"),
    ("padding", "0 in the log domain, louder than silence", "digital silence", "preprocessor.padding"),
    ("warm-up", "staircase of 50 steps, then halved when validation stalls", "linear, then constant", "schedule"),
    ("mixup", "waveforms, each clip with its own share", "powers of a batch, one share", "task.mixup"),
)
"""Where defaults depart from the paper or its code."""


SYSTEMS = (
    SystemSpec(
        name="ssamba",
        summary="Self-supervised audio Mamba",
        paper=PAPER,
        licence=LICENCE,
        encoders=("ssamba",),
        objectives=("masked-patches",),
        recipes=("ssamba",),
        checkpoints=("ssamba",),
        replay=f"{PACKAGE}.verification.ssamba:replay",
        differences=DIFFERENCES,
    ),
)
