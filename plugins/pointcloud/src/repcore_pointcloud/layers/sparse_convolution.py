"""Modules of sparse convolution and the residual block of sparse U-Nets.

Weights are stored (O, kx, ky, kz, I), the layout of spconv 2 and Pointcept, so that their checkpoints load unchanged;
``checkpoints/sparse_weights.py`` converts the others. Coordinates are (b, x, y, z).

Symbols: V voxels, I and O channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from repcore_pointcloud.layers.sparse_tensor import SparseTensor
from repcore_pointcloud.ops.sparse_conv3d.rulebook import Rulebook
from repcore_pointcloud.ops.sparse_conv3d.selection import sparse_convolution
from repcore_pointcloud.ops.sparse_conv3d.sites import Sites, Triple

Initialisation = Literal["uniform", "truncated-normal"]
TRUNCATED_DEVIATION = 0.02


class SparseConvolution(nn.Module):
    """Weight and bias of a sparse convolution; the kinds below choose the rulebook.

    Args:
        width_in / width_out: channels I and O.
        kernel: its side.
        use_bias: whether there is a bias.
        initialisation: ``uniform`` in +-1 / sqrt(I * kernel^3) (the default of torch and spconv) or
            ``truncated-normal`` of standard deviation 0.02 (Pointcept).
    """

    def __init__(
        self,
        width_in: int,
        width_out: int,
        kernel: int,
        *,
        use_bias: bool = False,
        initialisation: Initialisation = "uniform",
    ) -> None:
        super().__init__()
        self.kernel: Triple = (kernel, kernel, kernel)
        self.weight = nn.Parameter(torch.empty(width_out, *self.kernel, width_in))
        self.bias = nn.Parameter(torch.zeros(width_out)) if use_bias else None
        if initialisation == "truncated-normal":
            nn.init.trunc_normal_(self.weight, std=TRUNCATED_DEVIATION)
        else:
            nn.init.uniform_(self.weight, -1.0, 1.0).data.mul_(1.0 / math.sqrt(width_in * kernel**3))

    def convolve(self, features: Tensor, rulebook: Rulebook) -> Tensor:
        """(M, O) by the chosen implementation, in autocast's type where that is on."""
        weight: Tensor = self.weight
        bias: Tensor | None = self.bias
        device = features.device.type
        if torch.is_autocast_enabled(device) and features.dtype != torch.float64:
            kind = torch.get_autocast_dtype(device)
            features, weight, bias = features.to(kind), weight.to(kind), None if bias is None else bias.to(kind)
        return sparse_convolution(features, weight, bias, rulebook=rulebook)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[4]}, {self.weight.shape[0]}, kernel={self.kernel[0]}"


class SubmanifoldConvolution(SparseConvolution):
    """Outputs at the same voxels."""

    def forward(self, voxels: SparseTensor) -> SparseTensor:
        return voxels.replaced(self.convolve(voxels.features, voxels.sites.submanifold(self.kernel)))


class StridedConvolution(SparseConvolution):
    """Kernel and stride of the same size: every voxel has one parent."""

    def forward(self, voxels: SparseTensor) -> SparseTensor:
        rulebook, coarser = voxels.sites.strided(self.kernel, self.kernel)
        return SparseTensor(self.convolve(voxels.features, rulebook), coarser)


class InverseConvolution(SparseConvolution):
    """Back onto the voxels that a strided convolution of the same kernel came from; same map of offsets, no flip."""

    def forward(self, voxels: SparseTensor, finer: Sites) -> SparseTensor:
        rulebook, _ = finer.strided(self.kernel, self.kernel)
        return SparseTensor(self.convolve(voxels.features, rulebook.reversed), finer)


class SparseBatchNorm(nn.BatchNorm1d):
    """BatchNorm over voxels; a single voxel uses the running statistics, since it has no spread of its own."""

    def forward(self, input: Tensor) -> Tensor:
        if self.training and len(input) <= 1:
            return nn.functional.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        return super().forward(input)


class NormedConvolution(nn.ModuleList):
    """A convolution, BatchNorm and ReLU; the parts are numbered 0 and 1 in checkpoints."""

    def __init__(self, convolution: SparseConvolution, norm: SparseBatchNorm) -> None:
        super().__init__([convolution, norm])

    def forward(self, voxels: SparseTensor, *finer: Sites) -> SparseTensor:
        """``finer`` is for inverse convolutions."""
        found: SparseTensor = self[0](voxels, *finer)
        return found.replaced(torch.relu(self[1](found.features)))


class ResidualBlock(nn.Module):
    """Two 3 x 3 x 3 convolutions with BatchNorm around a shortcut (1 x 1 and BatchNorm where widths differ).

    Source: Choy et al. 2019 (arXiv 1904.08755), BasicBlock; Pointcept `SpUNet-v1m1` for the names.
    """

    def __init__(
        self, width_in: int, width_out: int, *, epsilon: float, momentum: float, initialisation: Initialisation
    ) -> None:
        super().__init__()

        def norm() -> SparseBatchNorm:
            return SparseBatchNorm(width_out, eps=epsilon, momentum=momentum)

        def convolution(width: int, kernel: int) -> SubmanifoldConvolution:
            return SubmanifoldConvolution(width, width_out, kernel, initialisation=initialisation)

        self.proj = nn.Identity() if width_in == width_out else nn.Sequential(convolution(width_in, 1), norm())
        self.conv1, self.bn1 = convolution(width_in, 3), norm()
        self.conv2, self.bn2 = convolution(width_out, 3), norm()

    def forward(self, voxels: SparseTensor) -> SparseTensor:
        shortcut = voxels.features
        if isinstance(self.proj, nn.Sequential):
            shortcut = self.proj[1](self.proj[0](voxels).features)
        hidden = self.conv1(voxels)
        hidden = hidden.replaced(torch.relu(self.bn1(hidden.features)))
        hidden = self.conv2(hidden)
        return hidden.replaced(torch.relu(self.bn2(hidden.features) + shortcut))


class ResidualBlocks(nn.ModuleDict):
    """Residual blocks one after the other, named block0, block1, ... in checkpoints."""

    def __init__(self, blocks: Sequence[ResidualBlock]) -> None:
        super().__init__({f"block{number}": block for number, block in enumerate(blocks)})

    def forward(self, voxels: SparseTensor) -> SparseTensor:
        for block in self.values():
            voxels = block(voxels)
        return voxels
