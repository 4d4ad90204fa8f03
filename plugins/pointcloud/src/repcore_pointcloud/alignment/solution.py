"""What a way to find a motion answers, and which matches it may use.

Symbols: N matches.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from repcore_pointcloud.alignment.motions import refine, residuals

FEWEST = 3


@dataclass(slots=True)
class Solution:
    """A motion and what speaks for it.

    Args:
        matrix: (4, 4), source to target; the identity where none was found.
        inliers: bool (N,), matches within the inlier distance; none where there is no motion.
        fitness: see :func:`repcore_pointcloud.alignment.motions.fitness`, before refinement.
        success: whether there is a motion.
        rounds: of refinement that moved it.
        before: (4, 4) before refinement.
        facts: of the method alone (hypotheses tried, seeds), for people.
    """

    matrix: Tensor
    inliers: Tensor
    fitness: float
    success: bool
    rounds: int = 0
    before: Tensor | None = None
    facts: dict[str, int] = field(default_factory=dict)


def no_solution(count: int) -> Solution:
    """The identity without inliers, for matches that determine no motion."""
    return Solution(torch.eye(4), torch.zeros(count, dtype=torch.bool), 0.0, False)


def finite_matches(source: Tensor, target: Tensor) -> Tensor:
    """Rows whose ends are all finite, int64."""
    return (source.isfinite().all(1) & target.isfinite().all(1)).nonzero()[:, 0]


def refined(matrix: Tensor, value: float, source: Tensor, target: Tensor, limit: float, rounds: int) -> Solution:
    """A motion after refinement, with the matches that agree with it."""
    found = refine(matrix, source, target, limit, rounds)
    inliers = residuals(found.matrix, source, target) < limit
    return Solution(found.matrix, inliers, value, True, found.rounds, matrix)


def over_all(solution: Solution, rows: Tensor, count: int) -> Solution:
    """A solution of some matches as one of all; the others are no inliers."""
    inliers = torch.zeros(count, dtype=torch.bool)
    inliers[rows.cpu()] = solution.inliers.cpu()
    solution.inliers = inliers
    if len(rows) < count:
        solution.facts["not_finite"] = count - len(rows)
    return solution
