"""MambaMIL: aggregators of bags."""

from __future__ import annotations

from repcore.specs import ObjectiveSpec, SystemSpec

PACKAGE = "repcore_generic"
PAPER = (
    "Yang et al. 2024, MambaMIL: Enhancing Long Sequence Modeling with Sequence Reordering, MICCAI, arXiv 2403.06800"
)
LICENCE = "Apache-2.0 (this implementation; the published code has no licence file)"

OBJECTIVES = (
    ObjectiveSpec(
        name="mamba-mil",
        summary="The encoder stays as it is; its vectors of all windows of an item become one, in their order",
        target=f"{PACKAGE}.objectives.mamba_mil:MambaMil",
        config=f"{PACKAGE}.configs.mamba_mil:MambaMilConfig",
        encoder_change=f"{PACKAGE}.encoders.bagged:bagged",
        bags=True,
        decay_rule=f"{PACKAGE}.objectives.mamba_mil:has_weight_decay",
        unused_parameters_ok=("*bag.score.*", "*A_log"),
        labels="required",
        paper=PAPER,
        licence=LICENCE,
    ),
)

SYSTEMS = (
    SystemSpec(
        name="mamba-mil",
        summary="Selective scans over bags of vectors, in several orders, before attention pooling",
        paper=PAPER,
        licence=LICENCE,
        objectives=("mamba-mil",),
        replay=f"{PACKAGE}.verification.mamba_mil:replay",
        differences=(
            ("bags that the stride does not divide", "zeros inside the second scan", "real instances alone",
             "objective.padding=zeros"),
            ("scan steps at the start", "all about 0.69", "log-uniform, 0.001 to 0.1",
             "objective.reference_compat=true"),
            ("second scan", "with a stride of 5 or 10", "backwards",
             "objective.scan=srmamba objective.rate=5"),
            ("vectors of windows", "as the encoder gives them", "standardised over training rows",
             "objective.standardise=false"),
            ("weight decay", "on decay rates, norms and biases, too", "on matrices alone", ""),
            ("bags a step", "one; more give probability 1 to every class", "any number, padded and masked", ""),
            ("attention", "thrown away", "given back with the features", ""),
        ),
    ),
)  # fmt: skip
