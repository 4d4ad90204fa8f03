"""Side blocks of SHERL: one cheap summary of all layers of a frozen encoder, in two forms.

Symbols: B items, T tokens, D width of the tokens, H = D / reduction, L layers (the last is the guide), E pooled width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

Form = Literal["gated", "normed", "plain"]
Redundancy = Literal["exact", "reference"]
LEAST_NORM = 1e-6
OUTPUT_NORM_EPSILON = 1e-12
GATE_TEMPERATURE = 0.1


class Mix(NamedTuple):
    """Summary (..., H), weights and redundancy (..., layers)."""

    values: Tensor
    weights: Tensor
    redundancy: Tensor


class GatedProjection(nn.Module):
    """ReLU of a linear layer, then (W2 t + b2 + t) * sigmoid(W3 t + b3): (..., D) to (..., H)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.input, self.value, self.gate = (
            nn.Linear(width, hidden),
            nn.Linear(hidden, hidden),
            nn.Linear(hidden, hidden),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        inner = torch.relu(self.input(tokens))
        mixed: Tensor = (self.value(inner) + inner) * torch.sigmoid(self.gate(inner))
        return mixed


def projection(width: int, hidden: int, form: Form) -> nn.Module:
    """Map of one layer's tokens, (..., D) to (..., H)."""
    if form == "gated":
        return GatedProjection(width, hidden)
    if form == "normed":
        return nn.Sequential(nn.Linear(width, hidden), nn.LayerNorm(hidden))
    return nn.Sequential(nn.ReLU(), nn.Linear(width, hidden))


def redundancies(layers: Sequence[Tensor], kind: Redundancy, epsilon: float) -> Tensor:
    """Sum of the positive cosines of each layer with all, its own counted as 1, (..., layers).

    ``reference``: the own one is computed too, 0 for a vector of zeros, and norms are lifted by epsilon.
    """
    stacked = torch.stack(list(layers), -2)  # (..., layers, H)
    norms = stacked.norm(dim=-1, keepdim=True)
    units = stacked / (norms + epsilon if kind == "reference" else norms.clamp(min=LEAST_NORM))
    cosines = torch.relu(units @ units.transpose(-1, -2))  # (..., layers, layers)
    if kind == "exact":
        own = torch.eye(len(layers), dtype=cosines.dtype, device=cosines.device)
        cosines = cosines * (1.0 - own) + own
    return cosines.sum(-1)


def mixed_layers(layers: Sequence[Tensor], guide: Tensor, score: nn.Linear, kind: Redundancy, epsilon: float) -> Mix:
    """Layers weighed by how they go with the guide and how little they repeat, and the guide itself."""
    redundancy = redundancies(layers, kind, epsilon)
    scored = torch.cat([torch.relu(score(one * guide)) for one in layers], -1) / redundancy
    weights = scored / (scored.sum(-1, keepdim=True) + epsilon)
    values = guide
    for number, one in enumerate(layers):
        values = values + weights[..., number : number + 1] * one
    return Mix(values, weights, redundancy)


def gate(theta: Tensor) -> Tensor:
    """Share of the pre-trained path; ten times as steep at 0 as theta itself."""
    return torch.tanh(theta / GATE_TEMPERATURE)


class TokenSide(nn.Module):
    """The input of the last layer from all layers before it, token by token.

    Args:
        width: D.
        layers: L, of which the last is what the last layer would read.
        form: of the projections.
        reduction: D / H.
        theta: start of the gate's parameter; 0 = closed.
        dropout: after the output's norm (``normed`` only).
        redundancy: see :func:`redundancies`.

    Call:
        layers: L tensors (..., D).
    Returns:
        (..., D), and the weights (..., L - 1) and redundancy.
    """

    def __init__(
        self,
        width: int,
        layers: int,
        *,
        form: Form = "gated",
        reduction: float = 2.0,
        theta: float = 0.0,
        dropout: float = 0.1,
        redundancy: Redundancy = "exact",
    ) -> None:
        super().__init__()
        hidden = max(1, round(width / reduction))
        self.kind, self.epsilon = redundancy, 1e-8 if form == "normed" else 1e-6
        self.projections = nn.ModuleList(projection(width, hidden, form) for _ in range(layers))
        self.score = nn.Linear(hidden, 1)
        last: list[nn.Module] = [nn.ReLU(), nn.Linear(hidden, width)]
        if form == "normed":
            last += [nn.LayerNorm(width, eps=OUTPUT_NORM_EPSILON), nn.Dropout(dropout)]
        self.output = nn.Sequential(*last)
        self.theta = nn.Parameter(torch.full((1,), theta))

    def forward(self, layers: Sequence[Tensor], last: Tensor | None = None) -> tuple[Tensor, Mix]:
        """``last``: what the gate lets through; the last of the layers if None."""
        small = [project(one) for project, one in zip(self.projections, layers, strict=True)]
        found = mixed_layers(small[:-1], small[-1], self.score, self.kind, self.epsilon)
        through = layers[-1] if last is None else last
        return self.output(found.values) + gate(self.theta) * through, found


class PooledSide(nn.Module):
    """One vector an item from the tokens of all layers, added to the frozen encoder's own vector.

    Args:
        width: D. layers: L, all of them mixed.
        pooled: E, of the encoder's vector, which is the guide.
        reduction: D / H.
        gated: each layer also gives its token at ``position``, through a gate of its own.
        redundancy: see :func:`redundancies`.

    Call:
        layers: L tensors (B, T, D), or ragged (S, D) with ``owner`` (S,).
        pooled: (B, E).
        mask: (B, T) or (S,), 1 = a token that counts; None = all.
        position: (B,) of the token that stands for an item.
    Returns:
        (B, E), and weights and redundancy (B, L).
    """

    def __init__(
        self, width: int, layers: int, pooled: int, *, reduction: float = 2.0, gated: bool = False,
        redundancy: Redundancy = "exact",
    ) -> None:  # fmt: skip
        super().__init__()
        hidden = max(1, round(width / reduction))
        self.kind, self.epsilon = redundancy, 1e-6
        self.projections = nn.ModuleList(projection(width, hidden, "plain") for _ in range(layers))
        self.guide = projection(pooled, hidden, "plain")
        self.attention = nn.ModuleList(nn.Linear(hidden, 1) for _ in range(layers))
        self.score = nn.Linear(hidden, 1)
        self.gates = nn.Parameter(torch.zeros(layers)) if gated else None
        self.output = nn.Sequential(nn.ReLU(), nn.Linear(hidden, pooled))

    def forward(
        self,
        layers: Sequence[Tensor],
        pooled: Tensor,
        mask: Tensor | None = None,
        position: Tensor | None = None,
        owner: Tensor | None = None,
    ) -> tuple[Tensor, Mix]:
        guide = self.guide(pooled)
        vectors = [self._vector(number, one, guide, mask, position, owner) for number, one in enumerate(layers)]
        found = mixed_layers(vectors, guide, self.score, self.kind, self.epsilon)
        return self.output(found.values) + pooled, found

    def _vector(
        self, number: int, layer: Tensor, guide: Tensor, mask: Tensor | None, position: Tensor | None,
        owner: Tensor | None,
    ) -> Tensor:  # fmt: skip
        """One layer's tokens weighed by how they go with the guide, (B, H)."""
        tokens = self.projections[number](layer)
        beside = guide[:, None] if owner is None else guide[owner]
        scores = self.attention[number](beside * tokens)[..., 0]
        scores = torch.relu(scores if mask is None else scores * mask.to(scores.dtype))
        if owner is None:
            shares = scores / scores.sum(1, keepdim=True).clamp(min=self.epsilon)
            vector = (shares[..., None] * tokens).sum(1)
        else:
            total = scores.new_zeros(len(guide)).index_add(0, owner, scores).clamp(min=self.epsilon)
            weighed = (scores / total[owner])[:, None] * tokens
            vector = tokens.new_zeros(guide.shape).index_add(0, owner, weighed)
        if self.gates is not None and position is not None and owner is None:
            chosen = tokens[torch.arange(len(tokens), device=tokens.device), position]
            vector = vector + torch.sigmoid(self.gates[number] / GATE_TEMPERATURE) * chosen
        return vector
