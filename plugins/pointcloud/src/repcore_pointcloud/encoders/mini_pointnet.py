"""One vector for every group of points: two shared networks, each with a maximum over the group.

Source: Qi et al. 2017 (PointNet, arXiv 1612.00593); Point-M2AE (`ZrrSkywalker/Point-M2AE`, its token embedding).
Differs: the second network's first layer is split. It reads [group maximum, point], so
W [g; x] = W_g g + W_x x, and the first product is made once a group instead of once a point: the same numbers for half
the work of the largest layer. Rows are (points, channels), so convolutions of width 1 are linear layers.

Symbols: R groups, K members, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MiniPointNet(nn.Module):
    """Linear, batch norm, ReLU, linear for every member; maximum; the same again over [maximum, member]; maximum.

    Args:
        inputs: channels of a member.
        inner / point_width: widths of the first network.
        joint_width: inner width of the second.
        outputs: channels of a group.
        epsilon / momentum: of the batch norms, whose statistics go over all members of all groups.
        published_order: compute as :func:`concatenated_form`.

    Call:
        members: (R, K, inputs).
    Returns:
        (R, outputs).
    """

    def __init__(
        self,
        inputs: int,
        inner: int,
        point_width: int,
        joint_width: int,
        outputs: int,
        *,
        epsilon: float = 1e-5,
        momentum: float = 0.1,
        published_order: bool = False,
    ) -> None:
        super().__init__()
        self.published_order = published_order
        self.point_in = nn.Linear(inputs, inner)
        self.point_norm = nn.BatchNorm1d(inner, eps=epsilon, momentum=momentum)
        self.point_out = nn.Linear(inner, point_width)
        self.joint_in = nn.Linear(2 * point_width, joint_width)
        self.joint_norm = nn.BatchNorm1d(joint_width, eps=epsilon, momentum=momentum)
        self.joint_out = nn.Linear(joint_width, outputs)

    def forward(self, members: Tensor) -> Tensor:
        if self.published_order:
            return concatenated_form(self, members)
        groups, size, _ = members.shape
        rows = members.flatten(0, 1)  # (R K, inputs)
        points = self.point_out(self.point_norm(self.point_in(rows)).relu_())  # (R K, P)
        whole = points.unflatten(0, (groups, size)).max(dim=1).values  # (R, P)
        width = whole.shape[1]
        of_whole = nn.functional.linear(whole, self.joint_in.weight[:, :width], self.joint_in.bias)  # once a group
        of_points = nn.functional.linear(points, self.joint_in.weight[:, width:]).unflatten(0, (groups, size))
        joint = (of_points + of_whole[:, None]).flatten(0, 1)
        out: Tensor = self.joint_out(self.joint_norm(joint).relu_())
        return out.unflatten(0, (groups, size)).max(dim=1).values


def concatenated_form(network: MiniPointNet, members: Tensor) -> Tensor:
    """The published form: convolutions of width 1, [maximum, member] side by side. Equal but for rounding.

    Args:
        members: (R, K, inputs).

    Returns:
        (R, outputs).
    """

    def convolved(layer: nn.Linear, values: Tensor) -> Tensor:
        return nn.functional.conv1d(values, layer.weight[:, :, None], layer.bias)

    points = convolved(network.point_in, members.transpose(1, 2))  # (R, inner, K)
    points = convolved(network.point_out, network.point_norm(points).relu())
    whole = points.max(dim=2, keepdim=True).values.expand_as(points)
    joint = convolved(network.joint_in, torch.cat([whole, points], dim=1))
    return convolved(network.joint_out, network.joint_norm(joint).relu()).max(dim=2).values
