"""Random stretch, shift, turn and choice of points for a batch of clouds: drawn first, applied on the device.

Source: method card, section 5: scale and shift of each axis of each cloud. Differs: rotations are drawn per cloud (one
published script shares one over the batch, another draws one and never uses it).

Symbols: B clouds, N points.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from torch import Tensor

from repcore.errors import ConfigError

AXES = {"x": 0, "y": 1, "z": 2}


class Augmentation(Protocol):
    """Settings; see :class:`repcore_pointcloud.configs.i2p_mae.PointAugmentationConfig`."""

    @property
    def scale(self) -> tuple[float, float]: ...
    @property
    def shift(self) -> float: ...
    @property
    def rotation(self) -> str: ...
    @property
    def up_axis(self) -> str: ...
    @property
    def points(self) -> int | None: ...


def check_augmentation(settings: Augmentation, part: str) -> None:
    """Ranges of the settings.

    Raises:
        ConfigError: one is outside.
    """
    low, high = settings.scale
    if not 0.0 < low <= high:
        raise ConfigError(f"scale={settings.scale} is no range of positive factors", field=f"{part}.scale")
    if settings.shift < 0.0:
        raise ConfigError(f"shift={settings.shift} is negative", field=f"{part}.shift")
    if settings.points is not None and settings.points < 1:
        raise ConfigError(f"points={settings.points} is not positive", field=f"{part}.points")


def draw_augmentation(
    settings: Augmentation, points: Tensor, generator: torch.Generator | None = None
) -> dict[str, Any]:
    """Random decisions for clouds (B, N, 3), as tensors on their device.

    Returns:
        ``scale`` and ``shift`` (B, 1, 3), ``rotation`` (B, 3, 3) and ``subset`` int64 (B, P) where the settings ask
        for them.
    """
    number, total, _ = points.shape
    device = points.device

    def uniform(*shape: int, low: float, high: float) -> Tensor:
        return torch.rand(*shape, generator=generator, device=device) * (high - low) + low

    draws: dict[str, Any] = {}
    if settings.points is not None and settings.points < total:
        order = torch.rand(number, total, generator=generator, device=device).argsort(dim=1)
        draws["subset"] = order[:, : settings.points]
    if settings.rotation == "up-axis":
        draws["rotation"] = turns_about(uniform(number, low=-math.pi, high=math.pi), AXES[settings.up_axis])
    elif settings.rotation == "any":
        draws["rotation"] = turns_of(torch.randn(number, 4, generator=generator, device=device))
    if settings.scale != (1.0, 1.0):
        draws["scale"] = uniform(number, 1, 3, low=settings.scale[0], high=settings.scale[1])
    if settings.shift > 0:
        draws["shift"] = uniform(number, 1, 3, low=-settings.shift, high=settings.shift)
    return draws


def augmented(points: Tensor, draws: Any) -> Tensor:  # a mapping of draws, others ignored
    """The clouds after the drawn changes, (B, P, 3)."""
    if "subset" in draws:
        points = points.gather(1, draws["subset"][..., None].expand(-1, -1, 3))
    if "rotation" in draws:
        points = points @ draws["rotation"].to(points.dtype)
    if "scale" in draws:
        points = points * draws["scale"]
    if "shift" in draws:
        points = points + draws["shift"]
    return points


def turns_about(angle: Tensor, axis: int) -> Tensor:
    """Rotation matrices (B, 3, 3) by angles (B,) in radians about a coordinate axis; rows are turned by ``x @ R``."""
    first, second = (axis + 1) % 3, (axis + 2) % 3
    turn = torch.zeros(len(angle), 3, 3, device=angle.device)
    turn[:, axis, axis] = 1.0
    turn[:, first, first] = turn[:, second, second] = angle.cos()
    turn[:, first, second] = angle.sin()
    turn[:, second, first] = -angle.sin()
    return turn


def turns_of(quaternions: Tensor) -> Tensor:
    """Rotation matrices (B, 3, 3) of quaternions (B, 4) of any length; normal ones give even rotations."""
    w, x, y, z = torch.nn.functional.normalize(quaternions, dim=1).unbind(1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
