"""Window attention over three-dimensional maps: what the nnFormer-shaped backbone is built of.

Source: nnFormer (arXiv 2109.03201) as used by `alibaba-damo-academy/alice`, backbone files.
Differs: one fused attention call with the position bias as additive mask, or on a CPU a few windows at a time
(:mod:`.window_attention`); shift masks are made once for a shape, not in every call; the corrected relative index by
default (see :func:`relative_index`).

Symbols: B cubes, (D, H, W) tokens along the axes, C channels, w window edge, N = w^3 tokens of a window, n windows of
a map, h heads. Maps are channels last: (B, D, H, W, C).
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repcore.nn.drop_path import DropPath
from repcore.nn.feed_forward import gelu_between
from repcore_medical3d.encoders.window_attention import attended_windows

SHIFT_PENALTY = -100.0  # added to attention between tokens that only the shift brought together


def relative_index(window: int, *, legacy: bool = False) -> Tensor:
    """Entry of the bias table for every pair of tokens in a window, int64 (N, N).

    Args:
        window: edge w.
        legacy: the published index, which multiplies the first axis by 3w - 1 so that different offsets share entries;
            the right factor is (2w - 1)^2.
    """
    axis = torch.arange(window)
    places = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).flatten(1)  # (3, N)
    offset = places[:, :, None] - places[:, None, :] + window - 1  # (3, N, N), 0 to 2w - 2
    side = 2 * window - 1
    first = 3 * window - 1 if legacy else side * side
    return offset[0] * first + offset[1] * side + offset[2]


def to_windows(tokens: Tensor, window: int) -> Tensor:
    """(B, D, H, W, C) -> (B, n, N, C), windows in raster order."""
    B, D, H, W, C = tokens.shape
    w = window
    split = tokens.view(B, D // w, w, H // w, w, W // w, w, C)
    return split.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(B, -1, w**3, C)


def from_windows(windows: Tensor, window: int, shape: tuple[int, int, int]) -> Tensor:
    """(B, n, N, C) -> (B, D, H, W, C): the inverse of :func:`to_windows`."""
    D, H, W = shape
    w = window
    split = windows.view(windows.shape[0], D // w, H // w, W // w, w, w, w, windows.shape[-1])
    return split.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(windows.shape[0], D, H, W, -1)


@lru_cache(maxsize=64)
def shift_mask(shape: tuple[int, int, int], window: int, shift: int, device: torch.device) -> Tensor:
    """Penalties (n, N, N) between tokens of a shifted window that do not touch in the map; made once for a shape."""
    region = torch.zeros(1, *shape, 1, device=device)
    number = 0
    sides = (slice(0, -window), slice(-window, -shift), slice(-shift, None))
    for depth in sides:
        for height in sides:
            for width in sides:
                region[:, depth, height, width] = number
                number += 1
    labels = to_windows(region, window)[0, :, :, 0]  # (n, N)
    return torch.where(labels[:, :, None] == labels[:, None, :], 0.0, SHIFT_PENALTY)


@lru_cache(maxsize=64)
def window_order(shape: tuple[int, int, int], window: int, shift: int, device: torch.device) -> Tensor:
    """Which tokens of a map are in which window, int64 (n, N), counted in raster order; made once for a shape."""
    numbers = torch.arange(math.prod(shape), device=device).view(1, *shape, 1)
    return to_windows(torch.roll(numbers, (-shift,) * 3, dims=(1, 2, 3)), window)[0, :, :, 0]


class WindowAttention(nn.Module):
    """Attention inside windows with a learned bias for every relative place.

    Args:
        width: C.
        window: w.
        heads: h.
        shift: how far windows are moved, 0 = not.
        use_bias: biases of query, key and value.
        legacy_index: see :func:`relative_index`.
        is_skip: keys and values come from a second map, queries are the first map itself without any projection
            (decoder).

    Call:
        tokens: (B, D, H, W, C); with ``is_skip`` also ``skip`` of the same shape.
    """

    def __init__(
        self,
        width: int,
        window: int,
        heads: int,
        *,
        shift: int = 0,
        use_bias: bool = True,
        legacy_index: bool = False,
        is_skip: bool = False,
    ) -> None:
        super().__init__()
        self.window, self.heads, self.shift, self.is_skip = window, heads, shift, is_skip
        projected = 2 if is_skip else 3
        self.project_in = nn.Linear(width, projected * width, bias=use_bias)
        self.project_out = nn.Linear(width, width)
        # alone in its window, a token attends to itself whatever the bias
        self.position_bias = nn.Parameter(torch.empty((2 * window - 1) ** 3, heads), requires_grad=window > 1)
        self.register_buffer("relative_index", relative_index(window, legacy=legacy_index))
        self.relative_index: Tensor

    def forward(self, tokens: Tensor, skip: Tensor | None = None) -> Tensor:
        shape = (tokens.shape[1], tokens.shape[2], tokens.shape[3])
        is_cpu = tokens.device.type == "cpu" and not torch.compiler.is_compiling()
        if is_cpu and not torch.is_autocast_enabled("cpu"):
            return self._by_few_windows(tokens, skip, shape)
        return self._at_once(tokens, skip, shape)

    def _at_once(self, tokens: Tensor, skip: Tensor | None, shape: tuple[int, int, int]) -> Tensor:
        if self.is_skip:
            assert skip is not None
            keys, values = self.project_in(self._windows(skip)).chunk(2, dim=-1)
            queries = self._windows(tokens)
        else:
            queries, keys, values = self.project_in(self._windows(tokens)).chunk(3, dim=-1)
        mixed = self._attend(queries, keys, values, shape)
        out = from_windows(self.project_out(mixed), self.window, shape)
        return torch.roll(out, (self.shift,) * 3, dims=(1, 2, 3)) if self.shift else out

    def _by_few_windows(self, tokens: Tensor, skip: Tensor | None, shape: tuple[int, int, int]) -> Tensor:
        given = (shape, self.window, self.shift, tokens.device)
        table = self.position_bias.t().contiguous()
        bias = table.gather(1, self.relative_index.view(1, -1).expand(self.heads, -1)).unflatten(
            1, (self.window**3, -1)
        )
        found = attended_windows(
            tokens.flatten(1, 3), None if skip is None else skip.flatten(1, 3),
            (self.project_in.weight, self.project_in.bias), (self.project_out.weight, self.project_out.bias),
            bias, shift_mask(*given).to(bias.dtype) if self.shift else None, window_order(*given),
        )  # fmt: skip
        return found.view_as(tokens)

    def _windows(self, tokens: Tensor) -> Tensor:
        moved = torch.roll(tokens, (-self.shift,) * 3, dims=(1, 2, 3)) if self.shift else tokens
        return to_windows(moved, self.window)

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor, shape: tuple[int, int, int]) -> Tensor:
        """(B, n, N, C) each -> (B, n, N, C)."""
        B, n, N, C = queries.shape
        bias = F.embedding(self.relative_index, self.position_bias).permute(2, 0, 1)  # (h, N, N)
        split = [one.reshape(B, n, N, self.heads, -1).transpose(2, 3) for one in (queries, keys, values)]
        if self.shift:  # windows count as heads, so that one mask serves the whole batch without copies
            # what is traced has no values, and would be kept for everybody who comes later
            made = shift_mask.__wrapped__ if torch.compiler.is_compiling() else shift_mask
            mask = made(shape, self.window, self.shift, queries.device).to(bias.dtype)
            full = (bias[None] + mask[:, None]).flatten(0, 1)[None]  # (1, n*h, N, N)
            folded = [one.reshape(B, n * self.heads, N, -1) for one in split]
        else:
            full = bias[None]
            folded = [one.reshape(B * n, self.heads, N, -1) for one in split]
        out = F.scaled_dot_product_attention(folded[0], folded[1], folded[2], attn_mask=full.to(queries.dtype))
        return out.view(B, n, self.heads, N, -1).transpose(2, 3).reshape(B, n, N, C)


class WindowBlock(nn.Module):
    """Norm, window attention, norm, MLP, both with a residual.

    Args:
        width / window / heads / shift: of the attention.
        mlp_ratio: hidden width of the MLP over the width.
        drop_path: rate.
        is_skip: keys and values from the skip map; the residual is then the sum of both maps.

    Call:
        tokens: (B, D, H, W, C); with ``is_skip`` also ``skip``, and ``tokens`` is the up-sampled map.
    """

    def __init__(
        self,
        width: int,
        window: int,
        heads: int,
        *,
        shift: int = 0,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        norm_epsilon: float = 1e-5,
        use_bias: bool = True,
        legacy_index: bool = False,
        is_skip: bool = False,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=norm_epsilon)
        self.attention = WindowAttention(
            width, window, heads, shift=shift, use_bias=use_bias, legacy_index=legacy_index, is_skip=is_skip
        )
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(width, eps=norm_epsilon)
        hidden = int(width * mlp_ratio)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, tokens: Tensor, skip: Tensor | None = None) -> Tensor:
        if skip is None:
            tokens = tokens + self.drop_path(self.attention(self.norm1(tokens)))
        else:
            mixed = self.attention(self.norm1(tokens), self.norm1(skip))
            tokens = tokens + skip + self.drop_path(mixed)
        expand, contract = self.mlp[0], self.mlp[2]
        assert isinstance(expand, nn.Linear)
        assert isinstance(contract, nn.Linear)
        out: Tensor = tokens + self.drop_path(gelu_between(self.norm2(tokens), expand, contract))
        return out


class PatchStem(nn.Module):
    """Four 3^3 convolutions, the first with stride 2, each followed by GELU and a norm (the last by the norm only).

    Call: (B, input channels, D, H, W) -> (B, D/2, H/2, W/2, width).
    """

    def __init__(self, input_channels: int, width: int, norm_epsilon: float) -> None:
        super().__init__()
        narrow = width // 2
        sizes = [(input_channels, narrow), (narrow, narrow), (narrow, width), (width, width)]
        self.convolutions = nn.ModuleList(
            nn.Conv3d(wide_in, wide_out, 3, stride=2 if number == 0 else 1, padding=1)
            for number, (wide_in, wide_out) in enumerate(sizes)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(wide_out, eps=norm_epsilon) for _, wide_out in sizes)

    def forward(self, volume: Tensor) -> Tensor:
        last = len(self.convolutions) - 1
        for number, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            volume = convolution(volume)  # channels last from the second on: half the time over few channels
            tokens = norm((volume if number == last else F.gelu(volume)).movedim(1, -1))
            volume = tokens.movedim(-1, 1)
        return tokens


class Downsample(nn.Module):
    """GELU, norm, 3^3 convolution with stride 2 to twice the width, in this order."""

    def __init__(self, width: int, norm_epsilon: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=norm_epsilon)
        self.reduction = nn.Conv3d(width, 2 * width, 3, stride=2, padding=1)

    def forward(self, tokens: Tensor) -> Tensor:
        normed = self.norm(F.gelu(tokens)).movedim(-1, 1)
        out: Tensor = self.reduction(normed).movedim(1, -1)
        return out


class Upsample(nn.Module):
    """Norm and transposed convolution to twice the edge and half the width."""

    def __init__(self, width: int, norm_epsilon: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=norm_epsilon)
        self.expansion = nn.ConvTranspose3d(width, width // 2, 2, stride=2)

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.expansion(self.norm(tokens).movedim(-1, 1)).movedim(1, -1)
        return out
