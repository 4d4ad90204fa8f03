"""The bidirectional Mamba block (Vision Mamba "v2"): norm, gated input, two convolutions, two scans, one output map.

Source: Zhu et al. 2024 (arXiv 2401.09417), algorithm 1; public repository `hustvl/Vim`, `mamba_simple.py`.
Differs: nothing is flipped, a scan from right to left only reads the other way; both scans run in one call of
``selective-scan``; the gate is applied once to the sum of directions; padded tokens neither feed nor disturb a
scan; without gradients, a CPU goes through long sequences piece by piece.

Symbols: B clips, L tokens, E width, D = expansion x E channels, N states, R step rank.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repcore.nn.selective_scan.direction import ScanDirection
from repcore.nn.selective_scan.selection import selective_scan_op
from repcore.ops import Op
from repcore_audio.configs.ssamba import SsambaConfig

PIECE = 1024  # tokens that a CPU goes through at a time where no gradient is asked for


class RootMeanSquareNorm(nn.Module):
    """x / sqrt(mean(x^2) + epsilon) * weight, over the last axis."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = epsilon

    def forward(self, hidden: Tensor) -> Tensor:
        return scaled_norm(self, hidden, 1.0)


def make_norm(config: SsambaConfig) -> nn.LayerNorm | RootMeanSquareNorm:
    """The norm that the config asks for."""
    if config.normalisation == "rms":
        return RootMeanSquareNorm(config.width, config.norm_epsilon)
    return nn.LayerNorm(config.width, eps=config.norm_epsilon)


def scaled_norm(norm: nn.LayerNorm | RootMeanSquareNorm, hidden: Tensor, scale: float) -> Tensor:
    """``norm(hidden * scale)`` without forming the product: scaling the input is dividing epsilon by scale squared."""
    epsilon = norm.eps / scale**2
    if isinstance(norm, RootMeanSquareNorm):
        return hidden * torch.rsqrt(hidden.square().mean(-1, keepdim=True) + epsilon) * norm.weight
    return F.layer_norm(hidden, norm.normalized_shape, norm.weight, norm.bias, epsilon)


def step_rank(config: SsambaConfig) -> int:
    """R: as set, or width / 16 rounded up."""
    return math.ceil(config.width / 16) if config.step_rank is None else config.step_rank


class ScanInputs(NamedTuple):
    """What both scans of a block read; axis 0 is the direction (left to right, right to left)."""

    convolved: Tensor  # (2, B, L, D), after SiLU
    projected: Tensor  # (2, B, L, R + 2N)
    delta: Tensor  # (2, B, L, D), before bias and softplus
    drive: Tensor  # (2, B, L, N)
    readout: Tensor  # (2, B, L, N)
    reverse: tuple[bool, bool]


