"""Data set ``medical3d/radiographs``: generated chest radiographs with pathology, masks and landmarks.

Each image is the projection of a body of ellipsoids (chest wall, lungs, heart, liver, spine, ribs, clavicles), whose
thickness along the ray is known in closed form: no volume is ever made. People differ in build, position, size of the
heart and level of the diaphragm; the four findings are set apart by their place and shape, not by brightness.

Coordinates: x from -1 (left edge of the image, the patient's right) to 1, y from -1 (top) to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from repcore.data.generated import Generated
from repcore.data.seeds import generator
from repcore.errors import ConfigError
from repcore.interfaces import Sample
from repcore.specs import TargetSpec
from repcore_medical3d.configs.images import RadiographsConfig
from repcore_medical3d.formats.images import Radiograph

FINDINGS = ("none", "opacity", "large heart", "effusion")
STRUCTURES = ("background", "right lung", "left lung", "heart", "clavicles")
LANDMARKS = (
    "right clavicle", "left clavicle", "right apex", "left apex", "carina", "aortic arch", "heart apex",
    "right hemidiaphragm", "left hemidiaphragm", "spine at the diaphragm",
)  # fmt: skip
RIB_PAIRS = 8


@dataclass(frozen=True, slots=True)
class Person:
    """Build of one generated person; lengths in half image widths."""

    finding: int
    width: float
    lung: tuple[float, float]
    heart: tuple[float, float]
    heart_x: float
    domes: tuple[float, float]  # y of the right and left diaphragm
    shift: tuple[float, float]
    scale: float
    tilt: float
    lesion: tuple[float, float, float]  # x, y, radius


class Radiographs(Generated):
    """Dataset ``medical3d/radiographs``.

    Args:
        config: number, size, noise, seed.

    Raises:
        ConfigError: no images, or too small ones.
    """

    noun = "person"
    targets = (
        TargetSpec("finding", "class", names=FINDINGS),
        TargetSpec("mask", "class", level="voxel", names=STRUCTURES),
    )

    def __init__(self, config: RadiographsConfig) -> None:
        if config.images < 1 or config.edge < 32:
            raise ConfigError(f"images={config.images} of {config.edge} pixels: at least 1 of 32", field="dataset")
        super().__init__(config, config.images)
        self.config = config

    def make(self, index: int) -> Sample:
        """A person's radiograph with mask and finding."""
        rng = generator(self.config.seed, "radiograph", index)
        person = _person(rng)
        radiograph = _projected(person, self.config.edge, self.config.noise, rng)
        height, width = radiograph.pixels.shape
        meta = {"height": height, "width": width}
        targets = {"finding": person.finding, "mask": radiograph.mask}
        return Sample(self.id_of(index), radiograph, targets, None, meta)


def _person(rng: np.random.Generator) -> Person:
    finding = int(rng.integers(len(FINDINGS)))
    height = rng.uniform(0.46, 0.6)
    heart = rng.uniform(0.24, 0.29) if finding != 2 else rng.uniform(0.36, 0.44)
    side = rng.choice([-1.0, 1.0])
    return Person(
        finding=finding,
        width=rng.uniform(0.78, 0.95),
        lung=(rng.uniform(0.25, 0.31), height),
        heart=(heart, heart * rng.uniform(0.95, 1.15)),
        heart_x=rng.uniform(0.06, 0.14),
        domes=(rng.uniform(0.3, 0.45), rng.uniform(0.36, 0.52)),
        shift=(rng.uniform(-0.06, 0.06), rng.uniform(-0.06, 0.06)),
        scale=rng.uniform(0.92, 1.08),
        tilt=np.deg2rad(rng.uniform(-4, 4)),
        lesion=(side * rng.uniform(0.28, 0.45), rng.uniform(-0.35, 0.15), rng.uniform(0.07, 0.14)),
    )


def _ellipsoid(x: np.ndarray, y: np.ndarray, centre: tuple[float, float], axes: tuple[float, float]) -> np.ndarray:
    """Thickness along the ray, 1 at the centre."""
    squared = ((x - centre[0]) / axes[0]) ** 2 + ((y - centre[1]) / axes[1]) ** 2
    return np.sqrt(np.clip(1 - squared, 0, None))


