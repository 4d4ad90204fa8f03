"""Settings of tasks about elements. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class DenseConfig:
    """What every task about elements needs; what the data or the encoder says is filled in when it is fine-tuned."""

    head: Literal["linear", "mlp"] = field(
        default="linear", metadata={"help": "linear, or linear, GELU, linear of the same width", "unit": ""}
    )
    dropout: float = field(default=0.0, metadata={"help": "before the head", "unit": "", "min": 0, "below": 1})
    tokens: str = field(
        default="", metadata={"help": "token level of the encoder; empty = found by trying", "unit": ""}
    )
    width: int | None = field(
        default=None, metadata={"help": "of these tokens; null = found by trying", "unit": "numbers", "min": 1}
    )


@dataclass(frozen=True, kw_only=True)
class DenseClassificationConfig(DenseConfig):
    """One class of several for every element."""

    values: tuple[int, ...] = field(
        default=(),
        metadata={"help": "the data's number of each class; empty = found in the training labels", "unit": ""},
    )
    class_weights: Literal["none", "balanced"] = field(
        default="none", metadata={"help": "balanced = every class weighs the same, from training labels", "unit": ""}
    )
    dice_weight: float = field(
        default=0.0, metadata={"help": "weight of the soft Dice loss beside cross-entropy", "unit": "", "min": 0}
    )


@dataclass(frozen=True, kw_only=True)
class DenseRegressionConfig(DenseConfig):
    """A number for every element."""

    outputs: int = field(default=1, metadata={"help": "numbers of an element", "unit": "", "min": 1})
