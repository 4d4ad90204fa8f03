"""Kernels of other sparse convolution libraries in this plugin's layout (O, kx, ky, kz, I) for voxels (b, x, y, z).

Source: MinkowskiEngine 0.4.3 `src/kernel_region.hpp` and `src/region.cpp`, spconv 1.2 and 2.3.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from repcore.errors import CheckpointError

KernelOrder = Literal["x_fastest", "z_fastest"]


def from_minkowski(kernel: Tensor, order: KernelOrder = "x_fastest") -> Tensor:
    """A MinkowskiEngine kernel (K^3, I, O), or (I, O) of a 1 x 1 layer.

    Args:
        kernel: as stored.
        order: which coordinate axis runs fastest along the first dimension. 0.4.3 stores x fastest; one maintainer
            reports a drop with other versions (CSC issue 30), hence the choice.

    Raises:
        CheckpointError: not the kernel of a cube, or an unknown order.
    """
    if order not in ("x_fastest", "z_fastest"):
        raise CheckpointError(f"kernel_order={order!r} is unknown", expected="x_fastest, z_fastest")
    if kernel.ndim == 2:
        return kernel.T.reshape(kernel.shape[1], 1, 1, 1, kernel.shape[0])
    side = round(kernel.shape[0] ** (1 / 3))
    if kernel.ndim != 3 or side**3 != kernel.shape[0]:
        raise CheckpointError(f"kernel of shape {tuple(kernel.shape)} is not (side^3, in, out)")
    cube = kernel.unflatten(0, (side, side, side))
    axes = (4, 2, 1, 0, 3) if order == "x_fastest" else (4, 0, 1, 2, 3)
    return cube.permute(axes).contiguous()


def from_spconv1(weight: Tensor) -> Tensor:
    """A weight of spconv 1.x, (kx, ky, kz, I, O).

    Raises:
        CheckpointError: not five dimensions.
    """
    if weight.ndim != 5:
        raise CheckpointError(f"weight of shape {tuple(weight.shape)} is no spconv 1.x kernel")
    return weight.permute(4, 0, 1, 2, 3).contiguous()


def from_spconv_pointwise(weight: Tensor) -> Tensor:
    """A 1 x 1 weight of spconv 2: its shape says (O, 1, 1, 1, I), but the library reads its memory as (I, O).

    Source: `spconv/pytorch/conv.py` 2.3.8, branch ``conv1x1``; measured on golden data of Pointcept's SpUNet. Taken by
    its shape the layer would be silently wrong.
    """
    width_out, width_in = weight.shape[0], weight.shape[-1]
    return weight.reshape(width_in, width_out).T.reshape(width_out, 1, 1, 1, width_in).contiguous()


def from_zyx(weight: Tensor) -> Tensor:
    """A weight (O, kz, ky, kx, I) of a network whose indices were ordered b, z, y, x."""
    return weight.permute(0, 3, 2, 1, 4).contiguous()
