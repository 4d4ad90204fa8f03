"""What a Mamba mixer learns of one direction of its scan.

Source: Gu and Dao 2023 (arXiv 2312.00752); initialisation as in the public repository `state-spaces/mamba`.
"""

from __future__ import annotations

import math

import torch
from torch import nn

SHORTEST_STEP, LONGEST_STEP, STEP_FLOOR = 1e-3, 1e-1, 1e-4


class ScanDirection(nn.Module):
    """Parameters of one direction, under the field's names: conv1d, x_proj, dt_proj, A_log, D.

    Args:
        channels: D, of the scan.
        states: N, a channel.
        rank: R, of the step projection.
        taps: width of the convolution.
        legacy_step: leave the step projection at the linear layer's default with a zero bias, as published code has it,
            instead of steps that are log-uniform in [0.001, 0.1].
    """

    def __init__(self, channels: int, states: int, rank: int, taps: int, *, legacy_step: bool = False) -> None:
        super().__init__()
        self.conv1d = nn.Conv1d(channels, channels, taps, groups=channels)
        self.x_proj = nn.Linear(channels, rank + 2 * states, bias=False)
        self.dt_proj = nn.Linear(rank, channels)
        self.A_log = nn.Parameter(torch.log(torch.arange(1.0, states + 1)).repeat(channels, 1))
        self.D = nn.Parameter(torch.ones(channels))
        nn.init.zeros_(self.dt_proj.bias)
        if not legacy_step:
            self.initialise_step()

    @torch.no_grad()
    def initialise_step(self) -> None:
        """Steps that are log-uniform in [0.001, 0.1] for an input of zeros."""
        rank = self.dt_proj.in_features
        nn.init.uniform_(self.dt_proj.weight, -(rank**-0.5), rank**-0.5)
        low, high = math.log(SHORTEST_STEP), math.log(LONGEST_STEP)
        step = torch.exp(torch.rand(self.dt_proj.bias.shape) * (high - low) + low).clamp(min=STEP_FLOOR)
        self.dt_proj.bias.copy_(step + torch.log(-torch.expm1(-step)))  # inverse of softplus
