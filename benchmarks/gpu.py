"""One run for a machine with a GPU, under six minutes: are all ops right there, and how far from what it can do?

1. Every op of the registry: each usable form against its plain definition, values and gradients, on the op's own cases.
2. What the device gives: bytes a second of a copy, operations a second of a matrix product.
3. Selective scan, nearest points, farthest points, sparse convolution: time beside their floor, the larger of bytes
   over that bandwidth and operations over that peak. Bytes are those of inputs and outputs, read and written once; the
   farthest points read all points once a chosen one, which they need not where points stay in a kernel's registers.
4. One training step of every recipe's first preset, on its generated data.

    python benchmarks/gpu.py [--device cuda] [--small] [--limit 330] [--out FILE]

``--device cpu --small`` runs the same on a processor in about a minute, to try the script; its times mean little. After
``--limit`` seconds what is left is not begun, and named in the result. Exit code 1 if a form differs or a part failed.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from measuring import facts, write_result
from scenes_speed import surface

from repcore import ops, registry
from repcore.config.resolve import resolve_run
from repcore.data.batching import TrainingCollator
from repcore.data.seeds import mix
from repcore.data.stream import EndlessBatches
from repcore.devices import torch_device
from repcore.reporting import LogReporter
from repcore.training.assembly import assemble
from repcore.training.plan import stream_order
from repcore_pointcloud.ops.sparse_conv3d import selection
from repcore_pointcloud.ops.sparse_conv3d.sites import Sites

Options = argparse.Namespace
WARM_UP = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="few and small: only to try the script")
    parser.add_argument("--limit", type=float, default=330.0, help="seconds after which nothing more is begun")
    parser.add_argument("--out", type=Path, help="result file (default: results/gpu.json)")
    options = parser.parse_args()
    options.device = torch_device(options.device)
    options.ends = time.monotonic() + options.limit
    record: dict[str, Any] = facts(("repcore", "torch", "triton", "numba", "spconv", "mamba-ssm"))
    record |= {"device": options.device, "small": options.small, "left_out": []}
    if options.device.startswith("cuda"):
        record["gpu"] = torch.cuda.get_device_name(options.device)
    for name, part in (("ops", op_rows), ("limits", limits), ("floors", floor_rows), ("steps", step_rows)):
        started = time.monotonic()
        record[name] = part(options, record)
        record.setdefault("seconds", {})[name] = round(time.monotonic() - started, 1)
        path = write_result("gpu", record, options.out)
        print(f"{name}: {record['seconds'][name]} s, written to {path}", flush=True)
    differing = [f"{one['op']}, {one['implementation']}, {one['case']}" for one in record["ops"] if not one["agrees"]]
    failed = [one["what"] for one in [*record["floors"], *record["steps"]] if "failed" in one]
    if differing or failed:
        raise SystemExit(f"differ from their definition: {differing or 'none'}; failed: {failed or 'none'}")


def over(options: Options, record: dict[str, Any], what: str) -> bool:
    """Whether the time is over; what is not begun is noted."""
    late: bool = time.monotonic() > options.ends
    if late:
        record["left_out"].append(what)
    return late


def milliseconds(options: Options, call: Callable[[], object], rounds: int = 10) -> float:
    """Median over rounds, device idle before and after each."""

    def wait() -> None:
        if options.device.startswith("cuda"):
            torch.cuda.synchronize()

    times = []
    for number in range(WARM_UP + (2 if options.small else rounds)):
        wait()
        started = time.perf_counter()
        call()
        wait()
        if number >= WARM_UP:
            times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)


# ---------------------------------------------------------------------------------------------------- ops


def op_rows(options: Options, record: dict[str, Any]) -> list[dict[str, Any]]:
    """Forms against definitions in float32; on a GPU also in bfloat16, and which forms cannot be used there and why."""
    rows: list[dict[str, Any]] = []
    kind = options.device.partition(":")[0]
    for entry in registry.default().entries("op"):
        if over(options, record, f"op {entry.full_name}"):
            continue
        for one in ops.compare(entry.full_name, device=options.device, repeats=1 if options.small else 5):
            rows.append({name: getattr(one, name) for name in one.__dataclass_fields__})
        unusable = {one: ops.why_unusable(entry.full_name, one) for one in entry.spec.implementations}
        reasons = {one: why for one, why in unusable.items() if why}
        record.setdefault("unusable", {}).update({entry.full_name: reasons} if reasons else {})
        record.setdefault("chosen", {})[entry.full_name] = ops.choose(entry.full_name, device=kind)
    return rows


# ------------------------------------------------------------------------------------------------- floors


def limits(options: Options, record: dict[str, Any]) -> dict[str, float]:
    """What a copy and matrix products of this device reach."""
    side, count = (1024, 2**23) if options.small else (8192, 2**28)
    source = torch.empty(count, device=options.device).normal_()
    target = torch.empty_like(source)
    copied = milliseconds(options, lambda: target.copy_(source))
    found = {"gb_a_second": round(2 * source.nbytes / copied / 1e6, 1)}
    for name, kind in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        one = torch.randn(side, side, device=options.device, dtype=kind)
        taken = milliseconds(options, lambda one=one: one @ one)  # type: ignore[misc]
        found[f"{name}_tflop_a_second"] = round(2 * side**3 / taken / 1e9, 3)
    return found


def floor_rows(options: Options, record: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for make in (scan_row, nearest_row, farthest_row, convolution_row):
        what = make.__name__.removesuffix("_row")
        if not over(options, record, what):
            rows.append(tried(what, lambda make=make: make(options, record["limits"])))  # type: ignore[misc]
    return rows


def tried(what: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A row, or why there is none: one part that fails costs the others nothing."""
    try:
        return {"what": what, **make()}
    except Exception as error:
        return {"what": what, "failed": f"{type(error).__name__}: {error}"[:500]}


