"""Hydra (SimLAP): arbitrary class pairs."""

from __future__ import annotations

from repcore.specs import ObjectiveSpec, SystemSpec

PACKAGE = "repcore_generic"
PAPER = "Wu et al. 2024, Rethinking Positive Pairs in Contrastive Learning (SimLAP), arXiv 2410.18200"
LICENCE = "Apache-2.0 (this implementation; the published code says MIT without a licence file)"

OBJECTIVES = (
    ObjectiveSpec(
        name="hydra",
        summary="Any two classes may be positives, in the features that a learned gate of the two selects",
        target=f"{PACKAGE}.objectives.hydra:Hydra",
        config=f"{PACKAGE}.configs.hydra:HydraConfig",
        labels="required",
        sampler="balanced",
        classes_in_batch=3,
        paper=PAPER,
        licence=LICENCE,
    ),
)

SYSTEMS = (
    SystemSpec(
        name="hydra",
        summary="Learning from arbitrary class pairs",
        paper=PAPER,
        licence=LICENCE,
        objectives=("hydra",),
        replay=f"{PACKAGE}.verification.hydra:replay",
        differences=(
            ("the item itself", "a positive where both classes are one", "left out", "objective.self_pairs"),
            ("no pair in a batch", "NaN", "0, counted as no pair", ""),
            ("rows without negatives", "count with a loss of 0", "do not count", "objective.self_pairs"),
            ("normalisation", "before the gate (since 2026)", "after the gate", "objective.normalise=before-gate"),
            ("classification", "watches only", "reaches the encoder", "objective.supervised=false"),
        ),
    ),
)
