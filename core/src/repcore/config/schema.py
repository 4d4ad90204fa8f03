"""The sections of a run. Standard library only: recipes import this while plugins are listed.

A polymorphic section is a :class:`Part`: a registered name and the config of what it names. In files it is written
``encoder: {name: molecules/selformer, layers: 4}``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


def setting(default: Any, text: str, unit: str = "") -> Any:  # dataclasses.field is typed by its default
    """A config field with its help text and unit."""
    return field(default=default, metadata={"help": text, "unit": unit})


def _positive(config: object, *names: str) -> None:
    for name in names:
        if not getattr(config, name) > 0:
            raise ValueError(f"{name}={getattr(config, name)} is not above 0")


def _not_negative(config: object, *names: str) -> None:
    for name in names:
        if not getattr(config, name) >= 0:
            raise ValueError(f"{name}={getattr(config, name)} is below 0")


@dataclass(frozen=True, slots=True)
class Part:
    """A registered name and its settings (an instance of the spec's config class; None = its defaults)."""

    name: str
    config: Any = None  # an instance of the dataclass that the spec names


@dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """Which optimiser, and its constants."""

    name: Literal["adamw", "adam", "sgd"] = setting("adamw", "optimiser; adamw decouples weight decay")
    lr: float = setting(1e-3, "peak learning rate")
    betas: tuple[float, float] = setting((0.9, 0.999), "decay rates of the moment estimates (adam, adamw)")
    eps: float = setting(1e-8, "added to the root of the second moment (adam, adamw)")
    momentum: float = setting(0.9, "momentum (sgd)")
    weight_decay: float = setting(0.01, "weight decay of the parameters that the objective's decay rule selects")
    final_weight_decay: float | None = setting(
        None, "weight decay at the end, approached along half a cosine from the first step on; null = constant"
    )
    clip_norm: float | None = setting(1.0, "largest norm of the whole gradient; null = no clipping")

    def __post_init__(self) -> None:
        _positive(self, "lr", "eps")
        _not_negative(self, "weight_decay", *([] if self.final_weight_decay is None else ["final_weight_decay"]))


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """Learning rate over the run, per optimiser step."""

    name: Literal["cosine", "linear", "constant"] = setting("cosine", "shape after the warm-up")
    warmup_steps: int = setting(0, "steps of linear rise from 0 to the peak", "steps")
    final_share: float = setting(0.0, "last learning rate as a share of the peak")

    def __post_init__(self) -> None:
        _not_negative(self, "warmup_steps", "final_share")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """How the data set is divided and batched."""

    batch_size: int = setting(64, "items of one micro-batch on each device", "items")
    validation_share: float = setting(0.05, "share held out for validation if the data declares no split")
    validation_limit: int = setting(1000, "most items used for validation and diagnostics", "items")
    split: Literal["random", "group"] = setting("random", "how the held-out share is drawn")
    bucket_by_cost: bool = setting(True, "fill batches with items of similar cost where the reader knows costs")
    limit: int | None = setting(None, "use only the first so many items; null = all", "items")
    workers: int = setting(0, "loader processes; 0 = in the main process")

    def __post_init__(self) -> None:
        _positive(self, "batch_size", "validation_limit")
        _not_negative(self, "workers", "validation_share")
        if self.validation_share >= 1.0:
            raise ValueError(f"validation_share={self.validation_share} leaves nothing to train on")


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """Length, precision and rhythm of a run."""

    steps: int | None = setting(None, "optimiser steps; null = from epochs", "steps")
    epochs: float | None = setting(None, "passes over the training split; used when steps is null", "epochs")
    accumulate: int = setting(1, "micro-batches of one optimiser step")
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true"] = setting("32-true", "number format")
    seed: int = setting(0, "seed of initialisation, order, views, draws and dropout")
    log_every: int = setting(10, "steps between lines of metrics.jsonl", "steps")
    validate_every: int | None = setting(None, "steps between validations; null = ten times a run", "steps")
    checkpoint_every: int | None = setting(None, "steps between checkpoints; null = with each validation", "steps")
    patience: int | None = setting(
        None, "validations without a smaller loss after which the run ends; null = it makes all its steps"
    )
    compile: bool = setting(False, "compile the objective with torch.compile")
    devices: int = setting(1, "devices of this machine")
    strategy: str = setting("auto", "Lightning strategy, for example ddp")
    num_nodes: int = setting(1, "machines")
    deterministic: bool = setting(True, "ask torch for deterministic algorithms (warns where none exists)")
    threads: int | None = setting(None, "torch threads; null = torch's own choice")
    on_preempt: Literal["stop", "requeue"] = setting(
        "stop", "after SIGUSR1 in a Slurm job: stop, or also ask Slurm to start the job again, which then resumes"
    )

    def __post_init__(self) -> None:
        if self.steps is None and self.epochs is None:
            object.__setattr__(self, "epochs", 1.0)
        _positive(self, "accumulate", "log_every", "devices", "num_nodes")
        for name in ("steps", "epochs", "validate_every", "checkpoint_every", "threads", "patience"):
            if getattr(self, name) is not None:
                _positive(self, name)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One run, as recipes return it."""

    encoder: Part
    objective: Part
    dataset: Part
    preprocessor: Part
    views: Part | None = None
    data: DataConfig = DataConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    trainer: TrainerConfig = TrainerConfig()


PART_KINDS = ("encoder", "objective", "dataset", "preprocessor", "views")
SECTIONS: dict[str, type] = {
    "data": DataConfig,
    "optimiser": OptimiserConfig,
    "schedule": ScheduleConfig,
    "trainer": TrainerConfig,
}
