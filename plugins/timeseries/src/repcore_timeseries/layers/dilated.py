"""Residual convolutions with growing dilation, and the mean of causal convolutions of several sizes.

Source: Franceschi et al. 2019 (arXiv 1901.10738) and Yue et al. 2022 (arXiv 2106.10466) for the blocks, Zheng et al.
2024 (arXiv 2402.10434) for the kernels. Module names are those of the published checkpoints.

Differs: steps behind the end of a series are kept at 0 in every layer, where the published code lets the biases of
padding leak back through the convolutions; so a series has the same features whatever stands beside it in a batch.

Symbols: B series, T steps, H hidden width, D output width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class DilatedConv(nn.Module):
    """A convolution over (B, H, T) that keeps the length.

    Args:
        before / after: channels.
        kernel: steps, odd.
        dilation: distance of the steps that it sees.
        causal: sees the past only.
    """

    def __init__(self, before: int, after: int, kernel: int, dilation: int, *, causal: bool) -> None:
        super().__init__()
        reach = (kernel - 1) * dilation
        self.padding = (reach, 0) if causal else (reach // 2, reach - reach // 2)
        self.conv = nn.Conv1d(before, after, kernel, dilation=dilation)

    def forward(self, values: Tensor) -> Tensor:
        found: Tensor = self.conv(F.pad(values, self.padding))
        return found


class DilatedBlock(nn.Module):
    """conv(gelu(conv(gelu(x)))) beside a skip connection, which is a 1x1 convolution where widths differ or at the end.

    Args:
        before / after: channels.
        kernel / dilation / causal: of both convolutions.
        is_last: whether it ends the stack.
    """

    def __init__(self, before: int, after: int, kernel: int, dilation: int, *, causal: bool, is_last: bool) -> None:
        super().__init__()
        self.conv1 = DilatedConv(before, after, kernel, dilation, causal=causal)
        self.conv2 = DilatedConv(after, after, kernel, dilation, causal=causal)
        self.projector = nn.Conv1d(before, after, 1) if is_last or before != after else None

    def forward(self, values: Tensor, inside: Tensor | None) -> Tensor:
        """(B, H, T) to (B, H', T); ``inside`` bool (B, 1, T) is False behind the end of a series."""
        kept = values if self.projector is None else self.projector(values)
        found = self.conv1(within(F.gelu(values), inside))
        return within(kept + self.conv2(within(F.gelu(found), inside)), inside)


class DilatedStack(nn.Module):
    """Blocks with dilations 1, 2, 4, ...

    Args:
        hidden: width of all but the last block.
        depth: number of blocks before the last one.
        width: of the last block.
    """

    def __init__(self, hidden: int, depth: int, width: int, kernel: int, *, causal: bool) -> None:
        super().__init__()
        self.net = nn.ModuleList(
            DilatedBlock(
                hidden, width if number == depth else hidden, kernel, 2**number, causal=causal, is_last=number == depth
            )
            for number in range(depth + 1)
        )

    def forward(self, values: Tensor, inside: Tensor | None) -> Tensor:
        """(B, H, T) to (B, D, T)."""
        for block in self.net:
            values = block(values, inside)
        return values


def within(values: Tensor, inside: Tensor | None) -> Tensor:
    """(B, H, T) with 0 behind the ends of the series."""
    return values if inside is None else values.masked_fill(~inside, 0.0)


def causal_mean(values: Tensor, kernels: nn.ModuleList, sizes: Sequence[int]) -> Tensor:
    """Mean of causal convolutions of several sizes, (B, D, T) to the same shape."""
    found = [one(F.pad(values, (size - 1, 0))) for one, size in zip(kernels, sizes, strict=True)]
    return torch.stack(found).mean(0)
