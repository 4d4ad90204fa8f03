"""GPU twin of ``pointcloud/sparse-conv3d``: implicit GEMM in Triton, forward and both gradients, nothing gathered
into memory first.

The gradient of the features is the same kernel over the reversed rulebook; the gradient of the weight is summed in
fixed parts of rows, so that results repeat bit by bit. Sums are float32 (float64 for float64). With
``TRITON_INTERPRET=1`` the kernels run on a CPU, slowly, for tests.

Symbols: N input voxels, M output voxels, K offsets, I and O channels.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from repcore_pointcloud.ops.sparse_conv3d.arguments import check_arguments, summing_type
from repcore_pointcloud.ops.sparse_conv3d.kernels import product_kernel, weight_kernel
from repcore_pointcloud.ops.sparse_conv3d.rulebook import Rulebook
from repcore_pointcloud.ops.sparse_conv3d.torch import by_offset

ROWS_OF_A_STEP, STEPS_OF_A_PART = 32, 256
SUMS = {torch.float32: tl.float32, torch.float64: tl.float64}


def sparse_conv3d(features: Tensor, weight: Tensor, bias: Tensor | None = None, *, rulebook: Rulebook) -> Tensor:
    """Same values and gradients as the plain definition; see there for the arguments."""
    check_arguments(features, weight, bias, rulebook)
    out: Tensor = _Implicit.apply(features, weight, rulebook)
    return out if bias is None else out + bias


class _Implicit(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, rulebook: Rulebook) -> Tensor:  # autograd's context
        ctx.save_for_backward(features, weight)
        ctx.rulebook = rulebook
        return _products(features.contiguous(), by_offset(weight), rulebook)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        features, weight = ctx.saved_tensors
        grad = grad.contiguous()
        grad_features = grad_weight = None
        if ctx.needs_input_grad[0]:
            kernels = by_offset(weight).transpose(1, 2).contiguous()
            grad_features = _products(grad, kernels, ctx.rulebook.reversed)
        if ctx.needs_input_grad[1]:
            kernels = _weight_gradient(features.contiguous(), grad, ctx.rulebook)  # (K, I, O)
            grad_weight = kernels.permute(2, 0, 1).reshape(weight.shape).to(weight.dtype)
        return grad_features, grad_weight, None


def _tile(width: int) -> int:
    return min(64, max(16, triton.next_power_of_2(width)))


def _precision(features: Tensor) -> str:
    """float32 stays exact unless the user allowed TF32 for matrix products."""
    return "tf32" if torch.backends.cuda.matmul.allow_tf32 and features.dtype == torch.float32 else "ieee"


def _products(source: Tensor, kernels: Tensor, rulebook: Rulebook) -> Tensor:
    """(M, O) from (N, I) and (K, I, O)."""
    volume, width_in, width_out = kernels.shape
    out = torch.zeros(rulebook.num_outputs, width_out, dtype=source.dtype, device=source.device)
    if out.numel() and len(source):
        block = _tile(width_out)
        grid = (triton.cdiv(rulebook.num_outputs, 64), triton.cdiv(width_out, block))
        product_kernel[grid](
            source, kernels, rulebook.neighbours, out, rulebook.num_outputs, rulebook.num_inputs,
            volume, width_in, width_out, BLOCK_M=64, BLOCK_N=block, BLOCK_K=min(32, _tile(width_in)),
            SUMS=SUMS[summing_type(source)], PRECISION=_precision(source),
        )  # fmt: skip
    return out


def _weight_gradient(features: Tensor, grad: Tensor, rulebook: Rulebook) -> Tensor:
    """(K, I, O)."""
    volume, width_in, width_out = rulebook.kernel_volume, features.shape[1], grad.shape[1]
    steps = min(STEPS_OF_A_PART, max(1, triton.cdiv(rulebook.num_outputs, ROWS_OF_A_STEP)))
    steps = triton.next_power_of_2(steps)  # few different kernels to compile
    parts = max(1, triton.cdiv(rulebook.num_outputs, steps * ROWS_OF_A_STEP))
    sums = summing_type(features)
    partial = torch.zeros(parts, volume, width_in, width_out, dtype=sums, device=features.device)
    if len(grad) and len(features):
        tile_in, tile_out = _tile(width_in), _tile(width_out)
        grid = (triton.cdiv(width_in, tile_in) * triton.cdiv(width_out, tile_out), volume, parts)
        weight_kernel[grid](
            features, grad, rulebook.neighbours, partial, rulebook.num_outputs, rulebook.num_inputs,
            volume, width_in, width_out, steps, BLOCK_M=ROWS_OF_A_STEP, BLOCK_N=tile_out, BLOCK_K=tile_in,
            SUMS=SUMS[sums], PRECISION=_precision(features),
        )  # fmt: skip
    return partial.sum(0)
