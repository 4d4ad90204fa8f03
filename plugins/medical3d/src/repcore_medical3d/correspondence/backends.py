"""Back-ends of the correspondence interface: where does a point of scan A lie in scan B?

All take and give millimetres of the world and share ``match(a, b, points_mm) -> Matches``. Which one is right depends
on the data: ``Coordinates`` for scans that are aligned already, ``Registration`` for one region in different positions,
``EmbeddingCorrespondence`` (published network or one trained on own scans) for whole bodies.

Symbols: P points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from repcore.interfaces import Sample
from repcore_medical3d.preprocessors.volumes import PreparedVolume, VolumePreprocessor, scan_key

BODY_ABOVE = 0.02  # scaled value that counts as body
COARSE_EDGE = 32  # voxels along the longest axis while registering
REGISTRATION_STEPS, REGISTRATION_RATE = 40, 0.02
LOCAL_EDGE = 9  # voxels of the neighbourhood whose correlation is the score


@dataclass(frozen=True, slots=True)
class Matches:
    """``points_mm`` float64 (P, 3) in the second scan; ``score`` (P,) in [-1, 1]."""

    points_mm: np.ndarray
    score: np.ndarray


class Correspondence(Protocol):
    """What everything downstream needs. ``least_score``: from where on a match counts as found."""

    least_score: float

    def match(self, a: Sample, b: Sample, points_mm: np.ndarray) -> Matches: ...


def cycle_error_mm(backend: Correspondence, a: Sample, b: Sample, points_mm: np.ndarray, found: Matches) -> np.ndarray:
    """Distance (P,) between points and where their matches lead back to."""
    back = backend.match(b, a, found.points_mm)
    return np.asarray(np.linalg.norm(back.points_mm - points_mm, axis=-1))


class Coordinates:
    """The same relative place in the box around the body; right for scans of one organ or aligned brains.

    Args:
        preprocessor: prepares the scans; its orientation makes the boxes comparable.
    """

    least_score = 0.0

    def __init__(self, preprocessor: VolumePreprocessor) -> None:
        self.preprocessor = preprocessor
        self._boxes: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def match(self, a: Sample, b: Sample, points_mm: np.ndarray) -> Matches:
        first, second = self.preprocessor.grid(a.inputs), self.preprocessor.grid(b.inputs)
        low_a, size_a = self._box(a)
        low_b, size_b = self._box(b)
        relative = (first.voxels(points_mm) - low_a) / size_a
        return Matches(second.world(low_b + relative * size_b), np.ones(len(points_mm)))

    def _box(self, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
        """First voxel and extent of the body on the model's grid."""
        known = scan_key(sample)
        if known not in self._boxes:
            self._boxes[known] = body_box(self.preprocessor.prepared(sample).values[0])
        return self._boxes[known]


