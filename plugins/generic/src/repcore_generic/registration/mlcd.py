"""MLCD: multi-label cluster discrimination."""

from __future__ import annotations

from repcore.specs import EstimatorSpec, ObjectiveSpec, SystemSpec

PACKAGE = "repcore_generic"
PAPER = "An et al. 2024, Multi-label Cluster Discrimination, ECCV, arXiv 2407.17331"
LICENCE = "Apache-2.0 (this implementation; MLCD's own loss was not released, UNICOM's code is MIT)"

OBJECTIVES = (
    ObjectiveSpec(
        name="mlcd",
        summary="Second stage: the nearest cluster centres of an item are its labels",
        target=f"{PACKAGE}.objectives.mlcd:Mlcd",
        config=f"{PACKAGE}.configs.mlcd:MlcdConfig",
        decay_rule=f"{PACKAGE}.objectives.mlcd:has_weight_decay",
        paper=PAPER,
        licence=LICENCE,
    ),
)

ESTIMATORS = (
    EstimatorSpec(
        name="clusters",
        summary="Spherical k-means of feature vectors, for MLCD and for a first look",
        target=f"{PACKAGE}.estimators.clusters:Clusters",
        config=f"{PACKAGE}.configs.estimators:ClustersConfig",
        facts={"clusters": "found | clusters", "inertia": "mean of 1 - cosine with the own centre"},
        paper=PAPER,
        licence=LICENCE,
    ),
)

SYSTEMS = (
    SystemSpec(
        name="mlcd",
        summary="Multi-label cluster discrimination",
        paper=PAPER,
        licence=LICENCE,
        objectives=("mlcd",),
        replay=f"{PACKAGE}.verification.mlcd:replay",
        differences=(
            ("cosines", "unscaled: nearly linear, lowers probes", "scale 16 and a margin of 0.2", "objective.scale"),
            ("sampled negatives", "share of all centres, positives included", "of those that are no positive", ""),
            ("angle margin", "constant in the gradient", "exact", "objective.margin_gradient=straight-through"),
        ),
    ),
)
