"""TS2Vec: objective, recipe, replay."""

from __future__ import annotations

from repcore.specs import ObjectiveSpec, RecipeSpec, SystemSpec
from repcore_timeseries.registration.series import PACKAGE

PAPER = "Yue et al. 2022, TS2Vec: Towards Universal Representation of Time Series, AAAI (arXiv 2106.10466)"
LICENCE = "Apache-2.0 (this implementation); the authors' repository is MIT"

OBJECTIVES = (
    ObjectiveSpec(
        name="ts2vec",
        summary="Contrast of two overlapping crops at every scale of time",
        target=f"{PACKAGE}.objectives.ts2vec:TS2Vec",
        config=f"{PACKAGE}.configs.ts2vec:TS2VecConfig",
        needs=("step", "series-steps"),
        paper=PAPER,
        licence=LICENCE,
        example=f"{PACKAGE}.examples.series:ts2vec",
    ),
)

RECIPE_CODE = f"{PACKAGE}.recipes.series"
RECIPES = (
    RecipeSpec(
        name="ts2vec",
        summary="TS2Vec on generated sensors or your series",
        presets={name: f"{RECIPE_CODE}:ts2vec_{name}" for name in ("tiny", "small", "paper")},
        default="tiny",
        paper=PAPER,
    ),
)

DIFFERENCES = (
    ("missing values", "one NaN channel hides the step", "hides its channel only", "encoder.missing=step"),
    ("unequal lengths", "padded at both ends, crops reach into padding", "crops stay within every series", ""),
    ("the caller's data", "NaN is overwritten with 0", "a masked copy", ""),
    ("padding", "biases of padded steps reach the series", "0 in every layer", ""),
)
"""Where defaults depart from the paper or its code."""

SYSTEMS = (
    SystemSpec(
        name="ts2vec",
        summary="Hierarchical contrast of series",
        paper=PAPER,
        licence=LICENCE,
        encoders=("dilated",),
        objectives=("ts2vec",),
        recipes=("ts2vec",),
        replay=f"{PACKAGE}.verification.ts2vec:replay",
        differences=DIFFERENCES,
    ),
)
