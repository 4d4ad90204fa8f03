"""Core-tuning."""

from __future__ import annotations

from repcore.specs import ObjectiveSpec, SystemSpec

PACKAGE = "repcore_generic"
PAPER = "Zhang et al. 2021, Unleashing the Power of Contrastive Self-Supervised Visual Models, NeurIPS"
LICENCE = "Apache-2.0 (this implementation; the published code has no licence)"

OBJECTIVES = (
    ObjectiveSpec(
        name="core-tuning",
        summary="Fine-tuning on mixed vectors with a focal contrast over the same rows",
        target=f"{PACKAGE}.objectives.core_tuning:CoreTuning",
        config=f"{PACKAGE}.configs.core_tuning:CoreTuningConfig",
        labels="required",
        paper=PAPER,
        licence=LICENCE,
    ),
)

SYSTEMS = (
    SystemSpec(
        name="core-tuning",
        summary="Contrast-regularised fine-tuning",
        paper=PAPER,
        licence=LICENCE,
        objectives=("core-tuning",),
        replay=f"{PACKAGE}.verification.core_tuning:replay",
        differences=(
            ("originals", "detached", "reach the encoder", "objective.detach_originals"),
            ("hard positives and negatives", "zeros of the mask may win", "among those that are some",
             "objective.mining=reference"),
            ("equal mixed labels", "float32 hash that joins different mixtures", "compared", "objective.labels=hash"),
            ("contrast", "divided by all rows, weight 0.1", "by positives, weight 1",
             "objective.norm=columns objective.eta=0.1"),
        ),
    ),
)  # fmt: skip
