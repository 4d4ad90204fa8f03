"""``trainer.strategy=fsdp``: parameters, gradients and moments of the optimiser are shared out between the processes.

FSDP2 (``torch.distributed.fsdp.fully_shard``) by Lightning's strategy for it. Each process keeps its part of the
parameters, gradients and moments of the optimiser. Parameters of a repeated block (the layers of a transformer) come
together while the block computes, on the way forwards and on the way back; those of everything else for the time of a
step. While held-out rows are looked at, all are together. Checkpoints hold whole tensors, numbered as one process
numbers them, so that a run may go on with any number of processes.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.utils import _pytree

from repcore.config import TrainerConfig
from repcore.errors import ConfigError
from repcore.training.meeting import all_have_come
from repcore.training.recomputing import repeated_blocks

SHOWN = 6
WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


class SharingStrategy(ModelParallelStrategy):
    """Lightning's strategy for FSDP2, over all processes, which have met before they exchange anything.

    Args:
        limit, obey: as in :class:`repcore.training.meeting.MeetingStrategy`.
    """

    def __init__(self, limit: float, obey: Callable[[], None]) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False)
        self._limit, self._obey = limit, obey
        self._store: Any = None  # the first process answers by it as long as it lives

    def _setup_distributed(self) -> None:
        self.set_world_ranks()
        self._data_parallel_size = self.world_size
        self._store = all_have_come(self, self._limit, self._obey)
        super()._setup_distributed()

    def share(self, objective: nn.Module) -> None:
        """Share the parameters of an objective out, in place.

        Raises:
            ConfigError: parameters that are single numbers, which cannot be divided.
        """
        single = [name for name, one in objective.named_parameters() if one.ndim == 0]
        if single:
            raise ConfigError(
                "trainer.strategy=fsdp divides parameters by their first dimension; these are single numbers",
                parameters=", ".join(single[:SHOWN]),
                hint="trainer.strategy=ddp",
            )
        groups: list[Any] = [*_own_groups(objective), objective]
        for one in groups:
            fully_shard(one, mesh=self.device_mesh["data_parallel"])
            one.register_forward_hook(lambda _, given, made: _make_known(made), prepend=True)
        for before, one in zip([objective, *groups], groups, strict=False):
            # torch's own guess counts calls, and those of held-out rows are not alike in all processes
            one.set_modules_to_backward_prefetch([before])

    def optimizer_state(self, optimizer: Any) -> dict[str, Any]:
        """Whole moments, numbered as one process numbers them; empty in all processes but the first."""
        inner = getattr(optimizer, "_optimizer", optimizer)
        assert self.model is not None
        found = get_optimizer_state_dict(self.model, inner, options=WHOLE)
        number = {name: place for place, name in enumerate(self._names(inner))}
        return _renamed(found, number) if found else {}

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Each process takes its part of the whole tensors."""
        content: dict[str, Any] = torch.load(checkpoint_path, map_location="cpu", weights_only=True, mmap=True)
        options = StateDictOptions(full_state_dict=True)
        assert self.model is not None
        set_model_state_dict(self.model, content.pop("state_dict"), options=options)
        for optimiser, state in zip(self.optimizers, content.pop("optimizer_states"), strict=True):
            named = _renamed(state, dict(enumerate(self._names(optimiser))))
            set_optimizer_state_dict(self.model, optimiser, named, options=options)
        return content

    def _names(self, optimiser: torch.optim.Optimizer) -> list[str]:
        """Names of an optimiser's parameters in its order."""
        assert self.model is not None
        names = {parameter: name for name, parameter in self.model.named_parameters()}
        return [names[parameter] for group in optimiser.param_groups for parameter in group["params"]]


def _make_known(value: Any) -> None:  # whatever a network returns
    """Let ``fully_shard`` find the tensors in what a network returns, whose gradients it waits for."""
    kind = type(value)
    if dataclasses.is_dataclass(kind):
        if kind not in _pytree.SUPPORTED_NODES:
            _pytree.register_dataclass(kind)
        parts: Iterable[Any] = (getattr(value, one.name) for one in dataclasses.fields(kind))
    else:
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    for one in parts:
        _make_known(one)


def _own_groups(objective: nn.Module) -> list[nn.Module]:
    """Repeated blocks whose parameters are theirs alone; none where a pass takes parameters by name, for a block that
    gathers its own puts them in place of those that it was given."""
    if any(getattr(one, "parameters_by_name", False) for one in objective.modules()):
        return []
    everywhere = _uses(objective)
    return [
        block
        for block in repeated_blocks(objective)
        if all(everywhere[one] == count for one, count in _uses(block).items())
    ]


def _uses(module: nn.Module) -> Counter[int]:
    """In how many modules each parameter stands."""
    return Counter(id(own) for one in module.modules() for own in one.parameters(recurse=False))


def _renamed(state: Mapping[str, Any], names: Mapping[Any, Any]) -> dict[str, Any]:
    """An optimiser's state with other keys for its parameters."""
    groups = [{**group, "params": [names[one] for one in group["params"]]} for group in state["param_groups"]]
    return {"state": {names[one]: value for one, value in state["state"].items()}, "param_groups": groups}


def check_sharing(config: TrainerConfig) -> None:
    """Refuse what does not go together with ``trainer.strategy=fsdp``.

    Raises:
        ConfigError: ``trainer.compile``, or a loss scaler.
    """
    if config.strategy != "fsdp":
        return
    if config.compile:
        raise ConfigError("trainer.strategy=fsdp and trainer.compile=true do not go together", hint="one of them")
    if config.precision == "16-mixed":
        raise ConfigError("trainer.strategy=fsdp goes without a loss scaler", hint="trainer.precision=bf16-mixed")


@contextmanager
def whole(objective: nn.Module) -> Iterator[None]:
    """Parameters as whole tensors for a while; entered by all processes together. Nothing where they are not shared."""
    if not isinstance(objective, FSDPModule):
        yield
        return
    groups = [one for one in objective.modules() if isinstance(one, FSDPModule)]
    objective.set_reshard_after_forward(False)  # the processes do not make the same number of calls
    for one in groups:
        one.unshard()
    try:
        yield
    finally:
        for one in groups:
            one.reshard()
            one.set_reshard_after_forward(one is not objective, recurse=False)


def gathered(objective: nn.Module) -> None:
    """Parameters outside of repeated blocks come together now, as they would for the pass that follows: draws may use
    them (the front end of an encoder says how many tokens there are). Nothing where they are not shared."""
    if isinstance(objective, FSDPModule):
        objective.unshard()


def is_shared_out(objective: nn.Module) -> bool:
    """Whether each process holds a part of the parameters only."""
    return isinstance(objective, FSDPModule)


def whole_state(objective: nn.Module) -> Mapping[str, Any] | None:
    """Whole parameters and buffers of a shared objective, in the first process (empty in others); asked for by all
    together. None where it is not shared."""
    if not isinstance(objective, FSDPModule):
        return None
    return get_model_state_dict(objective, options=WHOLE)


def own_part(value: Tensor) -> Tensor:
    """What this process holds of a tensor."""
    return value.to_local() if isinstance(value, DTensor) else value


def joined(value: Tensor) -> Tensor:
    """The whole of a small tensor, asked for by all processes together."""
    return value.full_tensor() if isinstance(value, DTensor) else value
