"""Class-Gaussian contrast (SePiCo)."""

from __future__ import annotations

from repcore.specs import ObjectiveSpec, SystemSpec

PACKAGE = "repcore_generic"
PAPER = "Xie et al. 2023, SePiCo: Semantic-Guided Pixel Contrast for Domain Adaptive Semantic Segmentation, TPAMI"
LICENCE = "Apache-2.0 (this implementation and the published code)"

OBJECTIVES = (
    ObjectiveSpec(
        name="class-gaussian-contrast",
        summary="Plain fine-tuning beside a contrast with running Gaussians of the classes; items or elements",
        target=f"{PACKAGE}.objectives.class_gaussians:ClassGaussians",
        config=f"{PACKAGE}.configs.class_gaussians:ClassGaussiansConfig",
        labels="required",
        unused_parameters_ok=("project.*",),
        paper=PAPER,
        licence=LICENCE,
    ),
)

SYSTEMS = (
    SystemSpec(
        name="class-gaussian-contrast",
        summary="Contrast with class distributions",
        paper=PAPER,
        licence=LICENCE,
        objectives=("class-gaussian-contrast",),
        replay=f"{PACKAGE}.verification.class_gaussians:replay",
        differences=(
            ("classes never seen", "in the softmax with logit 0", "left out", ""),
            ("evening term", "falls as one class dominates", "smallest for an even mix", ""),
            ("temperature", "100", "0.5", "objective.temperature=100"),
            ("banks", "start with a zero vector", "start empty", ""),
            ("target data with pseudo-labels", "contrasted too", "labelled data only", ""),
        ),
    ),
)
