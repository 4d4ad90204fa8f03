"""Sparse convolution, sparse U-Nets and over-segmentation on a CPU against what a user would otherwise run.

Convolution 3 x 3 x 3, 32 to 32 channels, on a synthetic room surface, and 64 to 64 on few voxels, forward and forward
with backward: our two forms, spconv (its CUDA-stream request replaced, single thread only: with more its CPU sums race
and are wrong), and a loop over offsets in plain autograd. Rulebooks are built once and given to all; building one is
timed apart. U-Net steps with and without the cache of rulebooks. Over-segmentation against per-point Python with
scikit-learn's neighbours.

    python benchmarks/scenes_speed.py [--threads 1 2] [--voxels 20000 100000] [--rounds 7] [--scene FILE.npz]

Contenders of one row take turns; each thread count runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import facts, interleaved, ratios, spread, write_result
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from repcore_pointcloud.configs.scenes import RoomsConfig
from repcore_pointcloud.configs.sparse_unet import NARROW, RES16UNET34C, SparseUNetConfig
from repcore_pointcloud.datasets.scene_rooms import Rooms
from repcore_pointcloud.encoders.sparse_unet import SparseUNet
from repcore_pointcloud.formats.scenes import load_scene
from repcore_pointcloud.layers.sparse_tensor import SparseTensor
from repcore_pointcloud.ops.sparse_conv3d import stationary
from repcore_pointcloud.ops.sparse_conv3d import torch as gather_scatter
from repcore_pointcloud.ops.sparse_conv3d.rulebook import Rulebook
from repcore_pointcloud.ops.sparse_conv3d.sites import Sites
from repcore_pointcloud.regions.normals import local_shape
from repcore_pointcloud.regions.segmentation import edge_weights, merge_regions, neighbour_edges

WIDTH = 32
DEEP_VOXELS, DEEP_WIDTH = (100, 300, 1000), 64  # as at the lower levels of a U-Net, where the choice of form turns
UNET_VOXELS = 13_000
NEIGHBOURS, MERGE_CONSTANT, MINIMUM = 12, 0.03, 30


def main() -> None:
    options = parse_arguments()
    if options.worker is not None:
        torch.set_num_threads(options.worker)
        options.out.write_text(json.dumps(measure(options)), encoding="utf-8")
        return
    record: dict[str, Any] = facts(("repcore", "repcore-pointcloud", "torch", "spconv", "scikit-learn", "scipy"))
    record["rows"] = []
    with tempfile.TemporaryDirectory() as folder:
        for threads in options.threads:
            found = Path(folder) / f"{threads}.json"
            words = [sys.executable, __file__, *sys.argv[1:], "--worker", str(threads), "--out", str(found)]
            environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
            subprocess.run(words, check=True, env=environment)
            record["rows"] += json.loads(found.read_text(encoding="utf-8"))
            write_result("scenes_speed", record, options.out)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--voxels", type=int, nargs="+", default=[20_000, 100_000])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--scene", type=Path, default=None, help="scene for over-segmentation; default: a generated room"
    )
    parser.add_argument("--out", type=Path, default=None, help="result file (default: results/scenes_speed.json)")
    parser.add_argument("--worker", type=int, default=None, help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """All rows of one thread count."""
    threads = options.worker
    rows = []
    for voxels in options.voxels:
        coordinates = surface(voxels)
        rows += convolution_rows(coordinates, threads, options.rounds)
    for voxels in DEEP_VOXELS:
        rows += convolution_rows(surface(voxels), threads, options.rounds, width=DEEP_WIDTH)
    for name, config in (("narrow", NARROW), ("34C", RES16UNET34C)):
        rows.append(unet_row(name, config, threads, max(3, options.rounds // 2)))
    rows.append(segmentation_row(options.scene, threads, max(3, options.rounds // 2)))
    return rows


def row(what: str, threads: int, seconds: dict[str, list[float]], first: str, **more: Any) -> dict[str, Any]:
    """Milliseconds of every contender, and how many times longer each takes than ``first``."""
    record = {"what": what, "threads": threads, **more}
    record["ms"] = {name: spread([1000 * one for one in values], 2) for name, values in seconds.items()}
    record["times_as_long_as"] = {first: {n: ratios(seconds[first], v) for n, v in seconds.items() if n != first}}
    print(
        json.dumps({"what": what, "threads": threads, **more, "ms": {n: v["median"] for n, v in record["ms"].items()}})
    )
    return record


# ----------------------------------------------------------------------------------------- convolution


def surface(voxels: int) -> Tensor:
    """Three rough planes that meet in a corner, int64 (V, 4): about 15 of 27 neighbours exist."""
    generator = torch.Generator().manual_seed(0)
    side = int((voxels / 5.0) ** 0.5)
    plane = torch.cartesian_prod(torch.arange(side), torch.arange(side))
    parts = []
    for axis in range(3):
        part = torch.zeros(len(plane), 3, dtype=torch.long)
        part[:, [one for one in range(3) if one != axis]] = plane
        rough = part.clone()
        rough[:, axis] += (torch.rand(len(plane), generator=generator) < 0.7).long()
        parts += [part, rough]
    distinct = torch.unique(torch.cat(parts), dim=0)
    return torch.cat([torch.zeros(len(distinct), 1, dtype=torch.long), distinct], dim=1)


def convolution_rows(coordinates: Tensor, threads: int, rounds: int, *, width: int = WIDTH) -> list[dict[str, Any]]:
    book = Sites(coordinates).submanifold((3, 3, 3))
    book.pairs, book.starts, book.neighbours, book.reversed.neighbours  # noqa: B018 - built before the clock starts
    features = torch.randn(len(coordinates), width).requires_grad_()
    weight = torch.randn(width, 3, 3, 3, width).requires_grad_()
    forms: dict[str, Callable[[], Tensor]] = {
        "output-stationary": lambda: stationary.sparse_conv3d(features, weight, rulebook=book),
        "gather-scatter": lambda: gather_scatter.sparse_conv3d(features, weight, rulebook=book),
        "offset loop": lambda: offset_loop(features, weight, book),
    }
    if threads == 1:
        from repcore_pointcloud.ops.sparse_conv3d import spconv

        if not spconv.unusable():
            forms["spconv"] = lambda: spconv.sparse_conv3d(features, weight, rulebook=book)

    def forward(form: Callable[[], Tensor]) -> Callable[[], object]:
        def call() -> object:
            with torch.no_grad():
                return form()

        return call

    def both(form: Callable[[], Tensor]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(form().sum(), (features, weight))

    more = {"voxels": len(coordinates), "channels": width, "pairs_a_voxel": round(book.num_pairs / len(coordinates), 1)}
    first = "spconv" if "spconv" in forms else "offset loop"
    building: dict[str, Callable[[], object]] = {"ours": lambda: fresh_book(coordinates)}
    if threads == 1 and "spconv" in forms:
        building["spconv"] = lambda: library_book(coordinates)
    forwards = {name: forward(form) for name, form in forms.items()}
    steps = {name: both(form) for name, form in forms.items()}
    return [
        row("convolution forward", threads, interleaved(forwards, rounds), first, **more),
        row("convolution with backward", threads, interleaved(steps, rounds), first, **more),
        row("building a rulebook", threads, interleaved(building, rounds), "ours", **more),
    ]


def offset_loop(features: Tensor, weight: Tensor, book: Rulebook) -> Tensor:
    """What one writes first: one autograd step an offset."""
    inputs, outputs = book.pairs
    kernels = weight.flatten(1, 3)
    out = features.new_zeros(book.num_outputs, weight.shape[0])
    for offset, (start, stop) in enumerate(zip(book.starts, book.starts[1:], strict=False)):
        out = out.index_add(0, outputs[start:stop], features[inputs[start:stop]] @ kernels[:, offset].T)
    return out


def fresh_book(coordinates: Tensor) -> Rulebook:
    book = Sites(coordinates).submanifold((3, 3, 3))
    book.pairs, book.starts  # noqa: B018
    return book


def library_book(coordinates: Tensor) -> object:
    from spconv.core import ConvAlgo
    from spconv.pytorch import ops

    shape = (coordinates[:, 1:].amax(0) + 4).tolist()
    ones = [1, 1, 1]
    return ops.get_indice_pairs(
        coordinates.int(), 1, shape, ConvAlgo.Native, [3, 3, 3], ones, ones, ones, [0, 0, 0], True
    )


# ----------------------------------------------------------------------------------------------- U-Net


def unet_row(name: str, config: SparseUNetConfig, threads: int, rounds: int) -> dict[str, Any]:
    """One training step with rulebooks shared by all layers, and with none kept between convolutions."""
    import dataclasses

    coordinates = surface(UNET_VOXELS)
    network = SparseUNet(dataclasses.replace(config, input_width=4)).train()
    features = torch.randn(len(coordinates), 4)

    def step(keep: bool) -> None:
        sites = Sites(coordinates) if keep else ForgetfulSites(coordinates)
        network.zero_grad(set_to_none=True)
        network.stages(SparseTensor(features, sites))["dec.0"].features.square().mean().backward()

    seconds = interleaved({"cached": lambda: step(True), "not cached": lambda: step(False)}, rounds)
    millions = round(sum(one.numel() for one in network.parameters()) / 1e6, 1)
    return row(f"U-Net step {name}", threads, seconds, "cached", voxels=len(coordinates), million_weights=millions)


class ForgetfulSites(Sites):
    """Sites whose submanifold rulebooks are built anew for every convolution."""

    def submanifold(self, kernel: Any, dilation: Any = (1, 1, 1)) -> Rulebook:
        self._books.pop(("submanifold", kernel, dilation), None)
        return super().submanifold(kernel, dilation)

    def _downsample(self, *geometry: Any) -> tuple[Rulebook, Sites]:
        book, coarse = super()._downsample(*geometry)
        return book, ForgetfulSites(coarse.coordinates)


# ------------------------------------------------------------------------------------ over-segmentation


def segmentation_row(file: Path | None, threads: int, rounds: int) -> dict[str, Any]:
    scene = Rooms(RoomsConfig(scenes=1, points=12_000))[0].inputs if file is None else load_scene(file).scene
    points = scene.points[np.isfinite(scene.points).all(1)].astype(np.float64)
    if len(points) > 15_000:
        points = points[np.random.default_rng(0).choice(len(points), 15_000, replace=False)]

    def ours() -> np.ndarray:
        shape = local_shape(points, NEIGHBOURS)
        edges = neighbour_edges(shape.neighbours)
        weights = edge_weights(points, shape, edges)
        return merge_regions(len(points), edges, weights, merge_constant=MERGE_CONSTANT, minimum_size=MINIMUM)

    seconds = interleaved({"ours": ours, "per-point Python": lambda: per_point(points)}, rounds)
    agreement = float((pairs_together(ours()) == pairs_together(per_point(points))).mean())
    return row("over-segmentation", threads, seconds, "ours", points=len(points), agreement=round(agreement, 4))


def pairs_together(region: np.ndarray) -> np.ndarray:
    """Whether each of many random pairs of points shares a region."""
    rng = np.random.default_rng(0)
    one, two = rng.integers(0, len(region), (2, 20_000))
    together: np.ndarray = region[one] == region[two]
    return together


def per_point(points: np.ndarray) -> np.ndarray:
    """The same definition point by point and edge by edge."""
    near = NearestNeighbors(n_neighbors=NEIGHBOURS + 1).fit(points).kneighbors(points, return_distance=False)
    normals = [np.linalg.eigh(np.cov(points[rows].T))[1][:, 0] for rows in near]
    edges = {(min(a, b), max(a, b)) for a, rows in enumerate(near) for b in rows if a != b}
    ordered = sorted((1.0 - abs(float(normals[a] @ normals[b])), a, b) for a, b in edges)
    parent, size, limit = list(range(len(points))), [1] * len(points), [MERGE_CONSTANT] * len(points)

    def root(one: int) -> int:
        while parent[one] != one:
            one = parent[one]
        return one

    for small in (False, True):
        for weight, a, b in ordered:
            a, b = root(a), root(b)
            similar = weight <= limit[a] and weight <= limit[b]
            if a != b and ((size[a] < MINIMUM or size[b] < MINIMUM) if small else similar):
                a, b = (a, b) if size[a] >= size[b] else (b, a)
                parent[b], size[a] = a, size[a] + size[b]
                limit[a] = weight + MERGE_CONSTANT / size[a]
    return np.array([root(one) for one in range(len(points))])


if __name__ == "__main__":
    main()
