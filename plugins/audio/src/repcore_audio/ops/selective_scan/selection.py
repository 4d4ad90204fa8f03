"""Which implementation of ``audio/selective-scan`` a model uses, asked of core once a device, dtype and shape class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from repcore import ops
from repcore_audio.ops.selective_scan.availability import is_short_and_wide

OP = "audio/selective-scan"


class SelectiveScan:
    """Calls the implementation that core's static choice names for the device, dtype and shape of the inputs.

    Call: as the plain definition, :func:`repcore_audio.ops.selective_scan.torch.selective_scan`.
    """

    def __init__(self) -> None:
        self._chosen: dict[tuple[str, str, bool], Callable[..., Any]] = {}

    def __call__(self, u: Tensor, delta: Tensor, A: Tensor, *arguments: Tensor, **options: Any) -> Any:
        """The output, or with ``return_last_state`` a pair."""
        sizes = {"tokens": u.shape[2], "step": u.shape[0] * u.shape[1] * A.shape[1] * A.shape[2]}
        device, dtype = u.device.type, str(u.dtype).removeprefix("torch.")
        key = (device, dtype, is_short_and_wide(sizes))
        if key not in self._chosen:
            self._chosen[key] = ops.implementation(OP, ops.choose(OP, device=device, dtype=dtype, sizes=sizes))
        return self._chosen[key](u, delta, A, *arguments, **options)
