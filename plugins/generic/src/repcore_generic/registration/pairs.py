"""SimCLR and VICReg: the label-free baselines on two views that users of other toolkits expect."""

from __future__ import annotations

from repcore.specs import ObjectiveSpec

PACKAGE = "repcore_generic"
LICENCE = "Apache-2.0 (this implementation, from the papers)"

OBJECTIVES = (
    ObjectiveSpec(
        name="simclr",
        summary="InfoNCE: two views of an item recognise each other in the batch",
        target=f"{PACKAGE}.objectives.simclr:Simclr",
        config=f"{PACKAGE}.configs.pairs:SimclrConfig",
        views="pair",
        reads_inputs=False,
        paper="Chen et al. 2020, arXiv 2002.05709",
        licence=LICENCE,
    ),
    ObjectiveSpec(
        name="vicreg",
        summary="Views agree, dimensions keep their variance and do not repeat each other",
        target=f"{PACKAGE}.objectives.vicreg:Vicreg",
        config=f"{PACKAGE}.configs.pairs:VicregConfig",
        views="pair",
        reads_inputs=False,
        paper="Bardes et al. 2022, arXiv 2105.04906",
        licence=LICENCE,
    ),
)
