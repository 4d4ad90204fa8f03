"""How fast the point operations, the encoder and a pre-training step are, each against the form of the reference code.

Paired in one process, in interleaved rounds; results are checked to be equal before anything is timed:
- fps: one run with three planes in place for all three levels, against a gather of (B, N, 3) once a level;
- knn: block search, against all differences at once and topk;
- views: projection and bicubic reading of single pixels, against three equal channels and upsampled maps;
- pointnet: the split layer, against the concatenated one (values and gradients);
- step: a whole pre-training step of the published size, against the same mathematics with all of the above undone;
- encode: clouds a second of the published size.
With --device cuda the Triton twins run against plain torch, and clouds a second and peak memory are measured in float32
and bfloat16.

    python benchmarks/pointcloud_speed.py [--threads 1] [--batches 1 32] [--rounds 5] [--only fps knn] [--device cuda]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from measuring import RESULTS, facts, interleaved, spread, write_result
from torch import Tensor
from torch.nn import functional as F

from repcore import ops
from repcore.interfaces import Batch, Progress
from repcore_pointcloud.configs.i2p_mae import MaskedPointsConfig, PointEncoderConfig
from repcore_pointcloud.encoders.hierarchy import Grouping, Hierarchy, Level
from repcore_pointcloud.encoders.i2p_mae import HierarchicalPointEncoder
from repcore_pointcloud.encoders.mini_pointnet import MiniPointNet, concatenated_form
from repcore_pointcloud.objectives.i2p_mae import MaskedPoints
from repcore_pointcloud.ops.depth_views.torch import depth_views
from repcore_pointcloud.ops.farthest_points.torch import farthest_points
from repcore_pointcloud.ops.map_lookup.taps import map_lookup
from repcore_pointcloud.ops.nearest_points.blocks import nearest_points
from repcore_pointcloud.ops.nearest_points.torch import squared_distances

NAME = "pointcloud_speed"
POINTS, LEVELS, NEIGHBOURS = 2048, (512, 256, 64), (16, 8, 8)
TEACHER_WIDTH = 512  # of CLIP ViT-B/16
IMAGE = 224
Contenders = Mapping[str, Callable[[], Any]]
OURS, REFERENCE = "ours", "reference form"


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    known = RESULTS / f"{NAME}.json"
    record = json.loads(known.read_text(encoding="utf-8")) if known.is_file() else {}
    record |= facts(("repcore", "repcore-pointcloud", "torch", "triton")) | {"unit": "ms"}
    place = f"{arguments.device}, {arguments.threads} threads"
    for name in arguments.only:
        for batch in arguments.batches:
            found = PARTS[name](arguments, batch)
            record.setdefault(place, {}).setdefault(name, {})[f"B={batch}"] = found
            print(f"written: {write_result(NAME, record)}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument(
        "--only", nargs="+", default=["fps", "knn", "views", "pointnet", "step", "encode"], choices=PARTS
    )
    return parser.parse_args()


def race(title: str, contenders: Contenders, rounds: int) -> dict[str, Any]:
    """Median, lowest and highest milliseconds of each, and ratios to ours."""

    def waited(one: Callable[[], Any]) -> Callable[[], Any]:
        def call() -> None:
            one()
            if torch.cuda.is_available():
                torch.cuda.synchronize()

        return call

    seconds = interleaved({name: waited(one) for name, one in contenders.items()}, rounds)
    figures = {name: spread([1000 * one for one in values], 2) for name, values in seconds.items()}
    for name, one in figures.items():
        ratio = one["median"] / figures[OURS]["median"]
        print(f"{title:28s} {name:16s} {one['median']:10.1f} ms  {ratio:7.2f} x ours", flush=True)
    return {
        name: {**one, "times_ours": round(one["median"] / figures[OURS]["median"], 2)} for name, one in figures.items()
    }


def clouds(batch: int, device: str = "cpu") -> Tensor:
    """Points on and in the unit ball."""
    points = torch.randn(batch, POINTS, 3, generator=torch.Generator().manual_seed(0))
    return (points / points.norm(dim=2).amax(1)[:, None, None]).to(device)


def equal(one: Tensor, two: Tensor, tolerance: float = 0.0) -> None:
    difference = float((one.double() - two.double()).abs().max())
    if difference > tolerance:
        raise SystemExit(f"contenders differ by {difference}, more than {tolerance}")


# ------------------------------------------------------------------------------------------- reference forms


def gather_farthest(points: Tensor, count: int) -> Tensor:
    """The usual PyTorch form: (B, N, 3) differences from a gathered centre."""
    rows = torch.arange(len(points), device=points.device)
    nearest = points.new_full(points.shape[:2], 1e10)
    chosen = torch.zeros(len(points), count, dtype=torch.long, device=points.device)
    last = chosen[:, 0]
    for place in range(1, count):
        centre = points[rows, last][:, None]
        nearest = torch.minimum(nearest, ((points - centre) ** 2).sum(-1))
        last = nearest.max(-1).indices
        chosen[:, place] = last
    return chosen


def at(points: Tensor, index: Tensor) -> Tensor:
    return points.gather(1, index[..., None].expand(-1, -1, points.shape[2]))


def broadcast_nearest(queries: Tensor, points: Tensor, count: int) -> Tensor:
    return ((queries[:, :, None] - points[:, None]) ** 2).sum(-1).topk(count, dim=-1, largest=False).indices


def upsampled_lookup(maps: Tensor, pixels: Tensor, size: int) -> Tensor:
    full = F.interpolate(maps, (size, size), mode="bicubic", align_corners=False).flatten(2)
    return full.gather(2, pixels[:, None].expand(-1, maps.shape[1], -1)).transpose(1, 2)


class ReferenceGrouping(Grouping):
    """Farthest points once a level, all differences at once."""

    @torch.no_grad()
    def __call__(self, points: Tensor) -> Hierarchy:
        levels: list[Level] = []
        parents, chosen = points, torch.zeros(0)
        for number, (groups, neighbours) in enumerate(zip(self.groups, self.neighbours, strict=True)):
            index = gather_farthest(parents, groups)
            chosen = index if number == 0 else chosen
            centres = at(parents, index)
            levels.append(Level(centres, broadcast_nearest(centres, parents, neighbours)))
            parents = centres
        return Hierarchy(points, chosen, tuple(levels))


# --------------------------------------------------------------------------------------------------- parts


def fps_part(arguments: argparse.Namespace, batch: int) -> dict[str, Any]:
    points = clouds(batch, arguments.device)

    def each_level() -> Tensor:
        parents = points
        for groups in LEVELS:
            parents = at(parents, gather_farthest(parents, groups))
        return parents

    if arguments.device == "cuda":
        return twins("farthest-points", lambda op: op(points, LEVELS[0]), arguments)
    equal(each_level(), at(points, farthest_points(points, LEVELS[0]))[:, : LEVELS[-1]])
    contenders = {OURS: lambda: farthest_points(points, LEVELS[0]), REFERENCE: each_level}
    return race(f"fps, three levels, B={batch}", contenders, arguments.rounds)


def knn_part(arguments: argparse.Namespace, batch: int) -> dict[str, Any]:
    points = clouds(batch, arguments.device)
    centres = at(points, farthest_points(points, LEVELS[0]))
    parents = (points, centres, centres[:, : LEVELS[1]])

    def all_levels(search: Callable[[Tensor, Tensor, int], Tensor]) -> list[Tensor]:
        return [search(centres[:, :g], p, k) for g, p, k in zip(LEVELS, parents, NEIGHBOURS, strict=True)]

    if arguments.device == "cuda":
        return twins("nearest-points", all_levels, arguments)
    for number, (one, two) in enumerate(zip(all_levels(nearest_points), all_levels(broadcast_nearest), strict=True)):
        distances = squared_distances(centres[:, : LEVELS[number]], parents[number])
        equal(distances.gather(2, one), distances.gather(2, two))  # topk returns ties in any order
    contenders = {OURS: lambda: all_levels(nearest_points), REFERENCE: lambda: all_levels(broadcast_nearest)}
    return race(f"knn, three levels, B={batch}", contenders, arguments.rounds)


def views_part(arguments: argparse.Namespace, batch: int) -> dict[str, Any]:
    points = clouds(min(batch, 8), arguments.device)  # upsampled maps of 32 clouds are 10 GB
    maps = torch.randn(3 * len(points), TEACHER_WIDTH, 14, 14, device=arguments.device)
    chosen = farthest_points(points, LEVELS[0])[:, None].expand(-1, 3, -1)
    if arguments.device == "cuda":
        pixels = depth_views(points)[1].gather(2, chosen).flatten(0, 1)
        return {
            "projection": twins("depth-views", lambda op: op(points), arguments),
            "lookup": twins("map-lookup", lambda op: op(maps, pixels, IMAGE), arguments),
        }

    def both(lookup: Callable[[Tensor, Tensor, int], Tensor], channels: int) -> Tensor:
        images, pixels = depth_views(points)
        images.unsqueeze(2).expand(-1, -1, channels, -1, -1).contiguous()
        return lookup(maps, pixels.gather(2, chosen).flatten(0, 1), IMAGE)

    equal(both(map_lookup, 1), both(upsampled_lookup, 3), 1e-4)  # torch rounds its own bicubic weights
    contenders = {OURS: lambda: both(map_lookup, 1), REFERENCE: lambda: both(upsampled_lookup, 3)}
    return race(f"views, B={len(points)}", contenders, arguments.rounds) | {"clouds": len(points)}


def pointnet_part(arguments: argparse.Namespace, batch: int) -> dict[str, Any]:
    torch.manual_seed(0)
    network = MiniPointNet(3, 128, 256, 512, 96).to(arguments.device)
    members = torch.randn(min(batch, 4) * LEVELS[0], NEIGHBOURS[0], 3, device=arguments.device)

    def trained(form: Callable[[MiniPointNet, Tensor], Tensor]) -> Tensor:
        network.zero_grad(set_to_none=True)
        out = form(network, members)
        out.sum().backward()
        return out.detach()

    equal(trained(MiniPointNet.forward), trained(concatenated_form), 1e-3)  # sums of 131,072 rows in two orders
    contenders = {OURS: lambda: trained(MiniPointNet.forward), REFERENCE: lambda: trained(concatenated_form)}
    found = race(f"pointnet, {len(members)} groups", contenders, arguments.rounds)
    with torch.no_grad():
        forward = {OURS: lambda: network(members), REFERENCE: lambda: concatenated_form(network, members)}
        return {
            "groups": len(members),
            "training": found,
            "forward": race("pointnet, forward", forward, arguments.rounds),
        }


def step_part(arguments: argparse.Namespace, batch: int) -> dict[str, Any]:
    batch = min(batch, 4)  # the reference form of a larger batch does not fit into an ordinary machine
    config = MaskedPointsConfig(teacher="random", teacher_width=TEACHER_WIDTH)
    sample = Batch(inputs={"points": clouds(batch, arguments.device)}, size=batch)
    objectives = {}
    for name in (OURS, REFERENCE):
        torch.manual_seed(0)
        arithmetic = "fast" if name == OURS else "published"
        encoder = HierarchicalPointEncoder(replace(PointEncoderConfig(drop_path=0.0), arithmetic=arithmetic))  # type: ignore[arg-type]
        objective = MaskedPoints(replace(config, decoder_drop_path=0.0), encoder).to(arguments.device)
        if name == REFERENCE:
            encoder.grouping = ReferenceGrouping(LEVELS, NEIGHBOURS)
            objective._map_lookup = upsampled_lookup  # type: ignore[assignment]  # the same function of the same arguments
        objectives[name] = objective
    draws = objectives[OURS].draw(sample, torch.Generator(arguments.device).manual_seed(0), Progress(0, 1))

    def step(name: str) -> Tensor:
        objectives[name].zero_grad(set_to_none=True)
        terms = objectives[name](sample, draws)
        terms.total.backward()
        return terms.total.detach()

    equal(step(OURS), step(REFERENCE), 1e-3)  # the sums of a whole network in two orders
    contenders = {name: (lambda name=name: step(name)) for name in objectives}
    return race(f"step, B={batch}", contenders, arguments.rounds) | {"clouds": batch}


def encode_part(arguments: argparse.Namespace, batch: int) -> dict[str, Any]:
    """Clouds a second of the published size in eval mode; on a GPU also in bfloat16, with peak memory."""
    torch.manual_seed(0)
    encoder = HierarchicalPointEncoder(PointEncoderConfig()).eval().to(arguments.device)
    sample = Batch(inputs={"points": clouds(batch, arguments.device)}, size=batch)
    found = {}
    for precision in ("float32", "bfloat16") if arguments.device == "cuda" else ("float32",):

        def encode(precision: str = precision) -> None:
            with torch.inference_mode(), torch.autocast(arguments.device, torch.bfloat16, precision == "bfloat16"):
                encoder(sample)

        if arguments.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        figures = race(f"encode, B={batch}, {precision}", {OURS: encode}, arguments.rounds)[OURS]
        found[precision] = {**figures, "clouds_per_second": round(1000 * batch / figures["median"], 1)}
        if arguments.device == "cuda":
            found[precision]["peak_mib"] = round(torch.cuda.max_memory_allocated() / 2**20)
    return found


def twins(name: str, call: Callable[[Any], Any], arguments: argparse.Namespace) -> dict[str, Any]:
    """The Triton twin of an op against its plain definition."""
    full = f"pointcloud/{name}"
    kernels, plain = ops.implementation(full, "triton"), ops.implementation(full, "torch")
    return race(name, {OURS: lambda: call(kernels), "plain torch": lambda: call(plain)}, arguments.rounds)


PARTS: Mapping[str, Callable[[argparse.Namespace, int], dict[str, Any]]] = {
    "fps": fps_part, "knn": knn_part, "views": views_part, "pointnet": pointnet_part, "step": step_part,
    "encode": encode_part,
}  # fmt: skip


if __name__ == "__main__":
    main()
