"""A motion by VBReg: the network's seeds, their consensus sets, a motion for each, and refinement of the best.

Source: Jiang et al. 2023 (VBReg, arXiv 2304.01514); public repository `Jiang-HB/VBReg`. Flags of
:class:`MotionConfig` bring back what the public code does otherwise.

Symbols: N matches, K seeds, k matches of a set.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from repcore_pointcloud.alignment.consensus import (
    ballot,
    choose_seeds,
    consensus_sets,
    nearest_sets,
    set_weights,
    voting_maps,
)
from repcore_pointcloud.alignment.motions import (
    Motions,
    best_motion,
    least_squares,
    refine,
    refinement_limit,
    residuals,
)
from repcore_pointcloud.alignment.solution import FEWEST, Solution, finite_matches, no_solution, over_all
from repcore_pointcloud.configs.vbreg import MotionConfig
from repcore_pointcloud.encoders.match_network import BRANCHES, Judged, MatchNetwork, centred, prior_mean
from repcore_pointcloud.layers.match_layers import Moments, distances, length_agreement


@dataclass(frozen=True, slots=True)
class Consensus:
    """Seeds (K,), votes and score (K, N), sets and weights (K, k); votes and score are empty without voting."""

    seeds: Tensor
    votes: Tensor
    score: Tensor
    sets: Tensor
    weights: Tensor


@torch.no_grad()
def judge(
    network: MatchNetwork, source: Tensor, target: Tensor, noise: Tensor | None = None, matches: Tensor | None = None
) -> Judged:
    """One pass over the matches of a pair, in eval mode.

    Args:
        source / target: (N, 3).
        noise: (L, 3, 1, S, N), to draw latent variables; None = the prior's mean.
        matches: (1, N, 6), where they are centred already.
    """

    def drawn(layer: int, branch: str, belief: Tensor, prior: Moments) -> Tensor:
        assert noise is not None
        del belief
        return prior.mean + prior.deviation * noise[layer, BRANCHES.index(branch)].transpose(1, 2)

    agreement = length_agreement(source[None], target[None], network.config.length_tolerance_m)
    given = centred(source[None], target[None]) if matches is None else matches
    return network.judge(given, agreement, prior_mean if noise is None else drawn)


@torch.no_grad()
def consensus(network: MatchNetwork, judged: Judged, source: Tensor, target: Tensor, config: MotionConfig) -> Consensus:
    """Seeds and what moves with them."""
    near = distances(source) < config.seed_distance_m
    seeds = choose_seeds(judged.confidence[0], near, config)
    tolerance, temperature = network.config.length_tolerance_m, network.temperature
    lengths = length_agreement(source, target, tolerance, seeds)
    if config.consensus == "nearest":
        votes = score = lengths.new_zeros(0)
        sets = nearest_sets(judged.features[0], seeds, config)
    else:
        warmth = temperature if config.vote_temperature == "learned" else 1.0
        votes, score = ballot(voting_maps(judged.trace, seeds, lengths, warmth), seeds, lengths, config)
        sets = consensus_sets(score, seeds, config)
    weights = set_weights(judged.features[0], source, target, sets, temperature, tolerance, config.power_steps)
    return Consensus(seeds, votes, score, sets, weights)


def motions_of(found: Consensus, source: Tensor, target: Tensor) -> Motions:
    """A motion for each seed."""
    return least_squares(source[found.sets], target[found.sets], found.weights)


def chosen(motions: Motions, source: Tensor, target: Tensor, config: MotionConfig) -> tuple[Solution, Tensor, int]:
    """The best motion, refined; with the fitness of all and the number of the best."""
    limit = config.inlier_distance_m
    values, best = best_motion(motions, source, target, limit)
    before = motions.matrices[best]
    if not bool(motions.determined[best]):
        return no_solution(len(source)), values, best
    found = refine(before, source, target, refinement_limit(limit, config.refine_distance), config.refine_steps)
    judging = found.matrix if config.labels_after_refinement else before
    inliers = residuals(judging, source, target) < limit
    solution = Solution(found.matrix, inliers, float(values[best]), True, found.rounds, before)
    return solution, values, best


@torch.no_grad()
def vbreg_motion(network: MatchNetwork, source: Tensor, target: Tensor, config: MotionConfig) -> Solution:
    """The motion of a pair's matches.

    Args:
        network: in eval mode, on the device of the points.
        source / target: float (N, 3) in metres (see :func:`repcore_pointcloud.alignment.scales.in_units_of`); matches
            with an end that is not finite are left out.

    Returns:
        the solution; the identity without success for fewer than three matches, or none that determine a motion.
    """
    rows = finite_matches(source, target)
    ends = source[rows].float(), target[rows].float()
    if len(rows) < FEWEST:
        return no_solution(len(source))
    noise = None
    if config.latent == "sample":
        sizes = network.config
        generator = torch.Generator().manual_seed(config.seed)
        shape = (sizes.layers, len(BRANCHES), 1, sizes.latent_width, len(rows))
        noise = torch.randn(shape, generator=generator).to(source.device)
    judged = judge(network, *ends, noise)
    found = consensus(network, judged, *ends, config)
    solution, _, _ = chosen(motions_of(found, *ends), *ends, config)
    solution.facts = {"seeds": len(found.seeds)}
    return over_all(solution, rows, len(source))
