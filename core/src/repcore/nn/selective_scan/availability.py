"""Which implementations of ``selective-scan`` can run here, and which one is preferred."""

from __future__ import annotations

from collections.abc import Mapping


def mamba_ssm_unusable() -> str:
    """Why the ``mamba-ssm`` kernel cannot run here; empty if it can."""
    from repcore.nn.selective_scan.mamba_ssm import unusable

    return unusable()


FEW_TOKENS = 64  # plain steps, each as wide as the cache is large, need no chunks
WIDE_STEP = 1 << 16  # numbers in the state of all scans and items
MOST_STATES_KEPT = 1 << 24  # numbers that autograd keeps of the plain steps, three times over: 200 MB


def is_short_and_wide(sizes: Mapping[str, int]) -> bool:
    """Few tokens of a large batch: there the plain definition is up to 1.7 times as fast as the chunked twin on a CPU.

    Args:
        sizes: ``tokens``, and ``step``, the numbers in one step's state (scans x items x channels x states).
    """
    tokens, step = sizes.get("tokens", 0), sizes.get("step", 0)
    return 0 < tokens <= FEW_TOKENS and step >= WIDE_STEP and tokens * step <= MOST_STATES_KEPT


def priority(device_type: str, dtype_name: str, sizes: Mapping[str, int] | None = None) -> tuple[str, ...]:
    """Preferred implementations, best first; names as in the op's spec. The compiled form is one for float32 states."""
    if device_type == "cuda" and dtype_name != "float64":
        return ("triton", "mamba-ssm", "chunked")
    plain = ("torch", "chunked") if is_short_and_wide(sizes or {}) else ("chunked",)
    return ("compiled", *plain) if device_type == "cpu" and dtype_name != "float64" else plain
