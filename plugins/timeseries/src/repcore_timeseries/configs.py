"""Settings and the recipe. Standard library and ``repcore.config`` only; every field has a help text."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from repcore.config import DataConfig, OptimiserConfig, Part, RunConfig, TrainerConfig


@dataclass(frozen=True, kw_only=True)
class RowEncoderConfig:
    """The network; ``columns`` comes from the data."""

    columns: int | None = field(default=None, metadata={"help": "numbers in a row; null = from data"})
    width: int = field(default=32, metadata={"help": "width of the vector of a row"})
    hidden_width: int = field(default=64, metadata={"help": "width of the layer between"})


@dataclass(frozen=True, kw_only=True)
class HiddenColumnsConfig:
    """What is hidden; ``columns`` comes from the data."""

    columns: int | None = field(default=None, metadata={"help": "numbers in a row; null = from data"})
    mask_ratio: float = field(default=0.5, metadata={"help": "share of the columns that is hidden"})

    def __post_init__(self) -> None:
        if not 0 < self.mask_ratio < 1:
            raise ValueError(f"mask_ratio={self.mask_ratio} is outside 0 < mask_ratio < 1")


@dataclass(frozen=True, kw_only=True)
class RowTableConfig:
    """Where rows come from."""

    path: Path | None = field(default=None, metadata={"help": "CSV file; null = generated rows"})
    label: str | None = field(default=None, metadata={"help": "column that is a label though it holds numbers"})
    items: int = field(default=600, metadata={"help": "generated rows", "unit": "rows"})
    seed: int = field(default=0, metadata={"help": "seed of the generated rows"})


@dataclass(frozen=True, kw_only=True)
class ChangedPairConfig:
    """How two views of a row differ."""

    noise: float = field(default=0.1, metadata={"help": "noise, in standard deviations of a column"})
    dropped: float = field(default=0.2, metadata={"help": "share of the columns at their mean"})


@dataclass(frozen=True, kw_only=True)
class CosineClassConfig:
    """The head of the task."""

    scale: float = field(default=10.0, metadata={"help": "factor on cosines before the softmax"})


@dataclass(frozen=True, kw_only=True)
class CentroidProbeConfig:
    """Constants of the protocol: change one, and the name gets the next version."""

    shrink: float = field(default=0.0, metadata={"help": "share by which class means move to 0"})


@dataclass(frozen=True, kw_only=True)
class SpreadConfig:
    """How distances are measured."""

    smallest: float = field(default=1e-6, metadata={"help": "least standard deviation that divides"})


@dataclass(frozen=True, kw_only=True)
class ScalingConfig:
    """How columns are scaled."""

    smallest: float = field(default=1e-6, metadata={"help": "least standard deviation that divides"})


def tiny() -> RunConfig:
    """Seconds on a laptop."""
    return RunConfig(
        encoder=Part("timeseries/timeseries"),
        objective=Part("timeseries/timeseries-hidden"),
        dataset=Part("timeseries/timeseries-table"),
        preprocessor=Part("timeseries/timeseries-scaling"),
        data=DataConfig(batch_size=32, validation_share=0.1),
        optimiser=OptimiserConfig(lr=3e-3),
        trainer=TrainerConfig(steps=150),
    )
