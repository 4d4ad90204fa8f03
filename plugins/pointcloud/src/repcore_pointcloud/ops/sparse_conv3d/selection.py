"""Which implementation of ``pointcloud/sparse-conv3d`` runs: a static rule, measured once, recorded by core."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from repcore import ops
from repcore_pointcloud.ops.sparse_conv3d.rulebook import Rulebook

OP = "pointcloud/sparse-conv3d"
NARROW = 32  # channels up to which copies stay in the cache
FILLED = 0.5  # share of the kernel's offsets that exist around a voxel


def priority(device_type: str, dtype_name: str, sizes: Mapping[str, int] | None = None) -> tuple[str, ...]:
    """Preferred implementations, best first.

    On a CPU the output-stationary form wins for few channels, or where most neighbours exist; gather and scatter wins
    for wide layers over thin surfaces (``benchmarks/scenes_speed.py``). spconv's CPU build is never chosen: only
    ``REPCORE_OPS`` can ask for it.
    """
    known = sizes or {}
    if device_type == "cuda":
        fallback = ("output-stationary",)
        return fallback if dtype_name == "float64" else ("triton", "spconv", *fallback)
    return ("output-stationary",) if known.get("narrow", 1) or known.get("filled", 0) else ("torch",)


def spconv_unusable() -> str:
    """Why the library cannot be used here; empty if it can."""
    from repcore_pointcloud.ops.sparse_conv3d.spconv import unusable

    return unusable()


class SparseConvolution:
    """Calls the implementation that core's static choice names for device, type and shape class."""

    def __init__(self) -> None:
        self._chosen: dict[tuple[str, str, bool, bool], Callable[..., Any]] = {}

    def __call__(self, features: Tensor, weight: Tensor, bias: Tensor | None, *, rulebook: Rulebook) -> Tensor:
        """(M, O); arguments as in the plain definition."""
        device, dtype = features.device.type, str(features.dtype).removeprefix("torch.")
        narrow = max(weight.shape[0], weight.shape[4]) <= NARROW
        filled = rulebook.num_pairs > FILLED * rulebook.kernel_volume * max(1, rulebook.num_outputs)
        key = (device, dtype, narrow, filled)
        if key not in self._chosen:
            sizes = {"narrow": int(narrow), "filled": int(filled)}
            self._chosen[key] = ops.implementation(OP, ops.choose(OP, device=device, dtype=dtype, sizes=sizes))
        out: Tensor = self._chosen[key](features, weight, bias, rulebook=rulebook)
        return out


sparse_convolution = SparseConvolution()
