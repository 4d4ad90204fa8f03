"""``repcore plan``: what a run will cost, before money is spent."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from repcore import registry
from repcore.cli.console import ConsoleReporter, duration, say, show_json
from repcore.cli.options import data_options, device_option, json_option
from repcore.devices import torch_device

GPU_COUNTS = (1, 8)


@click.command("plan")
@click.argument("recipe")
@click.argument("overrides", nargs=-1)
@click.option("--preset", help="Preset of the recipe, for example tiny or paper.")
@data_options
@click.option("--config", "file", type=click.Path(path_type=Path), help="YAML file merged over the preset.")
@click.option("--workers", type=int, help="Loader processes (same as data.workers=N).")
@click.option("--gpus", multiple=True, type=click.IntRange(1, 100_000), default=GPU_COUNTS, show_default=True,
              help="Numbers of GPUs to plan for (repeatable).")  # fmt: skip
@click.option("--tflops", type=click.FloatRange(0, min_open=True), default=30.0, show_default=True,
              help="What a GPU that is not here is assumed to sustain, 1e12 operations a second.")  # fmt: skip
@device_option
@json_option
def plan_command(recipe: str, overrides: tuple[str, ...], preset: str | None, data: str | None, reader: str | None,
                 file: Path | None, workers: int | None, gpus: tuple[int, ...], tflops: float, device: str,
                 as_json: bool) -> None:  # fmt: skip
    """Steps, hours, memory and storage of RECIPE on DATA: on this machine, on one GPU, on several.

    Three trial steps are measured here; figures of GPUs that are not here are estimates, and say what they rest on.
    Nothing is trained or written but the preparation of the data.

    \b
    Example:
      repcore plan molecules/selformer --data molecules-parquet/ --gpus 1 --gpus 8
    """
    from repcore.cli.train import resolve_command_line
    from repcore.training.assembly import assemble
    from repcore.training.costs import costs, doubts, measure, storage_bytes
    from repcore.training.plan import stream_order, total_steps

    entry = registry.default().recipe(recipe)
    resolved = resolve_command_line(entry.domain, entry.full_name, preset, file, overrides, data, reader, workers)
    reporter = ConsoleReporter()
    chosen = torch_device(device)
    parts = assemble(resolved, reporter)
    order = stream_order(parts)
    steps = total_steps(parts.resolved, order)
    measured = measure(parts, order, chosen)
    reporter.close()
    found = costs(measured, parts.resolved, steps, chosen, gpus, tflops)
    items = parts.resolved.items_per_step
    storage = storage_bytes(measured.parameters)
    warnings = doubts(len(parts.train), items, steps, parts.resolved.trainer.steps is None)
    facts: dict[str, Any] = {"recipe": entry.full_name, "preset": parts.resolved.preset, "rows": len(parts.train),
                             "items_per_step": items, "storage_bytes": storage, "measured": asdict(measured),
                             "assumed_tflops": tflops}  # fmt: skip
    if as_json:
        show_json({**facts, "costs": [asdict(one) for one in found], "warnings": warnings})
        return
    _show(facts, found, warnings)


def _show(facts: dict[str, Any], found: list[Any], warnings: list[str]) -> None:
    measured = facts["measured"]
    load, compute = (1000 * measured[name] for name in ("load_seconds", "compute_seconds"))
    operations = measured["operations"] / 1e9
    say(f"{facts['recipe']}, preset {facts['preset']}: {facts['rows']:,} training rows, "
        f"{facts['items_per_step']:,} items a step, {measured['parameters']:,} parameters")  # fmt: skip
    say(f"measured: {load:.0f} ms to load a micro-batch, {compute:.0f} ms to compute it, "
        f"{operations:,.2f} billion operations")  # fmt: skip
    for one in found:
        say(f"{one.where}: {one.steps:,} steps at {1000 * one.step_seconds:.1f} ms, {duration(3600 * one.hours)}, "
            f"{one.memory_bytes / 2**30:.2f} GiB a device; most time goes into {one.bound}")  # fmt: skip
    say(f"storage: {facts['storage_bytes'] / 2**20:,.1f} MiB of checkpoints and model")
    say(f"estimates suppose {facts['assumed_tflops']:g} TFLOP/s a GPU (--tflops), loading as measured here by "
        "data.workers, 20 GB/s between GPUs, and memory in float32 with Adam")  # fmt: skip
    for text in warnings:
        say(f"warning: {text}")
