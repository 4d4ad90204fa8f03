"""Masks over a flat list of elements, drawn before the forward pass; and hiding features with them.

Symbols: S elements, D features.
"""

from __future__ import annotations

import torch
from torch import Tensor

from repcore.interfaces import Draws
from repcore_graphs.tensors import GraphTensors


def draw_mask(
    count: int, mask_ratio: float, replace_ratio: float, generator: torch.Generator, device: torch.device
) -> dict[str, Tensor]:
    """Exactly round(mask_ratio * S) hidden elements (at least one if there are any), some of which show another's
    features.

    Returns:
        hidden: bool (S,). replaced: bool (S,), a part of the hidden. donor: int64 (S,), any element.
    """
    order = torch.rand(count, generator=generator, device=generator.device).argsort()
    hidden_count = max(1, round(mask_ratio * count)) if count else 0
    hidden = torch.zeros(count, dtype=torch.bool, device=generator.device)
    hidden[order[:hidden_count]] = True
    replaced = torch.zeros_like(hidden)
    replaced[order[: round(replace_ratio * hidden_count)]] = True
    donor = torch.randint(max(count, 1), (count,), generator=generator, device=generator.device)
    return {"hidden": hidden.to(device), "replaced": replaced.to(device), "donor": donor.to(device)}


def spread_over_twins(draws: dict[str, Tensor], graph: GraphTensors) -> dict[str, Tensor]:
    """Hide an edge's opposite direction as well, where directions are edges of their own."""
    if graph.num_edges != graph.arcs.shape[1] or graph.num_edges == 0:
        return draws
    low, high = graph.ends.amin(0), graph.ends.amax(0)
    _, pair = torch.unique(low * graph.num_nodes + high, return_inverse=True)
    spread = dict(draws)
    for name in ("hidden", "replaced"):
        any_of_pair = torch.zeros(graph.num_edges, dtype=torch.long, device=pair.device)
        any_of_pair = any_of_pair.index_add(0, pair, draws[name].long())
        spread[name] = any_of_pair[pair] > 0
    return spread


def hide(features: Tensor, token: Tensor, draws: Draws) -> Tensor:
    """Features (S, D) with hidden rows replaced by the token, or by another row where ``replaced`` says so."""
    hidden = torch.where(draws["hidden"][:, None], token.to(features.dtype), features)
    return torch.where(draws["replaced"][:, None], features[draws["donor"]], hidden)


def replaced_words(draws: Draws) -> str:
    """What a picture's words add for hidden elements that show another's features; empty if none does."""
    count = int(draws["replaced"].sum())
    return f"; in {count} of them the model sees another's features" if count else ""
