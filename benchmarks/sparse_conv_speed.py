"""Sparse convolution on a CPU against the library that people run, spconv, on real scenes: one thread, process time.

A 3 x 3 x 3 submanifold convolution with its gradients, 32 and 64 channels; the table of neighbours; the training step
of a whole U-Net with either as the op (tables made before the clock starts). Contenders of a row take turns, and a
ratio is that of one round. The form is the one that our rule picks on this machine, or the one named by --form.
spconv's CPU sums race with more than one thread, so there is no peer for two.

    python benchmarks/sparse_conv_speed.py [--data FOLDER/pointcloud_scenes] [--rounds 7] [--form compiled]

Without --data the synthetic surface alone is measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import facts, interleaved, ratios, spread, write_result
from scenes_speed import library_book, surface
from torch import Tensor

from repcore import ops
from repcore.nn.compiled_loops import numba_unusable
from repcore_pointcloud.configs.sparse_unet import NARROW, RES16UNET34C, SparseUNetConfig
from repcore_pointcloud.encoders.sparse_unet import SparseUNet
from repcore_pointcloud.layers import sparse_convolution
from repcore_pointcloud.layers.sparse_tensor import SparseTensor
from repcore_pointcloud.ops.sparse_conv3d import compiled, selection, spconv
from repcore_pointcloud.ops.sparse_conv3d.sites import Sites

# name: file below --data and the side of a voxel in metres, or a number of voxels of the synthetic surface
SCENES: dict[str, tuple[str, float] | int] = {
    "indoor 5k": ("indoor_fragment/fragment.npz", 0.036),
    "indoor 16k": ("indoor_fragment/fragment.npz", 0.02),
    "lidar 20k": ("lidar_wachtberg/scan004.npz", 0.31),
    "lidar 97k": ("lidar_wachtberg/scan004.npz", 0.05),
    "synthetic 100k": 100_000,
}
NETWORKS: dict[str, tuple[str, SparseUNetConfig]] = {
    "narrow indoor": ("indoor 16k", NARROW),
    "narrow lidar": ("lidar 20k", NARROW),
    "Res16UNet34C": ("indoor 5k", RES16UNET34C),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with the scenes")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--form", help="an implementation; default: the one that the rule picks here")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    reason = spconv.unusable()
    if reason:
        raise SystemExit(f"no peer to compare with: {reason}")
    record: dict[str, Any] = facts(("repcore-pointcloud", "torch", "spconv", "numba"))
    record["rows"] = []

    def keep(rows: list[dict[str, Any]]) -> None:
        record["rows"] += rows
        write_result("sparse_conv_speed", record, options.out)

    scenes = [name for name, scene in SCENES.items() if options.data is not None or isinstance(scene, int)]
    for name in scenes:
        voxels = voxels_of(name, options.data)
        for width in (32, 64):
            keep([convolution_row(name, voxels, width, options)])
        keep([rulebook_row(name, voxels, options)])
    for name, (scene, config) in NETWORKS.items():
        if scene not in scenes:
            continue
        keep([network_row(name, voxels_of(scene, options.data), config, options)])


def voxels_of(name: str, data: Path | None) -> Tensor:
    """int64 (V, 4): zero, x, y, z of the voxels of a scene, in no special order."""
    scene = SCENES[name]
    if isinstance(scene, int):
        found = surface(scene)
    else:
        assert data is not None
        points = np.load(data / scene[0])["xyz"]
        cells = np.unique(np.floor(points[np.isfinite(points).all(1)] / scene[1]).astype(np.int64), axis=0)
        cells -= cells.min(0)  # the library knows no negative ones
        found = torch.from_numpy(np.concatenate([np.zeros((len(cells), 1), np.int64), cells], axis=1))
    return found[torch.randperm(len(found), generator=torch.Generator().manual_seed(0))]


def row(what: str, seconds: dict[str, list[float]], **more: Any) -> dict[str, Any]:
    """Milliseconds of both, and the library's as a multiple of ours."""
    record = {"what": what, **more, "ms": {name: spread([1000 * v for v in one], 2) for name, one in seconds.items()}}
    record["spconv / ours"] = ratios(seconds["ours"], seconds["spconv"])
    shown = {name: one["median"] for name, one in record["ms"].items()}
    print(
        json.dumps({"what": what, **more, "ms": shown, "spconv / ours": record["spconv / ours"]["median"]}), flush=True
    )
    return record


