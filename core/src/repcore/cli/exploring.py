"""``repcore explore``: a page to walk through embedded items."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from repcore import registry
from repcore.cli.console import say, show_json
from repcore.cli.options import json_option
from repcore.cli.vector_rows import gathered, vector_rows
from repcore.errors import ConfigError, DataError
from repcore.outputs import local_output


@click.command("explore")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="FILE.html, one self-contained page."
)
@click.option("--overwrite", is_flag=True, help="Replace an existing page.")
@click.option("--pictures", type=click.IntRange(min=0), default=12, show_default=True,
              help="Most megabytes of drawn items in the page.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
              help="Of t-SNE, and of which items are drawn where not all fit.")  # fmt: skip
@vector_rows
@json_option
def explore_command(source: Path, data: str | None, **given: Any) -> None:
    """A map of DATA by MODEL, or of a file of EMBEDDINGS: colour, filter, select, find, and see the items drawn.

    The page opens without a network; its button saves the ids of selected points as csv.

    \b
    Example:
      repcore explore runs/latest molecules.csv -o map.html
      repcore explore vectors.parquet molecules.csv -o map.html
    """
    from repcore.explore.drawing import Sources
    from repcore.explore.page import write_explorer

    output: Path = local_output(given["output"])
    if output.suffix.lower() != ".html":
        raise ConfigError(f"-o {output.name}: a map is a .html", hint=f"-o {output.stem or 'map'}.html")
    if output.exists() and not given["overwrite"]:
        raise DataError(f"{str(output)!r} exists", hint="--overwrite")
    rows = gathered(source, data, given)
    render = Sources(registry.default(), say).render(rows.origin)
    title = f"{Path(data).name if data else source.name} by {source.name}" if data else source.name
    done = write_explorer(
        output, rows, title, render, seed=given["seed"], picture_bytes=given["pictures"] * 1_000_000
    )  # fmt: skip
    if given["as_json"]:
        show_json({"page": str(output), "points": done.points, "pictures": done.pictures, "left_out": done.left_out})
        return
    words = f"{done.points:,} points, {done.pictures:,} with a picture"
    words += f"; {done.left_out:,} rows left out, the first: {done.reason or 'no vector'}" if done.left_out else ""
    say(words)
    for note in done.notes:
        say(f"note: {note}")
    say(f"open {output} in a browser")
