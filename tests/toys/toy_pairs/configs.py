from __future__ import annotations

from dataclasses import dataclass, field

from repcore.config import DataConfig, OptimiserConfig, Part, RunConfig, ScheduleConfig, TrainerConfig


@dataclass(frozen=True, kw_only=True)
class SetNetConfig:
    width: int = field(default=16, metadata={"help": "feature width", "min": 1})
    point_width: int | None = field(default=None, metadata={"help": "coordinates of a point"})
    dropout: float = field(default=0.1, metadata={"help": "dropout"})


@dataclass(frozen=True, kw_only=True)
class TwoViewsConfig:
    temperature: float = field(default=0.2, metadata={"help": "softmax temperature"})
    mask_ratio: float = field(default=0.3, metadata={"help": "share of points hidden"})
    momentum: float = field(default=0.9, metadata={"help": "EMA momentum"})
    queue: int = field(default=32, metadata={"help": "negatives kept", "unit": "items"})

    def __post_init__(self) -> None:
        if not 0 < self.mask_ratio < 1:
            raise ValueError(f"mask_ratio={self.mask_ratio} is outside 0 < mask_ratio < 1")


@dataclass(frozen=True, kw_only=True)
class BlobsConfig:
    items: int = field(default=60, metadata={"help": "number of sets"})
    seed: int = field(default=0, metadata={"help": "seed"})
    broken: tuple[int, ...] = field(default=(), metadata={"help": "rows that cannot be read"})


@dataclass(frozen=True, kw_only=True)
class SetsConfig:
    centre: bool = field(default=True, metadata={"help": "subtract the training mean"})
    window: int = field(default=0, metadata={"help": "points of a window; 0 = all points of a set"})


@dataclass(frozen=True, kw_only=True)
class JitterConfig:
    noise: float = field(default=0.05, metadata={"help": "standard deviation"})
    keep: float = field(default=0.7, metadata={"help": "share of points in a view"})


def tiny() -> RunConfig:
    """Runs of seconds, see :class:`RunConfig`.

    More of it.
    """
    return RunConfig(
        encoder=Part("pairs/set-net"),
        objective=Part("pairs/two-views"),
        dataset=Part("pairs/blobs"),
        preprocessor=Part("pairs/sets"),
        views=Part("pairs/jitter"),
        data=DataConfig(batch_size=8, validation_share=0.2),
        optimiser=OptimiserConfig(lr=3e-3, weight_decay=0.05),
        schedule=ScheduleConfig(warmup_steps=2),
        trainer=TrainerConfig(steps=10, log_every=1, validate_every=5),
    )
