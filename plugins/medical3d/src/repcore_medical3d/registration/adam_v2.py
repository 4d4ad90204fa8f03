"""What Adam-v2 registers."""

from __future__ import annotations

from repcore.specs import (
    CheckpointSpec,
    EncoderSpec,
    ObjectiveSpec,
    ProbeSpec,
    RecipeSpec,
    SystemSpec,
    TaskSpec,
    TensorSpec,
)

PACKAGE = "repcore_medical3d"
PAPER = "Hosseinzadeh Taher et al. 2024, Adam-v2, arXiv 2404.15672 (CVPR 2024)"
PAPER_V1 = "Hosseinzadeh Taher et al. 2023, Adam-v1, arXiv 2309.15358 (MICCAI DART 2023)"
LICENCE = (
    "Apache-2.0 (this implementation). The authors' code and weights: ASU GitHub Project License, non-commercial "
    "academic research only; a patent on the method is pending (US 2025/0316058)"
)
IMAGE = TensorSpec("image", "B C H W", unit="0 to 1", optional=True)
VOLUME = TensorSpec("volume", "B C D H W", unit="0 to 1", optional=True)
CONFIGS = f"{PACKAGE}.configs.adam_v2"


def _encoder(name: str, summary: str, target: str, config: str) -> EncoderSpec:
    return EncoderSpec(
        name=name,
        summary=summary,
        target=f"{PACKAGE}.encoders.{name}:{target}",
        config=f"{CONFIGS}:{config}",
        inputs=(IMAGE, VOLUME),
        outputs=(TensorSpec("map", "B T D"),),
        poolings=("default", "mean", "max"),
        levels=("map",),
        capabilities=("anatomy-views", "embed-tokens", "encode-tokens", "until", "voxel-decoder"),
        paper=PAPER,
        licence=LICENCE,
        example=f"{PACKAGE}.examples.adam_v2:{name}",
    )


ENCODERS = (
    _encoder("convnext", "ConvNeXt for images and volumes, published key layout", "ConvNextEncoder", "ConvNextConfig"),
    _encoder(
        "resnet", "ResNet for images and volumes (MONAI, equal to torchvision's)", "ResNetEncoder", "ResNetConfig"
    ),
)

OBJECTIVES = (
    ObjectiveSpec(
        name="adam-v2",
        summary="Localizability, composability and decomposability of anatomy",
        target=f"{PACKAGE}.objectives.adam_v2:AdamV2",
        config=f"{CONFIGS}:AdamV2Config",
        needs=("anatomy-views",),
        decay_rule=f"{PACKAGE}.objectives.adam_v2:has_weight_decay",
        unused_parameters_ok=("compose_head.*", "decompose_head.*"),  # the localizability stage does not use them
        paper=PAPER,
        licence=LICENCE,
        example=f"{PACKAGE}.examples.adam_v2:adam_v2",
    ),
    ObjectiveSpec(
        name="adam-v1",
        summary="Momentum contrast of anatomical cells with pruning of similar negatives",
        target=f"{PACKAGE}.objectives.adam_v1:AdamV1",
        config=f"{CONFIGS}:AdamV1Config",
        needs=("anatomy-views",),
        decay_rule=f"{PACKAGE}.objectives.adam_v2:has_weight_decay",
        paper=PAPER_V1,
        licence=LICENCE,
        example=f"{PACKAGE}.examples.adam_v2:adam_v1",
    ),
)

RECIPES_MODULE = f"{PACKAGE}.recipes.adam_v2"
PRESETS = ("tiny", "tiny-3d", "paper-base", "paper-large", "paper-warmup", "paper-joint")

RECIPES = (
    RecipeSpec(
        name="adam-v2",
        summary="Localizability, then composability and decomposability, coarse to fine",
        presets={name: f"{RECIPES_MODULE}:{name.replace('-', '_')}" for name in PRESETS},
        default="tiny",
        paper=PAPER,
    ),
    RecipeSpec(
        name="adam-v1",
        summary="Momentum contrast of anatomical cells",
        presets={"tiny": f"{RECIPES_MODULE}:v1_tiny", "paper": f"{RECIPES_MODULE}:v1_paper"},
        default="tiny",
        paper=PAPER_V1,
    ),
)

