"""Gaussian anomaly detection on frozen features."""

from __future__ import annotations

from repcore.specs import SystemSpec

PACKAGE = "repcore_generic"
PAPER = "Rippel et al. 2020, Modeling the distribution of normal data in pre-trained deep features, ICPR"
LICENCE = "Apache-2.0 (this implementation, from the formulas; the authors' repository is AGPL-3.0)"

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
