"""SpecMaskGIT: tokens of spectrograms, encoder, objective, recipe, generation."""

from __future__ import annotations

from repcore.specs import (
    CommandSpec,
    EncoderSpec,
    ObjectiveSpec,
    PreprocessorSpec,
    RecipeSpec,
    SystemSpec,
    TensorSpec,
)
from repcore_audio.registration import recordings
from repcore_audio.registration.recordings import WAVEFORM

PACKAGE = "repcore_audio"
NAME = "spec-mask-git"
PAPER = "Comunita et al. 2024, SpecMaskGIT, arXiv 2406.17672 (ISMIR 2024)"
LICENCE = "Apache-2.0 (this implementation); the authors published sounds (CC BY-SA 4.0) and no code"
IDS = TensorSpec("ids", "B L", "int64")
VALID = TensorSpec("valid", "B L", "bool", optional=True)
CONDITION = TensorSpec("condition", "B C", optional=True)

PREPROCESSORS = (
    PreprocessorSpec(
        name="spec-tokens",
        summary="Log-mel patches as numbers of a codebook (k-means, or a small quantiser)",
        target=f"{PACKAGE}.preprocessors.spec_tokens:SpecTokensPreprocessor",
        config=f"{PACKAGE}.configs.spec_mask_git:SpecTokensConfig",
        accepts=(WAVEFORM,),
        produces=(IDS, VALID),
        baselines={
            **recordings.PREPROCESSORS[0].baselines,
            "token-histogram": f"{PACKAGE}.preprocessors.spec_tokens:token_histogram",
        },
        splits=recordings.PREPROCESSORS[0].splits,
    ),
)

ENCODERS = (
    EncoderSpec(
        name=NAME,
        summary="Transformer over tokens of a spectrogram, with the head that fills in hidden ones",
        target=f"{PACKAGE}.encoders.spec_mask_git:SpecMaskGit",
        config=f"{PACKAGE}.configs.spec_mask_git:SpecMaskGitConfig",
        inputs=(IDS, VALID, CONDITION),
        outputs=(TensorSpec("tokens", "B L d"),),
        poolings=("default", "bands", "mean", "hist"),
        levels=("tokens",),
        capabilities=("layers", "embed-tokens", "encode-tokens", "until", "feed-forward-blocks", "mask-ids"),
        paper=PAPER,
        licence=LICENCE,
        example=f"{PACKAGE}.examples.spec_mask_git:spec_mask_git",
    ),
)

OBJECTIVES = (
    ObjectiveSpec(
        name=NAME,
        summary="Predict the codes of hidden tokens of a spectrogram",
        target=f"{PACKAGE}.objectives.masked_codes:MaskedCodes",
        config=f"{PACKAGE}.configs.spec_mask_git:MaskedCodesConfig",
        needs=("tokens", "mask-ids"),
        paper=PAPER,
        licence=LICENCE,
        example=f"{PACKAGE}.examples.spec_mask_git:masked_codes",
    ),
)

RECIPES = (
    RecipeSpec(
        name=NAME,
        summary="Masked generative modelling of spectrogram tokens",
        presets={name: f"{PACKAGE}.recipes.spec_mask_git:{name}" for name in ("tiny", "small", "paper")},
        default="tiny",
        paper=PAPER,
    ),
)

COMMANDS = (
    CommandSpec(
        name="generate",
        summary="New sounds, or parts of given ones filled in, from a SpecMaskGIT model",
        target=f"{PACKAGE}.commands.generate:generate_command",
    ),
)

DIFFERENCES = (
    ("tokeniser", "a large VQGAN, patches of 16 x 16 (no weights released)", "k-means or a small quantiser",
     "preprocessor.tokeniser"),
    ("decoding", "one token at least is hidden again at every step (MaskGIT's code)", "known tokens stay known",
     "remask"),
    ("nothing unknown", "all steps are computed (MaskGIT's code)", "no pass", ""),
    ("mask share", "half at least (MaskGIT's config)", "by the schedule alone", "objective.mask_draw"),
    ("features", "not said", "mean over time of every band side by side", "encoder.pooling"),
)  # fmt: skip
"""Where defaults depart from the paper or MaskGIT's code."""

SYSTEMS = (
    SystemSpec(
        name=NAME,
        summary="Masked generative modelling of spectrogram tokens",
        paper=PAPER,
        licence=LICENCE,
        encoders=(NAME,),
        objectives=(NAME,),
        recipes=(NAME,),
        replay=f"{PACKAGE}.verification.spec_mask_git:replay",
        differences=DIFFERENCES,
    ),
)
