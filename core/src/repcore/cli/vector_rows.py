"""What ``index``, ``explore``, ``audit`` and ``compare`` work on: rows with vectors, from a model or from a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from repcore import registry
from repcore.cli.console import ConsoleReporter, complain
from repcore.cli.options import device_option, inference_options, reader_options, reading_options, work_options
from repcore.devices import torch_device
from repcore.outputs import holds_vectors

if TYPE_CHECKING:
    from repcore.explore.rows import Gathered

F = TypeVar("F", bound=Callable[..., Any])


def vector_rows(function: F) -> F:
    """``MODEL|EMBEDDINGS [DATA]`` with how vectors are taken and how DATA is read, as :func:`gathered` wants them."""
    for option in (
        device_option,
        work_options,
        reading_options,
        click.option("--layer", type=click.IntRange(min=0), help="Layer of the encoder instead of its output."),
        click.option("--pool", help="Pooling of the encoder by name."),
        click.option("--by-position", is_flag=True,
                     help="Join embeddings of a file to rows by position instead of by id."),
        click.argument("data", required=False),
        click.argument("source", metavar="MODEL|EMBEDDINGS", type=click.Path(path_type=Path)),
    ):  # fmt: skip
        function = option(function)
    return function


def gathered(source: Path, data: str | None, given: Mapping[str, Any], labels: tuple[str, ...] = ()) -> Gathered:
    """Rows with vectors, from a model and data or from a file of embeddings."""
    from repcore.embedding.model import load
    from repcore.explore.rows import DataRequest, from_file, from_model

    options = reader_options(given)
    asked = DataRequest(data, given["reader"], options, labels, given.get("by_position", False))
    if holds_vectors(source):
        found = from_file(registry.default(), source, asked)
        if found.other_data:
            complain(
                f"warning: {data} is not what the vectors of {source} were made of: rows are joined by id, and an item "
                "that has changed is drawn as it is now; embed the data anew to be sure"
            )
        return found
    reporter = ConsoleReporter()
    model = load(source, device=torch_device(given["device"]))
    inference = inference_options(given, model.device, pooling=given.get("pool"), layer=given.get("layer"))
    found = from_model(model, asked, inference, lambda done, total: reporter.progress("embedding", done, total))
    reporter.close()
    return found
