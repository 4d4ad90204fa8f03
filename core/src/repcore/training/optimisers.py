"""Optimiser, parameter groups, and the learning rate and weight decay of each step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from repcore.config import OptimiserConfig, ScheduleConfig
from repcore.errors import RunError

DecayRule = Callable[[str, nn.Parameter], bool]
RateScale = Callable[[str], float]


def matrices_decay(name: str, parameter: nn.Parameter) -> bool:
    """Default decay rule: weights with two or more dimensions; biases, norms and scalars are left alone."""
    return parameter.ndim >= 2


def build_optimiser(
    parameters: Iterable[tuple[str, nn.Parameter]],
    config: OptimiserConfig,
    decays: DecayRule,
    scale: RateScale | None = None,
) -> torch.optim.Optimizer:
    """An optimiser with groups by weight decay (``decays``) and learning rate; frozen parameters are left out.

    Args:
        scale: factor on the learning rate of a parameter by name; None = the same for all.

    Raises:
        RunError: nothing is trainable.
    """
    trainable = [(name, parameter) for name, parameter in parameters if parameter.requires_grad]
    if not trainable:
        raise RunError("the objective has no trainable parameter")
    by_kind: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, parameter in trainable:
        key = (decays(name, parameter), 1.0 if scale is None else scale(name))
        by_kind.setdefault(key, []).append(parameter)
    groups = [
        {"params": by_kind[key], "weight_decay": config.weight_decay if key[0] else 0.0, "decays": key[0],
         "scale": key[1], "lr": config.lr * key[1]}
        for key in sorted(by_kind, key=lambda one: (not one[0], one[1]))
    ]  # fmt: skip
    if config.name == "sgd":
        fused = _fused_works(trainable[0][1]) and not isinstance(trainable[0][1], DTensor)  # Adam's takes shared ones
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, fused=fused)
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return kind(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=_fused_works(trainable[0][1]))


def set_rates(
    optimiser: torch.optim.Optimizer, step: int, total_steps: int, config: OptimiserConfig, schedule: ScheduleConfig
) -> float:
    """Give every group the learning rate of a step, and those that decay its weight decay; returns the rate."""
    rate = config.lr * lr_factor(step, total_steps, schedule)
    decay = weight_decay_at(step, total_steps, config)
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get("scale", 1.0)
        if group["decays"]:
            group["weight_decay"] = decay
    return rate


def _fused_works(parameter: torch.Tensor) -> bool:
    return parameter.device.type in ("cpu", "cuda") and parameter.dtype in (torch.float32, torch.float64)


def lr_factor(step: int, total_steps: int, config: ScheduleConfig) -> float:
    """Learning rate of an optimiser step as a share of the peak; step 0 is the first update."""
    if step < config.warmup_steps:
        return (step + 1) / (config.warmup_steps + 1)
    if config.name == "constant":
        return 1.0
    length = max(1, total_steps - config.warmup_steps)
    done = min(1.0, (step - config.warmup_steps) / length)
    shape = 1.0 - done if config.name == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
    return config.final_share + (1.0 - config.final_share) * shape


def weight_decay_at(step: int, total_steps: int, config: OptimiserConfig) -> float:
    """Weight decay of an optimiser step: constant, or half a cosine without warm-up, as self-distillation has it."""
    if config.final_weight_decay is None:
        return config.weight_decay
    shape = 0.5 * (1.0 + math.cos(math.pi * min(1.0, step / max(1, total_steps))))
    return config.final_weight_decay + (config.weight_decay - config.final_weight_decay) * shape
