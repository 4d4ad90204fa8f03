"""2D Matryoshka: any layer depth and any prefix width of the embedding."""

from __future__ import annotations

from repcore.specs import ObjectiveSpec, SystemSpec

PACKAGE = "repcore_generic"
PAPER = "Li et al. 2024, 2D Matryoshka Sentence Embeddings, arXiv 2402.14776 (v2: Espresso)"
LICENCE = "Apache-2.0 (this implementation); sentence-transformers is Apache-2.0, AnglE is MIT"

OBJECTIVES = (
    ObjectiveSpec(
        name="matryoshka-2d",
        summary="Wraps a pair objective: any depth and any prefix width of the embedding works alone",
        target=f"{PACKAGE}.objectives.matryoshka:Matryoshka2d",
        config=f"{PACKAGE}.configs.matryoshka:MatryoshkaConfig",
        needs=("layers",),
        views="pair",
        reads_inputs=False,
        unused_parameters_ok=("inner.*",),
        paper=PAPER,
        licence=LICENCE,
    ),
)

SYSTEMS = (
    SystemSpec(
        name="matryoshka-2d",
        summary="2D Matryoshka and Espresso embeddings",
        paper=PAPER,
        licence=LICENCE,
        objectives=("matryoshka-2d",),
        replay=f"{PACKAGE}.verification.matryoshka:replay",
        differences=(
            ("distillation over drawn layers", "summed, so its weight grows with their number", "mean", ""),
            ("vectors in the distillation", "raw: scales of encoders differ a hundredfold", "rows standardised", ""),
            ("Espresso's compression target", "random directions of a singular value decomposition", "not used", ""),
        ),
    ),
)
