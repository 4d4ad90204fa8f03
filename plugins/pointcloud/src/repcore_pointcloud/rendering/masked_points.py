"""What masked point modelling saw, hid and redrew, side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from repcore.interfaces import Picture
from repcore_pointcloud.rendering.shapes import side_by_side, turntable

SIZE = 180  # a page carries six rows of four
VISIBLE, REDRAWN = 0, 1  # hues


@dataclass(frozen=True, slots=True)
class Redrawn:
    """One cloud in parts, each float32 (N, 3).

    Args:
        cloud: all points.
        visible / hidden: members of visible and of hidden middle tokens.
        drawn: what the model put where the hidden ones are.
        visible_tokens / tokens: how many middle tokens were visible, and all of them.
    """

    cloud: np.ndarray
    visible: np.ndarray
    hidden: np.ndarray
    drawn: np.ndarray
    visible_tokens: int
    tokens: int


def masked_picture(parts: Redrawn, name: str) -> Picture:
    """Cloud, visible and hidden neighbourhoods, and the visible ones with the redrawn hidden ones.

    Args:
        name: of the cloud.
    """
    hues = np.concatenate([np.full(len(parts.visible), VISIBLE), np.full(len(parts.drawn), REDRAWN)])
    radius = float(np.linalg.norm(parts.cloud, axis=1).max())

    def view(cloud: np.ndarray, words: str, hue: np.ndarray | None = None) -> Picture:
        return turntable(cloud, alt=f"{name}, {words}", hue=hue, size=SIZE, radius=radius)

    return side_by_side(
        [
            ("cloud", view(parts.cloud, "the cloud")),
            ("visible", view(parts.visible, f"visible: {parts.visible_tokens} of {parts.tokens} middle tokens")),
            ("hidden", view(parts.hidden, "hidden neighbourhoods")),
            ("redrawn", view(np.concatenate([parts.visible, parts.drawn]), "visible in blue, redrawn in orange", hues)),
        ]
    )
