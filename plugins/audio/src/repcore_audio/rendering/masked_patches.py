"""What masked spectrogram modelling heard, and what it made of the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repcore.interfaces import Picture
from repcore_audio.rendering.recordings import coloured, inline_image

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

ROW_STYLE = "margin:0 0 .3rem;font-size:.8rem"


def masked_picture(
    pixels: Tensor,
    redrawn: Tensor,
    hidden: Tensor,
    *,
    grid: tuple[int, int],
    patch: tuple[int, int],
    stride: tuple[int, int],
) -> Picture:
    """Three spectrograms in one scale: the clip, its visible patches, and these with the hidden ones redrawn.

    Args:
        pixels: (1, P, X), patches in grid order.
        redrawn: (1, M, X), predictions for the hidden patches.
        hidden: int64 (1, M), their places.
        grid: rows F and columns T of the patch grid, P = F x T.
        patch / stride: (mel bins, frames).
    """
    place = hidden[..., None].expand_as(redrawn)
    whole = laid_out(pixels, grid, patch, stride)
    bounds = (float(whole.min()), float(whole.max()))
    visible = pixels.scatter(1, place, pixels.new_full(redrawn.shape, bounds[0]))
    restored = pixels.scatter(1, place, redrawn.to(pixels.dtype))
    words = f"{hidden.shape[1]} of {pixels.shape[1]} patches hidden and redrawn"
    rows = (
        ("clip", whole),
        ("visible", laid_out(visible, grid, patch, stride)),
        ("hidden patches redrawn", laid_out(restored, grid, patch, stride)),
    )
    html = "".join(
        f'<div style="{ROW_STYLE}">{name}{inline_image(coloured(image, bounds), name)}</div>' for name, image in rows
    )
    return Picture(html=f'<div style="width:100%">{html}</div>', alt=words)


def laid_out(pixels: Tensor, grid: tuple[int, int], patch: tuple[int, int], stride: tuple[int, int]) -> np.ndarray:
    """Patches laid out again, low frequencies at the bottom; where they overlap, their mean."""
    import torch
    import torch.nn.functional as F

    height, width = ((grid[axis] - 1) * stride[axis] + patch[axis] for axis in (0, 1))
    columns = pixels.detach().float().cpu().transpose(1, 2)  # (1, X, P)
    total = F.fold(columns, (height, width), patch, stride=stride)
    times = F.fold(torch.ones_like(columns), (height, width), patch, stride=stride)
    image: np.ndarray = (total / times.clamp(min=1))[0, 0].flip(0).numpy()
    return image
