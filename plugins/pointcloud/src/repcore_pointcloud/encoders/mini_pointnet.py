"""One vector for every group of points: two shared networks, each with a maximum over the group.

Source: Qi et al. 2017 (PointNet, arXiv 1612.00593); Point-M2AE (`ZrrSkywalker/Point-M2AE`, its token embedding).
Differs: the second network's first layer is split. It reads [group maximum, point], so
W [g; x] = W_g g + W_x x, and the first product is made once a group instead of once a point: the same numbers for half
the work of the largest layer. Rows are (points, channels), so convolutions of width 1 are linear layers. On a CPU two
linear layers without anything between them become one, and batch norms become part of the layer before
(:func:`folded_form`).

Symbols: R groups, K members, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repcore.ops import Op
from repcore_pointcloud.layers.folded_norm import is_foldable, moments, scale_and_shift, stored_scale_and_shift


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
        self.group_maximum = Op("pointcloud/group-maximum")

    def forward(self, members: Tensor) -> Tensor:
        if self.published_order:
            return concatenated_form(self, members)
        return folded_form(self, members) if self._folds(members) else split_form(self, members)

    def _folds(self, members: Tensor) -> bool:
        """Where the first network widens, on a CPU in full precision: elsewhere a pass costs less, and sums of squares
        need more digits."""
        return (
            self.point_out.out_features > self.point_out.in_features
            and members.device.type == "cpu"
            and members.dtype in (torch.float32, torch.float64)
            and not torch.is_autocast_enabled("cpu")
            and members.shape[0] * members.shape[1] > 1
            and is_foldable(self.point_norm)
            and is_foldable(self.joint_norm)
        )


def split_form(network: MiniPointNet, members: Tensor) -> Tensor:
    """Layer by layer, the first of the second network split.

    Args:
        members: (R, K, inputs).

    Returns:
        (R, outputs).
    """
    groups, size, _ = members.shape
    rows = members.flatten(0, 1)  # (R K, inputs)
    points = network.point_out(network.point_norm(network.point_in(rows)).relu_())  # (R K, P)
    whole = points.unflatten(0, (groups, size)).max(dim=1).values  # (R, P)
    width = whole.shape[1]
    of_whole = F.linear(whole, network.joint_in.weight[:, :width], network.joint_in.bias)  # once a group
    of_points = F.linear(points, network.joint_in.weight[:, width:]).unflatten(0, (groups, size))
    joint = network.joint_norm((of_points + of_whole[:, None]).flatten(0, 1)).relu_()
    last = network.joint_out
    out: Tensor = network.group_maximum(joint.unflatten(0, (groups, size)), last.weight, last.bias)
    return out


def folded_form(network: MiniPointNet, members: Tensor) -> Tensor:
    """:func:`split_form` with fewer and smaller products. Equal but for rounding, which is smaller here.

    Nothing lies between the last layer of the first network and the first of the second, W_x (P h + p): one layer W_x P
    reads h, and P h is needed for its maximum alone, which hands gradients to one member a group. Means and variances
    of both batch norms follow from those of what is read (:mod:`repcore_pointcloud.layers.folded_norm`), so that norms
    scale weights instead of values.

    Args:
        members: (R, K, inputs), float32 or float64, R K above 1.

    Returns:
        (R, outputs).
    """
    size = members.shape[1]
    rows = members.flatten(0, 1)
    weight, bias = _first_layer(network, rows)
    # turned in memory, since the gradient of a weight with few columns takes twice as long as that of one with few rows
    hidden = torch.addmm(bias, rows, weight.t().contiguous()).relu_().unflatten(0, (-1, size))  # (R, K, inner)
    inner, bias = network.point_out.weight, network.point_out.bias  # (P, inner), (P,)
    whole = network.group_maximum(hidden, inner, bias)  # (R, P)
    of_group, of_points = network.joint_in.weight.split(len(inner), dim=1)
    joint = of_points @ inner  # (J, inner)
    shifts = F.linear(whole, of_group, network.joint_in.bias + of_points @ bias)  # (R, J)
    scale, shift = _joint_norm(network.joint_norm, hidden, joint, shifts)
    out: Tensor = network.group_maximum(
        hidden, network.joint_out.weight, network.joint_out.bias, joint * scale[:, None], shifts * scale + shift
    )
    return out


def _first_layer(network: MiniPointNet, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias of the first layer with its norm."""
    weight, bias = network.point_in.weight, network.point_in.bias
    if network.point_norm.training:
        mean, covariance = moments(rows)
        variance = ((weight @ covariance) * weight).sum(1)
        scale, shift = scale_and_shift(network.point_norm, weight @ mean + bias, variance, len(rows))
    else:
        scale, shift = stored_scale_and_shift(network.point_norm)
    return weight * scale[:, None], bias * scale + shift


def _joint_norm(norm: nn.BatchNorm1d, hidden: Tensor, joint: Tensor, shifts: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and shift of the second norm, (J,) each, for ``joint h + shift of the group``.

    Args:
        hidden: (R, K, C). joint: (J, C). shifts: (R, J), of the groups.
    """
    if not norm.training:
        return stored_scale_and_shift(norm)
    rows = hidden.flatten(0, 1)
    mean, covariance = moments(rows)
    average = shifts.mean(0)
    centred = shifts - average
    mixed = hidden.sum(1).t() @ centred / len(rows)  # (C, J): what a member has in common with its group's shift
    variance = ((joint @ covariance) * joint + 2 * joint * mixed.t()).sum(1) + centred.square().mean(0)
    return scale_and_shift(norm, joint @ mean + average, variance.clamp(min=0), len(rows))


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
