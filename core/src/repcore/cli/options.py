"""Command-line options that several commands share, and what they mean."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from repcore.embedding.inference import InferenceOptions

F = TypeVar("F", bound=Callable[..., Any])

RUNS_FOLDER = Path("runs")
WINDOW_GRACE = 20.0  # seconds that a window of rows in hand is given after a request to stop
DTYPES = ("float32", "bfloat16")


def data_options(function: F) -> F:
    """``--data --reader`` and how to read the columns."""
    for option in (
        click.option("--reader", help="Registered reader to use instead of the one that fits best."),
        click.option("--data", help="Path, or the name of a data set that comes with a plugin."),
    ):
        function = option(function)
    return function


def rows_option(function: F) -> F:
    """``--rows FILE.csv``: which rows of the data count."""
    text = "Only the rows whose ids this csv names in a column id: a selection saved from a map, hits, findings."
    kind = click.Path(resolve_path=True)
    return click.option("--rows", "selected_rows", type=kind, metavar="FILE.csv", help=text)(function)


def reading_options(function: F) -> F:
    """``--reader --id-column --read --rows``: which rows of DATA are read, and how."""
    for option in (
        rows_option,
        click.option("--read", "settings", multiple=True, metavar="KEY=VALUE", help="Further reader settings "
                     "(repeatable)."),
        click.option("--id-column", help="Column with ids."),
        click.option("--reader", help="Registered reader to use instead of the one that fits best."),
    ):  # fmt: skip
        function = option(function)
    return function


def work_options(function: F) -> F:
    """``--batch-size --cost-budget --workers --item-timeout --dtype``: how many rows at once, and in what numbers."""
    for option in (
        click.option("--dtype", type=click.Choice(list(DTYPES)), default="float32", show_default=True,
                     help="Number format of the computation."),
        item_timeout_option(),
        workers_option,
        click.option("--cost-budget", type=click.IntRange(min=1), help="Most padded cost (tokens, voxels) of a batch; "
                     "by default what memory has room for."),
        click.option("--batch-size", type=int, default=64, show_default=True, help="Most items of a batch."),
    ):  # fmt: skip
        function = option(function)
    return function


def workers_option(function: F) -> F:
    """``--workers``: automatic unless a number is given."""
    text = (
        "Processes that work on rows side by side, with the network on a CPU, else before it; 0 = only this one. By "
        "default one for each processor, where the work takes more than two seconds. Results do not depend on it."
    )
    return click.option("--workers", type=click.IntRange(min=0, max=1024), help=text)(function)


def output_option(text: str) -> Callable[[F], F]:
    """``MODEL DATA -o OUTPUT``: what is worked with, and where the rows go."""

    def added(function: F) -> F:
        output = click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help=text)
        for one in (output, click.argument("data"), click.argument("model", type=click.Path(path_type=Path))):
            function = one(function)
        return function

    return added


def ending_options(strict: str) -> Callable[[F], F]:
    """``--strict --overwrite --device --json``: how a command that writes rows ends.

    Args:
        strict: what becomes an error: ``"could not be embedded"``.
    """

    def added(function: F) -> F:
        overwrite = click.option("--overwrite", is_flag=True, help="Replace an existing output file.")
        strictly = click.option("--strict", is_flag=True, help=f"Exit with 1 if any row {strict}.")
        for one in (json_option, device_option, overwrite, strictly):
            function = one(function)
        return function

    return added


def inference_options(given: Mapping[str, Any], device: str, **further: Any) -> InferenceOptions:
    """What :func:`work_options` took, as options of the computation.

    Args:
        further: fields that only one command has.
    """
    import torch

    from repcore.embedding.inference import InferenceOptions

    return InferenceOptions(
        batch_size=given["batch_size"],
        cost_budget=given["cost_budget"],
        workers=given["workers"],
        item_timeout=given["item_timeout"],
        dtype=getattr(torch, given["dtype"]),
        device=device,
        **further,
    )


def device_option(function: F) -> F:
    """``--device auto|cpu|cuda|mps``."""
    text = "cpu, cuda, cuda:1 or mps; auto = cuda where there is one."
    return click.option("--device", default="auto", show_default=True, help=text)(function)


def json_option(function: F) -> F:
    """``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(function)


def item_timeout_option(default: float | None = None) -> Callable[[F], F]:
    """``--item-timeout SECONDS``."""
    text = "Give a row up after this time, as status timeout; rows are then read in processes of their own."
    kind = click.FloatRange(min=0, min_open=default is None)
    return click.option(
        "--item-timeout", type=kind, default=default, show_default=default is not None, metavar="SECONDS",
        help=text if default is None else f"{text} 0 = never.",
    )  # fmt: skip


def label_names(label: str | None) -> list[str]:
    """Names from ``--label a,b``; a name that holds a comma stands in double quotes: ``--label '"a, b",c'``."""
    return [name.strip() for row in csv.reader([label or ""], skipinitialspace=True) for name in row if name.strip()]


def reading_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """What :func:`reading_options` took: rows read in another way are other rows, also where the data is the same.
    Which rows are read is part of the fingerprint of the data."""
    found = {"reader": given["reader"], **reader_options(given)}
    found.pop("selected_rows", None)
    return found


def reader_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Reader settings from ``--id-column``, ``--read key=value`` and ``--rows``, as far as a command has them.

    Raises:
        ConfigError: one setting with two values.
    """
    from repcore.config.yaml import parse_override
    from repcore.errors import ConfigError

    flags = {"id_column": "--id-column", "selected_rows": "--rows"}
    options = {name: given[name] for name in flags if given.get(name) is not None}
    words = {name: f"{flags[name]} {value}" for name, value in options.items()}
    for text in given["settings"]:
        name, value = parse_override(text)
        if name in options and options[name] != value:
            raise ConfigError(f"{words[name]} contradicts --read {text}", hint="leave one of them out")
        options[name], words[name] = value, f"--read {text}"
    return options
