"""ShrinkMatch: few labels, many unlabelled rows."""

from __future__ import annotations

from repcore.specs import ObjectiveSpec, SystemSpec

PACKAGE = "repcore_generic"
PAPER = "Yang et al. 2023, Shrinking Class Space for Enhanced Certainty in Semi-Supervised Learning, ICCV"
LICENCE = "Apache-2.0 (this implementation; the published code is MIT)"

OBJECTIVES = (
    ObjectiveSpec(
        name="shrinkmatch",
        summary="Plain fine-tuning beside unlabelled rows: a strong view agrees with what the weak one makes likely",
        target=f"{PACKAGE}.objectives.shrinkmatch:ShrinkMatch",
        config=f"{PACKAGE}.configs.shrinkmatch:ShrinkMatchConfig",
        labels="required",
        example=f"{PACKAGE}.examples.methods:shrinkmatch",
        views="weak-strong",
        sampler="mixed",
        unused_parameters_ok=("auxiliary.*",),
        paper=PAPER,
        licence=LICENCE,
    ),
)

SYSTEMS = (
    SystemSpec(
        name="shrinkmatch",
        summary="Consistency in a shrunk class space",
        paper=PAPER,
        licence=LICENCE,
        objectives=("shrinkmatch",),
        replay=f"{PACKAGE}.verification.shrinkmatch:replay",
        differences=(
            ("running share of certain items", "starts anew every epoch", "kept", "objective.ratio=reset_each_epoch"),
            ("its decay", "0.999", "1 - 1 / max(20, steps / 50)", "objective.ratio_decay=0.999"),
            ("views", "one pass for all", "one pass a view", ""),
            ("two classes", "shape error", "nothing to shrink: 0", ""),
            ("labelled rows", "also taken as unlabelled", "labelled only", ""),
        ),
    ),
)