def convolution_row(name: str, voxels: Tensor, width: int, options: argparse.Namespace) -> dict[str, Any]:
    book = Sites(voxels).submanifold((3, 3, 3))
    draw = torch.Generator().manual_seed(0)
    features = torch.randn(len(voxels), width, generator=draw).requires_grad_()
    weight = torch.randn(width, 3, 3, 3, width, generator=draw).requires_grad_()
    grad = torch.randn(len(voxels), width, generator=draw)
    form = options.form or picked(features, weight, book)
    ours = ops.implementation(selection.OP, form)

    def step(function: Callable[..., Tensor]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(function(features, weight, rulebook=book), (features, weight), grad)

    contenders = {"ours": step(ours), "spconv": step(spconv.sparse_conv3d)}
    found, expected = (one() for one in contenders.values())
    for one, two in zip(found, expected, strict=True):  # type: ignore[call-overload]
        assert (one - two).abs().max() <= 1e-4 * two.abs().max(), f"{form} and spconv differ on {name}"
    seconds = interleaved(contenders, options.rounds, clock=time.process_time)
    facts = {"voxels": len(voxels), "pairs_a_voxel": round(book.num_pairs / len(voxels), 1), "form": form}
    return row(f"forward and backward, {width} channels, {name}", seconds, **facts)


def picked(features: Tensor, weight: Tensor, book: Any) -> str:
    """The form that our rule picks, the library left out."""
    sizes = selection.shape_class(features, weight, None, rulebook=book)
    ranked = selection.priority("cpu", "float32", sizes)
    return next(one for one in ranked if one != "spconv" and not ops.why_unusable(selection.OP, one))


def rulebook_row(name: str, voxels: Tensor, options: argparse.Namespace) -> dict[str, Any]:
    """From voxels in any order to what a convolution reads."""

    def ours() -> object:
        book = Sites(voxels).submanifold((3, 3, 3))
        return book.pairs if numba_unusable() or options.form not in (None, "compiled") else compiled.Blocks.of(book)

    seconds = interleaved(
        {"ours": ours, "spconv": lambda: library_book(voxels)}, options.rounds, clock=time.process_time
    )
    return row(f"rulebook, {name}", seconds, voxels=len(voxels))


def network_row(name: str, voxels: Tensor, config: SparseUNetConfig, options: argparse.Namespace) -> dict[str, Any]:
    network = SparseUNet(dataclasses.replace(config, input_width=4)).train()
    features, sites = torch.randn(len(voxels), 4), Sites(voxels)
    original = sparse_convolution.sparse_convolution

    def ours(features: Tensor, weight: Tensor, bias: Tensor | None, *, rulebook: Any) -> Tensor:
        function = ops.implementation(selection.OP, options.form or picked(features, weight, rulebook))
        return function(features, weight, bias, rulebook=rulebook)

    def step(op: Callable[..., Tensor]) -> Callable[[], object]:
        def call() -> None:
            sparse_convolution.sparse_convolution = op  # type: ignore[assignment]
            network.zero_grad(set_to_none=True)
            network.stages(SparseTensor(features, sites))["dec.0"].features.square().mean().backward()

        return call

    try:
        seconds = interleaved(
            {"ours": step(ours), "spconv": step(spconv.sparse_conv3d)}, options.rounds, clock=time.process_time
        )
    finally:
        sparse_convolution.sparse_convolution = original
    return row(f"U-Net step, {name}", seconds, voxels=len(voxels))


if __name__ == "__main__":
    main()
