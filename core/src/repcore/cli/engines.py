"""``embed`` and ``predict`` into a folder of parts, by this process or by a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from repcore import stopping
from repcore.cli.console import ConsoleReporter, say, show_json
from repcore.cli.options import WINDOW_GRACE
from repcore.cli.profile import Profile
from repcore.errors import ConfigError
from repcore.files import entries_of
from repcore.outputs import sole_writer

if TYPE_CHECKING:
    from repcore.embedding.engines.work import Job

WORDS = {"embed": "embedding", "predict": "predicting"}
F = TypeVar("F", bound=Callable[..., Any])


def engine_options(function: F) -> F:
    """``--engine --address --actors --gpus-per-actor``."""
    for option in (
        click.option("--gpus-per-actor", type=click.FloatRange(min=0), default=0.0, show_default=True,
                     help="With --engine ray: GPUs of each actor; parts of one are shared."),
        click.option("--actors", type=click.IntRange(min=1), help="With --engine ray: actors that work; as many as the "
                     "cluster has room for by default."),
        click.option("--address", help="With --engine ray: of a running cluster, such as auto or ray://HOST:10001; one "
                     "is started on this machine by default."),
        click.option("--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True,
                     help="Who does the work: this process, or the actors of a Ray cluster, into a FOLDER of parquet "
                     "parts. An existing folder is filled by either."),
    ):  # fmt: skip
        function = option(function)
    return function


def is_parts_folder(given: Mapping[str, Any]) -> bool:
    """Whether the output is a folder of parts.

    Raises:
        ConfigError: options of Ray without it, or a file for it.
    """
    from repcore.embedding.engines.parts import kept_header

    output: Path = given["output"]
    if given["engine"] == "ray":
        if output.suffix and not output.is_dir():
            raise ConfigError(f"--engine ray writes a folder of parts, not {output.name}", hint=f"-o {output.stem}/")
        return True
    for name in ("address", "actors", "gpus_per_actor"):
        if given[name]:
            raise ConfigError(f"--{name.replace('_', '-')} is for --engine ray")
    return output.is_dir() and (kept_header(output) is not None or not entries_of(output))


def refuse_engine(given: Mapping[str, Any]) -> None:
    """Refuse an engine for answers about elements, which are files of their own.

    Raises:
        ConfigError: one was asked for.
    """
    if given["engine"] != "local":
        raise ConfigError(f"--engine {given['engine']} is for rows, not for elements of them", hint="--engine local")


def run_engine(
    ctx: click.Context,
    command: Literal["embed", "predict"],
    given: Mapping[str, Any],
    reading: Mapping[str, Any],
    options: Any,  # InferenceOptions
) -> None:
    """Do the work of ``embed`` or ``predict`` into a folder of parts."""
    from repcore.data.accounting import report_account
    from repcore.embedding.engines.on_ray import run_on_ray
    from repcore.embedding.engines.parts import Parts
    from repcore.embedding.engines.work import Worker

    if given["engine"] == "ray" and options.workers is None:
        options = replace(options, workers=0)  # its actors are the processes
    job = _job(command, given, reading, options)
    reporter = ConsoleReporter()
    ctx.with_resource(sole_writer(given["output"], reporter.info))
    worker = Worker(job)
    parts = Parts(given["output"], worker.header(), overwrite=given["overwrite"])
    report_account(worker.reader, reporter)
    for words in worker.doubts():
        reporter.warn(words)
    total, left = len(worker.reader), sum(stop - first for first, stop in parts.todo())
    if left < total:
        reporter.info(f"going on after {total - left:,} rows that an earlier command has written")
    made, profile = 0, Profile()

    def done(rows: int) -> None:
        nonlocal made
        made += rows
        reporter.progress(WORDS[command], total - left + made, total)

    with stopping.noted(reporter.info, grace=WINDOW_GRACE) as stop:
        if given["engine"] == "ray":
            del worker  # the actors have their own
            run_on_ray(job, parts, done, stop, address=given["address"], actors=given["actors"],
                       gpus=given["gpus_per_actor"], say=reporter.info)  # fmt: skip
        else:
            from repcore.embedding.engines.local import run_here

            run_here(worker, parts, done, stop)
    parts.complete()
    reporter.close()
    failed = _summary(parts, total, made, profile, given)
    if given["strict"] and failed:
        ctx.exit(1)


def _job(
    command: Literal["embed", "predict"], given: Mapping[str, Any], reading: Mapping[str, Any], options: Any
) -> Job:
    from repcore.checkpoints.places import named_model
    from repcore.data.shards.addresses import is_address
    from repcore.embedding.engines.work import Job

    data = given["data"]
    if not is_address(data) and Path(data).expanduser().exists():
        data = str(Path(data).expanduser().absolute())  # actors start elsewhere
    model = Path(given["model"])
    whole = dict(reading)
    if whole.get("selected_rows"):
        whole["selected_rows"] = str(Path(whole["selected_rows"]).expanduser().absolute())
    return Job(
        command=command,
        model=str(model.absolute() if model.exists() and named_model(model) is None else model),
        data=data,
        reader=given["reader"],
        reading=whole,
        options=options,
        device=given["device"],
        coverage=given.get("coverage"),
    )


def _summary(parts: Any, total: int, made: int, profile: Profile, given: Mapping[str, Any]) -> int:
    """Say what is there now; gives the rows without a result."""
    status, failed = parts.counts()
    counts = dict(status.most_common())
    if given["as_json"]:
        show_json({"output": str(parts.path), "rows_in": total, "rows_out": status.total(), "status": counts,
                   "without_result": failed, "parts": len(parts.blocks), **profile.record()})  # fmt: skip
        return failed
    words = ", ".join(f"{number:,} {name}" for name, number in counts.items())
    say(f"{total:,} rows in, {status.total():,} rows out: {words}")
    say(f"{len(parts.blocks):,} parts in {parts.path}")
    if made:
        say(profile.line(made, by_stage=given["engine"] == "local"))
    return failed
