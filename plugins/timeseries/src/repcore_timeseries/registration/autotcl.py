"""AutoTCL: objective, recipe, replay."""

from __future__ import annotations

from repcore.specs import ObjectiveSpec, RecipeSpec, SystemSpec
from repcore_timeseries.registration.series import PACKAGE

PAPER = "Zheng et al. 2024, Parametric Augmentation for Time Series Contrastive Learning, ICLR (arXiv 2402.10434)"
LICENCE = "Apache-2.0 (written from the paper and from numbers; the published code has no licence and is not copied)"

OBJECTIVES = (
    ObjectiveSpec(
        name="autotcl",
        summary="Contrast of a series with a view whose gates are learned, or random as the control",
        target=f"{PACKAGE}.objectives.autotcl:AutoTCL",
        config=f"{PACKAGE}.configs.autotcl:AutoTCLConfig",
        needs=("step", "series-steps"),
        paper=PAPER,
        licence=LICENCE,
        example=f"{PACKAGE}.examples.series:autotcl",
    ),
)

RECIPE_CODE = f"{PACKAGE}.recipes.series"
RECIPES = (
    RecipeSpec(
        name="autotcl",
        summary="AutoTCL on generated sensors or your series; objective.gates=random is its control",
        presets={"tiny": f"{RECIPE_CODE}:autotcl_tiny", "paper": f"{RECIPE_CODE}:autotcl_paper"},
        paper=PAPER,
    ),
)

FORM = "objective.form=published"
DIFFERENCES = (
    ("gate logits", "through a sigmoid first: keep probability 0.47 to 0.74", "as they are", FORM),
    ("stretch", "0 can be reached exactly, 1 not", "both", FORM),
    ("opening term", "channels are summed, threshold 0.4", "mean over values", FORM),
    ("smoothness", "drawn pairs of one series for all, near ones pushed apart", "mean change between steps", FORM),
    ("similarity of views", "before the kernels", "of the features", FORM),
    ("local contrast", "first series of the batch only", "every series, both neighbours", FORM),
    ("contrast", "one direction", "both directions", FORM),
    ("masks", "never reach the encoder", "work", "objective.visible_share"),
    ("missing values", "NaN x 0 = NaN", "masked", "encoder.missing"),
    ("alternation", "augmenter, then encoder with a fresh view", "one joint step, a lag of one step in the view", ""),
)
"""Where defaults depart from the paper or its code."""

SYSTEMS = (
    SystemSpec(
        name="autotcl",
        summary="Learned augmentation for contrast of series",
        paper=PAPER,
        licence=LICENCE,
        encoders=("dilated",),
        objectives=("autotcl",),
        recipes=("autotcl",),
        replay=f"{PACKAGE}.verification.autotcl:replay",
        differences=DIFFERENCES,
    ),
)
