"""What passes may do where parameters are shared out (``fsdp``): use them in draws, and take them by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule

from repcore.training.sharding import SharingStrategy, gathered, joined


class Step(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(4, 4)

    def forward(self, values: Tensor) -> Tensor:
        return torch.tanh(self.one(values))


class Steps(nn.Module):
    """A front end and three blocks alike."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.front = nn.LayerNorm(4)
        self.blocks = nn.ModuleList(Step() for _ in range(3))

    def forward(self, values: Tensor) -> Tensor:
        values = self.front(values)
        for block in self.blocks:
            values = block(values)
        return values


class StandsStill(nn.Module):
    """An objective whose first term must not reach the encoder's parameters."""

    parameters_by_name = True

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Steps()
        self.change = nn.Linear(4, 4)

    def draw(self, values: Tensor) -> Tensor:
        return self.encoder.front(values).detach()

    def forward(self, values: Tensor) -> Tensor:
        fixed = {name: one.detach() for name, one in self.encoder.named_parameters()}
        changed: Tensor = torch.func.functional_call(self.encoder, fixed, (self.change(values),))
        return changed.square().sum() + self.encoder(values).sum()


@pytest.fixture
def strategy(tmp_path: Path) -> Iterator[SharingStrategy]:
    """Of one process, which shares with itself."""
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    found = SharingStrategy(1.0, lambda: None)
    found._device_mesh = init_device_mesh("cpu", (1,), mesh_dim_names=("data_parallel",))
    yield found
    distributed.destroy_process_group()


def test_draws_may_use_parameters(strategy: SharingStrategy) -> None:
    values, alone, shared = torch.randn(2, 4), StandsStill(), StandsStill()
    strategy.share(shared)
    for _ in range(2):
        for one in (shared, alone):  # of the latter there is nothing to gather
            gathered(one)
        assert torch.equal(shared.draw(values), alone.draw(values))
        shared(values).backward()


@pytest.mark.parametrize("by_name", [True, False])
def test_parameters_taken_by_name_are_those_that_are_given(
    by_name: bool, strategy: SharingStrategy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without saying so, blocks that gather their own are not the given ones: what the attribute is for."""
    monkeypatch.setattr(StandsStill, "parameters_by_name", by_name)
    values, alone, shared = torch.randn(2, 4), StandsStill(), StandsStill()
    strategy.share(shared)
    grouped = [name for name, one in shared.named_modules() if isinstance(one, FSDPModule)]
    assert grouped == ([""] if by_name else ["", "encoder.blocks.0", "encoder.blocks.1", "encoder.blocks.2"])
    alone(values).backward()
    shared(values).backward()
    pairs = zip(shared.named_parameters(), alone.parameters(), strict=True)
    wrong = [name for (name, one), other in pairs if not torch.equal(joined(one.grad), other.grad)]  # type: ignore[arg-type]
    assert bool(wrong) != by_name
