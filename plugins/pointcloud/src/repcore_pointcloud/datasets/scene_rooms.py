"""Generated indoor scenes with class and instance labels: the default data set, for a first look only.

A room has a floor, two to four walls and furniture of four kinds, each of random size, place and turn, on the floor or
on a table; points are spread evenly over surfaces that the sensor faces, with noise, holes and colours that overlap
between classes. A scene is a pure function of (seed, index).

Symbols: n points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from repcore.data.generated import Generated, every_fifth
from repcore.errors import ConfigError
from repcore.interfaces import Sample
from repcore.specs import TargetSpec
from repcore_pointcloud.configs.scenes import RoomsConfig
from repcore_pointcloud.formats.scene import Scene

CLASSES = ("floor", "wall", "table", "box", "ball", "can", "lamp")

Patch = tuple[np.ndarray, np.ndarray]  # points (n, 3) and outward normals (n, 3)


def _rectangle(rng: np.random.Generator, count: int, centre: np.ndarray, u: np.ndarray, v: np.ndarray) -> Patch:
    """Even points on centre + [-1, 1] u + [-1, 1] v."""
    a, b = rng.uniform(-1, 1, (2, count, 1))
    normal = np.cross(u, v)
    return centre + a * u + b * v, np.tile(normal / np.linalg.norm(normal), (count, 1))


def _cuboid(rng: np.random.Generator, density: float, centre: np.ndarray, size: np.ndarray, turn: float) -> Patch:
    """All six sides."""
    c, s = np.cos(turn), np.sin(turn)
    axes = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) * size[:, None] / 2
    sides = []
    for axis in range(3):
        u, v = axes[(axis + 1) % 3], axes[(axis + 2) % 3]
        count = max(3, int(4 * density * np.linalg.norm(u) * np.linalg.norm(v)))
        sides += [_rectangle(rng, count, centre + axes[axis], u, v), _rectangle(rng, count, centre - axes[axis], v, u)]
    return _stacked(sides)


def _ball(rng: np.random.Generator, density: float, centre: np.ndarray, radius: float) -> Patch:
    normal = rng.standard_normal((max(10, int(4 * np.pi * density * radius**2)), 3))
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    return centre + radius * normal, normal


def _tube(
    rng: np.random.Generator, density: float, foot: np.ndarray, radii: tuple[float, float], height: float
) -> Patch:
    """Side of a cylinder or cone, with a lid."""
    count = max(10, int(np.pi * density * (radii[0] + radii[1]) * height))
    angle, rise = rng.uniform(0, 2 * np.pi, count), rng.random(count)
    radius = radii[0] + (radii[1] - radii[0]) * rise
    around = np.stack([np.cos(angle), np.sin(angle), np.zeros(count)], axis=1)
    side = foot + around * radius[:, None] + np.stack([0 * rise, 0 * rise, rise * height], axis=1)
    lid_count = max(5, int(np.pi * density * radii[1] ** 2))
    angle, reach = rng.uniform(0, 2 * np.pi, lid_count), radii[1] * np.sqrt(rng.random(lid_count))
    lid = foot + np.stack([reach * np.cos(angle), reach * np.sin(angle), np.full(lid_count, height)], axis=1)
    return _stacked([(side, around), (lid, np.tile([0.0, 0.0, 1.0], (lid_count, 1)))])


def _stacked(patches: Sequence[Patch]) -> Patch:
    return np.concatenate([one[0] for one in patches]), np.concatenate([one[1] for one in patches])


def _thing(rng: np.random.Generator, kind: str, density: float, foot: np.ndarray) -> Patch:
    """One piece of furniture that stands at ``foot``."""
    if kind == "box":
        size = rng.uniform(0.12, 0.5, 3)
        return _cuboid(rng, density, foot + np.array([0, 0, size[2] / 2]), size, rng.uniform(0, np.pi))
    if kind == "ball":
        radius = rng.uniform(0.08, 0.25)
        return _ball(rng, density, foot + np.array([0, 0, radius]), radius)
    if kind == "can":
        radius = rng.uniform(0.06, 0.2)
        return _tube(rng, density, foot, (radius, radius), rng.uniform(0.15, 0.6))
    pole = _tube(rng, 2 * density, foot, (0.03, 0.03), height := rng.uniform(0.4, 1.2))
    shade = _tube(
        rng, density, foot + np.array([0, 0, height]), (rng.uniform(0.18, 0.28), 0.08), rng.uniform(0.15, 0.25)
    )
    return _stacked([pole, shade])


class Rooms(Generated):
    """Dataset ``pointcloud/rooms``.

    Args:
        config: number, size, noise and seed.

    Raises:
        ConfigError: no room, or too few points to show anything.
    """

    noun = "room"
    targets = (TargetSpec("semantic", "class", "point", names=CLASSES), TargetSpec("instance", "class", "point"))

    def __init__(self, config: RoomsConfig) -> None:
        if config.scenes < 1 or config.points < 500:
            raise ConfigError(
                f"{config.scenes} rooms of {config.points} points cannot be generated",
                expected="1 room or more of 500 points or more",
            )
        super().__init__(config, config.scenes)
        self.config = config

    @property
    def splits(self) -> Mapping[str, Sequence[int]]:
        return every_fifth(len(self))

    def make(self, index: int) -> Sample:
        """A furnished room as seen from one place."""
        rng = np.random.default_rng([self.config.seed, index])
        half = np.array([*rng.uniform(1.2, 2.2, 2), 0.0])
        parts = self._shell(rng, half)
        parts += self._furniture(rng, half)
        viewpoint = np.array([*(rng.uniform(-0.4, 0.4, 2) * half[:2]), rng.uniform(1.4, 1.9)])
        points, labels, instances, colours = self._seen(parts, viewpoint, rng)
        chosen = rng.permutation(len(points))[: self.config.points]
        scene = Scene(
            points=points[chosen].astype(np.float32),
            colours=colours[chosen].astype(np.float32),
            viewpoint=viewpoint.astype(np.float32),
        )
        return Sample(
            self.id_of(index),
            scene,
            {"semantic": labels[chosen], "instance": instances[chosen]},
            None,
            {"points": len(chosen)},
        )

    def _shell(self, rng: np.random.Generator, half: np.ndarray) -> list[tuple[str, Patch]]:
        """Floor and walls, normals inwards."""
        x, y, up = np.diag([half[0], half[1], 0.9])
        density = 0.5 * self.config.points / (half[0] * half[1] * 8)
        floor = _rectangle(rng, int(4 * density * half[0] * half[1]), np.zeros(3), x, y)
        walls = [(x + up, up, y), (-x + up, y, up), (y + up, x, up), (-y + up, up, x)]
        kept = rng.permutation(4)[: rng.integers(2, 5)]
        parts = [("floor", floor)]
        for centre, u, v in (walls[one] for one in kept):
            count = int(4 * density * np.linalg.norm(u) * np.linalg.norm(v))
            parts.append(("wall", _rectangle(rng, count, centre, u, v)))
        return parts

    def _furniture(self, rng: np.random.Generator, half: np.ndarray) -> list[tuple[str, Patch]]:
        density = 0.9 * self.config.points / (half[0] * half[1] * 8)
        parts: list[tuple[str, Patch]] = []
        tops = []
        for _ in range(rng.integers(1, 3)):
            foot = np.array([*(rng.uniform(-0.6, 0.6, 2) * half[:2]), 0.0])
            size, height, turn = rng.uniform(0.5, 1.1, 2), rng.uniform(0.4, 0.8), rng.uniform(0, np.pi)
            top = _cuboid(rng, density, foot + np.array([0, 0, height]), np.array([*size, 0.05]), turn)
            leg = _tube(rng, density, foot, (0.05, 0.05), height)
            parts.append(("table", _stacked([top, leg])))
            tops.append((foot + np.array([0, 0, height + 0.025]), 0.3 * size.min()))
        for _ in range(rng.integers(5, 11)):
            kind = str(rng.choice(CLASSES[3:]))
            place = np.array([*(rng.uniform(-0.85, 0.85, 2) * half[:2]), 0.0])
            if rng.random() < 0.4:
                top, reach = tops[rng.integers(len(tops))]
                place = top + np.array([*rng.uniform(-reach, reach, 2), 0.0])
            parts.append((kind, _thing(rng, kind, 2.0 * density, place)))
        return parts

    def _seen(
        self, parts: Sequence[tuple[str, Patch]], viewpoint: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Points that face the sensor, with noise; labels, instance numbers and colours."""
        rows = []
        for number, (kind, (points, normals)) in enumerate(parts):
            away = viewpoint - points
            facing = (away * normals).sum(1) > 0.05 * np.linalg.norm(away, axis=1)
            kept = points[facing] + rng.normal(0, self.config.noise_m, (int(facing.sum()), 3))
            base = rng.uniform(0.2, 0.8, 3)
            colour = np.clip(base + rng.normal(0, 0.05, (len(kept), 3)), 0, 1)
            label = np.full(len(kept), CLASSES.index(kind))
            rows.append((kept, label, np.full(len(kept), number), colour))
        points, labels, instances, colours = (np.concatenate(one) for one in zip(*rows, strict=True))
        return points, labels, instances, colours