def beside_floor(given: dict[str, float], ms: float, nbytes: float, operations: float) -> dict[str, Any]:
    floors = {
        "bytes": nbytes / given["gb_a_second"] / 1e6,
        "operations": operations / given["float32_tflop_a_second"] / 1e9,
    }
    bound = max(floors, key=lambda name: floors[name])
    return {
        "ms": round(ms, 4), "floor_ms": round(floors[bound], 4), "bound_by": bound,
        "times_floor": round(ms / max(floors[bound], 1e-9), 2),
    }  # fmt: skip


def chosen(options: Options, name: str) -> Callable[..., Any]:
    return ops.implementation(name, ops.choose(name, device=options.device.partition(":")[0]))


def scan_row(options: Options, given: dict[str, float]) -> dict[str, Any]:
    """Forward of one direction: u, delta, B, C in, y out; 9 operations a channel, state and token."""
    items, tokens, channels, states = (1, 64, 32, 16) if options.small else (16, 4096, 768, 16)
    wide, narrow = (1, items, tokens, channels), (1, items, tokens, states)
    u, delta = (torch.randn(wide, device=options.device) for _ in range(2))
    b, c = (torch.randn(narrow, device=options.device) for _ in range(2))
    rates = -torch.arange(1.0, states + 1, device=options.device).repeat(1, channels, 1)
    ones = torch.ones(1, channels, device=options.device)
    scan = chosen(options, "selective-scan")
    with torch.no_grad():
        ms = milliseconds(options, lambda: scan(u, delta, rates, b, c, ones, delta_bias=ones))
    nbytes = 3 * u.nbytes + 2 * b.nbytes
    return {"shape": wide, **beside_floor(given, ms, nbytes, 9 * u.numel() * states)}


def nearest_row(options: Options, given: dict[str, float]) -> dict[str, Any]:
    """16 neighbours of each of 512 centres among 2,048 points: 8 operations a pair."""
    clouds, points, queries = (1, 256, 32) if options.small else (64, 2048, 512)
    all_points = torch.randn(clouds, points, 3, device=options.device)
    search = chosen(options, "pointcloud/nearest-points")
    ms = milliseconds(options, lambda: search(all_points[:, :queries], all_points, 16))
    nbytes = all_points.nbytes + clouds * queries * (12 + 16 * 8)
    return {"shape": (clouds, queries, points), **beside_floor(given, ms, nbytes, 8 * clouds * queries * points)}


