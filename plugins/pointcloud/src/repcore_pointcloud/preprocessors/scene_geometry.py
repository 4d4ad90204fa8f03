"""From a raw scene to thinned points with features and regions: everything slow about a scene, done once.

Symbols: N points of the file, M points after thinning (one a grid cell), R regions.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from repcore.errors import ItemError
from repcore_pointcloud.configs.scenes import SceneConfig
from repcore_pointcloud.formats.scene import Scene
from repcore_pointcloud.formats.table import far_offset
from repcore_pointcloud.regions.foreground import GeometricRule, region_statistics
from repcore_pointcloud.regions.normals import local_shape
from repcore_pointcloud.regions.segmentation import edge_weights, merge_regions, neighbour_edges

UP_AXES = {"z": (0, 1, 2), "y": (0, 2, 1), "-y": (0, 2, 1)}  # file axes that become x, y, z
UP_SIGNS = {"z": (1.0, 1.0, 1.0), "y": (1.0, -1.0, 1.0), "-y": (1.0, 1.0, -1.0)}
LARGEST_CELLS = 2**20  # cells along an axis: three axes and a batch number fit 64 bits
FLOOR_PERCENTILE = 1.0
FEW_POINTS = 16
LARGE_M, SMALL_M = 2000.0, 0.05  # a scene beyond these is rather in other units


@dataclass(frozen=True, slots=True)
class PreparedScene:
    """Thinned points in metres, z up, with everything that views and voxels need.

    Args:
        points: float32 (M, 3).
        normals: float32 (M, 3), towards the viewpoint where there is one.
        shape: float32 (M, 3): linearity, planarity and scatter from eigenvalues, in [0, 1].
        height: float32 (M,), metres above the floor.
        colours: float32 (M, 3); zeros without colours. intensity: float32 (M,); zeros without.
        region: int32 (M,). foreground: bool (R,).
        source: int32 (N,): thinned point of every point of the file; -1 where its coordinates are not finite, or the
            file marks it as left out.
    """

    points: np.ndarray
    normals: np.ndarray
    shape: np.ndarray
    height: np.ndarray
    colours: np.ndarray
    intensity: np.ndarray
    region: np.ndarray
    foreground: np.ndarray
    source: np.ndarray


PREPARED_FIELDS = tuple(one.name for one in fields(PreparedScene))


def prepare_scene(scene: Scene, config: SceneConfig) -> PreparedScene:
    """Thin, orient, describe and segment one scene.

    Raises:
        ItemError: ``empty``, ``huge_extent``, ``no_colour`` or ``no_intensity``.
    """
    finite = _usable(scene, config)
    thin, cell, shift = thinned(scene.points[finite], config)
    count = len(thin)
    stood = _stood(scene, config)
    viewpoint = None if stood is None else turned((stood - shift)[None] * config.unit_m, config)[0]
    normals, shape, region = segment(thin, config, viewpoint)
    rule = GeometricRule(
        config.background_share_above, config.background_thickness_below, config.background_extent_above
    )
    source = np.full(len(scene.points), -1, np.int32)
    source[finite] = cell
    colours, intensity = (
        np.zeros((count, width), np.float32)
        if values is None
        else _means(np.nan_to_num(values[finite].reshape(len(cell), width)), cell, count).astype(np.float32)
        for values, width in ((scene.colours, 3), (scene.intensity, 1))
    )
    return PreparedScene(
        points=thin.astype(np.float32),
        normals=normals,
        shape=shape,
        height=(thin[:, 2] - np.percentile(thin[:, 2], FLOOR_PERCENTILE)).astype(np.float32),
        colours=colours,
        intensity=intensity[:, 0],
        region=region.astype(np.int32),
        foreground=rule(region_statistics(thin, region, int(region.max()) + 1)),
        source=source,
    )


def thinned(points: np.ndarray, config: SceneConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means of grid cells in metres, z up, float64 (M, 3); the cell of every point; what was subtracted, in file units.

    A function of its own, so that the float64 copies of a whole tile end with it. Means are taken in the file's own
    unit: sums of float32 numbers of one cell are exact in float64, so that the order of the points changes no bit.
    """
    moved = far_offset(points)  # None for scenes that a reader of files brought near to 0
    shift = np.zeros(3) if moved is None else moved
    own = points.astype(np.float64) - shift
    cell, count = _cells(turned(own * config.unit_m, config), config.grid_m or config.voxel_size_m)
    return turned(_means(own, cell, count) * config.unit_m, config), cell.astype(np.int32), shift


def _stood(scene: Scene, config: SceneConfig) -> np.ndarray | None:
    """Where the sensor stood, float64 (3,) in the coordinates of ``scene.points``."""
    if scene.viewpoint is not None:
        return np.asarray(scene.viewpoint, np.float64)
    if not config.sensor_at_origin:
        return None
    return np.zeros(3) if scene.offset is None else -scene.offset


