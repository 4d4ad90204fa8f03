"""SHERL: fine-tuning beside a frozen encoder."""

from __future__ import annotations

from repcore.specs import ObjectiveSpec, SystemSpec

PACKAGE = "repcore_generic"
PAPER = "Diao et al. 2024, SHERL: Synthesizing High Accuracy and Efficient Memory, ECCV, arXiv 2407.07523"
LICENCE = "Apache-2.0 (this implementation and the published code)"

OBJECTIVES = (
    ObjectiveSpec(
        name="sherl",
        summary="The encoder stays as it is; a small block beside it remakes the input of its last layer",
        target=f"{PACKAGE}.objectives.sherl:Sherl",
        config=f"{PACKAGE}.configs.sherl:SherlConfig",
        encoder_change=f"{PACKAGE}.encoders.sherl:side_tuned",
        needs=("layers",),
        unused_parameters_ok=("*side.projections.*", "*side.attention.*", "*side.score.*"),
        labels="required",
        example=f"{PACKAGE}.examples.methods:sherl",
        paper=PAPER,
        licence=LICENCE,
    ),
)

SYSTEMS = (
    SystemSpec(
        name="sherl",
        summary="Side block over all layers, gradients through the last one alone",
        paper=PAPER,
        licence=LICENCE,
        objectives=("sherl",),
        replay=f"{PACKAGE}.verification.sherl:replay",
        differences=(
            ("similarity of a layer with itself", "computed, NaN for zeros", "1", "objective.redundancy=reference"),
            ("gate at the start", "closed", "half open", "objective.theta=0"),
            ("empty slots", "mixed like others", "keep what they held", ""),
            ("frozen encoder", "in training mode where the task is", "in eval mode", ""),
        ),
    ),
)
