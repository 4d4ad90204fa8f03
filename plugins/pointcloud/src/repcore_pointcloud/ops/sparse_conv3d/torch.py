"""Plain definition of ``pointcloud/sparse-conv3d``: for every kernel offset gather, multiply, add.

    out[o] = bias + sum_k W[:, k] x[i],   (i, o) in pairs of offset k        (cross-correlation, as in deep learning)

Under one offset no output row stands twice, and offsets follow each other; so sums have one order, on a CPU with any
number of threads (see ``products.py``) and on a GPU, and results repeat bit by bit.

Saved for the backward pass: features, weight, pairs.

Symbols: N input voxels, M output voxels, K offsets, I and O channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from repcore_pointcloud.ops.sparse_conv3d.arguments import check_arguments, summing_type, working_type
from repcore_pointcloud.ops.sparse_conv3d.products import columns_times, rows_times
from repcore_pointcloud.ops.sparse_conv3d.rulebook import Rulebook

REDUCED_ROWS = 4096  # pairs of one product in the weight's gradient: fixed, so that sums do not depend on threads


def sparse_conv3d(features: Tensor, weight: Tensor, bias: Tensor | None = None, *, rulebook: Rulebook) -> Tensor:
    """Sparse 3D convolution.

    Args:
        features: (N, I), float32, float64, bfloat16 or float16.
        weight: (O, kx, ky, kz, I) with as many offsets as the rulebook (spconv's KRSC layout), same type.
        bias: (O,) or None.
        rulebook: pairs of voxels; submanifold, strided or reversed, from
            :class:`repcore_pointcloud.ops.sparse_conv3d.sites.Sites`.

    Returns:
        (M, O) in the type of ``features``; sums are float32 at least.

    Raises:
        ShapeError: sizes or types do not fit.
    """
    check_arguments(features, weight, bias, rulebook)
    out: Tensor = _GatherScatter.apply(features, weight, rulebook)
    return out if bias is None else out + bias


class _GatherScatter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, rulebook: Rulebook) -> Tensor:  # autograd's context
        ctx.save_for_backward(features, weight)
        ctx.rulebook = rulebook
        kernels = by_offset(weight).to(working_type(features))
        return scatter_products(features, kernels, rulebook)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        features, weight = ctx.saved_tensors
        grad_features = grad_weight = None
        if ctx.needs_input_grad[0]:
            kernels = by_offset(weight).to(working_type(features))
            grad_features = scatter_products(grad, kernels.transpose(1, 2), ctx.rulebook, backwards=True)
        if ctx.needs_input_grad[1]:
            grad_weight = _weight_gradient(features, grad, ctx.rulebook, weight)
        return grad_features, grad_weight, None


def by_offset(weight: Tensor) -> Tensor:
    """(O, kx, ky, kz, I) as K matrices (K, I, O)."""
    return weight.flatten(1, 3).permute(1, 2, 0).contiguous()


def scatter_products(source: Tensor, kernels: Tensor, rulebook: Rulebook, *, backwards: bool = False) -> Tensor:
    """Rows of ``source`` times the matrix of each offset, added into the rows that the pairs name.

    Args:
        source: (N, I), or backwards (M, O).
        kernels: (K, I, O), or backwards (K, O, I), in the type of the products.
    """
    if rulebook.is_identity:
        return rows_times(source.to(kernels.dtype), kernels[0]).to(source.dtype)
    inputs, outputs = rulebook.pairs
    rows = rulebook.num_outputs
    if backwards:
        inputs, outputs, rows = outputs, inputs, rulebook.num_inputs
    sums = torch.zeros(rows, kernels.shape[2], dtype=summing_type(source), device=source.device)
    for offset, (first, last) in enumerate(zip(rulebook.starts, rulebook.starts[1:], strict=False)):
        if last > first:
            gathered = source.index_select(0, inputs[first:last]).to(kernels.dtype)
            sums.index_add_(0, outputs[first:last], rows_times(gathered, kernels[offset]).to(sums.dtype))
    return sums.to(source.dtype)


def _weight_gradient(features: Tensor, grad: Tensor, rulebook: Rulebook, weight: Tensor) -> Tensor:
    """Sum over the pairs of an offset of the outer product of gradient and input, in blocks of fixed length."""
    inputs, outputs = rulebook.pairs
    working = working_type(features)
    sums = torch.zeros(
        rulebook.kernel_volume, weight.shape[0], weight.shape[4], dtype=summing_type(features), device=weight.device
    )
    for offset, (first, last) in enumerate(zip(rulebook.starts, rulebook.starts[1:], strict=False)):
        for start in range(first, last, REDUCED_ROWS):
            stop = min(last, start + REDUCED_ROWS)
            given = grad.index_select(0, outputs[start:stop]).to(working)
            seen = features.index_select(0, inputs[start:stop]).to(working)
            sums[offset] += columns_times(given, seen)
    return sums.transpose(0, 1).reshape(weight.shape).to(weight.dtype)
