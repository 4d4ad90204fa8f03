"""``repcore bench``: equality and speed of op implementations on this machine, or a system's own benchmark."""

from __future__ import annotations

import click

from repcore import registry
from repcore.cli.console import show_json, table
from repcore.cli.options import device_option, json_option
from repcore.devices import torch_device


@click.command("bench")
@click.argument("what", default="ops", metavar="[ops|SYSTEM]")
@device_option
@click.option("--dtype", default="float32", show_default=True, help="Number format of the inputs.")
@click.option("--repeats", default=5, show_default=True, help="Runs of which the median is shown.")
@click.option("--threads", type=int, help="torch threads.")
@json_option
@click.pass_context
def bench_command(
    ctx: click.Context, what: str, device: str, dtype: str, repeats: int, threads: int | None, as_json: bool
) -> None:
    """Compare all usable implementations of every op with its plain definition; exit code 1 if one differs.

    Nothing is chosen by this: choices follow a fixed priority, see REPCORE_OPS.

    \b
    Example:
      repcore bench ops --threads 2
    """
    import torch

    from repcore.ops import compare

    if threads is not None:
        torch.set_num_threads(threads)
    if what != "ops":
        registry.default().system(what).load("bench")({"device": torch_device(device), "json": as_json})
        return
    rows = [
        one
        for entry in registry.default().entries("op")
        for one in compare(entry.full_name, device=torch_device(device), dtype=dtype, repeats=repeats)
    ]
    if as_json:
        show_json([{field: getattr(one, field) for field in one.__dataclass_fields__} for one in rows])
    else:
        headers = ("op", "implementation", "case", "difference", "agrees", "plain ms", "ms", "speed-up")
        table(
            headers,
            [
                (
                    r.op,
                    r.implementation,
                    r.case,
                    r.max_difference,
                    r.agrees,
                    r.reference_ms,
                    r.ms,
                    r.reference_ms / r.ms,
                )
                for r in rows
            ],
        )
    ctx.exit(0 if all(one.agrees for one in rows) else 1)