def farthest_row(options: Options, given: dict[str, float]) -> dict[str, Any]:
    """512 of 2,048 points; for each, points and distances are read, distances written; 9 operations a pair."""
    clouds, points, count = (1, 256, 32) if options.small else (64, 2048, 512)
    all_points = torch.randn(clouds, points, 3, device=options.device)
    choose = chosen(options, "pointcloud/farthest-points")
    ms = milliseconds(options, lambda: choose(all_points, count))
    pairs = clouds * points * count
    return {"shape": (clouds, points, count), **beside_floor(given, ms, 20 * pairs, 9 * pairs)}


def convolution_row(options: Options, given: dict[str, float]) -> dict[str, Any]:
    """Forward of 3 x 3 x 3 on a synthetic surface; table of neighbours made before."""
    voxels, width = (1000, 16) if options.small else (200_000, 64)
    book = Sites(surface(voxels).to(options.device)).submanifold((3, 3, 3))
    features = torch.randn(book.num_outputs, width, device=options.device)
    weight = torch.randn(width, 3, 3, 3, width, device=options.device)
    sizes = selection.shape_class(features, weight, None, rulebook=book)
    kind = options.device.partition(":")[0]
    form = ops.choose(selection.OP, device=kind, sizes=sizes)
    function = ops.implementation(selection.OP, form)
    with torch.no_grad():
        ms = milliseconds(options, lambda: function(features, weight, None, rulebook=book))
    nbytes = 2 * features.nbytes + weight.nbytes + 16 * book.num_pairs
    shape = (book.num_outputs, width, book.num_pairs)
    return {"shape": shape, "form": form, **beside_floor(given, ms, nbytes, 2 * book.num_pairs * width**2)}


# -------------------------------------------------------------------------------------------------- steps


def step_rows(options: Options, record: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for entry in recipes(options):
        if not over(options, record, f"step of {entry.full_name}"):
            rows.append(tried(entry.full_name, lambda entry=entry: step_row(options, entry)))  # type: ignore[misc]
            print(rows[-1], flush=True)
    return rows


def recipes(options: Options) -> Iterable[Any]:
    """All that train from generated data; a few with ``--small``."""
    few = ("graphs/masked-edge", "molecules/selformer", "timeseries/ts2vec")
    return [one for one in registry.default().entries("recipe") if not options.small or one.full_name in few]


def step_row(options: Options, entry: Any) -> dict[str, Any]:
    """Forward, backward and a plain update of the preset's first batches; batches are made before the clock starts."""
    settings = ["trainer.steps=8", "trainer.validate_every=1000"]
    if options.small:
        settings.append("data.batch_size=4")
    resolved = resolve_run(registry.default(), entry.full_name, overrides=settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = assemble(resolved, LogReporter())
    objective: Any = parts.objective.to(options.device).train()
    stream = EndlessBatches(stream_order(parts), start=0, accumulate=1, total_steps=8)
    items = parts.items(parts.train)
    collate = TrainingCollator(parts.preprocessor, parts.reader.targets, resolved.domain)
    prepared = [
        (collate([items[key] for key in keys]).batch.to(options.device), stream.progress(step))
        for step, keys in zip(range(1 if options.small else 4), stream, strict=False)
    ]
    trainable = [one for one in objective.parameters() if one.requires_grad]
    optimiser = torch.optim.SGD(trainable, lr=1e-6)
    calls = iter(range(10**9))

    def step() -> None:
        batch, progress = prepared[next(calls) % len(prepared)]
        generator = torch.Generator().manual_seed(mix(0, "draw", 0, 0))
        optimiser.zero_grad(set_to_none=True)
        objective(batch, objective.draw(batch, generator, progress)).total.backward()
        optimiser.step()

    if options.device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    found: dict[str, Any] = {"preset": resolved.preset, "items": prepared[0][0].size}
    found["ms"] = round(milliseconds(options, step), 2)
    if options.device.startswith("cuda"):
        found["peak_mib"] = round(torch.cuda.max_memory_allocated() / 2**20)
    return found


if __name__ == "__main__":
    main()
