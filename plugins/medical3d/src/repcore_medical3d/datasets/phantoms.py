"""Generated torsos: organs of known place and varied shape in Hounsfield units, for a first run without any data.

Every person has lungs, heart, liver, spleen, two kidneys, a spine and sometimes a lesion of the liver, inside a body of
fat and muscle. Size, position and density vary; a smooth random deformation bends all of it, so that voxel coordinates
alone do not tell the organ. Nothing learned here says anything about patients.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from repcore.data.generated import Generated
from repcore.data.seeds import generator
from repcore.errors import ConfigError
from repcore.interfaces import Sample
from repcore.specs import TargetSpec
from repcore_medical3d.configs.volumes import PhantomsConfig
from repcore_medical3d.datasets.volumes import SEGMENTATION, segmentation_target
from repcore_medical3d.formats.volumes import Volume

NAMES = ("background", "lungs", "heart", "liver", "spleen", "kidneys", "spine", "lesion")
AIR, FAT, MUSCLE = -1000.0, -100.0, 50.0
# centre and half axes as shares of the body's half axes (x right, y front, z up), and density in HU
ORGANS: tuple[tuple[str, tuple[float, float, float], tuple[float, float, float], float], ...] = (
    ("lungs", (0.42, 0.05, 0.55), (0.32, 0.55, 0.40), -800.0),
    ("lungs", (-0.42, 0.05, 0.55), (0.30, 0.52, 0.38), -800.0),
    ("heart", (-0.08, 0.25, 0.42), (0.24, 0.32, 0.22), 130.0),
    ("liver", (0.38, 0.12, -0.08), (0.46, 0.55, 0.24), 105.0),
    ("spleen", (-0.58, -0.22, -0.06), (0.18, 0.28, 0.20), 120.0),
    ("kidneys", (0.38, -0.42, -0.45), (0.14, 0.20, 0.20), 180.0),
    ("kidneys", (-0.38, -0.42, -0.40), (0.14, 0.20, 0.20), 180.0),
    ("spine", (0.0, -0.68, 0.0), (0.13, 0.18, 1.2), 350.0),
)
LESION_SHARE = 0.5
PROPORTIONS = (0.72, 0.56, 1.0)  # of the array's edge along x, y, z


class Phantoms(Generated):
    """Dataset ``medical3d/phantoms``.

    Args:
        config: number, size, noise and seed.

    Raises:
        ConfigError: fewer than one volume, or too few voxels to hold organs.
    """

    noun = "phantom"
    targets = (segmentation_target(NAMES), TargetSpec("has_lesion", "class", names=("no", "yes")))

    def __init__(self, config: PhantomsConfig) -> None:
        if config.volumes < 1:
            raise ConfigError(f"volumes={config.volumes} is below 1", field="dataset.volumes")
        if config.edge < 16:
            raise ConfigError(f"edge={config.edge} voxels cannot hold organs", field="dataset.edge", hint="edge: 48")
        super().__init__(config, config.volumes)
        self.config = config

    def make(self, index: int) -> Sample:
        """A body with organs, in HU, and its label map."""
        values, labels = self._body(index)
        affine = np.diag([self.config.spacing_mm] * 3 + [1.0])
        affine[:3, 3] = -0.5 * self.config.spacing_mm * (np.asarray(values.shape) - 1)
        lesion = float((labels == NAMES.index("lesion")).any())
        image = Volume(values, affine)
        meta = {
            "shape": list(image.shape), "spacing_mm": list(image.spacing_mm), "orientation": image.orientation,
            "modality": "CT",
        }  # fmt: skip
        return Sample(
            self.id_of(index), image, {SEGMENTATION: Volume(labels, affine), "has_lesion": lesion}, None, meta
        )

    def _body(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """int16 values in HU and uint8 labels, (I, J, K)."""
        rng = generator(self.config.seed, "phantom", index)
        shape = tuple(max(12, round(self.config.edge * part)) for part in PROPORTIONS)
        place = _bent_coordinates(shape, rng)
        values = np.full(shape, AIR, np.float32)
        labels = np.zeros(shape, np.uint8)
        body = place[0] ** 2 + place[1] ** 2
        values[body < 1.0] = FAT + 15 * rng.standard_normal()
        values[body < 0.86] = MUSCLE + 10 * rng.standard_normal()
        for name, centre, half_axes, density in ORGANS:
            inside = _ellipsoid(place, centre, half_axes, rng)
            values[inside] = density + 20 * rng.standard_normal()
            labels[inside] = NAMES.index(name)
        if rng.random() < LESION_SHARE:
            _add_lesion(values, labels, rng)
        blurred = ndimage.gaussian_filter(values, 0.5)
        texture = ndimage.gaussian_filter(rng.standard_normal(shape), 1.0) * 2 * self.config.noise_hu
        noisy = blurred + texture + self.config.noise_hu * rng.standard_normal(shape)
        return np.clip(noisy, -1024, 3071).round().astype(np.int16), labels


def _bent_coordinates(shape: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """Place of each voxel relative to the body's half axes, (3, I, J, K), after scaling, shift and a smooth bend."""
    axes = [np.linspace(-1.08, 1.08, size, dtype=np.float32) for size in shape]
    place = np.stack(np.meshgrid(*axes, indexing="ij"))
    scale = rng.uniform(0.85, 1.15, size=(3, 1, 1, 1)).astype(np.float32)
    shift = rng.uniform(-0.12, 0.12, size=(3, 1, 1, 1)).astype(np.float32)
    knots = rng.standard_normal((3, 4, 4, 4)).astype(np.float32) * 0.06
    zoom = [size / 4 for size in shape]
    bend = np.stack([ndimage.zoom(one, zoom, order=3, mode="nearest", grid_mode=True) for one in knots])
    return (place + shift) / scale + bend


def _ellipsoid(
    place: np.ndarray,
    centre: tuple[float, float, float],
    half_axes: tuple[float, float, float],
    rng: np.random.Generator,
) -> np.ndarray:
    """Voxels inside a varied ellipsoid."""
    middle = np.asarray(centre) + rng.uniform(-0.05, 0.05, 3)
    length = np.asarray(half_axes) * rng.uniform(0.82, 1.18, 3)
    scaled = (place - middle.reshape(3, 1, 1, 1)) / length.reshape(3, 1, 1, 1)
    return (scaled**2).sum(axis=0) < 1.0


def _add_lesion(values: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> None:
    """A dark ball at a random place of the liver."""
    liver = np.argwhere(labels == NAMES.index("liver"))
    if not len(liver):
        return
    centre = liver[rng.integers(len(liver))]
    radius = rng.uniform(1.5, 3.0)
    away = np.stack(np.meshgrid(*[np.arange(size) for size in labels.shape], indexing="ij"), axis=-1) - centre
    inside = ((away**2).sum(axis=-1) < radius**2) & (labels == NAMES.index("liver"))
    values[inside] = 40.0 + 10 * rng.standard_normal()
    labels[inside] = NAMES.index("lesion")
