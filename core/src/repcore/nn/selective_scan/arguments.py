"""Argument checks and orientation shared by every implementation of ``selective-scan``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from repcore.errors import ConfigError, ShapeError
from repcore.shapes import check_shape

OWNER = "selective-scan"


def check_arguments(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor,
    *, delta_bias: Tensor, reverse: Sequence[bool], initial_state: Tensor | None = None,
) -> None:  # fmt: skip
    """Compare every shape with the op's definition (see :func:`repcore.nn.selective_scan.torch.selective_scan`).

    Raises:
        ShapeError: a rank or size differs, or ``reverse`` has another number of scans.
        ConfigError: ``initial_state`` asks for a gradient.
    """
    bound: dict[str, int] = {}
    tensors = {
        "u": (u, "S B L D"), "delta": (delta, "S B L D"), "A": (A, "S D N"), "B": (B, "S B L N"),
        "C": (C, "S B L N"), "D": (D, "S D"), "delta_bias": (delta_bias, "S D"),
    }  # fmt: skip
    for name, (tensor, pattern) in tensors.items():
        check_shape(tensor, pattern, name=name, owner=OWNER, bound=bound)
    if len(reverse) != bound["S"]:
        raise ShapeError(
            f"reverse has {len(reverse)} entries; {OWNER} expects one a scan",
            scans=bound["S"],
            hint="reverse=(False, True)",
        )
    if initial_state is None:
        return
    check_shape(initial_state, "S B D N", name="initial_state", owner=OWNER, bound=bound)
    if initial_state.requires_grad and torch.is_grad_enabled():
        raise ConfigError(f"{OWNER} gives initial_state no gradient", hint="initial_state.detach()")


def state_dtype(tensor: Tensor) -> torch.dtype:
    """The precision of the state: float32 for half precisions too, float64 only for float64 inputs."""
    return torch.promote_types(tensor.dtype, torch.float32)


def oriented(tensor: Tensor, reverse: Sequence[bool]) -> Tensor:
    """``(S, B, L, F)`` with the scans marked ``reverse`` turned round in time; its own inverse."""
    if not any(reverse):
        return tensor
    if all(reverse):
        return tensor.flip(2)
    return torch.stack([one.flip(1) if back else one for one, back in zip(tensor.unbind(0), reverse, strict=True)])
