"""Compiled CPU twin of ``pointcloud/sparse-conv3d``: products over the pairs that exist, blocked for the cache.

Needs numba (extra ``fast``); the torch forms stand in where it is missing. Each thread has its own outputs (forward,
gradient of the features) or its own output channels (gradient of the weight), so that results repeat bit by bit with
any number of threads.

Symbols: N input voxels, M output voxels, K offsets, I and O channels, L numbers of a vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from repcore.nn.compiled_loops import in_threads
from repcore_pointcloud.ops.sparse_conv3d.arguments import check_arguments, working_type
from repcore_pointcloud.ops.sparse_conv3d.rulebook import Rulebook
from repcore_pointcloud.ops.sparse_conv3d.torch import sparse_conv3d as gather_scatter

NAME = "sparse-conv3d"  # of threads
WORTH_A_THREAD = 4_000_000  # products; below it a thread costs more than it brings
MOST_ROWS = 2**31 - 1  # rows are numbered in 32 bits


def sparse_conv3d(features: Tensor, weight: Tensor, bias: Tensor | None = None, *, rulebook: Rulebook) -> Tensor:
    """Same values and gradients as the plain definition; see there for the arguments."""
    check_arguments(features, weight, bias, rulebook)
    if rulebook.is_identity or max(rulebook.num_inputs, rulebook.num_outputs) > MOST_ROWS:
        return gather_scatter(features, weight, bias, rulebook=rulebook)
    out: Tensor = _Compiled.apply(features, weight, rulebook)
    return out if bias is None else out + bias


@dataclass(frozen=True, slots=True)
class Blocks:
    """Pairs of a rulebook in the order in which they are multiplied; see ``loops.pairs_by_block``."""

    inputs: np.ndarray
    outputs: np.ndarray
    starts: np.ndarray

    @staticmethod
    def of(rulebook: Rulebook) -> Blocks:
        """Of a rulebook; kept with it."""
        from repcore_pointcloud.ops.sparse_conv3d import loops

        kept = rulebook.__dict__.get("blocks")
        if kept is None:
            table = rulebook.by_offset.numpy()
            kept = Blocks(*loops.pairs_by_block(table, rulebook.num_inputs, loops.BLOCK))
            rulebook.__dict__["blocks"] = kept
        return kept


class _Compiled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, rulebook: Rulebook) -> Tensor:  # autograd's context
        ctx.save_for_backward(features, weight)
        ctx.rulebook = rulebook
        from repcore_pointcloud.ops.sparse_conv3d import loops

        # (O, K, I), a copy: a storage that numpy has seen cannot be given back, as shared parameters are after a step
        kernels = torch.empty(weight.shape, dtype=working_type(features)).copy_(weight.detach()).flatten(1, 3)
        width, volume, depth = kernels.shape
        lanes = loops.lanes(kernels.itemsize)
        panels = kernels.new_zeros(volume, -(-width // lanes), depth, lanes)
        loops.pack(kernels.numpy(), panels.numpy())
        return _products(features, panels, rulebook, rulebook.num_outputs, width)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        features, weight = ctx.saved_tensors
        rulebook: Rulebook = ctx.rulebook
        grad_features = grad_weight = None
        if ctx.needs_input_grad[0]:
            mirrored = rulebook.is_symmetric  # the way back under an offset is the way forth under its mirror
            back = rulebook if mirrored else rulebook.reversed
            panels = _panels_back(weight.detach().to(working_type(grad)).flatten(1, 3))
            grad_features = _products(grad, panels, back, rulebook.num_inputs, features.shape[1], mirrored=mirrored)
        if ctx.needs_input_grad[1]:
            grad_weight = _weight_gradient(features, grad, rulebook, weight)
        return grad_features, grad_weight, None


def _panels_back(kernels: Tensor) -> Tensor:
    """(K, I / L, O, L) from (O, K, I): vectors over the input channels."""
    from repcore_pointcloud.ops.sparse_conv3d import loops

    lanes = loops.lanes(kernels.itemsize)
    return _filled_up(kernels, lanes).unflatten(2, (-1, lanes)).permute(1, 2, 0, 3).contiguous()


def _products(
    source: Tensor, panels: Tensor, rulebook: Rulebook, rows: int, width: int, *, mirrored: bool = False
) -> Tensor:
    """(rows, width) from (N, I) and (K, width / L, I, L)."""
    from repcore_pointcloud.ops.sparse_conv3d import loops

    blocks, working = Blocks.of(rulebook), panels.dtype
    read = source.detach().to(working).contiguous()
    out = torch.zeros(rows, panels.shape[1] * panels.shape[3], dtype=working)
    given = (read.numpy(), panels.numpy(), mirrored, blocks.inputs, blocks.outputs, blocks.starts)

    def run(first: int, last: int) -> None:
        loops.products(*given, first, last, out.numpy())

    in_threads(run, _parts(blocks.starts[:, 0], len(blocks.inputs) * read.shape[1] * out.shape[1]), NAME)
    return out[:, :width].to(source.dtype)


def _weight_gradient(features: Tensor, grad: Tensor, rulebook: Rulebook, weight: Tensor) -> Tensor:
    """As the weight, (O, kx, ky, kz, I); vectors lie along I, as its numbers do."""
    from repcore_pointcloud.ops.sparse_conv3d import loops

    blocks, working = Blocks.of(rulebook), working_type(features)
    depth, width = features.shape[1], grad.shape[1]
    lanes = loops.lanes(working.itemsize)
    seen = _filled_up(features.detach().to(working), lanes).contiguous()
    given = grad.to(working).contiguous()
    sums = torch.zeros(width, rulebook.kernel_volume, seen.shape[1], dtype=working)
    arguments = (given.numpy(), seen.numpy(), blocks.outputs, blocks.inputs, blocks.starts)

    def run(first: int, last: int) -> None:
        loops.outer_products(*arguments, 4 * first, min(width, 4 * last), sums.numpy())

    groups = np.arange(-(-width // 4))
    in_threads(run, _parts(groups, len(blocks.inputs) * seen.shape[1] * width), NAME)
    return sums[:, :, :depth].reshape(weight.shape).to(weight.dtype)


def _filled_up(numbers: Tensor, lanes: int) -> Tensor:
    """The last dimension filled up with zeros to whole vectors."""
    missing = -numbers.shape[-1] % lanes
    return pad(numbers, (0, missing)) if missing else numbers


def _parts(positions: np.ndarray, work: int) -> list[tuple[int, int]]:
    """Ranges of about equal work, one a thread.

    Args:
        positions: work before each of the things that are shared out, ascending.
        work: products in all.
    """
    threads = max(1, min(torch.get_num_threads(), work // WORTH_A_THREAD, len(positions)))
    end = 2 * int(positions[-1]) - int(positions[-2]) if len(positions) > 1 else 1
    cuts = np.searchsorted(positions, np.linspace(0, max(1, end), threads + 1)[1:-1])
    edges = [0, *cuts.tolist(), len(positions)]
    return list(pairwise(edges))
