"""Motions without a network: RANSAC with a check of edge lengths, and a spectral vote.

Source: Fischler and Bolles 1981 (RANSAC); Leordeanu and Hebert 2005 for agreement matrices, here squared once as in
SC2-PCR (Chen et al. 2022, arXiv 2203.14453), whose second-order agreement counts the matches that two matches both
agree with.

Symbols: N matches, T hypotheses of a batch, K seeds.
"""

from __future__ import annotations

import math
import sys
import time

import torch
from torch import Tensor

from repcore_pointcloud.alignment.motions import best_motion, least_squares, residuals
from repcore_pointcloud.alignment.solution import (
    FEWEST,
    Solution,
    finite_matches,
    no_solution,
    over_all,
    refined,
)
from repcore_pointcloud.configs.vbreg import MotionConfig, RansacConfig, SpectralConfig
from repcore_pointcloud.layers.match_layers import length_agreement

BATCH = 2048  # hypotheses at a time
EDGES = ((0, 1), (0, 2), (1, 2))


@torch.no_grad()
def ransac_motion(
    source: Tensor, target: Tensor, config: MotionConfig, rules: RansacConfig, seconds: float | None = None
) -> Solution:
    """The motion of three matches that most others agree with, refined.

    Triples whose edges differ in length by more than twice the inlier distance, or are no longer than it, are passed
    over before a motion is computed.

    Args:
        source / target: float (N, 3), in the unit of the inlier distance.
        seconds: of the processor, after which it stops, whatever number of hypotheses is set; None = no limit.

    Returns:
        the solution; the identity without success where no triple passes.
    """
    rows = finite_matches(source, target)
    if len(rows) < FEWEST:
        return no_solution(len(source))
    ends = source[rows].float(), target[rows].float()
    generator = torch.Generator().manual_seed(config.seed)
    limit, began = config.inlier_distance_m, time.process_time()
    best, value, tried, needed = None, -1.0, 0, rules.hypotheses
    while tried < needed and (seconds is None or tried == 0 or time.process_time() - began < seconds):
        triples = torch.randint(len(rows), (min(BATCH, rules.hypotheses - tried), 3), generator=generator)
        tried += len(triples)
        kept = triples[_rigid(ends, triples, limit)]
        if not len(kept):
            continue
        motions = least_squares(ends[0][kept], ends[1][kept], torch.ones(kept.shape))
        values, number = best_motion(motions, *ends, limit)
        if bool(motions.determined[number]) and float(values[number]) > value:
            best, value = motions.matrices[number], float(values[number])
            share = float((residuals(best, *ends) < limit).float().mean())
            needed = min(rules.hypotheses, _enough(share, rules.confidence))
    if best is None:
        return no_solution(len(source))
    solution = refined(best, value, *ends, limit, config.refine_steps)
    solution.facts = {"hypotheses": tried}
    return over_all(solution, rows, len(source))


def _enough(share: float, confidence: float) -> int:
    """Triples after which one of right matches alone was drawn as surely as asked for, with this share of them."""
    all_right = share**3
    if confidence >= 1.0 or all_right <= 0.0:
        return sys.maxsize
    return 1 if all_right >= 1.0 else math.ceil(math.log(1.0 - confidence) / math.log1p(-all_right))


def _rigid(ends: tuple[Tensor, Tensor], triples: Tensor, limit: float) -> Tensor:
    """Triples whose three edges keep their length and are longer than the limit, bool (T,)."""
    kept = torch.ones(len(triples), dtype=torch.bool)
    for one, other in EDGES:
        lengths = [(points[triples[:, one]] - points[triples[:, other]]).norm(dim=1) for points in ends]
        kept &= ((lengths[0] - lengths[1]).abs() < 2 * limit) & (torch.minimum(*lengths) > limit)
    return kept


@torch.no_grad()
def spectral_motion(source: Tensor, target: Tensor, config: MotionConfig, rules: SpectralConfig) -> Solution:
    """The motion of the matches that agree with one another, without learning: two products of matrices.

    Agreement B = beta * (beta beta), beta of lengths; seeds are the largest row sums, a seed's set the largest of its
    row, with their values as weights.
    """
    rows = finite_matches(source, target)
    if len(rows) < FEWEST:
        return no_solution(len(source))
    ends = source[rows].float(), target[rows].float()
    agreement = length_agreement(*ends, config.inlier_distance_m)
    second = agreement * (agreement @ agreement)
    seeds = torch.sort(second.sum(1), descending=True, stable=True).indices[: rules.seeds]
    weight, sets = second[seeds].topk(min(rules.set_size, len(rows)), dim=1)
    motions = least_squares(ends[0][sets], ends[1][sets], weight / weight.sum(1, keepdim=True))
    values, number = best_motion(motions, *ends, config.inlier_distance_m)
    if not bool(motions.determined[number]):
        return no_solution(len(source))
    best = motions.matrices[number]
    solution = refined(best, float(values[number]), *ends, config.inlier_distance_m, config.refine_steps)
    solution.facts = {"seeds": len(seeds)}
    return over_all(solution, rows, len(source))
