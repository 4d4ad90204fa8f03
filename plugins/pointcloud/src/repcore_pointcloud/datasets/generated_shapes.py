"""Dataset ``pointcloud/shapes``: generated objects with known classes, for a first look only.

Twelve classes put together from boxes, cylinders, cones, ellipsoids and rings with random proportions, then turned
about the vertical, leaned, partly cut away and blurred. Proportions overlap between classes on purpose, so that extents
alone do not tell them apart. An object is a pure function of (seed, index).

Symbols: n points.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from repcore.data.generated import Generated
from repcore.errors import ConfigError
from repcore.interfaces import Sample
from repcore.specs import TargetSpec
from repcore_pointcloud.configs.shapes import GeneratedShapesConfig
from repcore_pointcloud.formats.points import PointCloud

TEST_SHARE = 5  # every fifth object


@dataclass(frozen=True, slots=True)
class Part:
    """A surface: ``draw(n, rng)`` gives points (n, 3) around the origin, ``place`` moves them; ``area`` weighs them."""

    draw: Callable[[int, np.random.Generator], np.ndarray]
    area: float
    place: tuple[float, float, float] = (0.0, 0.0, 0.0)


Maker = Callable[[np.random.Generator], list[Part]]


def _box(x: float, y: float, z: float, place: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Part:
    size = np.array([x, y, z])
    faces = np.array([y * z, x * z, x * y])

    def draw(n: int, rng: np.random.Generator) -> np.ndarray:
        axis = rng.choice(3, n, p=faces / faces.sum())
        points = rng.uniform(-0.5, 0.5, (n, 3))
        points[np.arange(n), axis] = rng.choice((-0.5, 0.5), n)
        return points * size

    return Part(draw, 2 * float(faces.sum()), place)


def _round(
    bottom: float, top: float, height: float, place: tuple[float, float, float] = (0.0, 0.0, 0.0), lids: bool = True
) -> Part:
    """A cylinder or cone about y: radii at both ends; side and lids."""
    side = math.pi * (bottom + top) * math.hypot(height, bottom - top)
    ends = np.array([side, math.pi * bottom**2 * lids, math.pi * top**2 * lids])

    def draw(n: int, rng: np.random.Generator) -> np.ndarray:
        where = rng.choice(3, n, p=ends / ends.sum())
        angle, along = rng.uniform(0, 2 * math.pi, n), rng.uniform(0, 1, n)
        radius = np.where(where == 0, bottom + along * (top - bottom), 0.0)
        radius = np.where(where == 1, bottom * np.sqrt(along), np.where(where == 2, top * np.sqrt(along), radius))
        level = np.where(where == 0, along, (where == 2).astype(float)) - 0.5
        return np.stack([radius * np.cos(angle), height * level, radius * np.sin(angle)], axis=1)

    return Part(draw, float(ends.sum()), place)


def _ellipsoid(x: float, y: float, z: float, place: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Part:
    def draw(n: int, rng: np.random.Generator) -> np.ndarray:
        points = rng.standard_normal((n, 3))
        return points / np.linalg.norm(points, axis=1, keepdims=True) * np.array([x, y, z]) / 2

    return Part(draw, math.pi * (x * y + y * z + x * z) / 3, place)


def _ring(radius: float, tube: float, place: tuple[float, float, float] = (0.0, 0.0, 0.0), axis: int = 1) -> Part:
    def draw(n: int, rng: np.random.Generator) -> np.ndarray:
        round_, across = rng.uniform(0, 2 * math.pi, (2, n))
        out = radius + tube * np.cos(across)
        points = np.stack([out * np.cos(round_), tube * np.sin(across), out * np.sin(round_)], axis=1)
        return np.roll(points, axis - 1, axis=1)

    return Part(draw, 4 * math.pi**2 * radius * tube, place)


def _legs(rng: np.random.Generator, x: float, z: float, height: float, level: float) -> list[Part]:
    width = rng.uniform(0.04, 0.1)
    return [_box(width, height, width, (sx * x / 2, level, sz * z / 2)) for sx in (-0.9, 0.9) for sz in (-0.9, 0.9)]


def _table(rng: np.random.Generator) -> list[Part]:
    x, z, height = rng.uniform(0.7, 1.6), rng.uniform(0.6, 1.2), rng.uniform(0.5, 1.0)
    return [_box(x, rng.uniform(0.04, 0.12), z, (0, height, 0)), *_legs(rng, x, z, height, height / 2)]


def _chair(rng: np.random.Generator) -> list[Part]:
    x, z, height, back = rng.uniform(0.5, 1.2), rng.uniform(0.5, 1.0), rng.uniform(0.4, 0.9), rng.uniform(0.4, 0.9)
    seat = [_box(x, 0.08, z, (0, height, 0)), _box(x, back, 0.08, (0, height + back / 2, -z / 2))]
    return [*seat, *_legs(rng, x, z, height, height / 2)]


def _shelf(rng: np.random.Generator) -> list[Part]:
    x, z, height, boards = rng.uniform(0.6, 1.3), rng.uniform(0.3, 0.7), rng.uniform(0.8, 1.6), rng.integers(3, 6)
    levels = [_box(x, 0.04, z, (0, height * level / (boards - 1), 0)) for level in range(boards)]
    return [*levels, *(_box(0.04, height, z, (side * x / 2, height / 2, 0)) for side in (-1, 1))]


def _box_object(rng: np.random.Generator) -> list[Part]:
    return [_box(rng.uniform(0.4, 1.4), rng.uniform(0.4, 1.4), rng.uniform(0.4, 1.4))]


def _cylinder(rng: np.random.Generator) -> list[Part]:
    radius = rng.uniform(0.2, 0.7)
    return [_round(radius, radius, rng.uniform(0.4, 1.5))]


def _mug(rng: np.random.Generator) -> list[Part]:
    radius, height = rng.uniform(0.3, 0.6), rng.uniform(0.5, 1.1)
    handle = _ring(rng.uniform(0.25, 0.4) * height, 0.06, (radius, 0, 0), axis=2)
    return [_round(radius, radius, height, lids=False), _round(radius, radius, 0.02, (0, -height / 2, 0)), handle]


def _cone(rng: np.random.Generator) -> list[Part]:
    return [_round(rng.uniform(0.3, 0.7), rng.uniform(0.0, 0.12), rng.uniform(0.5, 1.5))]


def _lamp(rng: np.random.Generator) -> list[Part]:
    height, shade = rng.uniform(0.7, 1.4), rng.uniform(0.25, 0.5)
    foot = _round(rng.uniform(0.2, 0.4), 0.15, 0.08)
    stem = _round(0.04, 0.04, height, (0, height / 2, 0))
    return [foot, stem, _round(shade, 0.6 * shade, rng.uniform(0.25, 0.5), (0, height, 0), lids=False)]


def _egg(rng: np.random.Generator) -> list[Part]:
    return [_ellipsoid(rng.uniform(0.5, 1.3), rng.uniform(0.5, 1.3), rng.uniform(0.5, 1.3))]


def _torus(rng: np.random.Generator) -> list[Part]:
    return [_ring(rng.uniform(0.4, 0.7), rng.uniform(0.08, 0.28))]


def _tree(rng: np.random.Generator) -> list[Part]:
    height, crown = rng.uniform(0.4, 0.9), rng.uniform(0.5, 1.0)
    trunk = _round(rng.uniform(0.06, 0.14), 0.06, height, (0, height / 2, 0))
    if rng.random() < 0.5:
        return [trunk, _round(crown / 2, 0.02, rng.uniform(0.6, 1.1), (0, height + 0.35, 0))]
    return [trunk, _ellipsoid(crown, rng.uniform(0.5, 1.0), crown, (0, height + 0.3, 0))]


def _aeroplane(rng: np.random.Generator) -> list[Part]:
    length, span = rng.uniform(0.9, 1.6), rng.uniform(0.9, 1.7)
    wing = _box(rng.uniform(0.15, 0.35), 0.04, span, (rng.uniform(-0.1, 0.15), 0, 0))
    tail = [_box(0.15, 0.04, 0.4 * span, (-0.45 * length, 0, 0)), _box(0.18, 0.3, 0.04, (-0.45 * length, 0.15, 0))]
    return [_ellipsoid(length, 0.22, 0.22), wing, *tail]


MAKERS: Mapping[str, Maker] = {
    "aeroplane": _aeroplane, "box": _box_object, "chair": _chair, "cone": _cone, "cylinder": _cylinder, "egg": _egg,
    "lamp": _lamp, "mug": _mug, "shelf": _shelf, "table": _table, "torus": _torus, "tree": _tree,
}  # fmt: skip
NAMES = tuple(MAKERS)


class GeneratedShapes(Generated):
    """A reader that needs no files.

    Args:
        config: number, points and difficulty.

    Raises:
        ConfigError: nothing to generate, or shares outside their range.
    """

    noun = "shape"
    targets = (TargetSpec("class", "class", names=NAMES),)

    def __init__(self, config: GeneratedShapesConfig) -> None:
        if config.shapes < 1 or config.points < 1:
            raise ConfigError(f"{config.shapes} shapes of {config.points} points", field="dataset.shapes")
        if not 0.0 <= config.occlusion < 1.0:
            raise ConfigError(f"occlusion={config.occlusion} is outside 0 <= share < 1", field="dataset.occlusion")
        super().__init__(config, config.shapes)
        self.config = config

    @property
    def splits(self) -> Mapping[str, Sequence[int]]:
        test = range(0, len(self), TEST_SHARE)
        return {"train": [row for row in range(len(self)) if row % TEST_SHARE], "test": list(test)}

    def make(self, index: int) -> Sample:
        """An object of a class drawn at random."""
        rng = np.random.default_rng([self.config.seed, index])
        label = int(rng.integers(len(NAMES)))
        points = self._disturbed(MAKERS[NAMES[label]](rng), rng)
        return Sample(self.id_of(index), PointCloud(points), {"class": label}, meta={"points": len(points)})

    def _disturbed(self, parts: Sequence[Part], rng: np.random.Generator) -> np.ndarray:
        """Points of an object after pose, occlusion and noise, float32 (n, 3)."""
        config = self.config
        wanted = math.ceil(config.points / (1.0 - config.occlusion))
        area = np.array([part.area for part in parts])
        counts = rng.multinomial(wanted, area / area.sum())
        drawn = [part.draw(int(n), rng) + np.array(part.place) for part, n in zip(parts, counts, strict=True) if n]
        points = np.concatenate(drawn)
        points -= points.mean(axis=0)
        points /= np.linalg.norm(points, axis=1).max()
        points = points @ _pose(rng, math.radians(config.tilt_degrees)).T
        away = rng.standard_normal(3)
        kept = np.argsort(points @ away)[: max(config.points, int(wanted * (1 - rng.uniform(0, config.occlusion))))]
        points = points[rng.choice(kept, config.points, replace=False)]
        return (points + config.noise * rng.standard_normal(points.shape)).astype(np.float32)


def _pose(rng: np.random.Generator, tilt: float) -> np.ndarray:
    """A turn about the vertical, then a lean in a random direction."""
    turn, lean, towards = rng.uniform(0, 2 * math.pi), rng.uniform(0, tilt), rng.uniform(0, 2 * math.pi)

    def about_y(angle: float) -> np.ndarray:
        c, s = math.cos(angle), math.sin(angle)
        return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])

    c, s = math.cos(lean), math.sin(lean)
    about_x = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    return about_y(towards) @ about_x @ about_y(turn - towards)
