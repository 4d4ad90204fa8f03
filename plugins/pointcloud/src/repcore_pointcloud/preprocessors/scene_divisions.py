"""Ways to divide one scan for honest scores within it: blocks of the ground plane, and sectors about the sensor.

Features of a point know a neighbourhood around it, so parts that touch share what they see; a gap between them, whose
points belong to no part, keeps them apart.

Symbols: N points of the file.
"""

from __future__ import annotations

import numpy as np

from repcore.errors import ConfigError
from repcore.interfaces import Sample
from repcore_pointcloud.formats.scene import Scene
from repcore_pointcloud.preprocessors.scene import ScenePreprocessor
from repcore_pointcloud.preprocessors.scene_geometry import UP_AXES


def blocks(preprocessor: ScenePreprocessor, sample: Sample, level: str, detail: str) -> np.ndarray:
    """``blocks:SIDE[:GAP]`` in metres: squares of the ground plane, in map coordinates, so that the same place in two
    scans has the same name. Points nearer than GAP / 2 to a border are in none.

    Returns:
        str (N,), ``3_-2``; empty = in none.

    Raises:
        ConfigError: no side, or a gap that leaves nothing.
    """
    del level
    side, gap = _lengths("blocks", detail)
    if not 0 <= gap < side:
        raise ConfigError(f"--group blocks:{detail}: a gap of {gap:g} m leaves nothing of {side:g} m")
    plane = _plane(preprocessor, sample)
    place = np.floor(plane / side)
    border = np.minimum(plane - place * side, (place + 1) * side - plane).min(1)
    kept = np.isfinite(plane).all(1) & (border >= gap / 2)
    return _named(np.where(kept[:, None], place, 0).astype(np.int64), kept)


def sectors(preprocessor: ScenePreprocessor, sample: Sample, level: str, detail: str) -> np.ndarray:
    """``sectors:COUNT[:GAP]``: equal angles about the sensor, or about the middle of the points where no sensor is
    known; number 0 begins at the first axis. Points nearer than GAP / 2 metres to a border are in none.

    Returns:
        str (N,), ``0`` .. ``COUNT - 1``; empty = in none.

    Raises:
        ConfigError: fewer than two sectors.
    """
    del level
    count, gap = _lengths("sectors", detail)
    if count < 2 or count != int(count):
        raise ConfigError(f"--group sectors:{detail}: {count:g} is no number of sectors", expected="2 or more")
    plane = _plane(preprocessor, sample)
    finite = np.isfinite(plane).all(1)
    axes = list(UP_AXES[preprocessor.config.up][:2])
    stood = sample.inputs.viewpoint
    centre = np.median(plane[finite], axis=0) if stood is None else _scaled(preprocessor, sample.inputs, stood[None])[0]
    away = plane - (centre if stood is None else centre[axes])
    step = 2 * np.pi / count
    angle = np.where(finite, np.arctan2(away[:, 1], away[:, 0]) % (2 * np.pi), 0.0)
    place = np.floor(angle / step)
    near = np.minimum(angle - place * step, (place + 1) * step - angle)  # angle to the nearer border
    border = np.linalg.norm(away, axis=1) * np.sin(np.minimum(near, np.pi / 2))
    kept = finite & (border >= gap / 2)
    return _named(np.minimum(place, count - 1).astype(np.int64)[:, None], kept)


def _lengths(name: str, detail: str) -> tuple[float, float]:
    first, _, second = detail.partition(":")
    try:
        size, gap = float(first), float(second or 0)
    except ValueError:
        size, gap = -1.0, 0.0
    if not size > 0 or not gap >= 0:
        hint = "--group blocks:20:2 (metres: side, gap)" if name == "blocks" else "--group sectors:12:1 (number, gap)"
        raise ConfigError(f"--group {name}:{detail} is not understood", hint=hint)
    return size, gap


def _scaled(preprocessor: ScenePreprocessor, scene: Scene, points: np.ndarray) -> np.ndarray:
    """Map coordinates in metres, float64."""
    offset = 0.0 if scene.offset is None else scene.offset
    scaled: np.ndarray = (points.astype(np.float64) + offset) * preprocessor.config.unit_m
    return scaled


def _plane(preprocessor: ScenePreprocessor, sample: Sample) -> np.ndarray:
    """Coordinates in the ground plane (N, 2), metres."""
    if not isinstance(sample.inputs, Scene):
        raise ConfigError(f"{sample.id} is no scan as its file has it", got=type(sample.inputs).__name__)
    axes = list(UP_AXES[preprocessor.config.up][:2])
    return _scaled(preprocessor, sample.inputs, sample.inputs.points)[:, axes]


def _named(places: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Whole numbers (N, c) joined by underscores; empty where not kept."""
    distinct, index = np.unique(places, axis=0, return_inverse=True)
    names = np.asarray(["_".join(map(str, one)) for one in distinct.tolist()])
    return np.where(kept, names[index.reshape(-1)], "")
