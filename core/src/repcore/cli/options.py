"""Command-line options that several commands share, and what they mean."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from repcore.errors import ConfigError

F = TypeVar("F", bound=Callable[..., Any])

RUNS_FOLDER = Path("runs")


def data_options(function: F) -> F:
    """``--data --reader`` and how to read the columns."""
    for option in (
        click.option("--reader", help="Registered reader to use instead of the one that fits best."),
        click.option("--data", help="Path, or the name of a data set that comes with a plugin."),
    ):
        function = option(function)
    return function


def device_option(function: F) -> F:
    """``--device auto|cpu|cuda``."""
    text = "cpu or cuda; auto = cuda where there is one."
    return click.option("--device", default="auto", show_default=True, help=text)(function)


def json_option(function: F) -> F:
    """``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(function)


def torch_device(word: str) -> str:
    """A torch device from ``--device``.

    Raises:
        ConfigError: unknown word, or cuda without a CUDA device.
    """
    import torch

    if word == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if word.partition(":")[0] not in ("cpu", "cuda"):
        raise ConfigError(f"--device {word!r} is unknown", expected="auto, cpu or cuda")
    if word.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"--device {word}, but torch sees no CUDA device", hint="--device cpu")
    return word


def label_names(label: str | None) -> list[str]:
    """Names from ``--label a,b``; a name that holds a comma stands in double quotes: ``--label '"a, b",c'``."""
    return [name.strip() for row in csv.reader([label or ""], skipinitialspace=True) for name in row if name.strip()]


def reader_options(id_column: str | None, extra: tuple[str, ...] = ()) -> dict[str, Any]:
    """Reader settings from ``--id-column`` and ``--read key=value``."""
    from repcore.config.yaml import parse_override

    options: dict[str, Any] = {}
    if id_column is not None:
        options["id_column"] = id_column
    options.update(parse_override(text) for text in extra)
    return options