class BidirectionalMixer(nn.Module):
    """Gated sum of a scan from left to right and one from right to left.

    Args:
        config: sizes and flags.
        scan: the op; shared by the blocks of a stack.

    Call:
        hidden: float (B, L, E), normalised.
        reversed_time: read the tokens from right to left, as if they had been flipped, with the result flipped back.
        valid: bool (B, L), True = real token; real tokens come first. None = all are.
    Returns:
        float (B, L, E); slots that are not valid hold values without meaning.
    """

    def __init__(self, config: SsambaConfig, scan: Op | None = None) -> None:
        super().__init__()
        channels = config.expansion * config.width
        self.selective_scan = scan or selective_scan_op()
        self.rank, self.states, self.scale = step_rank(config), config.states, config.direction_scale
        self.taps = config.convolution_width
        self.in_proj = nn.Linear(config.width, 2 * channels, bias=False)
        sizes = (channels, self.states, self.rank, self.taps)
        both = [ScanDirection(*sizes), ScanDirection(*sizes, legacy_step=config.legacy_dt_b_init)]
        self.directions = nn.ModuleList(both)
        self.out_proj = nn.Linear(channels, config.width, bias=False)
        nn.init.kaiming_uniform_(self.out_proj.weight, a=math.sqrt(5))
        with torch.no_grad():
            self.out_proj.weight /= math.sqrt(config.depth)

    def forward(self, hidden: Tensor, reversed_time: bool = False, valid: Tensor | None = None) -> Tensor:
        is_long = hidden.shape[1] > PIECE and hidden.device.type == "cpu"  # a GPU wants all tokens at once
        if is_long and not torch.is_grad_enabled():
            return self.piecewise(hidden, reversed_time, valid)
        channels, gate = self.in_proj(hidden).chunk(2, dim=-1)  # (B, L, D) each
        scanned = self.scan(self.scan_inputs(channels, reversed_time, valid))
        return self._gated(scanned[0] + scanned[1], gate)

    def piecewise(self, hidden: Tensor, reversed_time: bool = False, valid: Tensor | None = None) -> Tensor:
        """The same values with a working set that does not grow: the large tensors hold :data:`PIECE` tokens only.

        Both directions advance together, one from each end, each from the state that its last piece left. Tokens of the
        one that starts at the right are flipped, so that both run from left to right.
        """
        length, halo, reverse = hidden.shape[1], self.taps - 1, _reverse(reversed_time)
        to_channels, to_gate = self.in_proj.weight.chunk(2)
        keep = None if valid is None else valid[..., None].to(hidden.dtype)
        scanned = hidden.new_zeros((*hidden.shape[:2], len(to_channels)))
        state = None
        for first in range(0, length, PIECE):
            start, stop = max(0, first - halo), min(length, first + PIECE)
            seen = None if keep is None else _from_both_ends(keep, start, stop, reverse)
            channels = F.linear(_from_both_ends(hidden, start, stop, reverse), to_channels)
            channels = F.pad(channels if seen is None else channels * seen, (0, 0, halo - (first - start), 0))
            forward = (False, False)
            convolved = self._convolve(list(channels), forward, stop - first)
            inputs = self._projected(convolved, None if seen is None else seen[:, :, first - start :], forward)
            outputs, state = self.selective_scan(
                *self.scan_arguments(inputs), delta_bias=self.delta_bias, reverse=forward,
                initial_state=state, return_last_state=True,
            )  # fmt: skip
            for output, back in zip(outputs, reverse, strict=True):
                part = slice(length - stop, length - first) if back else slice(first, stop)
                scanned[:, part] += output.flip(1) if back else output
        pieces = zip(hidden.split(PIECE, 1), scanned.split(PIECE, 1), strict=True)
        return torch.cat([self._gated(both, F.linear(read, to_gate)) for read, both in pieces], dim=1)

    def _gated(self, both: Tensor, gate: Tensor) -> Tensor:
        """(B, L, D) of both directions and of the gate to (B, L, E)."""
        out: Tensor = self.out_proj(both * F.silu(gate)) * self.scale
        return out

    def scan_inputs(self, channels: Tensor, reversed_time: bool = False, valid: Tensor | None = None) -> ScanInputs:
        """Convolution and projections of both directions, in natural token order."""
        reverse, halo = _reverse(reversed_time), self.taps - 1
        keep = None if valid is None else valid[..., None].to(channels.dtype)
        if keep is not None:
            channels = channels * keep  # the convolution from the right must see zeros, as at the end of a clip
        padded = F.pad(channels, (0, 0, halo, halo))
        convolved = self._convolve([padded, padded], reverse, channels.shape[1])
        return self._projected(convolved, keep, reverse)

    def _projected(self, convolved: Tensor, keep: Tensor | None, reverse: tuple[bool, bool]) -> ScanInputs:
        """What a scan reads, from convolved channels (2, B, L, D); ``keep`` is 0 at padded tokens."""
        if keep is not None:
            convolved = convolved * keep  # a zero input adds nothing to the state
        projected = torch.matmul(convolved.flatten(1, 2), self._stack("x_proj.weight").transpose(1, 2))
        low, drive, readout = projected.split([self.rank, self.states, self.states], dim=-1)
        delta = torch.matmul(low, self._stack("dt_proj.weight").transpose(1, 2))
        parts = [one.unflatten(1, convolved.shape[1:3]) for one in (projected, delta, drive, readout)]
        return ScanInputs._make([convolved, *parts, reverse])

    def scan(self, inputs: ScanInputs) -> Tensor:
        """Outputs of both scans with the skip, before the gate: (2, B, L, D)."""
        out: Tensor = self.selective_scan(
            *self.scan_arguments(inputs), delta_bias=self.delta_bias, reverse=inputs.reverse
        )
        return out

    def scan_arguments(self, inputs: ScanInputs) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Positional arguments of the op: u, delta, A, B, C, D."""
        decay = -torch.exp(self._stack("A_log").float())
        return inputs.convolved, inputs.delta, decay, inputs.drive, inputs.readout, self._stack("D")

    @property
    def delta_bias(self) -> Tensor:
        """(2, D)."""
        return self._stack("dt_proj.bias")

    def _stack(self, name: str) -> Tensor:
        return torch.stack([direction.get_parameter(name) for direction in self.directions])

    def _convolve(self, padded: Sequence[Tensor], reverse: tuple[bool, bool], length: int) -> Tensor:
        """Depthwise convolution that looks left, or right where ``reverse``, then SiLU: sums of shifted views.

        Args:
            padded: for each direction (B, X, D) with what lies before the first token, and behind the last one where
                that is read.
            reverse: which of them look right.
            length: L, tokens that come out.
        """
        weights = self._stack("conv1d.weight")[:, :, 0]  # (2, D, taps), oldest tap first
        outputs = []
        for source, weight, out, back in zip(padded, weights, self._stack("conv1d.bias"), reverse, strict=True):
            for tap in range(self.taps):
                first = 2 * (self.taps - 1) - tap if back else tap
                out = torch.addcmul(out, source[:, first : first + length], weight[:, tap])
            outputs.append(out)
        return F.silu(torch.stack(outputs))


def _reverse(reversed_time: bool) -> tuple[bool, bool]:
    """Which direction runs from right to left."""
    return (True, False) if reversed_time else (False, True)


def _from_both_ends(values: Tensor, start: int, stop: int, reverse: tuple[bool, bool]) -> Tensor:
    """Tokens ``start`` to ``stop`` of (B, L, X) as each direction counts them, in its order: (2, B, T, X)."""
    length = values.shape[1]
    return torch.stack(
        [values[:, length - stop : length - start].flip(1) if back else values[:, start:stop] for back in reverse]
    )


class MambaBlock(nn.Module):
    """Norm and mixer; the stack owns the residual.

    Call:
        residual: float (B, L, E), divided by ``scale``.
        scale: what the residual has to be multiplied with; see :func:`scaled_norm`.
        reversed_time / valid: as for the mixer.
    Returns:
        float (B, L, E).
    """

    def __init__(self, config: SsambaConfig, scan: Op | None = None) -> None:
        super().__init__()
        self.norm = make_norm(config)
        self.mixer = BidirectionalMixer(config, scan)

    def forward(
        self, residual: Tensor, scale: float = 1.0, reversed_time: bool = False, valid: Tensor | None = None
    ) -> Tensor:
        normed = scaled_norm(self.norm, residual, scale)
        out: Tensor = self.mixer(normed, reversed_time, valid)
        return out
