"""The op ``selective-scan`` as models call it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from repcore.nn.selective_scan.availability import is_short_and_wide
from repcore.ops import Op

OP = "selective-scan"


def selective_scan_op() -> Op:
    """The implementation that core's static choice names for device, dtype and class of lengths.

    Call: as the plain definition, :func:`repcore.nn.selective_scan.torch.selective_scan`.
    """
    return Op(OP, _sizes, is_short_and_wide)


def _sizes(u: Tensor, delta: Tensor, A: Tensor, *arguments: Any, **options: Any) -> Mapping[str, int]:
    del delta, arguments, options
    return {"tokens": u.shape[2], "step": u.shape[0] * u.shape[1] * A.shape[1] * A.shape[2]}