def body_box(values: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """First voxel and extent in voxels of what is brighter than nothing; the whole scan if nothing is."""
    places = torch.nonzero(values > BODY_ABOVE)
    if not len(places):
        return np.zeros(3), np.asarray(values.shape, np.float64)
    low, high = places.min(dim=0).values.numpy(), places.max(dim=0).values.numpy()
    return low.astype(np.float64), np.maximum(high - low, 1).astype(np.float64)


class Registration:
    """One affine map for a pair: from moments, then a few gradient steps on the correlation of coarse scans.

    Args:
        preprocessor: prepares the scans.
        steps: gradient steps.
    """

    least_score = 0.3

    def __init__(self, preprocessor: VolumePreprocessor, steps: int = REGISTRATION_STEPS) -> None:
        self.preprocessor, self.steps = preprocessor, steps
        self._maps: dict[tuple[str, str], np.ndarray] = {}

    def match(self, a: Sample, b: Sample, points_mm: np.ndarray) -> Matches:
        scans = self.preprocessor.prepared(a), self.preprocessor.prepared(b)
        key = (a.id, b.id)
        if key not in self._maps:
            # each direction is registered for itself, so that the cycle error says something
            self._maps[key] = register(scans[0], scans[1], self.steps)
        affine = self._maps[key]
        found = points_mm @ affine[:3, :3].T + affine[:3, 3]
        return Matches(found, local_correlation(scans[0], scans[1], points_mm, found))


def register(a: PreparedVolume, b: PreparedVolume, steps: int = REGISTRATION_STEPS) -> np.ndarray:
    """Affine (4, 4) from millimetres of A to millimetres of B."""
    centre_a, spread_a = moments(a)
    centre_b, spread_b = moments(b)
    coarse = coarse_points(a)
    values = sampled_at(a, coarse)
    scale = torch.as_tensor(spread_b / spread_a)
    linear = torch.diag(scale).requires_grad_()
    shift = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    from_a, to_b = torch.as_tensor(centre_a), torch.as_tensor(centre_b)
    size = float(spread_a.mean())
    optimiser = torch.optim.Adam([linear, shift], lr=REGISTRATION_RATE)
    for _ in range(steps):
        optimiser.zero_grad()
        moved = (coarse - from_a) @ linear.T + to_b + shift * size
        loss = -correlation(values, sampled_at(b, moved))
        loss.backward()
        optimiser.step()
    affine = np.eye(4)
    affine[:3, :3] = linear.detach().numpy()
    affine[:3, 3] = centre_b + size * shift.detach().numpy() - affine[:3, :3] @ centre_a
    return affine


def moments(scan: PreparedVolume) -> tuple[np.ndarray, np.ndarray]:
    """Centre of mass and spread along the world's axes, millimetres."""
    points = coarse_points(scan)
    mass = sampled_at(scan, points).clamp(min=0) + 1e-6
    mass = (mass / mass.sum())[:, None]
    centre = (mass * points).sum(dim=0)
    spread = ((mass * (points - centre) ** 2).sum(dim=0)).sqrt()
    return centre.numpy(), spread.numpy()


def coarse_points(scan: PreparedVolume) -> Tensor:
    """World coordinates float64 (N, 3) of an even choice of voxels."""
    step = max(1, round(max(scan.grid.shape) / COARSE_EDGE))
    axes = [np.arange(step // 2, size, step) for size in scan.grid.shape]
    voxels = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    return torch.as_tensor(scan.grid.world(voxels))


def sampled_at(scan: PreparedVolume, points_mm: Tensor) -> Tensor:
    """Values (N,) at world coordinates, 0 outside; differentiable in the points."""
    inverse = torch.as_tensor(np.linalg.inv(scan.grid.affine))
    voxels = points_mm @ inverse[:3, :3].T + inverse[:3, 3]
    sizes = torch.tensor(scan.grid.shape, dtype=torch.float64)
    grid = ((2 * voxels + 1) / sizes - 1).flip(-1).view(1, 1, 1, -1, 3)
    found = F.grid_sample(scan.values[None].double(), grid, mode="bilinear", align_corners=False)
    return found.view(-1)


def correlation(one: Tensor, other: Tensor) -> Tensor:
    """Pearson correlation along the last axis."""
    first, second = one - one.mean(-1, keepdim=True), other - other.mean(-1, keepdim=True)
    return (first * second).sum(-1) / (first.norm(dim=-1) * second.norm(dim=-1) + 1e-9)


def local_correlation(a: PreparedVolume, b: PreparedVolume, points_a: np.ndarray, points_b: np.ndarray) -> np.ndarray:
    """Correlation (P,) of the neighbourhoods of matched points."""
    reach = LOCAL_EDGE // 2
    axis = np.arange(-reach, reach + 1)
    offsets = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    found = []
    for scan, points in ((a, points_a), (b, points_b)):
        around = points[:, None] + offsets * np.asarray(scan.grid.spacing_mm)
        found.append(sampled_at(scan, torch.as_tensor(around.reshape(-1, 3))).view(len(points), -1))
    return np.asarray(correlation(found[0], found[1]))
