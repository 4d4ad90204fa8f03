"""Metrix: mixup for metric learning."""

from __future__ import annotations

from repcore.specs import ObjectiveSpec, SystemSpec

PACKAGE = "repcore_generic"
PAPER = "Venkataramanan et al. 2022, It Takes Two to Tango: Mixup for Deep Metric Learning, ICLR, arXiv 2106.04990"
LICENCE = "Apache-2.0 (this implementation); the published code is MIT"

OBJECTIVES = (
    ObjectiveSpec(
        name="metrix",
        summary="Contrastive fine-tuning with mixed embeddings, for neighbours of classes never trained on",
        target=f"{PACKAGE}.objectives.metrix:Metrix",
        config=f"{PACKAGE}.configs.metrix:MetrixConfig",
        labels="required",
        sampler="balanced",
        classes_in_batch=2,
        paper=PAPER,
        licence=LICENCE,
    ),
)

SYSTEMS = (
    SystemSpec(
        name="metrix",
        summary="Mixup for metric learning, contrastive instance",
        paper=PAPER,
        licence=LICENCE,
        objectives=("metrix",),
        replay=f"{PACKAGE}.verification.metrix:replay",
        differences=(
            ("positives of an anchor", "the first, once for each", "each once", "objective.positives=first-repeated"),
            ("hard negatives of mixed inputs", "of another anchor, at times of the own class", "the nearest",
             "objective.hard_negatives=reference-index"),
            ("a branch without triples", "stops with an error", "the other branch, or 0", ""),
            ("memory", "all pairs of triples", "one distance a triple, at most 65,536", "objective.most"),
        ),
    ),
)  # fmt: skip
