"""``trainer.activation_checkpointing``: what blocks compute on the way forwards is computed again on the way back.

Memory for activations then grows with the inputs of blocks only, for about a third more computing (Chen et al. 2016,
"Training deep nets with sublinear memory cost"; torch.utils.checkpoint). Random draws of a block (dropout, drop path)
are repeated, so that losses and gradients are the same numbers. Blocks with running statistics are left as they are:
these would count each batch twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from repcore.config.resolve import ResolvedRun
from repcore.errors import ConfigError
from repcore.reporting import Reporter

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def recompute_activations(objective: nn.Module, name: str) -> int:
    """Make every repeated block of an objective's networks recompute its activations, in place.

    Args:
        name: of the objective, for messages.

    Returns:
        number of blocks.

    Raises:
        ConfigError: there is none.
    """
    found = repeated_blocks(objective)
    if not found:
        raise ConfigError(
            f"trainer.activation_checkpointing=true, but the networks of {name} have no repeated blocks without "
            "running statistics, which could be computed again",
            hint="leave it out; a smaller data.batch_size with a larger trainer.accumulate saves memory, too",
        )
    for block in found:
        block.forward = partial(_recomputed, block.forward)
    return len(found)


def recompute_where_asked(resolved: ResolvedRun, objective: nn.Module, reporter: Reporter) -> None:
    """As ``trainer.activation_checkpointing`` says.

    Raises:
        ConfigError: as :func:`recompute_activations`.
    """
    if resolved.trainer.activation_checkpointing:
        count = recompute_activations(objective, resolved.objective.name)
        reporter.info(f"activation checkpointing: what {count} blocks compute is computed again on the way back")


def repeated_blocks(module: nn.Module) -> list[nn.Module]:
    """Modules of one kind that stand several times in a list, as the layers of a transformer do; of stages that are
    made of such blocks the blocks. Each once, by however many names it is known."""
    return list(dict.fromkeys(_blocks(module)))


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    members = list(module.children())
    is_list = isinstance(module, nn.ModuleList | nn.Sequential) and len(members) > 1
    if is_list and len({type(one) for one in members}) == 1 and all(map(_is_block, members)):
        for member in members:
            yield from list(_blocks(member)) or [member]
    else:
        for member in members:
            yield from _blocks(member)


def _is_block(module: nn.Module) -> bool:
    """Whether recomputing a module saves something (it is made of several) and changes nothing."""
    trained = any(one.requires_grad for one in module.parameters())
    kept = any(name.rpartition(".")[2] in STATISTICS for name, _ in module.named_buffers())
    is_called = type(module).forward is not nn.Module.forward  # lists and mere holders of parameters are not
    return trained and not kept and is_called and any(True for _ in module.children())


def _recomputed(forward: Callable[..., Any], *given: Any, **named: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*given, **named)
    return checkpoint(forward, *given, use_reentrant=False, **named)
