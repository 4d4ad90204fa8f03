"""Spectrogram patches: grid arithmetic, clips of different lengths side by side, and re-gridding of positions.

Tokens run along time inside the lowest mel band first, then jump to the next band: token p = f * columns + t.
A clip with fewer columns than its batch mates has its own numbering, so its tokens are gathered to the front and
padding is always at the end; a clip's features never depend on its mates.

Symbols: B clips, F rows (mel bands) and T columns of the patch grid, P = F x T patches, E width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from repcore.errors import ShapeError


def grid_size(length: int, patch: int, stride: int) -> int:
    """Patches along one axis."""
    return (length - patch) // stride + 1


@dataclass(frozen=True, slots=True)
class PatchLayout:
    """Which token of each clip lies where.

    Args:
        rows: mel bands F.
        columns: columns of each clip.
        source: int64 (B, P), place of a token in the (F, T) grid of the padded batch, flattened; None when all clips
            have the same length, and then tokens simply are the flattened grid.
        valid: bool (B, P), True = real token; None = all.
        position: int64 (B, P, 2), row and column of each token.
        frames: of each clip, as the encoder gets them.
    """

    rows: int
    columns: tuple[int, ...]
    source: Tensor | None
    valid: Tensor | None
    position: Tensor
    frames: tuple[int, ...] = ()

    def arrange(self, grid: Tensor) -> Tensor:
        """(B, F * T, X) in grid order to (B, P, X) in token order."""
        if self.source is None:
            return grid
        return grid.gather(1, self.source[..., None].expand(-1, -1, grid.shape[-1]))


def plan_patches(
    rows: int, columns: tuple[int, ...], device: torch.device, frames: tuple[int, ...] = ()
) -> PatchLayout:
    """Layout of a batch whose clips have these many columns.

    Raises:
        ShapeError: a clip is shorter than one patch.
    """
    if min(columns, default=1) < 1 or rows < 1:
        raise ShapeError("a clip is shorter than one patch", rows=rows, columns=min(columns, default=0))
    longest = max(columns, default=1)
    number = torch.arange(rows * longest, device=device).expand(len(columns), -1)  # (B, P)
    if len(set(columns)) <= 1:
        place = torch.stack([number // longest, number % longest], dim=-1)
        return PatchLayout(rows, columns, None, None, place, frames)
    own = torch.tensor(columns, device=device)[:, None]
    row, column = number // own, number % own
    valid = row < rows
    source = torch.where(valid, row * longest + column, 0)
    return PatchLayout(rows, columns, source, valid, torch.stack([row, column], dim=-1) * valid[..., None], frames)


def column_of_frames(layout: PatchLayout, patch: int, stride: int, device: torch.device) -> Tensor:
    """The patch column of every frame, clip after clip, counted over the (B, T) grid of the padded batch: int64 (sum of
    frames,). Of columns that overlap, the one whose middle is nearest; -1 where no patch holds the frame.

    Args:
        patch / stride: of the columns, in frames.
    """
    longest = max(layout.columns, default=1)
    parts = []
    for clip, (columns, frames) in enumerate(zip(layout.columns, layout.frames, strict=True)):
        number = torch.arange(frames, device=device)
        nearest = ((2 * number + 1 - patch + stride) // (2 * stride)).clamp(0, columns - 1)
        held = (number >= nearest * stride) & (number < nearest * stride + patch)
        parts.append(torch.where(held, nearest + clip * longest, -1))
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.int64, device=device)


def regrid_positions(table: Tensor, old_grid: tuple[int, int], new_grid: tuple[int, int]) -> Tensor:
    """Fit a table of learned positions to another grid, first along time and then along frequency.

    Source: method card of SSAMBA, section 2.6; public repository `SiavashShams/ssamba`, `amba_models.py`.
    Differs: the reference crops frequency up to the number of time steps and assumes eight bands.

    Args:
        table: float (1 + P, E), class token first.
        old_grid / new_grid: (F, T). A shorter axis is cropped about its centre, a longer one interpolated linearly.

    Returns:
        float (1 + P', E).
    """
    if old_grid == new_grid:
        return table
    grid = table[1:].T.unflatten(1, old_grid)[None]  # (1, E, F, T)
    for axis in (3, 2):
        have, want = grid.shape[axis], new_grid[axis - 2]
        if want < have:
            grid = grid.narrow(axis, have // 2 - want // 2, want)
        elif want > have:
            size = (grid.shape[2], want) if axis == 3 else (want, grid.shape[3])
            grid = F.interpolate(grid, size=size, mode="bilinear", align_corners=False)
    return torch.cat([table[:1], grid[0].flatten(1).T])


def patch_pixels(spectrogram: Tensor, patch: tuple[int, int], stride: tuple[int, int]) -> Tensor:
    """Every patch as a vector, ordered by mel bin and then by frame inside the patch.

    Args:
        spectrogram: (B, frames, mel bins).
        patch / stride: (mel bins, frames).

    Returns:
        (B, F * T, mel bins of a patch x frames of a patch), in grid order.
    """
    image = spectrogram.transpose(1, 2)  # (B, mel, frames)
    windows = image.unfold(1, patch[0], stride[0]).unfold(2, patch[1], stride[1])  # (B, F, T, mel, frames)
    return windows.flatten(3).flatten(1, 2)
