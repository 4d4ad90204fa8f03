"""Sparse codes: dictionaries of token features, and codes of modules."""

from __future__ import annotations

from repcore.specs import CommandSpec, EstimatorSpec, SystemSpec

PACKAGE = "repcore_generic"
PAPER = (
    "O'Neill and Bui 2024, Sparse autoencoders enable scalable and reliable circuit identification, arXiv 2405.12522"
)

FACTS = {
    "dead_share": "share of the entries that no longer fire",
    "tokens": "read | tokens",
    "explained_variance": "explained share of the variance of held-out tokens",
    "active_per_token": "active in a token | entries",
    "explained_by_components": "share explained by as many principal components",
    "scale": "factor that brings tokens to a mean length of the root of their width",
}

ESTIMATORS = (
    EstimatorSpec(
        name="sparse-codes",
        summary="A TopK dictionary of token features, and the entries that each item shows",
        target=f"{PACKAGE}.estimators.codes:SparseCodes",
        config=f"{PACKAGE}.configs.estimators:SparseCodesConfig",
        level="token",
        facts=FACTS,
        example=f"{PACKAGE}.examples.estimators:sparse_codes",
        paper=PAPER,
    ),
)

COMMANDS = (
    CommandSpec(
        name="contrast",
        summary="Which layers of a model tell rows with an attribute from others, with permutation p-values",
        target=f"{PACKAGE}.commands.contrast:contrast_command",
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
