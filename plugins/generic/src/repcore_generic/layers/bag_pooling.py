"""From the instances of bags to one vector a bag: mean, largest number, attention, or scans before attention.

Attention pooling: Ilse et al. 2018 (ICML), arXiv 1802.04712, without the gate. Scans: :mod:`.bag_scan`.

Symbols: S instances of all bags, B bags, T slots of the largest bag, D width of an instance, W of the aggregator.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repcore_generic.configs.mamba_mil import MambaMilConfig
from repcore_generic.layers.bag_scan import BagScans, xavier

LEAST_DEVIATION = 0.01
"""Of a number of an instance, as a share of the median number's."""


class Pooled(NamedTuple):
    """What an aggregator gives.

    Args:
        vectors: (B, W); zeros for a bag without instances.
        hidden: (S, W), of the instances, as they are pooled.
        attention: (S,), sums to 1 in every bag; of ``aggregate=mean`` all alike, of ``max`` the share of numbers that
            an instance gives.
        logits: (S,) of the attention before its softmax; zeros without attention.
    """

    vectors: Tensor
    hidden: Tensor
    attention: Tensor
    logits: Tensor


class BagPooling(nn.Module):
    """See the module's text.

    Args:
        config: sizes and kinds.
        width: D.

    ``mean``, ``scale`` (D,) are those by which instances are standardised; 0 and 1 until :meth:`standardise`.

    Call:
        values: float (S, D).
        owner: int64 (S,), bag of each instance, ascending; instances of a bag in their order.
        bags: B.
    Returns:
        :class:`Pooled`.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, config: MambaMilConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.input = nn.Linear(width, config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.scans = BagScans(config) if config.aggregate == "mamba-mil" else None
        self.score: nn.Sequential | None = None
        if config.aggregate in ("mamba-mil", "attention"):
            inside = config.attention_width or max(1, config.width // 4)
            self.score = nn.Sequential(nn.Linear(config.width, inside), nn.Tanh(), nn.Linear(inside, 1))
        for one in (self.input, *(self.score or ())):
            if isinstance(one, nn.Linear):
                xavier(one)

    @torch.no_grad()
    def standardise(self, mean: Tensor, deviation: Tensor) -> None:
        """Instances are seen relative to these (D,); what hardly differs between them is not blown up."""
        self.mean.copy_(mean)
        self.scale.copy_(deviation.clamp(min=LEAST_DEVIATION * float(deviation.median())))
        self.scale[self.scale <= 0.0] = 1.0

    def forward(self, values: Tensor, owner: Tensor, bags: int) -> Pooled:
        counts = torch.bincount(owner, minlength=bags)
        place = torch.arange(len(owner), device=owner.device) - (counts.cumsum(0) - counts)[owner]
        slots = max(1, int(counts.max())) if bags else 1
        valid = torch.arange(slots, device=owner.device) < counts[:, None]  # (B, T)
        hidden = values.new_zeros(bags, slots, self.config.width)
        embedded = self.dropout(F.gelu(self.input((values - self.mean) / self.scale)))
        hidden = hidden.to(embedded.dtype).index_put((owner, place), embedded)
        if self.scans is not None:
            hidden = self.scans(hidden, valid)
        logits = hidden.new_zeros(bags, slots) if self.score is None else self.score(hidden)[..., 0]
        if self.config.aggregate == "max":
            vectors, weights = _largest(hidden, valid)
        else:
            weights = logits.masked_fill(~valid, torch.finfo(logits.dtype).min).softmax(1) * valid
            vectors = torch.einsum("bt,btw->bw", weights, hidden)
        return Pooled(vectors, hidden[owner, place], weights[owner, place], logits[owner, place])


def _largest(hidden: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Largest numbers (B, W), zeros where there is no instance, and the share of them that each slot gives (B, T)."""
    found = hidden.masked_fill(~valid[..., None], torch.finfo(hidden.dtype).min).max(1)
    share = torch.zeros_like(hidden[..., 0])
    share.scatter_add_(1, found.indices, torch.full_like(found.values.detach(), 1.0 / hidden.shape[-1]))
    return torch.where(valid.any(1)[:, None], found.values, 0.0), share * valid
