"""How far found motions are from a known one, and which of the matches were right.

Symbols: N matches.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from repcore.errors import DataError
from repcore_pointcloud.alignment.motions import motion_error
from repcore_pointcloud.alignment.registration import Registration
from repcore_pointcloud.formats.match_set import MatchSet

RIGID = 1e-3  # of a rotation's product with itself


@dataclass(frozen=True, slots=True)
class Errors:
    """One way beside the truth.

    Args:
        degrees / distance: between the motions; the distance is of their shifts, in the files' unit.
        precision / recall / f1: of the matches that it says agree, against those within the inlier distance under the
            truth; NaN where there is nothing to divide by.
    """

    degrees: float
    distance: float
    precision: float
    recall: float
    f1: float


def read_motion(path: Path) -> np.ndarray:
    """A motion float64 (4, 4) from a JSON file (a list, or under ``transform``) or a text of 12 or 16 numbers.

    Raises:
        DataError: it cannot be read, or is no rigid motion.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if text.lstrip()[:1] in "{[":
            value = json.loads(text)
            numbers = np.array(value["transform"] if isinstance(value, dict) else value, np.float64).reshape(-1)
        else:
            numbers = np.array(text.replace(",", " ").split(), np.float64)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} holds no motion", reason=error, expected="4x4 numbers, or JSON with 'transform'"
        ) from error
    if len(numbers) not in (12, 16):
        raise DataError(f"{path} holds {len(numbers)} numbers", expected="4x4, row by row")
    motion = np.eye(4)
    motion.reshape(-1)[: len(numbers)] = numbers
    turn = motion[:3, :3]
    if not np.isfinite(motion).all() or np.abs(turn @ turn.T - np.eye(3)).max() > RIGID or np.linalg.det(turn) < 0:
        raise DataError(f"{path} is no rigid motion", expected="a rotation and a shift: target = R source + t")
    return motion


def errors_of(found: Registration, truth: np.ndarray) -> dict[str, Errors]:
    """Every way beside the truth, by name; the written motion is under ``written``."""
    source, target = found.matched
    right = MatchSet(source, target, truth).distances() < found.inlier_distance
    result = {}
    for name, one in found.found.items():
        result[name] = _errors(one.motion, truth, one.solution.inliers.cpu().numpy(), right)
    best = found.found[found.method].solution.inliers.cpu().numpy()
    return {**result, "written": _errors(found.motion, truth, best, right)}


def _errors(motion: np.ndarray, truth: np.ndarray, said: np.ndarray, right: np.ndarray) -> Errors:
    degrees, distance = motion_error(torch.from_numpy(motion), torch.from_numpy(truth))
    both = float((said & right).sum())
    precision = both / said.sum() if said.any() else float("nan")
    recall = both / right.sum() if right.any() else float("nan")
    f1 = 2 * both / (said.sum() + right.sum()) if said.any() or right.any() else float("nan")
    return Errors(degrees, distance, float(precision), float(recall), float(f1))
