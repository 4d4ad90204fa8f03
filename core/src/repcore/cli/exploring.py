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
from repcore.explore import LAYOUTS
from repcore.outputs import local_output


@click.command("explore")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="FILE.html, one self-contained page.")
@click.option("--export", "site", type=click.Path(path_type=Path), metavar="FOLDER",
              help="A static site instead: pictures lie beside the page and are loaded when looked at.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace an existing page or site.")
@click.option("--layout", type=click.Choice(LAYOUTS), default="auto", show_default=True,
              help="Map beside PCA; auto: t-SNE up to 5,000 points, above UMAP where it is installed.")  # fmt: skip
@click.option("--pictures", type=click.IntRange(min=0), metavar="MB",
              help="Most megabytes of drawn items; of a page 12, of a site 500, where nothing is said.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
              help="Of the map, and of which items are drawn where not all fit.")  # fmt: skip
@vector_rows
@json_option
def explore_command(source: Path, data: str | None, **given: Any) -> None:
    """A map of DATA by MODEL, or of a file of EMBEDDINGS: colour, filter, select, find, and see the items drawn.

    The page opens without a network; its button saves the ids of selected points as csv.

    \b
    Example:
      repcore explore runs/latest molecules.csv -o map.html
      repcore explore vectors.parquet molecules.csv --export walk --layout umap
    """
    from repcore.explore.destinations import INDEX
    from repcore.explore.drawing import Sources
    from repcore.explore.neighbour_maps import method_for
    from repcore.explore.page import write_explorer

    output = _output(given)
    method_for(given["layout"], 0)  # before the rows are embedded: is its library there?
    rows = gathered(source, data, given)
    render = Sources(registry.default(), say).render(rows.origin)
    title = f"{Path(data).name if data else source.name} by {source.name}" if data else source.name
    page = output / INDEX if given["site"] else output

    def begun(what: str) -> None:
        if what and not given["as_json"]:
            say(f"{page} is there with PCA; being made: {what}")

    done = write_explorer(
        output, rows, title, render, seed=given["seed"], layout=given["layout"], site=bool(given["site"]),
        picture_bytes=None if given["pictures"] is None else given["pictures"] * 1_000_000,
        begun=begun,
    )  # fmt: skip
    if given["as_json"]:
        show_json({"page": str(page), "points": done.points, "pictures": done.pictures, "left_out": done.left_out})
        return
    words = f"{done.points:,} points, {done.pictures:,} with a picture"
    words += f"; {done.left_out:,} rows left out, the first: {done.reason or 'no vector'}" if done.left_out else ""
    say(words)
    for note in done.notes:
        say(f"note: {note}")
    say(f"open {page} in a browser")


def _output(given: dict[str, Any]) -> Path:
    """The file or folder that is written; exactly one of both."""
    from repcore.explore.destinations import check_site

    file, site, fresh = given["output"], given["site"], given["overwrite"]
    if (file is None) == (site is None):
        raise ConfigError("a page is one file or a site", hint="-o map.html, or --export FOLDER")
    if site is not None:
        found = local_output(site, "--export", folder_too=True)
        if found.is_file():
            raise DataError(f"{str(found)!r} is a file", expected="a folder", hint="--export with another name")
        check_site(found, overwrite=fresh)
        return found
    found = local_output(file)
    if found.suffix.lower() != ".html":
        raise ConfigError(f"-o {found.name}: a map is a .html", hint=f"-o {found.stem or 'map'}.html")
    if found.exists() and not fresh:
        raise DataError(f"{str(found)!r} exists", hint="--overwrite")
    return found
