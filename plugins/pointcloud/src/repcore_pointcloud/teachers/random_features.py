"""The control: random convolutions with a fixed seed, which every claim about a teacher must be compared with."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repcore.errors import ConfigError
from repcore_pointcloud.teachers.maps import TeacherMaps

CELLS = 14
WORKING_SIZE = 112


class RandomTeacher(nn.Module):
    """Three random convolutions over occupancy and shading; saliency is the length of the feature vector.

    Args:
        width: features C.
        seed: of the weights.

    Call:
        depth: (M, S, S), sums of depths (op ``pointcloud/depth-views``).
    Returns:
        :class:`TeacherMaps` on 14 x 14 cells.
    """

    standardised_targets = True

    def __init__(self, width: int, seed: int) -> None:
        super().__init__()
        if width < 1:
            raise ConfigError(f"teacher_width={width} is not positive", field="objective.teacher_width")
        self.channels = width
        generator = torch.Generator().manual_seed(seed)
        sizes = ((2, 16, 4), (16, 32, 2), (32, width, 1))  # inputs, outputs, stride: 112 -> 28 -> 14 -> 14
        self.kernels = nn.ParameterList(
            nn.Parameter(torch.randn(outputs, inputs, 5, 5, generator=generator) / (inputs * 25) ** 0.5)
            for inputs, outputs, _ in sizes
        )
        self.strides = tuple(stride for _, _, stride in sizes)

    def forward(self, depth: Tensor) -> TeacherMaps:
        depth = depth.float()
        image = torch.stack([(depth != 0).float(), torch.sigmoid(depth) - 0.5], dim=1)
        image = F.interpolate(image, (WORKING_SIZE, WORKING_SIZE), mode="area")
        for number, (kernel, stride) in enumerate(zip(self.kernels, self.strides, strict=True)):
            image = F.conv2d(image, kernel, stride=stride, padding=2)
            if number < len(self.strides) - 1:
                image = F.relu(image)
                image = image / image.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-6)
        return TeacherMaps(image, image.square().sum(1).sqrt())
