"""Finding the place of highest similarity, many points at once.

Source: `alibaba-damo-academy/alice`, matching files: similarity = half fine plus half coarse cosine, coarse maps raised
to the fine grid and normed again; the best fine cell wins.
Differs: one matrix product for all points instead of a search for each; by default coarse to fine: the most similar
coarse cells are found first, and only the fine cells around them are compared.

Symbols: P points, F width, (z, y, x) cells of the fine grid, (Z, Y, X) of the coarse grid.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

SEARCHED_CELLS = 8  # coarse cells whose surroundings are searched
LEAST_CELLS = 64  # coarse grids with fewer cells are searched in full


def sampled(maps: Tensor, places: Tensor) -> Tensor:
    """Unit vectors of a map at fractional cells, linear between cells, constant beyond the border.

    Args:
        maps: (F, z, y, x).
        places: (P, 3), order z, y, x.

    Returns:
        (P, F).
    """
    sizes = torch.tensor(maps.shape[1:], dtype=places.dtype, device=places.device)
    scaled = (2 * places + 1) / sizes - 1  # cell centres of torch's grid sampling
    grid = scaled.flip(-1).view(1, 1, 1, -1, 3).to(maps.dtype)
    found = F.grid_sample(maps[None], grid, mode="bilinear", padding_mode="border", align_corners=False)
    return F.normalize(found[0, :, 0, 0].T, dim=-1)


def raised(coarse: Tensor, shape: torch.Size) -> Tensor:
    """A coarse map on the fine grid, unit vectors, (F, z, y, x)."""
    return F.normalize(F.interpolate(coarse[None], size=shape[1:], mode="trilinear", align_corners=False)[0], dim=0)


def point_vectors(fine: Tensor, coarse: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
    """Fine and coarse vector of fine cells, (P, F) each.

    Args:
        cells: int64 (P, 3), order z, y, x.
    """
    places = cells.to(torch.float32)
    scale = torch.tensor([c / f for c, f in zip(coarse.shape[1:], fine.shape[1:], strict=True)], device=cells.device)
    z, y, x = cells.unbind(-1)
    return fine[:, z, y, x].T, sampled(coarse, (places + 0.5) * scale - 0.5)


def similarity(vectors: tuple[Tensor, Tensor], fine: Tensor, coarse: Tensor) -> Tensor:
    """Similarity of every point with every fine cell, (P, z, y, x)."""
    first = vectors[0] @ fine.flatten(1)
    second = vectors[1] @ raised(coarse, fine.shape).flatten(1)
    return (0.5 * first + 0.5 * second).view(-1, *fine.shape[1:])


def best_cells_full(vectors: tuple[Tensor, Tensor], fine: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
    """Most similar fine cell of each point over the whole grid: cells (P, 3) and scores (P,)."""
    flat = similarity(vectors, fine, coarse).flatten(1)
    score, place = flat.max(dim=1)
    return unravelled(place, fine.shape), score


def best_cells(
    vectors: tuple[Tensor, Tensor], fine: Tensor, coarse: Tensor, searched: int = SEARCHED_CELLS
) -> tuple[Tensor, Tensor]:
    """As :func:`best_cells_full`, searching around the most similar coarse cells only.

    Args:
        vectors: fine and coarse vectors of the points, (P, F) each.
        searched: number of coarse cells whose surroundings (half a cell beyond each face) are searched.
    """
    cells = coarse[0].numel()
    if cells <= LEAST_CELLS:
        return best_cells_full(vectors, fine, coarse)
    ratio = [f / c for f, c in zip(fine.shape[1:], coarse.shape[1:], strict=True)]
    top = (vectors[1] @ coarse.flatten(1)).topk(min(searched, cells), dim=1).indices  # (P, k)
    centre = unravelled(top, coarse.shape)  # (P, k, 3)
    reach = [torch.arange(-int(-(-step // 2)), int(1.5 * step) + 1, device=fine.device) for step in ratio]
    offsets = torch.stack(torch.meshgrid(*reach, indexing="ij"), dim=-1).reshape(-1, 3)
    step = torch.tensor(ratio, device=fine.device)
    limit = torch.tensor(fine.shape[1:], device=fine.device) - 1
    found = ((centre * step).long()[:, :, None] + offsets).flatten(1, 2)  # (P, n, 3)
    found = torch.minimum(found.clamp(min=0), limit)
    score = _scores_at(vectors, fine, coarse, found)
    best = score.max(dim=1)
    return found[torch.arange(len(found), device=found.device), best.indices], best.values


def _scores_at(vectors: tuple[Tensor, Tensor], fine: Tensor, coarse: Tensor, cells: Tensor) -> Tensor:
    """Similarity of each point with its own candidate cells (P, n, 3) -> (P, n)."""
    rows = fine.flatten(1).T  # (cells, F): a view; gathering rows keeps memory local
    flat = (cells[..., 0] * fine.shape[2] + cells[..., 1]) * fine.shape[3] + cells[..., 2]
    unique, inverse = flat.unique(return_inverse=True)
    near = rows[unique]  # (u, F)
    z, rest = unique // (fine.shape[2] * fine.shape[3]), unique % (fine.shape[2] * fine.shape[3])
    places = torch.stack([z, rest // fine.shape[3], rest % fine.shape[3]], dim=-1)
    scale = torch.tensor([c / f for c, f in zip(coarse.shape[1:], fine.shape[1:], strict=True)], device=fine.device)
    far = sampled(coarse, (places + 0.5) * scale - 0.5)  # (u, F)
    table = 0.5 * vectors[0] @ near.T + 0.5 * vectors[1] @ far.T  # (P, u)
    return table.gather(1, inverse.view(len(flat), -1))


def unravelled(place: Tensor, shape: torch.Size) -> Tensor:
    """Flat index -> (z, y, x) cells of a map (F, z, y, x)."""
    Y, X = shape[2], shape[3]
    return torch.stack([place // (Y * X), place // X % Y, place % X], dim=-1)


def one_by_one(vectors: tuple[Tensor, Tensor], fine: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
    """The published way, for comparison: a search over the whole volume for each point."""
    cells, scores = [], []
    for near, far in itertools.zip_longest(*vectors):
        cell, score = best_cells_full((near[None], far[None]), fine, coarse)
        cells.append(cell[0])
        scores.append(score[0])
    return torch.stack(cells), torch.stack(scores)
