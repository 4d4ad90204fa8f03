"""Settings of the built-in fine-tuning tasks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

HeadName = Literal["first-token", "pooled-linear"]


@dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """What every item-level task needs."""

    head: HeadName = field(
        default="pooled-linear",
        metadata={"help": "first-token = dense, tanh, linear on token 0; pooled-linear = linear on the pooled vector"},
    )
    dropout: float = field(
        default=0.1, metadata={"help": "dropout before each linear layer of the head", "unit": "", "min": 0, "below": 1}
    )
    outputs: int | None = field(
        default=None,
        metadata={"help": "classes, tasks or values; None = from the data's names", "unit": "outputs", "min": 1},
    )


@dataclass(frozen=True, kw_only=True)
class ClassificationConfig(TaskConfig):
    """One class of several (two classes = two outputs)."""

    class_weights: Literal["none", "balanced"] = field(
        default="none", metadata={"help": "balanced = every class weighs the same, from training labels", "unit": ""}
    )


@dataclass(frozen=True, kw_only=True)
class MultilabelConfig(TaskConfig):
    """Several yes/no labels."""

    class_weights: Literal["none", "balanced"] = field(
        default="none", metadata={"help": "balanced = ones of a task weigh as much as its zeros", "unit": ""}
    )
    largest_weight: float = field(default=100.0, metadata={"help": "bound of a balanced weight", "unit": "", "min": 0})


@dataclass(frozen=True, kw_only=True)
class RegressionConfig(TaskConfig):
    """One or several numbers."""

    standardise: bool = field(
        default=True, metadata={"help": "train on standardised labels; predictions are in original units", "unit": ""}
    )
