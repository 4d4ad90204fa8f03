"""Which modules of a network tell an attribute: codes that only positive examples show, with a permutation test.

Our reading of O'Neill and Bui 2024 (arXiv 2405.12522). Symbols: P positive and N negative examples, H modules.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NO_CODE = -1
ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class ModuleScores:
    """One entry a module (H,).

    Args:
        score: share of the codes seen that only positives show.
        weight: softmax of the scores, for display.
        p_value: share of permutations that reach the score.
        edges: (H, H) share of positives in which both modules show a code that only positives have.
    """

    score: np.ndarray
    weight: np.ndarray
    p_value: np.ndarray
    edges: np.ndarray


def contrast(positive: np.ndarray, negative: np.ndarray, permutations: np.ndarray) -> ModuleScores:
    """Compare codes (P, H) and (N, H); -1 = no feature fired.

    Args:
        permutations: int (R, P + N) orders of [positive; negative]; the first P of each play the positives.
    """
    score, only = _scores(positive, negative)
    every = np.concatenate([positive, negative])
    reached = np.zeros_like(score)
    for order in permutations:
        mixed = every[order]
        reached += _scores(mixed[: len(positive)], mixed[len(positive) :])[0] >= score - ROUNDING
    shown = np.stack([np.isin(positive[:, module], list(codes)) for module, codes in enumerate(only)], axis=1)
    weight = np.exp(score - score.max())
    return ModuleScores(
        score,
        weight / weight.sum(),
        (1.0 + reached) / (1.0 + len(permutations)),
        shown.astype(np.float64).T @ shown / len(positive),
    )


def holm(p_values: np.ndarray) -> np.ndarray:
    """p-values adjusted for looking at many modules, (H,)."""
    order = np.argsort(p_values)
    count = len(p_values)
    stepped = np.maximum.accumulate(p_values[order] * (count - np.arange(count)))
    result = np.empty(count)
    result[order] = np.minimum(stepped, 1.0)
    return result


def _scores(positive: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, list[set[int]]]:
    """Scores (H,), and for each module the codes that only positives show."""
    scores, only = [], []
    for module in range(positive.shape[1]):
        here = {int(code) for code in positive[:, module] if code != NO_CODE}
        there = {int(code) for code in negative[:, module] if code != NO_CODE}
        only.append(here - there)
        scores.append(len(here - there) / len(here | there) if here | there else 0.0)
    return np.asarray(scores), only
