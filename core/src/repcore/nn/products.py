"""Products of linear layers where no gradient is wanted: on a CPU by oneDNN, with the bias and a GELU within.

torch reaches oneDNN for float32 by an operation of its own that compiled code uses; where a build of torch lacks it,
the ordinary product is used. Results are the same up to rounding.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ONEDNN_LINEAR = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None


def linear(values: Tensor, layer: nn.Linear, *, after: Literal["none", "gelu"] = "none") -> Tensor:
    """``layer(values)``, with a GELU (of the error function) after it if told.

    Args:
        values: (..., inputs of the layer).
    """
    if ONEDNN_LINEAR is None or not _is_plain(values, layer):
        found: Tensor = layer(values)
        return found if after == "none" else F.gelu(found)
    given: Tensor = ONEDNN_LINEAR(values, layer.weight, layer.bias, after, [], "none")
    return given


def _is_plain(values: Tensor, layer: nn.Linear) -> bool:
    """Whether nothing but the product of float32 on a CPU is asked for."""
    if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu") or type(layer) is not nn.Linear:
        return False
    given = (values, layer.weight, *([] if layer.bias is None else [layer.bias]))
    if torch.is_grad_enabled() and any(one.requires_grad for one in given):
        return False
    return values.device.type == "cpu" and values.dtype == layer.weight.dtype == torch.float32


def onednn_operations(values: Any, weight: Any, *_: Any, **__: Any) -> int:
    """Operations of ``ONEDNN_LINEAR`` from the shapes of its inputs, for torch's counter of them."""
    return 2 * math.prod(values) * int(weight[0])
