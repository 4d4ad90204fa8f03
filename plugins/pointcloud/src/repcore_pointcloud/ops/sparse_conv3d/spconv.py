"""``pointcloud/sparse-conv3d`` through the spconv library, fed with our rulebooks.

What is used: only its gather-GEMM-scatter over given pairs (algorithm "Native"), so that voxels, duplicates and borders
are treated by our rules. On a CPU the library (2.3.8) adds rows from several threads into one another's place and asks
for a CUDA stream in the backward pass; hence it is refused there with more than one thread, and the stream is passed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from repcore_pointcloud.ops.sparse_conv3d.arguments import check_arguments
from repcore_pointcloud.ops.sparse_conv3d.rulebook import Rulebook
from repcore_pointcloud.ops.sparse_conv3d.torch import sparse_conv3d as gather_scatter

RACES = (
    "this spconv build has no CUDA, and its CPU sums race with more than one thread (wrong and different every run); "
    "it can be forced with OMP_NUM_THREADS=1"
)


def sparse_conv3d(features: Tensor, weight: Tensor, bias: Tensor | None = None, *, rulebook: Rulebook) -> Tensor:
    """Same values and gradients as the plain definition; see there for the arguments."""
    check_arguments(features, weight, bias, rulebook)
    races = not features.is_cuda and torch.get_num_threads() > 1  # set after the choice was made
    if races or rulebook.is_identity or not rulebook.num_pairs or features.dtype == torch.bfloat16:
        return gather_scatter(features, weight, bias, rulebook=rulebook)  # the library knows no bfloat16 on a CPU
    out: Tensor = _Spconv.apply(features, weight, rulebook)
    return out if bias is None else out + bias


def unusable() -> str:
    """Why the library cannot be used here; empty if it can."""
    try:
        import spconv.pytorch  # noqa: F401
        from spconv.core_cc.cumm.common import CompileInfo
    except ImportError as error:
        return f"spconv cannot be imported: {error}"
    has_cuda = bool(CompileInfo.get_compiled_cuda_arch()) and torch.cuda.is_available()
    return RACES if not has_cuda and torch.get_num_threads() > 1 else ""


class _Spconv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, rulebook: Rulebook) -> Tensor:  # autograd's context
        from spconv.pytorch import ops

        pairs, counts = _library_pairs(rulebook)
        ctx.save_for_backward(features, weight, pairs, counts)
        out: Tensor = ops.indice_conv(
            features.contiguous(), weight.contiguous(), pairs, counts, rulebook.num_outputs, False, False
        )
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        from spconv.pytorch import ops

        features, weight, pairs, counts = ctx.saved_tensors
        arguments = (features.contiguous(), weight.contiguous(), grad.contiguous(), pairs, counts, False, False)
        if features.is_cuda:
            grad_features, grad_weight = ops.indice_conv_backward(*arguments)
        else:
            stream = ops.get_current_stream
            ops.get_current_stream = _no_stream  # it is asked for before the library looks at the device
            try:
                grad_features, grad_weight = ops.indice_conv_backward(*arguments)
            finally:
                ops.get_current_stream = stream
        return grad_features, grad_weight.view(weight.shape), None


def _no_stream() -> int:
    return 0


def _library_pairs(rulebook: Rulebook) -> tuple[Tensor, Tensor]:
    """int32 (2, K, N) filled with -1 and int32 (K,), as the library wants them; kept with the rulebook."""
    kept = rulebook.__dict__.get("library_pairs")
    if kept is None:
        inputs, outputs = rulebook.pairs
        counts = torch.tensor(rulebook.starts, device=inputs.device).diff()
        volume = rulebook.kernel_volume
        pairs = torch.full((2, volume, int(counts.max())), -1, dtype=torch.int32, device=inputs.device)
        offset = torch.repeat_interleave(torch.arange(volume, device=inputs.device), counts)
        place = torch.arange(len(inputs), device=inputs.device) - torch.tensor(rulebook.starts[:-1]).to(inputs)[offset]
        pairs[0, offset, place], pairs[1, offset, place] = inputs.int(), outputs.int()
        kept = rulebook.__dict__["library_pairs"] = (pairs, counts.int())
    return kept
