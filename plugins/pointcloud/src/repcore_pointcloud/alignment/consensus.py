"""Seeds among matches, and for each the set of matches that most layers of the network hold to move with it.

Source: Jiang et al. 2023 (VBReg, arXiv 2304.01514), section 3.4; Wilson 1927 for the bound. Ties go to the lowest
index. By default beaten matches are no seeds, votes go to matches that agree in length alone, and the temperature of
features is the learned one; the published code departs from all three.

The maps of all layers would hold 2 L N^2 numbers: rows of seeds alone are made again from queries, keys and features.

Symbols: N matches, K seeds, k matches of a set, L layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from repcore_pointcloud.configs.vbreg import MotionConfig
from repcore_pointcloud.encoders.match_network import LayerTrace
from repcore_pointcloud.layers.match_layers import attention, length_agreement

CONFIDENT = 1.96  # standard deviations of the Wilson bound
INDEX_BITS = 31
RELATIVELY_CLOSE, CLOSE = 1e-5, 1e-8


class Ballot(NamedTuple):
    """Votes (K, N) over all maps, and the largest Wilson bound (K, N) on the way."""

    votes: Tensor
    score: Tensor


def largest_columns(values: Tensor, count: int) -> Tensor:
    """Columns (K, count) of the largest values of each row, largest first, the lowest column on a tie.

    Args:
        values: float32 (K, N), not negative: their bits are then in their order.
    """
    bits = values.float().clamp(min=0.0).contiguous().view(torch.int32).long()
    column = torch.arange(values.shape[1], device=values.device)
    keys = (bits << INDEX_BITS) + (2**INDEX_BITS - 1 - column)
    return keys.topk(min(count, values.shape[1]), dim=1).indices


def choose_seeds(confidence: Tensor, near: Tensor, config: MotionConfig) -> Tensor:
    """Matches that no near one beats, the most confident first, int64 (K,).

    Args:
        confidence: logits (N,).
        near: bool (N, N), sources nearer than the seed distance.
    """
    count = len(confidence)
    beaten = (near & (confidence[None, :] > confidence[:, None])).any(1)
    wanted = min(count, max(config.fewest_seeds, int(config.seed_share * count)))
    if config.seed_mask == "product":
        return torch.sort(confidence * ~beaten, descending=True, stable=True).indices[:wanted]
    free = (~beaten).nonzero()[:, 0]
    return free[torch.sort(confidence[free], descending=True, stable=True).indices[:wanted]]


def seed_agreement(features: Tensor, seeds: Tensor, temperature: Tensor | float) -> Tensor:
    """clamp(1 - (1 - cosine) / temperature^2, 0, 1) of seeds with all matches (K, N), a seed with itself 0."""
    unit = F.normalize(features, dim=-1)
    found = (1.0 - (1.0 - unit[seeds] @ unit.T) / temperature**2).clamp(0.0, 1.0)
    return found.scatter(1, seeds[:, None], 0.0)


def voting_maps(
    trace: Sequence[LayerTrace], seeds: Tensor, lengths: Tensor, temperature: Tensor | float
) -> Iterator[Tensor]:
    """Rows of seeds (K, N) of the maps that vote, the last layer's first: features times lengths, then attention."""
    for one in reversed(trace):
        yield seed_agreement(one.features[0], seeds, temperature) * lengths
        rows = attention(one.query[0][seeds], one.key[0], lengths)
        yield rows.scatter(1, seeds[:, None], 0.0)


def wilson_bound(votes: Tensor, number: int) -> Tensor:
    """Lower end of the Wilson interval of a share of votes among ``number``."""
    share, z = votes / number, CONFIDENT
    middle = share + z * z / (2 * number)
    spread = z * torch.sqrt(share * (1 - share) / number + z * z / (4 * number * number))
    return torch.where(votes > 0, (middle - spread) / (1 + z * z / number), 0.0)


def ballot(maps: Iterator[Tensor], seeds: Tensor, lengths: Tensor, config: MotionConfig) -> Ballot:
    """Every map gives one vote to the best ``set_size - 1`` matches of each seed.

    Those among them without agreement of lengths get none: attention ranks them above matches that it holds off.
    """
    votes = torch.zeros_like(lengths)
    score = torch.zeros_like(lengths)
    allowed = (lengths > 0).scatter(1, seeds[:, None], False)
    for number, values in enumerate(maps, 1):
        chosen = largest_columns(values, config.set_size - 1)
        given = (values.gather(1, chosen) > 0) & allowed.gather(1, chosen) | config.vote_zero
        votes = votes.scatter_add(1, chosen, given.to(votes.dtype))
        score = torch.maximum(score, wilson_bound(votes, number))
    return Ballot(votes, score)


def consensus_sets(score: Tensor, seeds: Tensor, config: MotionConfig) -> Tensor:
    """Matches of each seed, int64 (K, k): the seed and the best of its score."""
    if not config.vote_zero:  # a seed is in its set once
        score = (score + 1.0).scatter(1, seeds[:, None], 0.0)
    return torch.cat([seeds[:, None], largest_columns(score, config.set_size - 1)], dim=1)


def nearest_sets(features: Tensor, seeds: Tensor, config: MotionConfig) -> Tensor:
    """Matches of each seed, int64 (K, k): nearest by the cosine of their features, the seed among them."""
    unit = F.normalize(features, dim=-1)
    return largest_columns(1.0 + unit[seeds] @ unit.T, config.set_size)


def set_weights(
    features: Tensor, source: Tensor, target: Tensor, sets: Tensor, temperature: Tensor, tolerance: float, steps: int
) -> Tensor:
    """Weights (K, k) of the matches of each set: the leading eigenvector of their agreement, by power iteration."""
    unit = F.normalize(features, dim=-1)[sets]
    cosine = unit @ unit.transpose(1, 2)
    agreement = (1.0 - (1.0 - cosine) / temperature**2).clamp(min=0.0)
    agreement = agreement * length_agreement(source[sets], target[sets], tolerance)
    agreement = agreement * (1.0 - torch.eye(sets.shape[1], dtype=agreement.dtype, device=agreement.device))
    vector = torch.ones_like(agreement[..., :1])
    for _ in range(steps):
        last = vector
        vector = agreement @ vector
        vector = vector / (vector.norm(dim=1, keepdim=True) + 1e-6)
        if torch.allclose(vector, last, rtol=RELATIVELY_CLOSE, atol=CLOSE):
            break
    vector = vector[..., 0]
    return vector / (vector.sum(1, keepdim=True) + 1e-6)
