"""Runs of VBReg: ``tiny`` on generated pairs, minutes on a CPU; ``paper`` is the published size."""

from __future__ import annotations

from dataclasses import replace

from repcore.config import DataConfig, OptimiserConfig, Part, RunConfig, ScheduleConfig, TrainerConfig
from repcore_pointcloud.configs.vbreg import (
    MatchConsistencyConfig,
    MatchNetworkConfig,
    MatchPairsConfig,
    MatchSetConfig,
)

ENCODER, OBJECTIVE = "pointcloud/vbreg", "pointcloud/match-consistency"
PAIRS, MATCHES = "pointcloud/match-pairs", "pointcloud/matches"


def tiny() -> RunConfig:
    """Six narrow layers on pairs with 60 to 96 % wrong matches, about four minutes on one core."""
    return RunConfig(
        encoder=Part(
            ENCODER, MatchNetworkConfig(layers=6, width=48, belief_width=64, hidden_width=64, latent_width=32)
        ),
        objective=Part(OBJECTIVE, MatchConsistencyConfig(label_width=16)),
        dataset=Part(PAIRS, MatchPairsConfig()),
        preprocessor=Part(MATCHES, MatchSetConfig()),
        data=DataConfig(batch_size=4, validation_limit=32, bucket_by_cost=False),
        optimiser=OptimiserConfig(name="adam", lr=1e-3, weight_decay=1e-6),
        schedule=ScheduleConfig(name="cosine", warmup_steps=10),
        trainer=TrainerConfig(steps=200, validate_every=100),
    )


def paper() -> RunConfig:
    """The released configuration on generated pairs of 1000 matches; the learning rate is constant.

    Published is a factor of 0.99 an epoch over 25 epochs of 3500 steps.
    """
    return replace(
        tiny(),
        encoder=Part(ENCODER, MatchNetworkConfig()),
        objective=Part(OBJECTIVE, MatchConsistencyConfig()),
        dataset=Part(PAIRS, MatchPairsConfig(pairs=20_000, matches=1000, fewest_matches=1000)),
        data=DataConfig(batch_size=6),
        optimiser=OptimiserConfig(name="adam", lr=1e-4, weight_decay=1e-6, clip_norm=None),
        schedule=ScheduleConfig(name="constant", warmup_steps=0),
        trainer=TrainerConfig(steps=87_500),
    )
