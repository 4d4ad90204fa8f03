"""Calls the implementation of a point operation that core's static choice names, asked once a device and dtype."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from repcore import ops


class PointOp:
    """One registered op, called like its plain definition with a tensor as first argument.

    Args:
        name: short name, for example ``"farthest-points"``.
    """

    def __init__(self, name: str) -> None:
        self.name = f"pointcloud/{name}"
        self._chosen: dict[tuple[str, str], Callable[..., Any]] = {}

    def __call__(self, first: Tensor, *arguments: Any, **options: Any) -> Any:  # as the op says
        device, dtype = first.device.type, str(first.dtype).removeprefix("torch.")
        if (device, dtype) not in self._chosen:
            choice = ops.choose(self.name, device=device, dtype=dtype)
            self._chosen[device, dtype] = ops.implementation(self.name, choice)
        return self._chosen[device, dtype](first, *arguments, **options)
