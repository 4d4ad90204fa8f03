"""The published encoder in eval mode, cloud by cloud and token by token, on weights under their published names.

Written from the method card for the tests: no padding, no batches, no shared code with the plugin.

Symbols: N points, G tokens of a level, K neighbours, C width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class SlowLevel:
    """Centres (G, 3), members (G, K) as rows of ``parents``, and the parents' coordinates."""

    centres: Tensor
    members: Tensor
    parents: Tensor


def farthest(points: Tensor, count: int, excluded: float) -> list[int]:
    """Rows of the points farthest from all chosen ones, first row first, none within the ball around the origin."""
    chosen = [0]
    outside = points.square().sum(1) > excluded
    while len(chosen) < count:
        nearest = torch.stack([(points - points[one]).square().sum(1) for one in chosen]).amin(0)
        chosen.append(int(torch.where(outside, nearest, -torch.ones(())).argmax()))
    return chosen


def levels_of(points: Tensor, groups: Sequence[int], neighbours: Sequence[int], excluded: float) -> list[SlowLevel]:
    """Farthest points of the centres of the level before, each with its nearest parents, the nearest first."""
    found, parents = [], points
    for count, size in zip(groups, neighbours, strict=True):
        centres = parents[farthest(parents, count, excluded)]
        distances = (centres[:, None] - parents[None]).square().sum(2)
        members = distances.sort(dim=1, stable=True).indices[:, :size]
        found.append(SlowLevel(centres, members, parents))
        parents = centres
    return found


def visible_on(levels: Sequence[SlowLevel], coarsest: Sequence[int]) -> list[set[int]]:
    """Visible tokens of each level, finest first: the members of visible ones."""
    visible = [set(coarsest)]
    for level in reversed(levels[1:]):
        visible.insert(0, {int(one) for token in visible[0] for one in level.members[token]})
    return visible


def linear(weights: Weights, name: str, values: Tensor) -> Tensor:
    return values @ weights[f"{name}.weight"].flatten(1).T + weights[f"{name}.bias"]


def batch_norm(weights: Weights, name: str, values: Tensor) -> Tensor:
    centred = values - weights[f"{name}.running_mean"]
    scaled = centred / (weights[f"{name}.running_var"] + 1e-5).sqrt()
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def layer_norm(weights: Weights, name: str, values: Tensor) -> Tensor:
    centred = values - values.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def token(weights: Weights, level: int, members: Tensor) -> Tensor:
    """One token (C,) from its members (K, inputs)."""
    name = f"h_encoder.token_embed.{level}"
    inner = batch_norm(weights, f"{name}.first_conv.1", linear(weights, f"{name}.first_conv.0", members)).relu()
    points = linear(weights, f"{name}.first_conv.3", inner)
    joint = torch.cat([points.amax(0).expand_as(points), points], dim=1)
    inner = batch_norm(weights, f"{name}.second_conv.1", linear(weights, f"{name}.second_conv.0", joint)).relu()
    return linear(weights, f"{name}.second_conv.3", inner).amax(0)


def block(weights: Weights, name: str, tokens: Tensor, heads: int) -> Tensor:
    """Attention head by head, then the feed-forward network."""
    normed = layer_norm(weights, f"{name}.norm1", tokens)
    query, key, value = (normed @ weights[f"{name}.attn.qkv.weight"].T).chunk(3, dim=1)
    mixed = []
    for q, k, v in zip(query.chunk(heads, 1), key.chunk(heads, 1), value.chunk(heads, 1), strict=True):
        mixed.append(torch.softmax(q @ k.T / q.shape[1] ** 0.5, dim=1) @ v)
    tokens = tokens + linear(weights, f"{name}.attn.proj", torch.cat(mixed, dim=1))
    inner = F.gelu(linear(weights, f"{name}.mlp.fc1", layer_norm(weights, f"{name}.norm2", tokens)))
    return tokens + linear(weights, f"{name}.mlp.fc2", inner)


def encoded(
    weights: Weights, levels: Sequence[SlowLevel], visible: Sequence[set[int]], depths: Sequence[int], heads: int
) -> list[Tensor]:
    """Normalised visible tokens of each level in ascending order, finest first."""
    found = []
    grid = torch.zeros(0)
    for number, (level, shown) in enumerate(zip(levels, visible, strict=True)):
        rows = sorted(shown)
        inputs = [
            level.parents[members] - level.centres[place] if number == 0 else grid[members]
            for place, members in enumerate(level.members)
        ]
        grid = torch.stack([token(weights, number, one) for one in inputs])
        name = f"h_encoder.encoder_pos_embeds.{number}"
        position = linear(weights, f"{name}.2", F.gelu(linear(weights, f"{name}.0", level.centres[rows])))
        tokens = grid[rows]
        for one in range(depths[number]):
            tokens = block(weights, f"h_encoder.encoder_blocks.{number}.blocks.{one}", tokens + position, heads)
        grid = grid.index_copy(0, torch.tensor(rows), tokens)
        found.append(layer_norm(weights, f"h_encoder.encoder_norms.{number}", tokens))
    return found


def chamfer(first: Tensor, second: Tensor) -> float:
    """Mean over pairs of sets of both mean nearest squared distances, in Python numbers."""
    totals = []
    for one, two in zip(first.tolist(), second.tolist(), strict=True):
        table = [[sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) for b in two] for a in one]
        forth = sum(min(row) for row in table) / len(one)
        back = sum(min(column) for column in zip(*table, strict=True)) / len(two)
        totals.append(forth + back)
    return sum(totals) / len(totals)
