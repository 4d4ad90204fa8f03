"""What the plugin registers for rigid registration (VBReg): tuples of specs by kind, read by ``_plugin``."""

from __future__ import annotations

from repcore.specs import (
    CheckpointSpec,
    CommandSpec,
    DatasetSpec,
    EncoderSpec,
    ObjectiveSpec,
    PreprocessorSpec,
    RecipeSpec,
    SystemSpec,
    TensorSpec,
)

PAPER = "Jiang et al. 2023, VBReg, arXiv 2304.01514 (CVPR 2023)"
LICENCE = "Apache-2.0 (this implementation); the authors' repository is MIT"
PACKAGE = "repcore_pointcloud"
CONFIGS = f"{PACKAGE}.configs.vbreg"
MATCHES = TensorSpec("matches", "N 6", unit="unit of the clouds")
ENDS = (
    TensorSpec("source", "B N 3", unit="m"),
    TensorSpec("target", "B N 3", unit="m"),
    TensorSpec("valid", "B N", "bool"),
)

ENCODERS: tuple[EncoderSpec, ...] = (
    EncoderSpec(
        name="vbreg",
        summary="Judges matches of two clouds: which of them share one rigid motion",
        target=f"{PACKAGE}.encoders.match_network:MatchNetwork",
        config=f"{CONFIGS}:MatchNetworkConfig",
        inputs=ENDS,
        outputs=(TensorSpec("match", "B N D"), TensorSpec("confidence", "B N")),
        poolings=("mean", "max"),
        levels=("match",),
        capabilities=("permutation-equivariant:N",),
        paper=PAPER,
        licence=LICENCE,
    ),
)
OBJECTIVES: tuple[ObjectiveSpec, ...] = (
    ObjectiveSpec(
        name="match-consistency",
        summary="A posterior that knows which matches are right teaches the prior of every layer",
        target=f"{PACKAGE}.objectives.match_consistency:MatchConsistency",
        config=f"{CONFIGS}:MatchConsistencyConfig",
        needs=("match",),
        paper=PAPER,
        licence=LICENCE,
    ),
)
DATASETS: tuple[DatasetSpec, ...] = (
    DatasetSpec(
        name="match-pairs",
        summary="Generated pairs of clouds with matches, 60 to 96 % of them wrong",
        target=f"{PACKAGE}.datasets.match_pairs:MatchPairs",
        config=f"{CONFIGS}:MatchPairsConfig",
        produces=(MATCHES,),
        render=f"{PACKAGE}.rendering.matches:render",
        embedded=True,
        licence="generated",
        example=f"{PACKAGE}.examples.matches:match_pairs",
    ),
)
PREPROCESSORS: tuple[PreprocessorSpec, ...] = (
    PreprocessorSpec(
        name="matches",
        summary="Both ends of every match, padded; which are right where the motion is known",
        target=f"{PACKAGE}.preprocessors.matches:MatchPreprocessor",
        config=f"{CONFIGS}:MatchSetConfig",
        accepts=(MATCHES,),
        produces=ENDS,
        baselines={"length-statistics": f"{PACKAGE}.preprocessors.matches:length_statistics"},
    ),
)
RECIPES: tuple[RecipeSpec, ...] = (
    RecipeSpec(
        name="vbreg",
        summary="Outlier rejection for rigid registration, on matches with known motion",
        presets={name: f"{PACKAGE}.recipes.vbreg:{name}" for name in ("tiny", "paper")},
        default="tiny",
        paper=PAPER,
    ),
)
CHECKPOINTS: tuple[CheckpointSpec, ...] = (
    CheckpointSpec(
        name="vbreg",
        summary="Networks of the authors' trainer",
        target=f"{PACKAGE}.checkpoints.vbreg:convert",
        sniff=f"{PACKAGE}.checkpoints.vbreg:sniff",
        encoder="vbreg",
        options={"length_tolerance_m": ()},
    ),
)
COMMANDS: tuple[CommandSpec, ...] = (
    CommandSpec(
        name="register",
        summary="The rigid motion between two overlapping clouds",
        target=f"{PACKAGE}.commands.register:register_command",
    ),
)
DIFFERENCES = (
    ("value branch", "labels by the key's map; its own never learns", "its own map", "objective.value_label"),
    ("layer before attention", "built, never used", "reported on import, dropped", ""),
    ("seeds", "beaten matches score 0, above negative logits", "beaten matches are no seeds", "MotionConfig.seed_mask"),
    ("votes", "incompatible matches get votes by memory order", "they get none", "MotionConfig.vote_zero"),
    ("temperature in votes", "1", "the learned one", "MotionConfig.vote_temperature"),
    ("refinement", "1.2 for all distances but 0.1", "the inlier distance", "MotionConfig.refine_distance"),
    ("inliers", "of the motion before refinement", "of the final motion", "MotionConfig.labels_after_refinement"),
    ("latent variable", "drawn at test time", "the prior's mean", "MotionConfig.latent"),
    ("seeds of small pairs", "every match, up to 1000", "the same, a setting", "MotionConfig.fewest_seeds"),
    ("tolerance of lengths", "in the checkpoint", "a setting; a difference is noted", "encoder.length_tolerance_m"),
    ("motions in training", "computed with weight 0", "not computed", ""),
    ("augmentation", "also jitter of 5 mm and a shift", "turn and swap; matches are centred", "objective.turn"),
)
"""Where defaults depart from the paper's code."""

SYSTEMS: tuple[SystemSpec, ...] = (
    SystemSpec(
        name="vbreg",
        summary="Variational outlier rejection for 3D registration",
        paper=PAPER,
        licence=LICENCE,
        encoders=("vbreg",),
        objectives=("match-consistency",),
        recipes=("vbreg",),
        checkpoints=("vbreg",),
        replay=f"{PACKAGE}.verification.vbreg:replay",
        differences=DIFFERENCES,
    ),
)
