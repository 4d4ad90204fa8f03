"""Batch norms whose statistics follow from those of their inputs, so that they become part of the layer before.

The output of a linear layer W x + b has mean W m + b and variances diag(W S W^T), with m and S the mean and covariance
of x. Where x is narrow and the output wide, no pass over the output is needed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class _Moments(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> tuple[Tensor, Tensor]:  # autograd's context
        mean = values.mean(0)
        centred = values - mean  # products of uncentred values would cancel where means are large
        ctx.save_for_backward(centred)
        return mean, centred.t() @ centred / len(values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_mean: Tensor, of_covariance: Tensor) -> Tensor:
        (centred,) = ctx.saved_tensors  # whose own mean is zero: nothing flows through the centring
        both = (of_covariance + of_covariance.t()) / len(centred)
        return torch.addmm(of_mean / len(centred), centred, both)


def moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (C,) and covariance (C, C), divided by N, of rows (N, C)."""
    mean, covariance = _Moments.apply(values)
    return mean, covariance


def is_foldable(norm: nn.Module) -> bool:
    """Whether a norm is the ordinary one, which :func:`scale_and_shift` stands for."""
    return (
        type(norm) is nn.BatchNorm1d  # not one that joins processes
        and norm.affine
        and norm.track_running_stats
        and norm.momentum is not None
    )


def scale_and_shift(norm: nn.BatchNorm1d, mean: Tensor, variance: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """What a norm that is training does to its input, and its running statistics moved on as by itself.

    Args:
        norm: see :func:`is_foldable`.
        mean, variance: (C,), variance divided by N, over ``rows`` rows (at least 2).

    Returns:
        (C,) and (C,): output = input * scale + shift.
    """
    assert norm.momentum is not None
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    with torch.no_grad():
        norm.num_batches_tracked += 1
        norm.running_mean.lerp_(mean.to(norm.running_mean), norm.momentum)
        norm.running_var.lerp_((variance * rows / (rows - 1)).to(norm.running_var), norm.momentum)
    return _affine(norm, mean, variance)


def stored_scale_and_shift(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """What a norm that is not training does to its input; see :func:`scale_and_shift`."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return _affine(norm, norm.running_mean, norm.running_var)


def _affine(norm: nn.BatchNorm1d, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    scale = norm.weight / torch.sqrt(variance + norm.eps)
    return scale, norm.bias - mean * scale
