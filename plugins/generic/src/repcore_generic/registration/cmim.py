"""cMIM: contrastive mutual information machine."""

from __future__ import annotations

from repcore.specs import ObjectiveSpec, SystemSpec

PACKAGE = "repcore_generic"
PAPER = "Livne 2025, Contrastive Mutual Information Learning, arXiv 2509.21511"
LICENCE = "Apache-2.0 (this implementation); the A-MIM part of NVIDIA/NeMo is Apache-2.0"

OBJECTIVES = (
    ObjectiveSpec(
        name="cmim",
        summary="Auto-encoder on pooled vectors whose codes repel each other; no views",
        target=f"{PACKAGE}.objectives.cmim:Cmim",
        config=f"{PACKAGE}.configs.cmim:CmimConfig",
        paper=PAPER,
        licence=LICENCE,
    ),
)

SYSTEMS = (
    SystemSpec(
        name="cmim",
        summary="Contrastive mutual information machine",
        paper=PAPER,
        licence=LICENCE,
        objectives=("cmim",),
        replay=f"{PACKAGE}.verification.cmim:replay",
        differences=(
            ("sign of the KL term of a variational auto-encoder", "negative (maximises it)", "positive", ""),
            ("sum over items", "latent term summed, likelihood averaged", "both are means over items", ""),
            ("decoder", "the domain's own", "a network that predicts a frozen description", "objective.decoder_width"),
        ),
    ),
)
