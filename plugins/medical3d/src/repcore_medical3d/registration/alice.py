"""Alice: encoders, objective, views, recipe, checkpoints, commands."""

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
    ViewsSpec,
)

PACKAGE = "repcore_medical3d"
PAPER = "Jiang et al. 2023, Anatomical Invariance Modeling and Semantic Alignment, ICCV 2023, arXiv 2302.05615"
LICENCE = "Apache-2.0, as the authors' repository"
CUBE = TensorSpec("volume", "B C S S S", unit="scaled to 0 to 1")
LEVELS = ("stage3", "stage2", "stage1", "stage0")
BACKBONE = "volume-pyramid"  # what Alice needs of an encoder: repcore_medical3d.encoders.volume_backbone
VOXEL_DECODER = "voxel-decoder"  # outputs at every voxel: repcore_medical3d.encoders.decoding
CONFIGS = f"{PACKAGE}.configs.nnformer"
EXAMPLES = f"{PACKAGE}.examples.alice"

ENCODERS = (
    EncoderSpec(
        name="nnformer",
        summary="Window attention in four stages with a skip-attention decoder (Alice's published backbone)",
        target=f"{PACKAGE}.encoders.nnformer:NnFormer",
        config=f"{CONFIGS}:NnFormerConfig",
        inputs=(CUBE,),
        outputs=tuple(TensorSpec(level, f"B T_{level} E_{level}") for level in LEVELS),
        poolings=("default", "mean", "max"),
        levels=LEVELS,
        capabilities=(BACKBONE, VOXEL_DECODER),
        paper=PAPER,
        licence=LICENCE,
        example=f"{EXAMPLES}:nnformer",
    ),
    EncoderSpec(
        name="swin-unetr",
        summary="MONAI's SwinUNETR (SSL weights of MONAI and VoCo load into it)",
        target=f"{PACKAGE}.encoders.swin_monai:SwinUnetr",
        config=f"{CONFIGS}:SwinUnetrConfig",
        inputs=(CUBE,),
        outputs=tuple(TensorSpec(level, f"B T_{level} E_{level}") for level in ("stage4", *LEVELS)),
        poolings=("default", "mean", "max"),
        levels=("stage4", *LEVELS),
        capabilities=(BACKBONE, VOXEL_DECODER),
        paper="Tang et al. 2022, Self-Supervised Pre-Training of Swin Transformers, arXiv 2111.14791",
        licence="Apache-2.0, as MONAI",
        needs=("monai", "einops"),
        hints={"monai": "pip install monai", "einops": "pip install 'repcore-medical3d[swin]'"},
        example=f"{EXAMPLES}:swin_unetr",
    ),
    EncoderSpec(
        name="volume-vit",
        summary="MONAI's ViT over volumes with a small decoder",
        target=f"{PACKAGE}.encoders.swin_monai:VolumeVit",
        config=f"{CONFIGS}:VolumeVitConfig",
        inputs=(CUBE,),
        outputs=(TensorSpec("stage0", "B T E"),),
        poolings=("default", "mean", "max"),
        levels=("stage0",),
        capabilities=(BACKBONE,),
        paper="Hatamizadeh et al. 2022, UNETR, arXiv 2103.10504",
        licence="Apache-2.0, as MONAI",
        needs=("monai",),
        hints={"monai": "pip install monai"},
        example=f"{EXAMPLES}:volume_vit",
    ),
)

OBJECTIVES = (
    ObjectiveSpec(
        name="alice",
        summary="Distillation across scans and within a scan, masked reconstruction",
        target=f"{PACKAGE}.objectives.alice:Alice",
        config=f"{PACKAGE}.configs.alice:AliceConfig",
        needs=(BACKBONE,),
        views="alice-pairs",
        reads_inputs=False,
        paper=PAPER,
        licence=LICENCE,
        example=f"{EXAMPLES}:alice",
    ),
)

VIEWS = (
    ViewsSpec(
        name="alice-pairs",
        summary="Crops of the same body part in two scans",
        target=f"{PACKAGE}.views.alice:AlicePairs",
        config=f"{PACKAGE}.configs.alice:AlicePairsConfig",
        names=("query", "key"),
    ),
)

RECIPES = (
    RecipeSpec(
        name="alice",
        summary="Anatomical invariance and semantic alignment",
        presets={name: f"{PACKAGE}.recipes.alice:{name}" for name in ("tiny", "small", "scratch", "paper", "figure")},
        default="tiny",
        paper=PAPER,
    ),
)

