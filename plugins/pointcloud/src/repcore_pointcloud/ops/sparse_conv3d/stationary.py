"""Output-stationary twin of ``pointcloud/sparse-conv3d``: one matrix product a block of outputs, nothing is scattered.

The neighbours of a block of outputs are copied side by side, a missing one as zeros, and multiplied with all offsets
at once; the gradient of the features is the same walk over the reversed rulebook. It does the work of all K offsets
even where voxels are missing, but in large products: faster where most neighbours exist or channels are few.

Symbols: N input voxels, M output voxels, K offsets, I and O channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from repcore_pointcloud.ops.sparse_conv3d.arguments import check_arguments, summing_type, working_type
from repcore_pointcloud.ops.sparse_conv3d.products import BLOCKS, columns_times, rows_times
from repcore_pointcloud.ops.sparse_conv3d.rulebook import Rulebook
from repcore_pointcloud.ops.sparse_conv3d.torch import sparse_conv3d as gather_scatter

BLOCK_NUMBERS = {"cpu": 1 << 18, "cuda": 1 << 26}  # of one block's copies: 1 MB stays in a core's cache


def sparse_conv3d(features: Tensor, weight: Tensor, bias: Tensor | None = None, *, rulebook: Rulebook) -> Tensor:
    """Same values and gradients as the plain definition; see there for the arguments."""
    check_arguments(features, weight, bias, rulebook)
    if rulebook.is_identity:
        return gather_scatter(features, weight, bias, rulebook=rulebook)
    out: Tensor = _OutputStationary.apply(features, weight, rulebook)
    return out if bias is None else out + bias


class _OutputStationary(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, rulebook: Rulebook) -> Tensor:  # autograd's context
        ctx.save_for_backward(features, weight)
        ctx.rulebook = rulebook
        return _products(features, weight.flatten(1).T, rulebook)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        features, weight = ctx.saved_tensors
        grad_features = grad_weight = None
        if ctx.needs_input_grad[0]:
            kernels = weight.flatten(1, 3).permute(1, 0, 2).flatten(0, 1)  # (K O, I)
            grad_features = _products(grad.contiguous(), kernels, ctx.rulebook.reversed)
        if ctx.needs_input_grad[1]:
            grad_weight = _weight_gradient(features, grad, ctx.rulebook).view(weight.shape).to(weight.dtype)
        return grad_features, grad_weight, None


class _Copies:
    """Blocks of rows with their neighbours side by side, (rows, K * width), in one buffer that is used again.

    Args:
        source: (N, width).
        rulebook: whose outputs are walked through.
    """

    def __init__(self, source: Tensor, rulebook: Rulebook) -> None:
        width = source.shape[1]
        self.neighbours = rulebook.neighbours
        working = working_type(source)
        self.padded = torch.cat([source.to(working), source.new_zeros(1, width, dtype=working)])
        row = max(1, rulebook.kernel_volume * width)
        rows = BLOCK_NUMBERS.get(source.device.type, BLOCK_NUMBERS["cuda"]) // row
        self.rows = max(64, rows // BLOCKS * BLOCKS)
        self.buffer = self.padded.new_empty(min(self.rows, rulebook.num_outputs) * rulebook.kernel_volume, width)

    def __iter__(self) -> Any:  # pairs (slice of outputs, tensor)
        for start in range(0, len(self.neighbours), self.rows):
            chosen = self.neighbours[start : start + self.rows]
            block = self.buffer[: chosen.numel()]
            torch.index_select(self.padded, 0, chosen.flatten(), out=block)
            yield slice(start, start + len(chosen)), block.view(len(chosen), -1)


def _products(source: Tensor, kernels: Tensor, rulebook: Rulebook) -> Tensor:
    """(M, O) from (N, I) and (K I, O)."""
    kernels = kernels.to(working_type(source))
    out = torch.empty(rulebook.num_outputs, kernels.shape[1], dtype=kernels.dtype, device=source.device)
    for rows, block in _Copies(source, rulebook):
        out[rows] = rows_times(block, kernels)
    return out.to(source.dtype)


def _weight_gradient(features: Tensor, grad: Tensor, rulebook: Rulebook) -> Tensor:
    """(O, K I): blocks have a fixed length and order, so that the sum does not depend on threads."""
    width = rulebook.kernel_volume * features.shape[1]
    working = working_type(features)
    sums = torch.zeros(grad.shape[1], width, dtype=summing_type(features), device=grad.device)
    for rows, block in _Copies(features, rulebook):
        sums += columns_times(grad[rows].to(working), block)
    return sums
