"""Scene-level momentum contrast in one or two formats: what the public repository of FAC really optimises.

Source: `KangchengLiu/FAC_Foreground_Aware_Contrast`, `Downstreams/criterions/nce_loss_moco.py` (DepthContrast, Zhang et
al. 2021, arXiv 2101.02691). Differs: the queue length need not be a multiple of the batch; queues move
in ``update``, not in the forward pass.

Symbols: B scenes, D channels, S places of a queue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repcore.errors import ConfigError
from repcore.nn.losses import info_nce

FORMATS = ("points", "voxels")


@dataclass(frozen=True, slots=True)
class MocoTerms:
    """``parts`` by name: ``points``, ``voxels`` (within a format), ``points-voxels`` and ``voxels-points``."""

    parts: Mapping[str, Tensor]
    loss: Tensor


class MomentumContrast(nn.Module):
    """Criterion with one queue a format.

    Args:
        width: D.
        places: S, length of each queue.
        temperature: divides similarities.
        within: weights of the terms inside a format, points and voxels.
        across: weights of the terms between formats, points against voxel keys and voxels against point keys.

    Call:
        queries / keys: format -> float (B, D), of any length; one format or both.

    Raises:
        ConfigError: no place in the queue.
    """

    queues: Tensor
    pointer: Tensor

    def __init__(
        self,
        width: int,
        places: int,
        *,
        temperature: float = 0.1,
        within: tuple[float, float] = (0.5, 0.5),
        across: tuple[float, float] = (0.5, 0.5),
    ) -> None:
        super().__init__()
        if places < 1:
            raise ConfigError(f"a queue of {places} places holds nothing", field="objective.queue_places")
        self.temperature, self.within, self.across = temperature, within, across
        self.register_buffer("queues", F.normalize(torch.randn(len(FORMATS), places, width), dim=2))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))

    def forward(self, queries: Mapping[str, Tensor], keys: Mapping[str, Tensor]) -> MocoTerms:
        query = {name: F.normalize(value, dim=1) for name, value in queries.items()}
        key = {name: F.normalize(value, dim=1).detach() for name, value in keys.items()}
        parts, weights = {}, {}
        for number, name in enumerate(FORMATS):
            if name in query:
                parts[name] = self._contrast(query[name], key[name], number)
                weights[name] = self.within[number]
        for number, (one, other) in enumerate((FORMATS, FORMATS[::-1])):
            if one in query and other in query:
                title = f"{one}-{other}"
                parts[title] = self._contrast(query[one], key[other], FORMATS.index(other))
                weights[title] = self.across[number]
        total = torch.stack([weights[name] * value for name, value in parts.items()]).sum()
        return MocoTerms(parts, total)

    def _contrast(self, query: Tensor, key: Tensor, queue: int) -> Tensor:
        return info_nce(query, key, negatives=self.queues[queue], temperature=self.temperature)

    @torch.no_grad()
    def update(self, keys: Mapping[str, Tensor]) -> None:
        """Overwrite the oldest places with the keys of a step, going round."""
        places = self.queues.shape[1]
        count = 0
        for name, value in keys.items():
            count = len(value)
            target = (self.pointer + torch.arange(count, device=value.device)) % places
            self.queues[FORMATS.index(name), target] = F.normalize(value, dim=1).to(self.queues.dtype)
        self.pointer.copy_((self.pointer + count) % places)
