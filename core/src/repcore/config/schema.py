"""The sections of a run. Standard library only: recipes import this while plugins are listed.

A polymorphic section is a :class:`Part`: a registered name and the config of what it names. In files it is written
``encoder: {name: molecules/selformer, layers: 4}``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from repcore.config.bounds import check_bounds


def setting(default: Any, text: str, unit: str = "", **bounds: Any) -> Any:  # dataclasses.field is typed by its default
    """A config field with its help text, unit, and range (see :mod:`repcore.config.bounds`)."""
    return field(default=default, metadata={"help": text, "unit": unit, **bounds})


@dataclass(frozen=True, slots=True)
class Part:
    """A registered name and its settings (an instance of the spec's config class; None = its defaults).

    A recipe that names a part of another plugin, which it does not import, gives settings by name.
    """

    name: str
    config: Any = None  # an instance of the dataclass that the spec names, or a mapping


@dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """Which optimiser, and its constants."""

    name: Literal["adamw", "adam", "sgd"] = setting("adamw", "optimiser; adamw decouples weight decay")
    lr: float = setting(1e-3, "peak learning rate", above=0)
    betas: tuple[float, float] = setting(
        (0.9, 0.999), "decay rates of the moment estimates (adam, adamw)", min=0, below=1
    )
    eps: float = setting(1e-8, "added to the root of the second moment (adam, adamw)", above=0)
    momentum: float = setting(0.9, "momentum (sgd)", min=0, below=1)
    weight_decay: float = setting(0.01, "weight decay of the parameters that the objective's decay rule selects", min=0)
    final_weight_decay: float | None = setting(
        None,
        "weight decay at the end, approached along half a cosine from the first step on; null = constant",
        min=0,
    )
    clip_norm: float | None = setting(1.0, "largest norm of the whole gradient; null = no clipping", above=0)

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """Learning rate over the run, per optimiser step."""

    name: Literal["cosine", "linear", "constant"] = setting("cosine", "shape after the warm-up")
    warmup_steps: int = setting(0, "steps of linear rise from 0 to the peak", "steps", min=0)
    final_share: float = setting(0.0, "last learning rate as a share of the peak", min=0)

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """How the data set is divided and batched."""

    batch_size: int = setting(64, "items of one micro-batch on each device", "items", min=1, max=2**24)
    validation_share: float = setting(
        0.05, "share held out for validation if the data declares no split", min=0, below=1
    )
    validation_limit: int = setting(1000, "most items used for validation and diagnostics", "items", min=1)
    split: Literal["auto", "random", "group"] = setting(
        "auto", "how the held-out share is drawn; auto keeps groups (speaker, patient) together where the data has them"
    )
    bucket_by_cost: bool = setting(True, "fill batches with items of similar cost where the reader knows costs")
    block_rows: int | None = setting(
        None,
        "rows of a block of neighbours, such as those of a shard; blocks come in random order and a few are mixed at a "
        "time, so that few shards are read at once; null = all rows are mixed",
        "rows",
        min=1,
    )
    mixed_blocks: int = setting(8, "blocks whose rows are mixed at a time (with block_rows)", min=1, max=2**20)
    rows: str | None = setting(None, "csv of the ids of the rows that count, in a column id; null = all rows")
    limit: int | None = setting(None, "use only the first so many items; null = all", "items", min=1)
    workers: int = setting(0, "loader processes; 0 = in the main process", min=0, max=1024)
    sampler: Literal["auto", "uniform", "balanced", "pairs", "mixed"] = setting(
        "auto",
        "order of rows where labels are learned: uniform, classes in equal parts, pairs of a class, labelled beside "
        "unlabelled; auto = what the method asks for",
    )
    per_class: int = setting(4, "rows of each class in a balanced batch", "items", min=1)
    unlabelled_ratio: float = setting(1.0, "unlabelled rows for each labelled one in a mixed batch", above=0)

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """Length, precision and rhythm of a run."""

    steps: int | None = setting(None, "optimiser steps; null = from epochs", "steps", min=1)
    epochs: float | None = setting(None, "passes over the training split; used when steps is null", "epochs", above=0)
    accumulate: int = setting(1, "micro-batches of one optimiser step", min=1, max=2**20)
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = setting("32-true", "number format; 16-mixed needs a GPU")
    seed: int = setting(0, "seed of initialisation, order, views, draws and dropout", min=0, max=2**32 - 1)
    log_every: int = setting(10, "steps between lines of metrics.jsonl", "steps", min=1)
    loggers: tuple[Literal["tensorboard", "wandb", "mlflow", "csv"], ...] = setting(
        ("tensorboard",), "where figures go beside metrics.jsonl: tensorboard, csv, wandb, mlflow"
    )
    validate_every: int | None = setting(
        None, "steps between validations; null = ten times a run, fewer if over many rows", "steps", min=1
    )
    checkpoint_every: int | None = setting(
        None, "steps between checkpoints; null = as trainer.validate_every, else ten times a run", "steps", min=1
    )
    patience: int | None = setting(
        None, "validations without a smaller loss after which the run ends; null = it makes all its steps", min=1
    )
    compile: bool = setting(False, "compile the objective with torch.compile; tried before the run")
    compile_backend: Literal["inductor", "aot_eager", "eager"] = setting("inductor", "backend of torch.compile")
    compile_limit: int = setting(
        600, "seconds that the trial of compiling may take; after them the run is refused", "s", min=1, max=2**20
    )
    activation_checkpointing: bool = setting(
        False, "compute the activations of repeated blocks again on the way back: less memory, about a third more time"
    )
    devices: int = setting(1, "devices of this machine", min=1, max=1024)
    strategy: Literal["auto", "ddp", "ddp_find_unused_parameters_true", "fsdp"] = setting(
        "auto",
        "Lightning's strategy for several devices: ddp, or fsdp, which shares parameters, gradients and moments out; "
        "ddp_find_unused_parameters_true is ddp, under the name that earlier runs have",
    )
    num_nodes: int = setting(1, "machines", min=1, max=2**20)
    meeting_limit: int = setting(
        600, "seconds that the processes of a run wait for each other at its beginning", "s", min=1, max=2**20
    )
    deterministic: bool = setting(True, "ask torch for deterministic algorithms (warns where none exists)")
    threads: int | None = setting(None, "torch threads; null = torch's own choice", min=1, max=4096)
    on_preempt: Literal["stop", "requeue"] = setting(
        "stop", "after SIGUSR1 in a Slurm job: stop, or also ask Slurm to start the job again, which then resumes"
    )

    @property
    def processes(self) -> int:
        """On all machines together."""
        return self.devices * self.num_nodes

    def __post_init__(self) -> None:
        if self.steps is None and self.epochs is None:
            object.__setattr__(self, "epochs", 1.0)
        check_bounds(self)


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