CHECKPOINTS = (
    CheckpointSpec(
        name="alice",
        summary="Alice student and teacher weights, whole training files or extracted",
        target=f"{PACKAGE}.checkpoints.alice:convert",
        sniff=f"{PACKAGE}.checkpoints.alice:sniff",
        encoder="nnformer",
        options={"crop_edge": ()},
        licence="Apache-2.0 repository; no weights are public there",
    ),
    CheckpointSpec(
        name="swin-unetr",
        summary="SwinUNETR weights of MONAI and VoCo, with or without decoder",
        target=f"{PACKAGE}.checkpoints.swin:convert",
        sniff=f"{PACKAGE}.checkpoints.swin:sniff",
        encoder="swin-unetr",
        options={"crop_edge": (), "kind": ("class",)},
        files=("model_swinvit.pt", "VoCo_B_SSL_head.pt"),
        licence="that of the weights' source",
    ),
)

TASKS = (
    TaskSpec(
        name="segmentation",
        summary="A class for every voxel or pixel through a U-shaped decoder; cross-entropy and soft Dice",
        target=f"{PACKAGE}.tasks.segmentation:Segmentation",
        config=f"{PACKAGE}.configs.segmentation:SegmentationTaskConfig",
        target_kind="class",
        target_level="voxel",
    ),
)

COMMANDS = (
    CommandSpec(
        name="match",
        summary="Find a place of one scan in another",
        target=f"{PACKAGE}.commands.alice_match:match_command",
    ),
    CommandSpec(
        name="train-embedding",
        summary="Train an anatomical-embedding network on own scans",
        target=f"{PACKAGE}.commands.alice_match:train_embedding_command",
    ),
    CommandSpec(
        name="landmarks",
        summary="Error in mm of matched organ centres",
        target=f"{PACKAGE}.commands.landmarks:landmarks_command",
    ),
)

DIFFERENCES = (
    ("partner", "scan of the previous iteration", "any other scan of the split", "views.partner"),
    ("places", "voxel indices, mirrored between two orientations", "millimetres in the world", "none: a plain error"),
    ("spacing", "as in the file", "one for all scans", "preprocessor.spacing"),
    (
        "crops",
        "any distance beyond the scan, always centred",
        "mostly inside, jittered",
        "views.overhang, views.jitter",
    ),
    ("masks", "columns, one for the batch", "cells, one for each sample", "objective.mask_shape"),
    ("scored voxels", "all, so that copying is rewarded", "hidden ones", "objective.reconstruction_region"),
    ("redrawn values", "as they are", "mean 0, standard deviation 1 in each crop", "objective.reconstruction_target"),
    ("head inputs", "as they are", "mean 0, standard deviation 1 over the batch", "objective.head_inputs"),
    ("alignment residual", "queries are added to what they read", "only what is read", "objective.alignment_residual"),
    ("position table", "random, different everywhere, not saved", "sinusoid, saved", "none: a plain error"),
    ("relative index", "different offsets share a bias", "one entry an offset", "encoder.legacy_relative_index"),
    ("alignment outputs", "unit standard deviation at temperature 0.01", "unit length", "objective.alignment_outputs"),
    ("target alignment", "live weights with dropout", "moving average in eval mode", "objective.alignment_teacher"),
    ("target tokens", "decoder in code, encoder in the figure", "as the code", "objective.alignment_target"),
    ("token layer of the teacher", "tied to its pooled layer", "its own", "objective.is_last_layer_tied"),
    ("teacher temperature", "0.008 to 0.01", "0.04", "objective.teacher_temperature"),
    ("clipping", "tensor by tensor, not the alignment", "whole gradient", "objective.clip_per_tensor"),
    ("learning rate", "floor above the peak, so it rises", "falls", "schedule.final_share"),
)
"""Where defaults depart from the paper's code."""

SYSTEMS = (
    SystemSpec(
        name="alice",
        summary="Anatomical invariance modelling and semantic alignment for volumes",
        paper=PAPER,
        licence=LICENCE,
        encoders=("nnformer", "swin-unetr", "volume-vit"),
        objectives=("alice",),
        recipes=("alice",),
        checkpoints=("alice", "swin-unetr"),
        replay=f"{PACKAGE}.verification.alice:replay",
        differences=DIFFERENCES,
    ),
)
