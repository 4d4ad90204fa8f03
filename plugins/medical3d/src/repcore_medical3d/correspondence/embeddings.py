"""Correspondence by embeddings: of the anatomical-embedding network, or of an encoder's own dense features.

Embeddings of a scan are computed once and kept, in memory and on request in a folder of safetensors (half precision,
with affine and the network's identity), never as pickles.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

from repcore.checkpoints.content import write_tensors
from repcore.errors import DataError
from repcore.files import written_whole
from repcore.interfaces import Sample
from repcore_medical3d.correspondence.anatomical_embedding import (
    FINE_STRIDE,
    AnatomicalEmbedding,
    embed,
    embedding_input,
)
from repcore_medical3d.correspondence.backends import Matches
from repcore_medical3d.correspondence.matching import best_cells, best_cells_full, point_vectors
from repcore_medical3d.encoders.volume_backbone import VolumeBackbone
from repcore_medical3d.formats.volumes import Grid, Volume
from repcore_medical3d.preprocessors.volume_resampling import oriented_grid, resample
from repcore_medical3d.preprocessors.volume_sliding import sliding_features
from repcore_medical3d.preprocessors.volumes import VolumePreprocessor, scan_key

PUBLISHED_SPACING_MM = 2.0
PUBLISHED_ORIENTATION = "LPS"
PUBLISHED_SCORE, LIGHT_SCORE = 0.7, 0.5
KEPT = 64  # scans whose embeddings stay in memory


@dataclass(frozen=True, slots=True)
class Embedded:
    """Fine and coarse unit vectors of a scan, (F, z, y, x); ``grid`` is the (x, y, z) lattice of the fine cells."""

    fine: Tensor
    coarse: Tensor
    grid: Grid


class EmbeddingStore:
    """Embeddings of scans, each computed once.

    Args:
        network: what embeds.
        identity: sha256 of the network's weights: embeddings of another network are never mixed in.
        spacing_mm: of the network's input.
        preprocessor: scales MR scans; None takes Hounsfield units as the published network does.
        folder: where embeddings are kept; None keeps them in memory only.
    """

    def __init__(
        self,
        network: AnatomicalEmbedding,
        identity: str,
        *,
        spacing_mm: float = PUBLISHED_SPACING_MM,
        preprocessor: VolumePreprocessor | None = None,
        folder: Path | None = None,
    ) -> None:
        self.network, self.identity, self.spacing_mm = network, identity, spacing_mm
        self.preprocessor, self.folder = preprocessor, folder
        self._kept: OrderedDict[str, Embedded] = OrderedDict()

    def __call__(self, sample: Sample) -> Embedded:
        known = scan_key(sample)
        if known not in self._kept:
            path = self._path(sample)
            found = self._read(path) if path is not None and path.is_file() else None
            if found is None:
                found = self._computed(sample)
                if path is not None:
                    self._write(path, found)
            self._kept[known] = found
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return self._kept[known]

    def _path(self, sample: Sample) -> Path | None:
        if self.folder is None:
            return None
        key = sha256(f"{scan_key(sample)}|{self.identity}|{self.spacing_mm}".encode()).hexdigest()[:12]
        return self.folder / f"{re.sub(r'[^A-Za-z0-9._-]+', '_', sample.id)[:60]}-{key}.safetensors"

    def _computed(self, sample: Sample) -> Embedded:
        grid, volume = network_input(sample, self.spacing_mm, self.preprocessor)
        fine, coarse = embed(self.network, volume)
        return Embedded(fine, coarse, fine_grid(grid, fine))

    def _write(self, path: Path, found: Embedded) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {
            "fine": found.fine.half().contiguous(),
            "coarse": found.coarse.half().contiguous(),
            "affine": torch.as_tensor(found.grid.affine),
        }
        with written_whole(path, path.with_suffix(".part")) as part:
            write_tensors(part, tensors, {"network": self.identity})

    def _read(self, path: Path) -> Embedded:
        with safe_open(path, framework="pt") as file:
            fine, coarse, affine = (file.get_tensor(name) for name in ("fine", "coarse", "affine"))
        unit = [F.normalize(one.float(), dim=0) for one in (fine, coarse)]
        shape = (int(fine.shape[3]), int(fine.shape[2]), int(fine.shape[1]))
        return Embedded(unit[0], unit[1], Grid(affine.numpy(), shape))


def network_input(sample: Sample, spacing_mm: float, preprocessor: VolumePreprocessor | None) -> tuple[Grid, Tensor]:
    """The (x, y, z) grid of the network's input and its values (Z, Y, X)."""
    volume: Volume = sample.inputs
    grid = oriented_grid(volume.grid, PUBLISHED_ORIENTATION, (spacing_mm,) * 3)
    if preprocessor is None:
        values = embedding_input(torch.from_numpy(resample(volume, grid, fill=-1024.0)))
    else:
        scaled = Volume(preprocessor.prepared(sample).values[0].numpy(), preprocessor.grid(volume).affine)
        values = embedding_input(torch.from_numpy(resample(scaled, grid)), (0.0, 1.0))
    return grid, values.permute(2, 1, 0).contiguous()


