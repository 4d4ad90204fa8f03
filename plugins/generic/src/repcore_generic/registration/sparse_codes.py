"""Sparse codes: dictionaries of token features, and codes of modules."""

from __future__ import annotations

from repcore.specs import EstimatorSpec, SystemSpec

PACKAGE = "repcore_generic"
PAPER = (
    "O'Neill and Bui 2024, Sparse autoencoders enable scalable and reliable circuit identification, arXiv 2405.12522"
)

ESTIMATORS = (
    EstimatorSpec(
        name="sparse-codes",
        summary="A TopK dictionary of token features, and the entries that each item shows",
        target=f"{PACKAGE}.estimators.codes:SparseCodes",
        config=f"{PACKAGE}.configs.estimators:SparseCodesConfig",
        level="token",
        example=f"{PACKAGE}.examples.estimators:sparse_codes",
        paper=PAPER,
    ),
)

SYSTEMS = (
    SystemSpec(
        name="sparse-codes",
        summary="Sparse auto-encoder dictionaries, and codes that tell modules apart",
        paper=PAPER,
        licence="Apache-2.0 (this implementation; no public code of the paper exists)",
        replay=f"{PACKAGE}.verification.sparse_codes:replay",
    ),
)
