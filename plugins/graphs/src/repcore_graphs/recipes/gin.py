"""GIN for any graph: generated graphs, whose statistics its vector predicts."""

from __future__ import annotations

from dataclasses import replace

from repcore.config import DataConfig, OptimiserConfig, Part, RunConfig, ScheduleConfig, TrainerConfig
from repcore_graphs.configs.gin import FamiliesConfig, GraphGinConfig, SignalGraphConfig


def tiny() -> RunConfig:
    """A look: less than a minute of one core."""
    return RunConfig(
        encoder=Part("graphs/gin", GraphGinConfig()),
        objective=Part(
            "generic/computed-targets", {"targets": ["statistics"], "hidden_width": 256, "components": 1000}
        ),
        dataset=Part("graphs/families", FamiliesConfig(size=1000)),
        preprocessor=Part("graphs/signals", SignalGraphConfig()),
        data=DataConfig(batch_size=64, validation_share=0.05, bucket_by_cost=False),
        optimiser=OptimiserConfig(lr=2e-3, weight_decay=0.01),
        schedule=ScheduleConfig(name="linear", warmup_steps=100),
        trainer=TrainerConfig(steps=300),
    )


def small() -> RunConfig:
    """:func:`tiny` on eight times as many graphs, for longer: two minutes."""
    return replace(
        tiny(),
        dataset=Part("graphs/families", FamiliesConfig()),
        trainer=TrainerConfig(steps=1000, validate_every=500),
    )
