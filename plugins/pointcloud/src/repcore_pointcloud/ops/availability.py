"""Which implementations of the point operations can run here, and which one is preferred."""

from __future__ import annotations

import os
from collections.abc import Mapping


def triton_unusable() -> str:
    """Why the Triton kernels cannot run here; empty if they can."""
    import torch

    if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
        return "needs a CUDA device"
    try:
        import triton  # noqa: F401
    except ImportError as error:
        return f"triton cannot be imported: {error}"
    return ""


def triton_on_gpu(device_type: str, dtype_name: str, sizes: Mapping[str, int] | None = None) -> tuple[str, ...]:
    """Preferred implementations of ops whose plain definition is also their CPU form."""
    del sizes
    return ("triton",) if device_type == "cuda" and dtype_name != "float64" else ()


def nearest_points(device_type: str, dtype_name: str, sizes: Mapping[str, int] | None = None) -> tuple[str, ...]:
    """Triton on a GPU, the block search on a CPU."""
    return triton_on_gpu(device_type, dtype_name, sizes) or (("blocks",) if device_type == "cpu" else ())


def map_lookup(device_type: str, dtype_name: str, sizes: Mapping[str, int] | None = None) -> tuple[str, ...]:
    """Triton on a GPU, otherwise sixteen weighted rows a pixel."""
    return triton_on_gpu(device_type, dtype_name, sizes) or ("taps",)