def fine_grid(grid: Grid, fine: Tensor) -> Grid:
    """The lattice of fine cells: cell c covers voxels 2c and 2c + 1, its place is between them."""
    affine = grid.affine.copy()
    step = FINE_STRIDE[0]
    affine[:3, :3] *= step
    affine[:3, 3] = grid.world(np.full(3, (step - 1) / 2))
    return Grid(affine, (int(fine.shape[3]), int(fine.shape[2]), int(fine.shape[1])))


class EmbeddingCorrespondence:
    """The most similar place by fine and coarse embedding.

    Args:
        store: embeddings of scans.
        least_score: from where on a match counts; 0.7 for the published network.
        is_exhaustive: compare with every cell instead of coarse to fine.
    """

    def __init__(
        self, store: EmbeddingStore, *, least_score: float = PUBLISHED_SCORE, is_exhaustive: bool = False
    ) -> None:
        self.store, self.least_score, self.is_exhaustive = store, least_score, is_exhaustive

    def match(self, a: Sample, b: Sample, points_mm: np.ndarray) -> Matches:
        first, second = self.store(a), self.store(b)
        cells = nearest_cells(first.grid, points_mm)
        vectors = point_vectors(first.fine, first.coarse, cells)
        search = best_cells_full if self.is_exhaustive else best_cells
        found, score = search(vectors, second.fine, second.coarse)
        return Matches(second.grid.world(found.flip(-1).numpy()), score.numpy().astype(np.float64))


def nearest_cells(grid: Grid, points_mm: np.ndarray) -> Tensor:
    """Cells (P, 3) in order z, y, x that contain world points.

    Raises:
        DataError: a point lies outside the scan by more than a cell.
    """
    voxels = grid.voxels(points_mm)
    limit = np.asarray(grid.shape) - 1
    outside = ((voxels < -1) | (voxels > limit + 1)).any(axis=-1)
    if outside.any():
        point = ", ".join(f"{value:.1f}" for value in np.asarray(points_mm)[outside][0])
        low, high = grid.world(np.zeros(3)), grid.world(limit)
        raise DataError(
            f"the point {point} mm lies outside the scan",
            scan_reaches_from=np.minimum(low, high).round(1).tolist(),
            to=np.maximum(low, high).round(1).tolist(),
        )
    nearest = np.clip(np.round(voxels), 0, limit).astype(np.int64)
    return torch.from_numpy(nearest[:, ::-1].copy())


class SelfCorrespondence:
    """Dense features of a trained encoder, the mean similarity of two stages; the score is the cycle's.

    Args:
        encoder: a backbone of volumes, in eval mode while it embeds.
        preprocessor: of the same model.
        stages: which two maps of the pyramid.
        reach_mm: cycle error at which the score is 0; no error scores 1.
    """

    least_score = 0.5

    def __init__(
        self,
        encoder: nn.Module,
        preprocessor: VolumePreprocessor,
        stages: tuple[int, int] = (1, 2),
        reach_mm: float = 20.0,
    ) -> None:
        self.encoder, self.preprocessor, self.stages, self.reach_mm = encoder, preprocessor, stages, reach_mm
        self._kept: OrderedDict[str, Embedded] = OrderedDict()

    def match(self, a: Sample, b: Sample, points_mm: np.ndarray) -> Matches:
        found = self._matched(a, b, points_mm)
        back = self._matched(b, a, found)
        error = np.linalg.norm(back - points_mm, axis=-1)
        return Matches(found, np.clip(1.0 - error / self.reach_mm, -1.0, 1.0))

    def _matched(self, a: Sample, b: Sample, points_mm: np.ndarray) -> np.ndarray:
        first, second = self._embedded(a), self._embedded(b)
        cells = nearest_cells(first.grid, points_mm)
        vectors = point_vectors(first.fine, first.coarse, cells)
        found, _ = best_cells_full(vectors, second.fine, second.coarse)
        return second.grid.world(found.flip(-1).numpy())

    @torch.no_grad()
    def _embedded(self, sample: Sample) -> Embedded:
        known = scan_key(sample)
        if known not in self._kept:
            backbone: VolumeBackbone = self.encoder  # type: ignore[assignment]  # what the caller loads
            maps = sliding_features(backbone, self.preprocessor, sample, self.stages)
            (fine, grid), (coarse, _) = maps
            centred = [F.normalize(one - one.mean(dim=(1, 2, 3), keepdim=True), dim=0) for one in (fine, coarse)]
            # maps of the pyramid run along the model's axes: (x, y, z) becomes (z, y, x)
            turned = [one.permute(0, 3, 2, 1).contiguous() for one in centred]
            self._kept[known] = Embedded(turned[0], turned[1], grid)
        return self._kept[known]
