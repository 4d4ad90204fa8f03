"""W2v-BERT: encoder, objective, recipe, released weights."""

from __future__ import annotations

from repcore.specs import CheckpointSpec, EncoderSpec, ObjectiveSpec, RecipeSpec, SystemSpec, TensorSpec
from repcore_audio.registration.recordings import LENGTHS, SPECTROGRAM

PACKAGE = "repcore_audio"
NAME = "w2v-bert"
PAPER = "Chung et al. 2021, W2v-BERT, arXiv 2108.06209 (ASRU 2021)"
LICENCE = "Apache-2.0 (this implementation); the authors published no code"

ENCODERS = (
    EncoderSpec(
        name=NAME,
        summary="Conformer over frames of 20 or 40 ms; clips of any length",
        target=f"{PACKAGE}.encoders.w2v_bert:W2vBert",
        config=f"{PACKAGE}.configs.w2v_bert:W2vBertConfig",
        inputs=(SPECTROGRAM, LENGTHS),
        outputs=(TensorSpec("frame", "B N D"),),
        poolings=("default", "mean", "max", "segments"),
        levels=("frame",),
        capabilities=("layers", "embed-tokens", "encode-tokens", "until", "run-from", "feed-forward-blocks"),
        paper=PAPER,
        licence=LICENCE,
        example=f"{PACKAGE}.examples.w2v_bert:w2v_bert",
    ),
)

OBJECTIVES = (
    ObjectiveSpec(
        name=NAME,
        summary="Tell hidden frames apart by their codes below, predict the codes above",
        target=f"{PACKAGE}.objectives.w2v_bert:CodeTargets",
        config=f"{PACKAGE}.configs.w2v_bert:CodeTargetsConfig",
        needs=("layers", "embed-tokens", "encode-tokens"),
        paper=PAPER,
        licence=LICENCE,
        example=f"{PACKAGE}.examples.w2v_bert:code_targets",
    ),
)

RECIPES = (
    RecipeSpec(
        name=NAME,
        summary="Contrast with quantised frames and prediction of their codes",
        presets={name: f"{PACKAGE}.recipes.w2v_bert:{name}" for name in ("tiny", "small", "large")},
        default="tiny",
        paper=PAPER,
    ),
)

CHECKPOINTS = (
    CheckpointSpec(
        name=NAME,
        summary="The released encoder w2v-bert-2.0: weights and config.json",
        target=f"{PACKAGE}.checkpoints.w2v_bert:convert",
        sniff=f"{PACKAGE}.checkpoints.w2v_bert:sniff",
        encoder=NAME,
        options={"from_config": ()},
        files=("model.safetensors", "config.json"),
        licence="MIT (model page)",
    ),
)

DIFFERENCES = (
    ("codes", "soft mixtures, equal codes stay negatives (WeNet)", "one code, equal ones dropped", "objective.codes"),
    ("targets", "codes drawn with noise (WeNet, fairseq2)", "the likeliest codes", "objective.targets"),
    ("masks", "0.065 is divided by the span: two spans a clip (WeNet)", "0.065 is the chance of a start",
     "objective.start_probability"),
    ("diversity", "weight 0 (WeNet)", "0.1", "objective.diversity_weight"),
    ("feature penalty", "0.01, over padding too (WeNet)", "none; over real frames", "objective.feature_penalty"),
    ("prediction", "factor rises over 25,000 steps (WeNet)", "constant", "objective.prediction_warmup"),
    ("projections", "none (WeNet)", "frames and codes are projected", "objective.project"),
    ("perplexity", "over hidden frames (transformers)", "over all real frames", "objective.perplexity_over"),
    ("temperature", "2 to 0.1, times 0.999995 a step", "2 to 0.5 over the run", "objective.tau_decay"),
    ("one hidden frame", "a random number from an empty range", "no negative, loss 0", ""),
)  # fmt: skip
"""Where defaults depart from public codes."""

SYSTEMS = (
    SystemSpec(
        name=NAME,
        summary="Contrastive quantiser below, masked prediction of its codes above",
        paper=PAPER,
        licence=LICENCE,
        encoders=(NAME,),
        objectives=(NAME,),
        recipes=(NAME,),
        checkpoints=(NAME,),
        replay=f"{PACKAGE}.verification.w2v_bert:replay",
        differences=DIFFERENCES,
    ),
)
