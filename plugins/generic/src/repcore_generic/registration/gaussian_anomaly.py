"""Gaussian anomaly detection on frozen features."""

from __future__ import annotations

from repcore.specs import EstimatorSpec, SystemSpec

PACKAGE = "repcore_generic"
PAPER = "Rippel et al. 2020, Modeling the distribution of normal data in pre-trained deep features, ICPR"
LICENCE = "Apache-2.0 (this implementation, from the formulas; the authors' repository is AGPL-3.0)"

FACTS = {
    "fitted_on": "vectors that the Gaussian was fitted on",
    "width": "width of a vector | numbers",
    "shrinkage": "share of the covariance replaced by a multiple of the identity (Ledoit-Wolf)",
    "calibration_items": "held out for threshold and p-values | items",
    "threshold": "threshold | standard deviations (Mahalanobis distance)",
}

ESTIMATORS = (
    EstimatorSpec(
        name="gaussian-anomaly",
        summary="How unlike normal items: Mahalanobis distance with a conformal threshold, k-NN beside it",
        target=f"{PACKAGE}.estimators.anomaly:GaussianAnomaly",
        config=f"{PACKAGE}.configs.estimators:GaussianAnomalyConfig",
        facts=FACTS,
        paper=PAPER,
        licence=LICENCE,
    ),
    EstimatorSpec(
        name="gaussian-anomaly-tokens",
        summary="The same token by token: an item is as strange as its strangest token",
        target=f"{PACKAGE}.estimators.anomaly:GaussianAnomaly",
        config=f"{PACKAGE}.configs.estimators:GaussianAnomalyConfig",
        level="token",
        facts=FACTS,
        paper=PAPER,
        licence=LICENCE,
    ),
)

SYSTEMS = (
    SystemSpec(
        name="gaussian-anomaly",
        summary="Mahalanobis distance from normal feature vectors",
        paper=PAPER,
        licence=LICENCE,
        replay=f"{PACKAGE}.verification.gaussian_anomaly:replay",
        differences=(
            ("tail where one direction dominates", "only the weakest direction", "all from the first on", ""),
            ("fewer items than dimensions", "a direction of rounding noise counts", "left out", ""),
            ("threshold", "chi-square: three times the promised false positives", "conformal", ""),
            ("precision matrix", "pseudo-inverse in float32", "Cholesky factor in float64", ""),
        ),
    ),
)