def _projected(person: Person, edge: int, noise: float, rng: np.random.Generator) -> Radiograph:
    """Image, mask and landmarks of a person."""
    height, width = edge, round(edge * 0.9)
    rows, columns = np.mgrid[0:height, 0:width]
    across, down = (columns + 0.5) / width * 2 - 1, (rows + 0.5) / height * 2 - 1
    cosine, sine = np.cos(person.tilt), np.sin(person.tilt)
    x = (cosine * (across - person.shift[0]) + sine * (down - person.shift[1])) / person.scale
    y = (-sine * (across - person.shift[0]) + cosine * (down - person.shift[1])) / person.scale
    lungs, domes = _lungs(person, x, y)
    heart = _ellipsoid(x, y, (person.heart_x, 0.2), person.heart)
    clavicles = _clavicles(x, y)
    density = 1.1 * _ellipsoid(x, y, (0, 0.35), (person.width, 1.5)) - 0.75 * (lungs[0] + lungs[1])
    density += 0.55 * heart + 0.35 * _ellipsoid(x, y, (0.0, -0.25), (0.13, 0.55))  # heart, vessels in the middle
    density += 0.3 * _spine(x, y) + 0.22 * _ribs(x, y) + 0.25 * clavicles
    density += _finding(person, x, y, lungs)
    clean = 1 - np.exp(-1.3 * np.clip(density, 0, None))
    pixels = np.clip(clean + noise * rng.standard_normal(clean.shape), 0, 1)
    mask = np.zeros((height, width), np.uint8)
    for number, inside in ((1, lungs[0] > 0), (2, lungs[1] > 0), (3, heart > 0), (4, clavicles > 0.5)):
        mask[inside] = number
    points = np.asarray(_landmarks(person, domes), np.float64)
    turned_x = person.scale * (cosine * points[:, 0] - sine * points[:, 1]) + person.shift[0]
    turned_y = person.scale * (sine * points[:, 0] + cosine * points[:, 1]) + person.shift[1]
    landmarks = np.stack([(turned_y + 1) / 2 * height - 0.5, (turned_x + 1) / 2 * width - 0.5], axis=1)
    return Radiograph((pixels * 255).round().astype(np.uint8), mask, landmarks.astype(np.float32))


def _lungs(person: Person, x: np.ndarray, y: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Right and left lung, cut off by domes of the diaphragm."""
    lungs, domes = [], []
    for side, level in ((-1.0, person.domes[0]), (1.0, person.domes[1])):
        dome = level + 1.2 * (x - side * 0.36) ** 2
        lungs.append(_ellipsoid(x, y, (side * 0.37, -0.05), person.lung) * (y < dome))
        domes.append(dome)
    return lungs, domes


def _spine(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.clip(1 - (x / 0.075) ** 2, 0, None) * (0.8 + 0.2 * np.cos(2 * np.pi * y / 0.14))


def _ribs(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bands that fall to the sides, in pairs."""
    total = np.zeros_like(x)
    inside = (np.abs(x) > 0.08) & (np.abs(x) < 0.72)
    for number in range(RIB_PAIRS):
        middle = -0.62 + 0.16 * number + 0.35 * np.abs(x) ** 1.5
        total += np.exp(-(((y - middle) / 0.022) ** 2))
    return total * inside


def _clavicles(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    middle = -0.55 - 0.28 * (np.abs(x) - 0.1)
    return np.exp(-(((y - middle) / 0.03) ** 2)) * ((np.abs(x) > 0.1) & (np.abs(x) < 0.62))


def _finding(person: Person, x: np.ndarray, y: np.ndarray, lungs: Sequence[np.ndarray]) -> np.ndarray:
    """Density that the pathology adds; a large heart is in the heart already."""
    where, level, radius = person.lesion
    if FINDINGS[person.finding] == "opacity":
        blob = np.exp(-((x - where) ** 2 + (y - level) ** 2) / (2 * radius**2))
        return np.asarray(0.6 * blob * ((lungs[0] + lungs[1]) > 0))
    if FINDINGS[person.finding] == "effusion":
        number = int(where > 0)
        surface = person.domes[number] - 0.22 - 0.5 * (np.abs(x) - 0.36)
        return np.asarray(0.7 * lungs[number] / (1 + np.exp(-(y - surface) / 0.03)))
    return np.zeros_like(x)


def _landmarks(person: Person, domes: Sequence[np.ndarray]) -> list[tuple[float, float]]:
    """(x, y) in the person's own frame, in the order of ``LANDMARKS``."""
    top = -0.05 - person.lung[1]
    heart_x, heart_y = person.heart_x + 0.7 * person.heart[0], 0.2 + 0.7 * person.heart[1]
    return [
        (-0.36, -0.55 - 0.28 * 0.26), (0.36, -0.55 - 0.28 * 0.26), (-0.37, top), (0.37, top), (0.0, -0.18),
        (0.12, -0.34), (heart_x, heart_y), (-0.36, person.domes[0]), (0.36, person.domes[1]),
        (0.0, max(person.domes)),
    ]  # fmt: skip