WEIGHTS_LICENCE = (
    "ASU GitHub Project License: non-commercial academic research only, revocable; patent pending (US 2025/0316058)"
)
CHECKPOINTS = tuple(
    CheckpointSpec(
        name=f"adam-{name}",
        summary=summary,
        target=f"{PACKAGE}.checkpoints.adam_v2:convert_{name}",
        sniff=f"{PACKAGE}.checkpoints.adam_v2:sniff_{name}",
        encoder=name,
        options={"branch": ("teacher", "student")},
        licence=WEIGHTS_LICENCE,
    )
    for name, summary in (
        ("convnext", "Adam-v2 ConvNeXt weights of either stage, or a bare ConvNeXt with these names"),
        ("resnet", "Adam-v2 and Adam-v1 ResNet weights of any stage, or a bare ResNet with torchvision's names"),
    )
)

TASK_CONFIG = f"{PACKAGE}.configs.anatomy_tasks:RadiographTaskConfig"
TASKS = (
    TaskSpec(
        name="radiograph-class",
        summary="One class an image, published augmentation and ten-crop test",
        target=f"{PACKAGE}.tasks.radiograph_labels:RadiographClassTask",
        config=TASK_CONFIG,
        target_kind="class",
        encoders=("convnext", "resnet"),
    ),
    TaskSpec(
        name="radiograph-labels",
        summary="Several findings an image, published augmentation and ten-crop test",
        target=f"{PACKAGE}.tasks.radiograph_labels:RadiographLabelsTask",
        config=TASK_CONFIG,
        target_kind="multilabel",
        encoders=("convnext", "resnet"),
    ),
)

PROBES = (
    ProbeSpec(
        name="anatomy-properties@1",
        summary="Localizability, part-whole agreement, lines between places, matching; without labels",
        target=f"{PACKAGE}.probes.properties:AnatomyProperties",
        config=f"{PACKAGE}.configs.properties:PropertiesConfig",
        sees="model",
        example=f"{PACKAGE}.examples.adam_v2:properties",
    ),
)

DIFFERENCES = (
    ("views", "cut, resized (bicubic) and turned one by one on the CPU", "one interpolation of a batch", "views"),
    ("corners of turned views", "black", "the image around", "objective.views.rotation_fill"),
    ("jitter", "in random order, hue in HSV", "in fixed order, hue at equal luminance", "objective.views"),
    ("margin of anchors", "50 pixels of 1024", "the same share of the edge", "objective.views.anchor_margin"),
    ("passes", "one a part and view", "one a resolution; matters with BatchNorm", "objective.passes"),
    ("part count", "any multiple of 4, split as 4", "any branching along each axis", "objective.views.branching"),
    (
        "part and whole distances",
        "mean over the width, O(1/D)",
        "the same; sum in tiny",
        "objective.part_whole_reduction",
    ),
    (
        "predicted parts",
        "normalised together, cannot reach 0",
        "the same; one by one in 3-D",
        "objective.decompose_norm",
    ),
    (
        "weight decay",
        "rises from 0.04 to 0.4 in each stage",
        "over the run; tiny: constant",
        "optimiser.final_weight_decay",
    ),
    (
        "stages",
        "two runs, each with its own schedule",
        "one run, or paper-warmup and paper-joint",
        "objective.warmup_share",
    ),
    ("whole image", "squeezed to a square", "the same; bars or a centre square on request", "preprocessor.aspect"),
    ("collapse", "goes on", "the run stops with a message", "objective.collapse_patience"),
    ("final norm of ConvNeXt", "lost in the published conversion", "kept", ""),
    ("v1 queue", "batch must divide it; validation fills it", "wraps round; only training fills it", ""),
)
"""Where defaults depart from the paper or its code."""

SYSTEMS = (
    SystemSpec(
        name="adam-v2",
        summary="Part-whole hierarchies of anatomy without labels, in two and three dimensions",
        paper=PAPER,
        licence=LICENCE,
        encoders=("convnext", "resnet"),
        objectives=("adam-v2", "adam-v1"),
        recipes=("adam-v2", "adam-v1"),
        checkpoints=("adam-convnext", "adam-resnet"),
        notices="The method may be covered by a pending patent; the authors' weights are non-commercial.",
        replay=f"{PACKAGE}.verification.adam_v2:replay",
        differences=DIFFERENCES,
    ),
)
