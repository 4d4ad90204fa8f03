"""Which implementation of each point operation is preferred."""

from __future__ import annotations

from collections.abc import Mapping


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


def group_maximum(device_type: str, dtype_name: str, sizes: Mapping[str, int] | None = None) -> tuple[str, ...]:
    """Tiles on a CPU, in the types that its sums of rows are made for."""
    del sizes
    return ("tiles",) if device_type == "cpu" and dtype_name in ("float32", "float64") else ()
