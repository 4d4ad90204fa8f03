"""What repcore-generic registers. Imports nothing heavy: the code behind each name is loaded on first use."""

from __future__ import annotations

from repcore.hooks import API_VERSION
from repcore.registration import Registration
from repcore.specs import GENERIC, PluginInfo
from repcore_generic.registration import (
    class_gaussians,
    cmim,
    computed_targets,
    core_tuning,
    experts,
    gaussian_anomaly,
    hydra,
    label_shift,
    mamba_mil,
    masked_features,
    matryoshka,
    metrix,
    mlcd,
    pairs,
    rank_metrics,
    sherl,
    shrinkmatch,
    sparse_codes,
    stationary,
    token_alignment,
)

plugin = Registration(
    PluginInfo(
        title="Methods for every encoder",
        domain=GENERIC,
        api_version=API_VERSION,
        summary="Label-free objectives and estimators that work with the encoders of every domain",
        licence="Apache-2.0",
    ),
    parts=(
        pairs,
        cmim,
        computed_targets,
        masked_features,
        matryoshka,
        mlcd,
        token_alignment,
        core_tuning,
        experts,
        mamba_mil,
        hydra,
        metrix,
        sherl,
        shrinkmatch,
        stationary,
        class_gaussians,
        gaussian_anomaly,
        label_shift,
        sparse_codes,
        rank_metrics,
    ),
)
