"""Running means and variances of BatchNorm over the processes of a run: those that one process would have.

Every process moves its statistics by the batches that it sees. Such a move is r -> a r + s, where a follows from the
momentum and the number of batches, so that the moves of all processes can be made one after another, as one process
makes them that accumulates their micro-batches.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class RunningStatistics:
    """Of all BatchNorm modules inside a network; :meth:`note` before a micro-batch, :meth:`join` after it."""

    def __init__(self, network: nn.Module) -> None:
        self._modules = [
            one for one in network.modules() if isinstance(one, _BatchNorm) and one.num_batches_tracked is not None
        ]
        self._before: list[tuple[Tensor, int]] = []

    @torch.no_grad()
    def note(self) -> None:
        """Remember what they are now, which is the same in all processes."""
        self._before = [(_values(one), _seen(one)) for one in self._modules]

    def join(self, world: int) -> None:
        """Make the moves of all processes since then one after another, in the order of ranks."""
        if self._modules:
            own = self.now()
            found = [torch.empty_like(own) for _ in range(world)]
            torch.distributed.all_gather(found, own)
            self.follow(found)

    @torch.no_grad()
    def now(self) -> Tensor:
        """Means, variances and number of batches of all modules, float64 (N,)."""
        return torch.cat([torch.cat([_values(one), _values(one).new_tensor([_seen(one)])]) for one in self._modules])

    @torch.no_grad()
    def follow(self, found: Sequence[Tensor]) -> None:
        """Make moves one after another.

        Args:
            found: :meth:`now` of each process.
        """
        sizes = [len(values) + 1 for values, _ in self._before]
        for module, (values, seen), *parts in zip(
            self._modules, self._before, *(one.split(sizes) for one in found), strict=True
        ):
            _set(module, *_in_turn(module.momentum, values, seen, parts))


def _in_turn(momentum: float | None, before: Tensor, seen: int, moved: list[Tensor]) -> tuple[Tensor, int]:
    """Values and number of batches when all moves are made.

    Args:
        momentum: None = means over all batches.
        before: values before them, and ``seen``, batches until then.
        moved: of each process, its values and number of batches.
    """
    values, total = before, seen
    for one in moved:
        count = int(one[-1]) - seen
        kept = seen / max(1, seen + count) if momentum is None else (1.0 - momentum) ** count
        move = one[:-1] - kept * before
        if momentum is None:  # move is a sum over batches, divided by all that this process has seen
            move = move * (seen + count) / max(1, total + count)
            kept = total / max(1, total + count)
        values, total = kept * values + move, total + count
    return values, total


def _seen(module: _BatchNorm) -> int:
    assert module.num_batches_tracked is not None
    return int(module.num_batches_tracked)


def _values(module: _BatchNorm) -> Tensor:
    assert module.running_mean is not None
    assert module.running_var is not None
    return torch.cat([module.running_mean, module.running_var]).double()


def _set(module: _BatchNorm, values: Tensor, seen: int) -> None:
    assert module.running_mean is not None
    assert module.running_var is not None
    assert module.num_batches_tracked is not None
    mean, variance = values.chunk(2)
    module.running_mean.copy_(mean)
    module.running_var.copy_(variance)
    module.num_batches_tracked.fill_(seen)
