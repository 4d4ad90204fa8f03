"""The implementation of ``audio/selective-scan`` that a model uses, asked of core once a device and dtype."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from repcore import ops

OP = "audio/selective-scan"


class SelectiveScan:
    """Calls the implementation that core's static choice names for the first input's device and dtype.

    Call: as the plain definition, :func:`repcore_audio.ops.selective_scan.torch.selective_scan`.
    """

    def __init__(self) -> None:
        self._chosen: dict[tuple[str, str], Callable[..., Any]] = {}

    def __call__(self, u: Tensor, *arguments: Tensor, **options: Any) -> Any:  # a tensor, or a pair with the last state
        key = (u.device.type, str(u.dtype).removeprefix("torch."))
        if key not in self._chosen:
            self._chosen[key] = ops.implementation(OP, ops.choose(OP, device=key[0], dtype=key[1]))
        return self._chosen[key](u, *arguments, **options)
