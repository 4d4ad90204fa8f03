"""What a quantiser made of a clip: its codes over time, which frames were hidden, and which codes were guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repcore.interfaces import Picture
from repcore_audio.rendering.recordings import coloured, inline_image

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

STRIP_STYLE = "width:100%;height:1.4rem;image-rendering:pixelated"
ROW_STYLE = "margin:0 0 .3rem;font-size:.8rem"
SHOWN, RIGHT, WRONG = (225, 225, 225), (33, 145, 60), (200, 60, 40)
GOLDEN_ANGLE = 0.618033988749895  # codes with near numbers get far colours


def codes_picture(spectrogram: Tensor, ids: Tensor, guessed: Tensor, hidden: Tensor, words: str) -> Picture:
    """The spectrogram above one strip a group of its codes, and one of the hidden frames (green: code guessed).

    Args:
        spectrogram: float (T, F).
        ids / guessed: int64 (N, G).
        hidden: bool (N,).
        words: how the codes are used.
    """
    import numpy as np

    image = spectrogram.detach().float().cpu().T.flip(0).numpy()
    codes, guesses, masked = (one.detach().cpu().numpy() for one in (ids, guessed, hidden))
    right = (codes == guesses).all(1)
    marks = np.where(masked[:, None], np.where(right[:, None], RIGHT, WRONG), SHOWN)
    rows = [("clip", inline_image(coloured(image, (float(image.min()), float(image.max()))), "spectrogram"))]
    for group in range(codes.shape[1]):
        name = "codes" if codes.shape[1] == 1 else f"codes of group {group + 1}"
        rows.append((name, inline_image(code_colours(codes[:, group])[None], name, STRIP_STYLE)))
    rows.append(("hidden frames", inline_image(marks.astype(np.uint8)[None], "hidden frames", STRIP_STYLE)))
    text = f"{int(masked.sum())} of {len(masked)} frames hidden, the code of {int((right & masked).sum())} guessed"
    html = "".join(f'<div style="{ROW_STYLE}">{name}{image}</div>' for name, image in rows)
    return Picture(html=f'<div style="width:100%">{html}<div>{text}; {words}</div></div>', alt=f"{text}; {words}")


def code_colours(ids: np.ndarray) -> np.ndarray:
    """A colour for every code, uint8 (..., 3)."""
    import numpy as np

    turn = (ids[..., None] * GOLDEN_ANGLE + np.array([0.0, 1 / 3, 2 / 3])) % 1.0
    return (70 + 170 * (0.5 + 0.5 * np.cos(2 * np.pi * turn))).round().astype(np.uint8)
