"""Scans over bags: Mamba blocks whose second direction visits the instances in another order.

Yang, Wang, Chen 2024 (MICCAI), "MambaMIL: Enhancing Long Sequence Modeling with Sequence Reordering in Computational
Pathology", arXiv 2403.06800.

Differs: where the stride does not divide a bag, the real instances alone are visited (published: zeros lie inside the
scan and move its state; ``padding="zeros"``).

Symbols: B bags, T slots (instances of the largest bag), n instances of a bag, W width, C = 2 W channels, N states,
S directions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from repcore.nn.selective_scan.direction import ScanDirection
from repcore.nn.selective_scan.selection import selective_scan_op
from repcore_generic.configs.mamba_mil import MambaMilConfig

TAPS = 4
LONG = 4096
"""Slots from which a training step keeps no activations inside a block, but computes them again."""


def stride_order(count: int, rate: int) -> Tensor:
    """Numbers 0 .. count - 1, int64 (count,), by their rest modulo ``rate``, ascending within a rest: the columns of a
    grid with ``rate`` columns that was filled row by row."""
    return torch.argsort(torch.arange(count) % rate, stable=True)


class VisitOrder:
    """In which order the second scan visits the slots of each bag.

    Args:
        sizes: n of each bag.
        config: kind of scan, stride and padding.

    ``order``, ``inverse`` int64 (B, T'): T' >= T slots with what ``padding="zeros"`` adds; what is not visited comes
    last, where a causal scan no longer reaches the instances.
    """

    def __init__(self, sizes: Sequence[int], config: MambaMilConfig) -> None:
        zeros = config.scan == "srmamba" and (config.padding == "zeros" or config.reference_compat)
        rates = [max(1, round(math.sqrt(n))) if config.rate is None else config.rate for n in sizes]
        visited = [-(-n // rate) * rate if zeros else n for n, rate in zip(sizes, rates, strict=True)]
        self.slots = max([1, *visited])
        rows = []
        for n, rate in zip(visited, rates, strict=True):
            first = stride_order(n, rate) if config.scan == "srmamba" else torch.arange(n).flip(0)
            rows.append(torch.cat([first, torch.arange(n, self.slots)]))
        self.order = torch.stack(rows) if rows else torch.zeros(0, self.slots, dtype=torch.int64)
        self.inverse = torch.argsort(self.order, dim=1)

    def to(self, device: torch.device) -> VisitOrder:
        """The same on a device."""
        self.order, self.inverse = self.order.to(device), self.inverse.to(device)
        return self


class BagMixer(nn.Module):
    """Gated sum of one scan in natural order and, but for ``scan="mamba"``, one in another order.

    Args:
        config: sizes and kinds.

    Call:
        hidden: float (B, T, W), normalised.
        valid: bool (B, T), True = an instance; instances come first.
        visit: order of the second scan.
    Returns:
        float (B, T, W); slots that are not valid hold values without meaning.
    """

    def __init__(self, config: MambaMilConfig) -> None:
        super().__init__()
        channels, self.rank, self.states = 2 * config.width, math.ceil(config.width / 16), config.states
        self.in_proj = nn.Linear(config.width, 2 * channels, bias=False)
        count = 1 if config.scan == "mamba" else 2
        self.directions = nn.ModuleList(
            ScanDirection(channels, config.states, self.rank, TAPS, legacy_step=config.reference_compat)
            for _ in range(count)
        )
        self.out_proj = nn.Linear(channels, config.width, bias=False)
        self.selective_scan = selective_scan_op()

    def forward(self, hidden: Tensor, valid: Tensor, visit: VisitOrder) -> Tensor:
        slots = hidden.shape[1]
        channels, gate = self.in_proj(hidden).chunk(2, dim=-1)  # (B, T, C) each
        channels = F.pad(channels * valid[..., None], (0, 0, 0, visit.slots - slots))
        sequences = [channels] if len(self.directions) == 1 else [channels, _picked(channels, visit.order)]
        scanned = self._scans(sequences)
        both = scanned[0] if len(sequences) == 1 else scanned[0] + _picked(scanned[1], visit.inverse)
        out: Tensor = self.out_proj(both[:, :slots] * F.silu(gate))
        return out

    def _scans(self, sequences: Sequence[Tensor]) -> Tensor:
        """Outputs of all directions with the skip, before the gate: (S, B, T', C)."""
        convolved = torch.stack([self._convolved(number, one) for number, one in enumerate(sequences)])
        projected = torch.stack([one.x_proj(c) for one, c in zip(self.directions, convolved, strict=True)])  # type: ignore[operator]
        low, drive, readout = projected.split([self.rank, self.states, self.states], dim=-1)
        weights = self._stacked("dt_proj.weight")  # (S, C, rank)
        delta = torch.einsum("sbtr,scr->sbtc", low, weights)
        out: Tensor = self.selective_scan(
            convolved, delta, -torch.exp(self._stacked("A_log").float()), drive, readout, self._stacked("D"),
            delta_bias=self._stacked("dt_proj.bias"), reverse=(False,) * len(sequences),
        )  # fmt: skip
        return out

    def _convolved(self, number: int, sequence: Tensor) -> Tensor:
        """Causal depthwise convolution as a sum of shifted views, then SiLU: (B, T', C)."""
        direction, length = self.directions[number], sequence.shape[1]
        weight = direction.get_parameter("conv1d.weight")[:, 0]
        out: Tensor = direction.get_parameter("conv1d.bias")
        padded = F.pad(sequence, (0, 0, TAPS - 1, 0))
        for tap in range(TAPS):
            out = torch.addcmul(out, padded[:, tap : tap + length], weight[:, tap])
        return F.silu(out)

    def _stacked(self, name: str) -> Tensor:
        return torch.stack([direction.get_parameter(name) for direction in self.directions])


def _picked(values: Tensor, places: Tensor) -> Tensor:
    """Slots of (B, T', C) in the order of ``places`` (B, T')."""
    return values.gather(1, places[..., None].expand(-1, -1, values.shape[-1]))


class BagScans(nn.Module):
    """Blocks ``h + mixer(norm(h))``, then a norm.

    Args:
        config: sizes and kinds.

    Call:
        hidden: float (B, T, W).
        valid: bool (B, T), True = an instance; instances come first.
    Returns:
        float (B, T, W).
    """

    def __init__(self, config: MambaMilConfig) -> None:
        super().__init__()
        self.config = config
        self.norms = nn.ModuleList(nn.LayerNorm(config.width) for _ in range(config.layers))
        self.mixers = nn.ModuleList(BagMixer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self._initialise()

    def _initialise(self) -> None:
        """Linear layers as published (Xavier, bias 0), but the scan's steps, unless those are to be so, too."""
        for name, one in self.named_modules():
            is_step = name.endswith("dt_proj") and not self.config.reference_compat
            if isinstance(one, nn.Linear) and not is_step:
                xavier(one)

    def forward(self, hidden: Tensor, valid: Tensor) -> Tensor:
        visit = VisitOrder(valid.sum(1).tolist(), self.config).to(hidden.device)
        is_long = hidden.shape[1] > LONG and torch.is_grad_enabled()
        for norm, mixer in zip(self.norms, self.mixers, strict=True):

            def block(state: Tensor, norm: nn.Module = norm, mixer: nn.Module = mixer) -> Tensor:
                out: Tensor = state + mixer(norm(state), valid, visit)
                return out

            hidden = checkpoint(block, hidden, use_reentrant=False) if is_long else block(hidden)
        normed: Tensor = self.norm(hidden)
        return normed


def xavier(layer: nn.Linear) -> None:
    """Xavier's weights, and a bias of 0."""
    nn.init.xavier_normal_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
