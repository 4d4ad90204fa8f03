"""Exponential moving average teachers: an ordinary twin module that follows its student after each optimiser step."""

from __future__ import annotations

import copy
import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from repcore.errors import ConfigError, RunError


def make_teacher(student: nn.Module) -> nn.Module:
    """An independent copy without gradients; whether it runs in eval mode is the objective's choice."""
    return copy.deepcopy(student).requires_grad_(False)


@torch.no_grad()
def update_teacher(
    teacher: nn.Module,
    student: nn.Module,
    momentum: float,
    *,
    float_buffers: Literal["copy", "lerp"] = "copy",
) -> None:
    """teacher <- momentum * teacher + (1 - momentum) * student, in place.

    Args:
        teacher: twin of the student.
        student: not changed.
        momentum: 0 (copy) to 1 (stay).
        float_buffers: whether floating buffers (BatchNorm statistics) are copied or averaged too; others are copied.

    Raises:
        ConfigError: momentum outside [0, 1], or an unknown ``float_buffers``.
        RunError: the modules do not have the same parameter and buffer names.
    """
    if not 0.0 <= momentum <= 1.0:
        raise ConfigError(f"momentum={momentum} is outside 0 <= momentum <= 1")
    if float_buffers not in ("copy", "lerp"):
        raise ConfigError(f"float_buffers={float_buffers!r} is unknown", expected="copy, lerp")
    averaged = _pairs(dict(teacher.named_parameters()), dict(student.named_parameters()))
    copied: list[tuple[Tensor, Tensor]] = []
    for old, new in _pairs(dict(teacher.named_buffers()), dict(student.named_buffers())):
        target = averaged if old.is_floating_point() and float_buffers == "lerp" else copied
        target.append((old, new))
    if averaged:
        torch._foreach_lerp_([old for old, _ in averaged], [new for _, new in averaged], 1.0 - momentum)
    for old, new in copied:
        old.copy_(new)


def _pairs(teacher: dict[str, Tensor], student: dict[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Tensors of both modules by name; both sides must have the same names."""
    if teacher.keys() != student.keys():
        different = sorted(teacher.keys() ^ student.keys())
        raise RunError(
            f"teacher and student differ in {len(different)} tensors, so that one cannot follow the other",
            only_in_one=", ".join(different[:6]),
        )
    return [(_own_part(value.detach()), _own_part(student[name].detach())) for name, value in teacher.items()]


def _own_part(value: Tensor) -> Tensor:
    """Of parameters that are shared out between processes, what this one holds: both modules are divided alike."""
    return value.to_local() if isinstance(value, DTensor) else value


def cosine_momentum(base: float, final: float, fraction: float) -> float:
    """Momentum that rises from ``base`` at fraction 0 to ``final`` at fraction 1 along half a cosine."""
    inside = min(1.0, max(0.0, fraction))
    return final - (final - base) * (math.cos(math.pi * inside) + 1.0) / 2.0
