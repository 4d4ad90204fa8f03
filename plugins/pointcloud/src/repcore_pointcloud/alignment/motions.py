"""Rigid motions from matches: weighted least squares, how well they fit, and refinement by reweighting.

Source: Kabsch 1976, Umeyama 1991 (the sign of the determinant); rounds of refinement as in Jiang et al. 2023 (VBReg,
arXiv 2304.01514). A motion is a float 4x4 that takes source points to target points: ``target = R source + t``.

Symbols: K motions, M matches of a set, N matches.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

LITTLE = 1e-6  # beside a sum of weights
SAME_PLACE = 1e-6  # of the largest singular value: below it a set determines no single rotation
PUBLISHED_DISTANCE, PUBLISHED_REST = 0.10, 1.2


class Motions(NamedTuple):
    """Motions (K, 4, 4), and which of them their matches determine, bool (K,)."""

    matrices: Tensor
    determined: Tensor


class Refined(NamedTuple):
    """A refined motion (4, 4), and how many rounds moved it."""

    matrix: Tensor
    rounds: int


def least_squares(source: Tensor, target: Tensor, weights: Tensor) -> Motions:
    """The motions of least weighted squared distance.

    Args:
        source / target: float (K, M, 3).
        weights: float (K, M), not negative.

    Returns:
        motions; where all weights are 0, or the matches lie on a line, one of several that fit, marked as not
        determined.
    """
    total = weights.sum(1, keepdim=True)[..., None] + LITTLE
    from_middle, to_middle = ((weights[..., None] * one).sum(1, keepdim=True) / total for one in (source, target))
    covariance = (source - from_middle).transpose(1, 2) @ (weights[..., None] * (target - to_middle))
    u, size, vh = torch.linalg.svd(covariance.cpu())  # 3 x 3: faster there
    sign = torch.linalg.det(u @ vh).sign()  # of V U^T
    flip = torch.ones_like(size)
    flip[:, 2] = sign
    rotation = (vh.transpose(1, 2) * flip[:, None]) @ u.transpose(1, 2)
    determined = (size[:, 1] + sign * size[:, 2] > SAME_PLACE * size[:, 0]) & (size[:, 0] > 0)
    rotation = rotation.to(source.device)
    shift = to_middle[:, 0] - (rotation @ from_middle.transpose(1, 2))[..., 0]
    matrices = torch.eye(4, dtype=source.dtype, device=source.device).repeat(len(source), 1, 1)
    matrices[:, :3, :3], matrices[:, :3, 3] = rotation, shift
    return Motions(matrices, determined.to(source.device))


def moved(matrices: Tensor, points: Tensor) -> Tensor:
    """Points (N, 3) under motions (..., 4, 4): (..., N, 3)."""
    return points @ matrices[..., :3, :3].transpose(-1, -2) + matrices[..., None, :3, 3]


def residuals(matrices: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """Distance of every match under motions (..., 4, 4): (..., N)."""
    return (moved(matrices, source) - target).norm(dim=-1)


def fitness(distance: Tensor, limit: float) -> Tensor:
    """Mean over matches (..., N) of 1 - (distance / limit)^2 where it is below the limit, else of 0."""
    return torch.where(distance < limit, 1.0 - (distance / limit).square(), 0.0).mean(-1)


def best_motion(motions: Motions, source: Tensor, target: Tensor, limit: float) -> tuple[Tensor, int]:
    """Fitness of every motion (K,), 0 where its matches do not determine it, and the number of the first best.

    Computed in parts, so that K times N distances are never in memory at once.
    """
    found = [
        fitness(residuals(part, source, target), limit)
        for part in motions.matrices.split(max(1, 2**22 // max(1, len(source))))
    ]
    values = torch.cat(found) if found else source.new_zeros(0)
    judged = torch.where(motions.determined, values, -1.0)
    return values, int((judged == judged.max()).nonzero()[0, 0])


def refine(matrix: Tensor, source: Tensor, target: Tensor, limit: float, rounds: int) -> Refined:
    """Least squares over the matches that agree, weighted by 1 / (1 + (distance / limit)^2), again and again.

    Stops when the number of agreeing matches stays the same, or when fewer than three agree or they determine nothing.
    """
    before, done = 0, 0
    for _ in range(rounds):
        distance = residuals(matrix, source, target)
        near = distance < limit
        number = int(near.sum())
        if number == before or number < 3:
            break
        before = number
        weight = 1.0 / (1.0 + (distance[near] / limit).square())
        found = least_squares(source[near][None], target[near][None], weight[None])
        if not bool(found.determined[0]):
            break
        matrix, done = found.matrices[0], done + 1
    return Refined(matrix, done)


def refinement_limit(limit: float, rule: str) -> float:
    """Distance of agreement in refinement: the limit itself, or as published 1.2 for all limits but 0.1."""
    return limit if rule == "config" or limit == PUBLISHED_DISTANCE else PUBLISHED_REST


def motion_error(found: Tensor, true: Tensor) -> tuple[float, float]:
    """Angle in degrees and distance in the points' unit between two motions (4, 4)."""
    turn = found[:3, :3].double().T @ true[:3, :3].double()
    sine = torch.linalg.norm(turn - turn.T) / 8**0.5  # exact for small angles, where the cosine is not
    angle = torch.atan2(sine, (torch.trace(turn) - 1) / 2)
    return float(torch.rad2deg(angle)), float((found[:3, 3] - true[:3, 3]).norm())
