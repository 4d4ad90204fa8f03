"""Masked feature prediction: data2vec's manner for any encoder whose tokens can be replaced."""

from __future__ import annotations

from repcore.specs import ObjectiveSpec

PACKAGE = "repcore_generic"

OBJECTIVES = (
    ObjectiveSpec(
        name="masked-features",
        summary="Predict a moving-average teacher's mean of top layers where tokens are hidden",
        target=f"{PACKAGE}.objectives.masked_features:MaskedFeatures",
        config=f"{PACKAGE}.configs.masked_features:MaskedFeaturesConfig",
        needs=("embed-tokens", "encode-tokens"),
        paper="Baevski et al. 2022, data2vec, arXiv 2202.03555",
        licence="Apache-2.0 (this implementation, from the paper)",
    ),
)
