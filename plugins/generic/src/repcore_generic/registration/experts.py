"""Experts: one encoder for several domains."""

from __future__ import annotations

from repcore.specs import ObjectiveSpec, SystemSpec

PACKAGE = "repcore_generic"
PAPER = "Hallee et al. 2024, Contrastive Learning and Mixture of Experts Enables Precise Vector Embeddings, 2401.15713"
LICENCE = "Apache-2.0 (this implementation, from the paper; the published code is GPL-3.0)"

OBJECTIVES = (
    ObjectiveSpec(
        name="experts",
        summary="Feed-forward blocks once a domain of the data; attention, norms and embeddings are shared",
        target=f"{PACKAGE}.objectives.experts:DomainExperts",
        config=f"{PACKAGE}.configs.experts:ExpertsConfig",
        encoder_change=f"{PACKAGE}.encoders.experts:with_experts",
        needs=("feed-forward-blocks",),
        labels="required",
        example=f"{PACKAGE}.examples.methods:experts",
        unused_parameters_ok=("*experts.*",),
        paper=PAPER,
        licence=LICENCE,
    ),
)

SYSTEMS = (
    SystemSpec(
        name="experts",
        summary="Copied feed-forward blocks with enforced routing",
        paper=PAPER,
        licence=LICENCE,
        objectives=("experts",),
        replay=f"{PACKAGE}.verification.experts:replay",
        differences=(
            ("contrast", "raw products, targets by self-similarity", "unit vectors, own partner", "objective.loss"),
            ("rows of no known domain", "memory that was not set", "mean of the experts", "objective.unknown"),
            ("domain token", "one a domain in front", "none", ""),
            ("task", "contrast alone", "the task's loss beside it", "objective.weight"),
        ),
    ),
)
