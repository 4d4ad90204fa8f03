"""Running statistics of several processes are those of one that sees their batches in turn."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from repcore.training.running_statistics import RunningStatistics


@pytest.mark.parametrize("momentum", [0.1, 0.5, None])
@pytest.mark.parametrize("calls", [1, 2])
def test_moves_of_several_processes_are_made_one_after_another(momentum: float | None, calls: int) -> None:
    """Two modules, one of them in eval mode, which nothing moves; a network that is called twice a micro-batch."""
    draw = torch.Generator().manual_seed(0)
    start = nn.Sequential(nn.BatchNorm1d(3, momentum=momentum), nn.BatchNorm1d(3, momentum=momentum)).train()
    start(torch.randn(6, 3, generator=draw))  # not the zeros and ones that they are made with
    start[1].eval()
    batches = [[torch.randn(5, 3, generator=draw) + rank for _ in range(calls)] for rank in range(3)]
    alone, ranks = copy.deepcopy(start), [copy.deepcopy(start) for _ in batches]
    for own in batches:
        for one in own:
            alone(one)
    kept = [RunningStatistics(one) for one in ranks]
    for network, statistics, own in zip(ranks, kept, batches, strict=True):
        statistics.note()
        for one in own:
            network(one)
    found = [statistics.now() for statistics in kept]
    for network, statistics in zip(ranks, kept, strict=True):
        statistics.follow(found)
        for name, value in alone.state_dict().items():
            torch.testing.assert_close(network.state_dict()[name], value, msg=lambda told, at=name: f"{at}: {told}")
