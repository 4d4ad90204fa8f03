"""What every implementation of ``pointcloud/sparse-conv3d`` checks and converts first."""

from __future__ import annotations

import torch
from torch import Tensor

from repcore.errors import ShapeError
from repcore.shapes import check_shape
from repcore_pointcloud.ops.sparse_conv3d.rulebook import Rulebook

OWNER = "pointcloud/sparse-conv3d"


def check_arguments(features: Tensor, weight: Tensor, bias: Tensor | None, rulebook: Rulebook) -> None:
    """Sizes and types fit.

    Raises:
        ShapeError: they do not.
    """
    bound = check_shape(features, "N I", name="features", owner=OWNER, bound={"N": rulebook.num_inputs})
    check_shape(weight, "O _ _ _ I", name="weight", owner=OWNER, bound=bound)
    volume = weight.shape[1] * weight.shape[2] * weight.shape[3]
    if volume != rulebook.kernel_volume:
        raise ShapeError(f"weight has {volume} kernel offsets, the rulebook {rulebook.kernel_volume}")
    if bias is not None:
        check_shape(bias, "O", name="bias", owner=OWNER, bound=bound)
    if weight.dtype != features.dtype or not features.is_floating_point():
        raise ShapeError(f"features are {features.dtype} and the weight is {weight.dtype}; one floating type is needed")


def working_type(features: Tensor) -> torch.dtype:
    """Type of the products: float32 for half precision on a CPU, where half products are slow and round twice."""
    half = features.dtype in (torch.float16, torch.bfloat16)
    return torch.float32 if half and features.device.type == "cpu" else features.dtype


def summing_type(features: Tensor) -> torch.dtype:
    """Type of running sums: at least float32."""
    return torch.promote_types(features.dtype, torch.float32)
