"""Restoring with places: objective, views, recipe. Encoders are those of the other systems."""

from __future__ import annotations

from repcore.specs import ObjectiveSpec, RecipeSpec, ViewsSpec

PACKAGE = "repcore_medical3d"
PAPER = (
    "after Zhou et al. 2021, Models Genesis, Medical Image Analysis 67, arXiv 2004.07882, and Lei et al. 2021, "
    "Contrastive Learning of Relative Position Regression, arXiv 2012.07043"
)
LICENCE = "Apache-2.0 (this implementation)"
VOXEL_DECODER = "voxel-decoder"  # what is needed of an encoder: repcore_medical3d.encoders.decoding

OBJECTIVES = (
    ObjectiveSpec(
        name="restore",
        summary="Hidden cells restored, and the place of every voxel in its scan, through a U-shaped decoder",
        target=f"{PACKAGE}.objectives.restore:Restore",
        config=f"{PACKAGE}.configs.restore:RestoreConfig",
        needs=(VOXEL_DECODER,),
        views="placed-cube",
        reads_inputs=False,
        unused_parameters_ok=(  # what gives an encoder's vector or its own restored cube
            "encoder.backbone.norm.*",
            "encoder.mask_token",
            "encoder.reconstruction.*",
            "encoder.network.out.*",
        ),
        paper=PAPER,
        licence=LICENCE,
    ),
)

VIEWS = (
    ViewsSpec(
        name="placed-cube",
        summary="A cube at a random place of its scan, and where that is",
        target=f"{PACKAGE}.views.placed:PlacedCube",
        config=f"{PACKAGE}.configs.restore:PlacedCubeConfig",
        names=("cube",),
    ),
)

RECIPES = (
    RecipeSpec(
        name="restore",
        summary="Hidden cells restored and places of voxels, for labels of voxels",
        presets={name: f"{PACKAGE}.recipes.restore:{name}" for name in ("tiny", "small")},
        default="tiny",
        paper=PAPER,
    ),
)
