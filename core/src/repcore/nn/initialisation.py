"""Explicit initial weights, so that no module depends on torch's defaults."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


def initialise_normal(
    module: nn.Module,
    deviation: float = 0.02,
    *,
    truncated: bool = False,
    generator: torch.Generator | None = None,
) -> None:
    """Set every linear, embedding and layer-norm module inside ``module``.

    Linear and embedding weights are normal(0, deviation) (BERT family), or cut off at two standard deviations
    (vision transformers); biases are 0; norm weights 1 and biases 0; the padding row of an embedding is 0.

    Args:
        module: changed in place.
        deviation: standard deviation before cutting off.
        truncated: cut off at two standard deviations.
        generator: source of randomness; the global one of torch when None (a run seeds it before building).
    """

    def draw(tensor: torch.Tensor) -> None:
        if truncated:
            nn.init.trunc_normal_(tensor, 0.0, deviation, -2 * deviation, 2 * deviation, generator=generator)
        else:
            nn.init.normal_(tensor, 0.0, deviation, generator=generator)

    for part in module.modules():
        _initialise_one(part, draw)


@torch.no_grad()
def _initialise_one(part: nn.Module, draw: Callable[[torch.Tensor], None]) -> None:
    if isinstance(part, nn.Linear):
        draw(part.weight)
        if part.bias is not None:
            nn.init.zeros_(part.bias)
    elif isinstance(part, nn.Embedding):
        draw(part.weight)
        if part.padding_idx is not None:
            part.weight[part.padding_idx].zero_()
    elif isinstance(part, nn.LayerNorm) and part.elementwise_affine:
        nn.init.ones_(part.weight)
        if part.bias is not None:
            nn.init.zeros_(part.bias)
