"""Stationary representations: versions of a model that share one index."""

from __future__ import annotations

from repcore.specs import ObjectiveSpec, SystemSpec

PACKAGE = "repcore_generic"
PAPER = "Biondi et al. 2024, Stationary Representations: Optimally Approximating Compatibility, CVPR, arXiv 2405.02581"
LICENCE = "Apache-2.0 (this implementation; the published code is MIT)"

OBJECTIVES = (
    ObjectiveSpec(
        name="stationary",
        summary="A fixed classifier gives each class a direction that later models keep: old vectors stay searchable",
        target=f"{PACKAGE}.objectives.stationary:Stationary",
        config=f"{PACKAGE}.configs.stationary:StationaryConfig",
        encoder_change=f"{PACKAGE}.encoders.stationary:mapped",
        labels="required",
        example=f"{PACKAGE}.examples.methods:stationary",
        paper=PAPER,
        licence=LICENCE,
    ),
)

SYSTEMS = (
    SystemSpec(
        name="stationary",
        summary="Fixed simplex classifier, and HOC against the version before",
        paper=PAPER,
        licence=LICENCE,
        objectives=("stationary",),
        replay=f"{PACKAGE}.verification.stationary:replay",
        differences=(
            ("rows of the own class in HOC", "zeros in the sum", "left out", "objective.same_class=zero"),
            ("average of scores", "zeros left out, unit changes", "mean of the lower triangle", ""),
            ("identification", "row number against label", "by label", ""),
            ("first model", "HOC against random weights", "no HOC", ""),
            ("slots", "by class number", "by class name, kept in the model", ""),
        ),
    ),
)
