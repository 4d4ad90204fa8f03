"""Which implementations of ``audio/selective-scan`` can run here, and which one is preferred."""

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


def mamba_ssm_unusable() -> str:
    """Why the ``mamba-ssm`` kernel cannot run here; empty if it can."""
    from repcore_audio.ops.selective_scan.mamba_ssm import unusable

    return unusable()


def priority(device_type: str, dtype_name: str, sizes: Mapping[str, int] | None = None) -> tuple[str, ...]:
    """Preferred implementations, best first; names as in the op's spec."""
    if device_type == "cuda" and dtype_name != "float64":
        return ("triton", "mamba-ssm", "chunked")
    return ("chunked",)