def _usable(scene: Scene, config: SceneConfig) -> np.ndarray:
    """Which points have coordinates that are lengths, bool (N,).

    Raises:
        ItemError: ``empty``, or a channel that the scene lacks: ``no_colour``, ``no_intensity``.
    """
    if "colour" in config.channels and scene.colours is None:
        raise ItemError("no_colour", "the scene has no colours, but preprocessor.channels names them")
    if "intensity" in config.channels and scene.intensity is None:
        raise ItemError("no_intensity", "the scene has no intensity, but preprocessor.channels names it")
    finite = scene.usable
    if not finite.any():
        raise ItemError("empty", f"none of {len(scene.points)} points has finite coordinates")
    return finite


def _means(values: np.ndarray, cell: np.ndarray, count: int) -> np.ndarray:
    """Mean of the rows (N, C) of every cell, float64 (count, C)."""
    sums = np.stack([np.bincount(cell, values[:, one], count) for one in range(values.shape[1])], axis=1)
    return sums / np.bincount(cell, minlength=count)[:, None]


def segment(
    points: np.ndarray, config: SceneConfig, viewpoint: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normals float32 (M, 3), :func:`shape_numbers` (M, 3) and regions (M,).

    What a step does not need any more ends before the next one begins: each of these is as large as a tile.
    """
    shape = local_shape(points, config.normal_neighbours, viewpoint)
    edges = neighbour_edges(shape.neighbours[:, : config.edge_neighbours])
    numbers = shape_numbers(shape.eigenvalues)
    nothing = np.zeros((0, 3))  # a part of an array would keep all of it
    shape = replace(shape, neighbours=nothing.astype(np.int32), eigenvalues=nothing)
    weights = [edge_weights(points, shape, edges, convexity=config.convexity and viewpoint is not None)]
    normals = shape.normals.astype(np.float32)
    del shape
    region = merge_regions(
        len(points),
        edges,
        weights.pop(),  # held by nobody else
        merge_constant=config.merge_constant,
        minimum_size=config.minimum_region_size,
    )
    return normals, numbers, region


def shape_numbers(eigenvalues: np.ndarray) -> np.ndarray:
    """Linearity, planarity and scatter, float32 (M, 3), from eigenvalues in rising order; they add up to 1."""
    roots = np.sqrt(eigenvalues)
    largest = np.maximum(roots[:, 2], 1e-12)
    parts = (roots[:, 2] - roots[:, 1], roots[:, 1] - roots[:, 0], roots[:, 0])
    return np.stack([one / largest for one in parts], axis=1).astype(np.float32)


def turned(points: np.ndarray, config: SceneConfig) -> np.ndarray:
    """Coordinates with z up."""
    return points[:, UP_AXES[config.up]] * np.asarray(UP_SIGNS[config.up])


def unit_remark(scene: Scene, config: SceneConfig) -> tuple[str, str]:
    """Status and reason of what looks wrong about a scene's file, unit or points; ("ok", "") otherwise."""
    kept = scene.usable
    marked = 0 if scene.left_out is None else int(scene.left_out.sum())
    finite, left_out = scene.points[kept], int((~kept).sum()) - marked
    extent = float(np.ptp(finite.astype(np.float64), axis=0).max()) * config.unit_m if len(finite) else 0.0
    if scene.remark is not None:
        return scene.remark
    if extent > LARGE_M:
        return "unit", f"{extent:,.0f} m across: coordinates may be in millimetres (preprocessor.unit_m=0.001)"
    if 0.0 < extent < SMALL_M:
        return "unit", f"{1000 * extent:.1f} mm across: coordinates may be normalised or in kilometres"
    if left_out:
        return "not_finite", f"{left_out} of {len(scene.points)} points without finite coordinates were left out"
    if len(finite) > 1 and extent == 0.0:
        return "no_extent", f"all {len(finite)} points are the same one"
    if len(finite) < FEW_POINTS:
        return "few_points", f"{len(finite)} points: too few for a neighbourhood of {config.normal_neighbours}"
    return "ok", ""


def _cells(points: np.ndarray, side: float) -> tuple[np.ndarray, int]:
    """Number of the grid cell of every point, cells in order of x, y, z, and how many there are.

    Raises:
        ItemError: ``huge_extent``.
    """
    place = np.floor(points / side)
    low, high = place.min(0), place.max(0)
    if (high - low).max() >= LARGEST_CELLS:
        widest = float(np.ptp(points, axis=0).max())
        raise ItemError(
            "huge_extent",
            f"{widest:,.0f} m are more than {LARGEST_CELLS:,} cells of {side} m; one far point, or another unit "
            "(preprocessor.unit_m), or too small a voxel",
        )
    sizes = (high - low + 1).astype(np.int64)
    inside = (place - low).astype(np.int64)
    keys = (inside[:, 0] * sizes[1] + inside[:, 1]) * sizes[2] + inside[:, 2]
    values, cell = np.unique(keys, return_inverse=True)
    return cell.reshape(-1), len(values)
