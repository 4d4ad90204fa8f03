"""Inputs on which all implementations of ``selective-scan`` must agree, in values and gradients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

Case = tuple[str, tuple[Tensor, ...], dict[str, Any]]

# name: scans, items, tokens, channels, states, shift of the raw step
SHAPES: dict[str, tuple[int, int, int, int, int, float]] = {
    "both-directions": (2, 2, 45, 12, 16, -3.0),
    "pair-of-blocks": (4, 1, 33, 8, 16, -3.0),
    "one-token": (2, 3, 1, 4, 16, -3.0),
    "chunk-border": (2, 1, 64, 4, 16, -3.0),
    "past-chunk-border": (2, 1, 65, 4, 16, -3.0),
    "one-state-one-channel": (1, 2, 9, 1, 1, 0.0),
    "odd-sizes": (2, 1, 31, 7, 5, 0.0),
    "stiff": (2, 2, 40, 6, 16, 12.0),  # steps above 10 with rates down to -16: decays underflow
    "beyond-softplus": (1, 1, 12, 4, 4, 25.0),  # identity branch
    "tiny-steps": (2, 1, 50, 4, 16, -20.0),
    "no-token": (2, 1, 0, 4, 4, 0.0),
    "realistic": (2, 1, 256, 96, 16, -4.0),
}


CONTINUED = ("past-chunk-border", "odd-sizes", "no-token")  # also from a state that is not zero
NAMES = (*SHAPES, *(f"{name}-continued" for name in CONTINUED))


def cases(device: str, dtype: str) -> Iterator[Case]:
    """Named arguments for every implementation."""
    kind = getattr(torch, dtype)
    for number, (name, (scans, items, tokens, channels, states, shift)) in enumerate(SHAPES.items()):
        generator = torch.Generator().manual_seed(number)

        def normal(*shape: int, generator: torch.Generator = generator, kind: torch.dtype = kind) -> Tensor:
            return torch.randn(*shape, generator=generator).to(device, kind).requires_grad_()

        rates = -torch.arange(1.0, states + 1).expand(scans, channels, states)
        A = (rates * torch.rand(scans, channels, 1, generator=generator).add(0.5)).to(device).requires_grad_()
        u, delta, B, C = (normal(scans, items, tokens, size) for size in (channels, channels, states, states))
        D = torch.randn(scans, channels, generator=generator).to(device).requires_grad_()
        bias = torch.full((scans, channels), shift, device=device)
        reverse = tuple(bool(scan % 2) for scan in range(scans))
        yield name, (u, delta, A, B, C, D), {"delta_bias": bias, "reverse": reverse}
        if name in CONTINUED:
            state = torch.randn(scans, items, channels, states, generator=generator).to(device)
            yield f"{name}-continued", (u, delta, A, B, C, D), {
                "delta_bias": bias, "reverse": reverse, "initial_state": state,
            }  # fmt: skip
