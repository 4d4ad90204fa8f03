"""What a sample of a scene holds.

Symbols: N points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Scene:
    """One scan or room.

    Args:
        points: float32 (N, 3) in the unit of the file.
        colours: float32 (N, 3) in [0, 1], or None.
        normals: float32 (N, 3), or None.
        intensity: float32 (N,), or None.
        viewpoint: float32 (3,), where the sensor stood, or None for fused scenes.
    """

    points: np.ndarray
    colours: np.ndarray | None = None
    normals: np.ndarray | None = None
    intensity: np.ndarray | None = None
    viewpoint: np.ndarray | None = None
