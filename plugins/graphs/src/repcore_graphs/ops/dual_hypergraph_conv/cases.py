"""Inputs on which all implementations of the dual hypergraph convolution must agree, degenerate ones included."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch


def cases(device: str, dtype: str) -> Iterator[tuple[str, tuple[Any, ...], dict[str, Any]]]:
    """Yield ``(name, positional arguments, keyword arguments)``; values are any because arguments are mixed.

    Args:
        device: device type.
        dtype: name of the number format, for example ``"float32"``.
    """
    generator = torch.Generator().manual_seed(0)
    kind: torch.dtype = getattr(torch, dtype)

    def random(*shape: int) -> torch.Tensor:
        values = torch.randn(*shape, generator=generator).to(device=device, dtype=kind)
        return values.requires_grad_()

    def graph(num_nodes: int, num_edges: int) -> torch.Tensor:
        return torch.randint(0, max(num_nodes, 1), (2, num_edges), generator=generator).to(device)

    for name, num_nodes, num_edges, wide, narrow in (
        ("random, narrowing", 40, 120, 32, 8),
        ("random, widening", 40, 120, 5, 32),
        ("one feature out", 30, 60, 16, 1),
        ("one edge", 4, 1, 6, 6),
        ("no edge", 4, 0, 6, 6),
        ("every edge at one node", 1, 7, 6, 6),
        ("mostly isolated nodes", 500, 6, 6, 6),
    ):
        args = (random(num_edges, wide), graph(num_nodes, num_edges), random(wide, narrow), random(narrow), num_nodes)
        yield name, args, {}
        yield f"{name}, self term", args, {"self_term": True}
    bare = (random(50, 8), graph(20, 50), random(8, 8), None, 20)
    counts = torch.randint(0, 3, (50,), generator=generator).to(device=device, dtype=kind)
    yield "multiplicity 0, 1 and 2, no bias", bare, {"multiplicity": counts}
    yield "all edges dropped", bare, {"multiplicity": torch.zeros_like(counts)}
    large = ((random(50, 8) * 1e4).detach().requires_grad_(), graph(20, 50), random(8, 8), None, 20)
    yield "large values", large, {"multiplicity": counts}


def priority(device_type: str, dtype_name: str, sizes: object) -> tuple[str, ...]:
    """The end-point form wins on every device and at every size."""
    return ("endpoints",)
