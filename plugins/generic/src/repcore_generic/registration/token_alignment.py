"""Token alignment (REPA): a student's tokens towards a frozen teacher's."""

from __future__ import annotations

from repcore.specs import ObjectiveSpec, SystemSpec

PACKAGE = "repcore_generic"
PAPER = "Yu et al. 2025, Representation Alignment for Generation, ICLR, arXiv 2410.06940"
LICENCE = "Apache-2.0 (this implementation); the authors' repository is MIT"

OBJECTIVES = (
    ObjectiveSpec(
        name="token-alignment",
        summary="Tokens towards those of a frozen teacher: another model",
        target=f"{PACKAGE}.objectives.token_alignment:TokenAlignment",
        config=f"{PACKAGE}.configs.token_alignment:TokenAlignmentConfig",
        paper=PAPER,
        licence=LICENCE,
    ),
)

SYSTEMS = (
    SystemSpec(
        name="token-alignment",
        summary="Alignment of tokens with a frozen teacher",
        paper=PAPER,
        licence=LICENCE,
        objectives=("token-alignment",),
        replay=f"{PACKAGE}.verification.token_alignment:replay",
        differences=(
            ("mean", "tokens of an item, then items", "valid tokens of the batch", "objective.mean_over=items"),
        ),
    ),
)
