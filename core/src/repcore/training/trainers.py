"""Lightning's trainer as runs use it, and what of device and number format it is asked for."""

from __future__ import annotations

import logging
import warnings

import lightning.pytorch as pl
import torch

from repcore import stopping
from repcore.config.schema import TrainerConfig
from repcore.errors import ConfigError
from repcore.launching import place
from repcore.training.checkpointing import BesideTarget
from repcore.training.meeting import strategy
from repcore.training.processes import cluster
from repcore.training.run_folder import RunFolder


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
        devices=config.devices,
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


def accelerator(device: str) -> str:
    """Lightning's word for ``--device``: auto = cuda where there is one, else cpu.

    Raises:
        ConfigError: cuda was asked for and there is none, or the word is unknown.
    """
    has_cuda = torch.cuda.is_available()
    if device == "auto":
        return "cuda" if has_cuda else "cpu"
    if device not in ("cpu", "cuda"):
        raise ConfigError(f"--device {device!r} is unknown", expected="auto, cpu or cuda")
    if device == "cuda" and not has_cuda:
        raise ConfigError("--device cuda, but torch sees no CUDA device", hint="--device cpu")
    return device


def check_precision(precision: str, device: str) -> None:
    """Half precision on a CPU: Lightning would silently use another format.

    Raises:
        ConfigError: ``16-mixed`` without a GPU.
    """
    if precision == "16-mixed" and accelerator(device) == "cpu":
        raise ConfigError(
            "trainer.precision=16-mixed needs a GPU; this run is on the CPU",
            hint="trainer.precision=bf16-mixed or 32-true",
        )


def quieten_lightning() -> None:
    """Lightning's hints are about its own loops and loaders, which a run does not use."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\..*")
