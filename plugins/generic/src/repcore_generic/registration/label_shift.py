"""Latent label shift (DDFA)."""

from __future__ import annotations

from repcore.specs import EstimatorSpec, SystemSpec

PACKAGE = "repcore_generic"
PAPER = "Roberts et al. 2022, Unsupervised Learning under Latent Label Shift, NeurIPS, arXiv 2207.13179"
LICENCE = "Apache-2.0 (this implementation, from the formulas; the public repository is CC BY-NC 4.0)"

FACTS = {
    "condition_number": "condition number of the mixes of classes (large = domains hardly differ)",
    "items": "fitted on | items",
    "error": "error of the best factorisation",
    "error_spread": "standard deviation of that error over the starts",
    "domains_left_out": "domains left out, with fewer than ten items",
    "domain_area": "telling the domains: area under the ROC curve (0.5 = not at all)",
    "domain_area_shuffled": "the same with shuffled domains",
    "domain_accuracy": "accuracy at telling the domains",
    "domain_accuracy_shuffled": "the same with shuffled domains",
    "accuracy_ceiling": "accuracy that the classes alone would allow",
    "mix_spread": "largest difference of a domain's mix from the mean",
    "mix_spread_shuffled": "the same with shuffled domains",
    "stability_starts": "agreement of classes between starts (adjusted Rand index, 1 = the same)",
    "stability_halves": "agreement of classes between fits to halves of the items",
}

ESTIMATORS = (
    EstimatorSpec(
        name="label-shift",
        summary="Classes from the domains that items come from, without class labels",
        target=f"{PACKAGE}.estimators.discover:LabelShift",
        config=f"{PACKAGE}.configs.estimators:LabelShiftConfig",
        labels="required",
        facts=FACTS,
        example=f"{PACKAGE}.examples.estimators:label_shift",
        paper=PAPER,
        licence=LICENCE,
    ),
)

SYSTEMS = (
    SystemSpec(
        name="label-shift",
        summary="Classes from the domains that items come from",
        paper=PAPER,
        licence=LICENCE,
        replay=f"{PACKAGE}.verification.label_shift:replay",
        differences=(
            ("negative entries of p(y | x)", "kept: the arg max may flip", "clipped at 0", ""),
            ("domains of uneven size", "ignored", "divided out", ""),
            ("starts of the factorisation", "one", "at least twenty, the smallest error", "starts"),
        ),
    ),
)
