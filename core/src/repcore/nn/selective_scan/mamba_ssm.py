"""Adapter to the CUDA kernel of the optional package ``mamba-ssm``.

Recent releases install without the compiled kernel, so :func:`unusable` runs a tiny scan and does not trust imports.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from repcore.nn.selective_scan.arguments import check_arguments

MOST_STATES = 256  # limit of the CUDA kernel


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    *,
    delta_bias: Tensor,
    reverse: Sequence[bool] = (False,),
    initial_state: Tensor | None = None,
    return_last_state: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Same values and gradients as the plain definition, one kernel call a scan; see there for the arguments."""
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

    check_arguments(u, delta, A, B, C, D, delta_bias=delta_bias, reverse=reverse, initial_state=initial_state)
    outputs, states = [], []
    for scan, back in enumerate(reverse):
        rows = [one[scan].flip(1) if back else one[scan] for one in (u, delta, B, C)]
        x, step, drive, readout = (one.transpose(1, 2).contiguous() for one in rows)  # (B, channels, L)
        y, last = selective_scan_fn(
            x, step, A[scan].float(), drive, readout, D[scan].float(),
            delta_bias=delta_bias[scan].float(), delta_softplus=True, return_last_state=True,
        )  # fmt: skip
        y = y.transpose(1, 2)
        if initial_state is not None:
            added, left = carried(initial_state[scan], rows[1], A[scan], rows[3], delta_bias[scan])
            y, last = y + added.to(y.dtype), last + left
        outputs.append(y.flip(1) if back else y)
        states.append(last.detach())
    result = torch.stack(outputs)
    return (result, torch.stack(states)) if return_last_state else result


def carried(state: Tensor, delta: Tensor, A: Tensor, C: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """What a state adds that is there before the first step, which the kernel does not take: one decay a channel.

    Args:
        state: (B, D, N); delta: (B, L, D) in scan order; A: (D, N); C: (B, L, N); bias: (D,).

    Returns:
        To the outputs (B, L, D), and to the last state (B, D, N).
    """
    state, A = state.float(), A.float()
    steps = F.softplus(delta.float() + bias.float()).cumsum(1)  # (B, L, D)
    added = torch.zeros_like(steps)
    for n in range(A.shape[1]):
        added += C[:, :, n, None].float() * torch.exp(steps * A[:, n]) * state[:, None, :, n]
    return added, torch.exp(steps[:, -1, :, None] * A) * state


@cache
def unusable() -> str:
    """Why this adapter cannot be used here; empty if it can."""
    if not torch.cuda.is_available():
        return "needs a CUDA device"
    generator = torch.Generator("cuda").manual_seed(0)
    u, B = (torch.randn(1, 1, 4, size, device="cuda", generator=generator) for size in (2, 2))
    A = -torch.ones(1, 2, 2, device="cuda")
    D = torch.ones(1, 2, device="cuda")
    try:
        selective_scan(u, u, A, B, B, D, delta_bias=D)
    except Exception as error:  # whatever a half-built extension raises: the reason is what the user needs
        return f"{type(error).__name__}: {error}"
    return ""
