"""Edges and places: objective and recipe for images. Encoders are those of Adam-v2."""

from __future__ import annotations

from repcore.specs import ObjectiveSpec, RecipeSpec

PACKAGE = "repcore_medical3d"
PAPER = (
    "after Wei et al. 2022, Masked Feature Prediction for Self-Supervised Visual Pre-Training, arXiv 2112.09133, and "
    "Lei et al. 2021, Contrastive Learning of Relative Position Regression, arXiv 2012.07043"
)
LICENCE = "Apache-2.0 (this implementation)"

OBJECTIVES = (
    ObjectiveSpec(
        name="edges-and-places",
        summary="Edges by direction in every cell of a window, and where in its image the cell lies",
        target=f"{PACKAGE}.objectives.edges_and_places:EdgesAndPlaces",
        config=f"{PACKAGE}.configs.edges_and_places:EdgesAndPlacesConfig",
        needs=("anatomy-views",),
        paper=PAPER,
        licence=LICENCE,
        example=f"{PACKAGE}.examples.adam_v2:edges_and_places",
    ),
)

RECIPES = (
    RecipeSpec(
        name="edges-and-places",
        summary="Edges and places in films, for vectors that keep both",
        presets={name: f"{PACKAGE}.recipes.edges_and_places:{name}" for name in ("tiny", "small")},
        default="tiny",
        paper=PAPER,
    ),
)
