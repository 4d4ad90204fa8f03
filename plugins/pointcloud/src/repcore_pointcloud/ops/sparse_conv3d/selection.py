"""Which implementation of ``pointcloud/sparse-conv3d`` runs: a static rule, measured once, recorded by core."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from repcore.nn.compiled_loops import numba_unusable
from repcore.ops import Op
from repcore_pointcloud.ops.sparse_conv3d.rulebook import Rulebook

OP = "pointcloud/sparse-conv3d"
NARROW = 32  # channels up to which copies stay in the cache
FILLED = 0.5  # share of the kernel's offsets that exist around a voxel
SMALL = 2_500_000  # outputs x channels in x channels out, up to which a loop over offsets costs more than its products


def priority(device_type: str, dtype_name: str, sizes: Mapping[str, int] | None = None) -> tuple[str, ...]:
    """Preferred implementations, best first.

    On a CPU the compiled form wins everywhere, where numba is installed. Without it spconv wins but for little work,
    where it is right: with one thread (see ``spconv.py``). Then the output-stationary form, for few channels, where
    most neighbours exist, or for few voxels (the deep levels of a U-Net); gather and scatter for wide layers over thin
    surfaces. Measured by ``benchmarks/scenes_speed.py``.
    """
    known = sizes or {}
    if device_type == "cuda":
        fallback = ("output-stationary",)
        return fallback if dtype_name == "float64" else ("triton", "spconv", *fallback)
    stationary = known.get("narrow", 1) or known.get("filled", 0) or known.get("small", 0)
    library = () if known.get("small", 1) or dtype_name != "float32" else ("spconv",)
    return ("compiled", *library, "output-stationary" if stationary else "torch")


def spconv_unusable() -> str:
    """Why the library cannot be used here; empty if it can."""
    from repcore_pointcloud.ops.sparse_conv3d.spconv import unusable

    return unusable()


def shape_class(features: Tensor, weight: Tensor, bias: Tensor | None, *, rulebook: Rulebook) -> Mapping[str, int]:
    """What the choice depends on, as 0 or 1: few channels, most neighbours existing, little work in all, one thread."""
    del bias
    if features.device.type != "cpu" or not numba_unusable():
        return {}  # the choice is the same for all sizes; counting pairs would wait for a GPU
    return {
        "narrow": int(max(weight.shape[0], weight.shape[4]) <= NARROW),
        "small": int(rulebook.num_outputs * weight.shape[0] * weight.shape[4] <= SMALL),
        "filled": int(rulebook.num_pairs > FILLED * rulebook.kernel_volume * max(1, rulebook.num_outputs)),
        "one_thread": int(torch.get_num_threads() == 1),
    }


sparse_convolution = Op(OP, shape_class)
