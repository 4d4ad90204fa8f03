"""Codes of a clip as the spectrogram that they stand for, and as sound."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from repcore.interfaces import Picture
from repcore_audio.rendering.recordings import coloured, inline_image, wav

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

ROW_STYLE = "margin:0 0 .3rem;font-size:.8rem"


def token_image(ids: Tensor, patches: Tensor, rows: int, patch: tuple[int, int]) -> Tensor:
    """Normalised log-mel values (mel bins, frames), lowest bin first, of codes (L,).

    Args:
        patches: the patch of every code, (V, X).
        patch: its mel bins and frames.
    """
    found = patches[ids.clamp(max=len(patches) - 1)]  # (L, X)
    grid = found.unflatten(0, (rows, -1)).unflatten(-1, patch)  # (F, T, bins, frames)
    return grid.permute(0, 2, 1, 3).flatten(2).flatten(0, 1)


def filled_in_picture(
    ids: Tensor, guessed: Tensor, hidden: Tensor, *, rows: int, patches: Tensor, front_end: Tensor | None
) -> Picture:
    """Three spectrograms: the codes, the visible ones, and with the hidden ones filled in, with a player.

    Args:
        ids / guessed: int64 (L,).
        hidden: bool (L,).
        rows: bands of the grid.
        front_end: numbers of the filter bank (1, 7); None = no sound.
    """
    patch = patch_of(patches.shape[1], rows, front_end)
    whole = token_image(ids, patches, rows, patch).cpu()
    filled = token_image(guessed, patches, rows, patch).cpu()
    low, high = float(whole.min()), float(whole.max())
    shade = hidden.view(rows, -1).repeat_interleave(patch[0], 0).repeat_interleave(patch[1], 1).cpu()
    right = int((ids == guessed)[hidden].sum())
    words = f"{int(hidden.sum())} of {len(ids)} tokens hidden, the code of {right} guessed"
    pictures = (
        ("the clip in its codes", whole),
        ("visible", whole.masked_fill(shade, low)),
        ("hidden tokens filled in", filled),
    )
    html = "".join(
        f'<div style="{ROW_STYLE}">{name}{inline_image(coloured(image.flip(0).numpy(), (low, high)), name)}</div>'
        for name, image in pictures
    )
    player = "" if front_end is None else player_of(filled, front_end[0])
    return Picture(html=f'<div style="width:100%">{html}{player}</div>', alt=words)


def patch_of(size: int, rows: int, front_end: Tensor | None) -> tuple[int, int]:
    """Mel bins and frames of a patch of ``size`` numbers."""
    if front_end is None:
        side = round(size**0.5)
        return (side, side) if side * side == size else (1, size)
    bins = round(float(front_end[0, 1])) // rows
    return bins, size // bins


def sound_of_image(image: Tensor, front_end: Tensor) -> tuple[np.ndarray, int]:
    """Waveform and rate in Hz of normalised log-mel values (mel bins, frames)."""
    from repcore_audio.preprocessors.inversion import front_end_of, sound_of

    bank, mean, scale = front_end_of(front_end)
    return sound_of(image.T.double() * scale + mean, bank), bank.sample_rate_hz


def player_of(image: Tensor, front_end: Tensor) -> str:
    """An audio element with the sound of normalised log-mel values (mel bins, frames)."""
    data = base64.b64encode(wav(*sound_of_image(image, front_end))).decode()
    return f'<audio controls preload="none" style="width:100%" src="data:audio/wav;base64,{data}"></audio>'
