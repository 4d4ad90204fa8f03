"""Targets computed from the input, as a term beside another objective or alone."""

from __future__ import annotations

from repcore.specs import ObjectiveSpec

PACKAGE = "repcore_generic"

OBJECTIVES = (
    ObjectiveSpec(
        name="computed-targets",
        summary="Predict what the domain computes from each input (descriptors, statistics), beside another objective",
        target=f"{PACKAGE}.objectives.computed_targets:ComputedTargets",
        config=f"{PACKAGE}.configs.computed_targets:ComputedTargetsConfig",
        unused_parameters_ok=("*",),  # of whatever stands beside it
        paper="multi-task regression of computed descriptors: Ahmad et al. 2022, ChemBERTa-2, arXiv 2209.01712",
        licence="Apache-2.0 (this implementation, from the paper's description)",
    ),
)
