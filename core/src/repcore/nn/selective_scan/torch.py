"""Plain definition of ``selective-scan``: one Python step a token, gradients by autograd.

Source: Gu and Dao 2023 (arXiv 2312.00752), section 3.2 and algorithm 2; public repository `state-spaces/mamba`,
`mamba_ssm/ops/selective_scan_interface.py` (behaviour only).
Differs: several scans of one batch run together (axis S: the two directions of a bidirectional block), each from left
to right or from right to left; the SiLU gate stays with the caller, because both directions share it.

Symbols: S scans, B items, L tokens, D channels, N states a channel.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from repcore.nn.selective_scan.arguments import check_arguments, oriented, state_dtype


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
    """Run S selective scans: ``s_t = exp(d_t A) s_(t-1) + d_t B_t u_t``, ``y_t = <C_t, s_t> + D u_t``.

    The step is ``d_t = softplus(delta_t + delta_bias)`` (identity above 20). A token with ``u_t = 0`` adds nothing,
    so trailing padding with zeros leaves a scan from right to left at state zero when it reaches the last real token.

    Args:
        u: input (S, B, L, D).
        delta: step before bias and softplus (S, B, L, D).
        A: decay rates, negative (S, D, N).
        B: input map (S, B, L, N), shared by all channels.
        C: output map (S, B, L, N).
        D: skip weight (S, D).
        delta_bias: (S, D).
        reverse: one flag a scan, True = from right to left; inputs and outputs stay in natural order.
        initial_state: state before the first step taken (S, B, D, N), zeros when left out, without gradient. With the
            last state of one piece, the next piece of a long sequence goes on where that ended.
        return_last_state: also return the state after the last step taken, (S, B, D, N), without gradient.

    Returns:
        y (S, B, L, D) in the dtype of ``u``; with ``return_last_state`` a pair.

    Raises:
        ShapeError: shapes do not fit together.
        ConfigError: ``initial_state`` asks for a gradient.
    """
    check_arguments(u, delta, A, B, C, D, delta_bias=delta_bias, reverse=reverse, initial_state=initial_state)
    dtype = state_dtype(u)
    step = F.softplus(delta.to(dtype) + delta_bias.to(dtype)[:, None, None, :])  # (S, B, L, D)
    inputs, step, drive, readout = (oriented(one.to(dtype), reverse) for one in (u, step, B, C))
    decay = A.to(dtype)[:, None]  # (S, 1, D, N)
    shape = (u.shape[0], u.shape[1], u.shape[3], A.shape[2])
    state = u.new_zeros(shape, dtype=dtype) if initial_state is None else initial_state.to(dtype)
    outputs = []
    for u_t, step_t, drive_t, readout_t in zip(*(one.unbind(2) for one in (inputs, step, drive, readout)), strict=True):
        gain = torch.exp(step_t[..., None] * decay)  # (S, B, D, N)
        state = gain * state + (step_t * u_t)[..., None] * drive_t[:, :, None, :]
        outputs.append((state * readout_t[:, :, None, :]).sum(-1))  # (S, B, D)
    y = torch.stack(outputs, dim=2) if outputs else torch.zeros_like(inputs)
    y = oriented(y + inputs * D.to(dtype)[:, None, None, :], reverse).to(u.dtype)
    return (y, state.detach()) if return_last_state else y
