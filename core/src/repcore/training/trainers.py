"""Lightning's trainer as runs use it, and what of device and number format it is asked for."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable

import lightning.pytorch as pl
from lightning.pytorch.strategies import ParallelStrategy

from repcore import stopping
from repcore.config.schema import TrainerConfig
from repcore.devices import torch_device
from repcore.errors import ConfigError
from repcore.launching import place
from repcore.training.checkpointing import BesideTarget
from repcore.training.meeting import MeetingStrategy
from repcore.training.processes import cluster
from repcore.training.run_folder import RunFolder
from repcore.training.sharding import SharingStrategy


def lightning_trainer(
    config: TrainerConfig,
    folder: RunFolder,
    steps: int,
    device: str,
    note: stopping.StopNote,
    callbacks: list[pl.Callback],
) -> pl.Trainer:
    """Lightning without what this project does itself: epochs, validation, checkpoints, logging, samplers."""
    quieten_lightning()
    return pl.Trainer(
        accelerator=accelerator(device),
        devices=_places(device, config),
        num_nodes=config.num_nodes,
        strategy=strategy(config, note.obey),
        precision=config.precision,
        max_steps=steps,
        max_epochs=-1,
        check_val_every_n_epoch=None,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_autolog_hparams=False,
        deterministic="warn" if config.deterministic else None,
        default_root_dir=str(folder.path),
        plugins=[cluster(place()), BesideTarget()],
        callbacks=callbacks,
    )


def strategy(config: TrainerConfig, obey: Callable[[], None]) -> ParallelStrategy | str:
    """Lightning's strategy for these settings.

    Args:
        obey: as in :class:`repcore.training.meeting.MeetingStrategy`.
    """
    if config.strategy in ("auto", "fsdp") and config.processes == 1:
        return "auto"
    if config.strategy == "fsdp":
        return SharingStrategy(config.meeting_limit, obey)
    return MeetingStrategy(config.meeting_limit, obey)


def accelerator(device: str) -> str:
    """Lightning's word for ``--device``: auto = cuda where there is one, else cpu.

    Raises:
        ConfigError: as :func:`repcore.devices.torch_device`.
    """
    return torch_device(device).partition(":")[0]


def _places(device: str, config: TrainerConfig) -> int | list[int]:
    """How many devices Lightning takes, or the one that ``cuda:1`` names."""
    number = torch_device(device).partition(":")[2]
    if number and config.devices > 1:
        raise ConfigError(f"--device {device} is one device, trainer.devices={config.devices}", hint="--device cuda")
    return [int(number)] if number else config.devices


def check_precision(precision: str, device: str) -> None:
    """Half precision on a CPU: Lightning would silently use another format.

    Raises:
        ConfigError: ``16-mixed`` without a GPU of CUDA.
    """
    if precision == "16-mixed" and accelerator(device) != "cuda":
        raise ConfigError(
            f"trainer.precision=16-mixed needs a GPU with CUDA; this run is on the {accelerator(device).upper()}",
            hint="trainer.precision=bf16-mixed or 32-true",
        )


def quieten_lightning() -> None:
    """Lightning's hints are about its own loops and loaders, which a run does not use."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\..*")
