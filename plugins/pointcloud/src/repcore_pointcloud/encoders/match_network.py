"""The network of VBReg over matches of two clouds: which matches belong to one rigid motion?

Source: Jiang et al. 2023 (VBReg, arXiv 2304.01514); public repository `Jiang-HB/VBReg`.

Differs by default: at test time the latent variable is the prior's mean and not a draw, so that the same matches give
the same answer; what serves training alone (posterior, labels) is part of the objective.

Symbols: B pairs, N matches, D features, S latent, L layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from repcore.errors import ShapeError
from repcore.interfaces import Batch, Features, Tokens
from repcore.shapes import check_shape
from repcore_pointcloud.configs.vbreg import MatchNetworkConfig
from repcore_pointcloud.layers.match_layers import (
    AgreeingAttention,
    LatentBranch,
    MatchPerceptron,
    Moments,
    length_agreement,
)

NAME = "pointcloud/vbreg"
BRANCHES = ("query", "key", "value")
SCORE_WIDTH = 32

Latent = Callable[[int, str, Tensor, Moments], Tensor]
"""``fn(layer, branch, belief, prior) -> z``: how a pass chooses its latent variables (B, N, S)."""


class LayerTrace(NamedTuple):
    """What a layer leaves for voting: queries and keys, and the features after it, (B, N, D) each."""

    query: Tensor
    key: Tensor
    features: Tensor


class Judged(NamedTuple):
    """What the network says of matches.

    Args:
        features: (B, N, D) after the last layer.
        confidence: logits (B, N).
        trace: one a layer.
    """

    features: Tensor
    confidence: Tensor
    trace: tuple[LayerTrace, ...]


def prior_mean(layer: int, branch: str, belief: Tensor, prior: Moments) -> Tensor:
    """The latent variable is what the prior expects."""
    del layer, branch, belief
    return prior.mean


class MatchNetwork(nn.Module):
    """Encoder ``pointcloud/vbreg``.

    Args:
        config: sizes.

    Call:
        batch.inputs: ``source`` and ``target`` float (B, N, 3), ends of the matches in one unit, and ``valid`` bool
            (B, N), False = padding. Neither places nor the order of matches matter, turns do a little.
    Returns:
        pooled (B, D), the mean over matches; token level ``match`` (B, N, D); ``extras["confidence"]`` logits (B, N).

    Raises:
        ShapeError: wrong shapes.
    """

    def __init__(self, config: MatchNetworkConfig) -> None:
        super().__init__()
        self.config, self.dim = config, config.width
        width, latent = config.width, config.latent_width
        self.embedding = MatchPerceptron(6, width, width)
        self.branches = nn.ModuleDict(
            {name: LatentBranch(width, config.belief_width, config.hidden_width, latent) for name in BRANCHES}
        )
        self.layers = nn.ModuleList(AgreeingAttention(width) for _ in range(config.layers))
        self.score = nn.Sequential(
            nn.Linear(width, SCORE_WIDTH), nn.ReLU(), nn.Linear(SCORE_WIDTH, SCORE_WIDTH), nn.ReLU(),
            nn.Linear(SCORE_WIDTH, 1),
        )  # fmt: skip
        self.temperature = nn.Parameter(torch.ones(1))
        self.apply(_initialise)

    def forward(self, batch: Batch, layers: Sequence[int] = ()) -> Features:
        del layers  # none are named by the spec
        source, target, valid = match_inputs(batch)
        agreement = length_agreement(source, target, self.config.length_tolerance_m)
        judged = self.judge(centred(source, target, valid), agreement, valid=valid)
        values = judged.features * valid[..., None]
        pooled = values.sum(1) / valid.sum(1, keepdim=True).clamp(min=1)
        return Features(pooled, {"match": Tokens(values, valid)}, {}, {"confidence": judged.confidence})

    def judge(
        self, matches: Tensor, agreement: Tensor, latent: Latent = prior_mean, valid: Tensor | None = None
    ) -> Judged:
        """One pass.

        Args:
            matches: float (B, N, 6), both ends, centred.
            agreement: of lengths, (B, N, N).
            latent: chooses the latent variables.
            valid: bool (B, N), False = padding; None = all are.
        """
        features = self.embedding(matches, valid)
        shape = matches.shape[:2]
        zeros = features.new_zeros(*shape, self.config.latent_width)
        drawn = dict.fromkeys(BRANCHES, zeros)
        beliefs = dict.fromkeys(BRANCHES, features.new_zeros(*shape, self.config.belief_width))
        trace = []
        for number, layer in enumerate(self.layers):
            emitted = []
            for name in BRANCHES:
                branch: LatentBranch = self.branches[name]  # type: ignore[assignment]
                belief = branch.remember(drawn[name], features, beliefs[name])
                beliefs[name] = belief
                drawn[name] = latent(number, name, belief, branch.prior(belief))
                emitted.append(branch.emit(belief, drawn[name]))
            added, query, key = layer(tuple(emitted), agreement, valid)
            features = features + added
            trace.append(LayerTrace(query, key, features))
        return Judged(features, self.score(features).squeeze(-1), tuple(trace))


def centred(source: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
    """Both ends side by side with the mean over matches taken away, (B, N, 6)."""
    both = torch.cat([source, target], dim=-1)
    if valid is None:
        return both - both.mean(1, keepdim=True)
    weight = valid[..., None].to(both.dtype)
    return (both - (both * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp(min=1)) * weight


def match_inputs(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Ends and validity of a batch, checked.

    Raises:
        ShapeError: they are not there, or of other shapes.
    """
    if not isinstance(batch.inputs, Mapping) or not {"source", "target", "valid"} <= set(batch.inputs):
        raise ShapeError(f"{NAME} expects batch.inputs with source, target and valid", got=type(batch.inputs).__name__)
    sizes: dict[str, int] = {}
    for name, pattern in (("source", "B N 3"), ("target", "B N 3"), ("valid", "B N")):
        check_shape(batch.inputs[name], pattern, name=name, owner=NAME, bound=sizes)
    return batch.inputs["source"], batch.inputs["target"], batch.inputs["valid"]


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_normal_(module.weight)
