"""``repcore pull``: published weights by name, verified, as a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from repcore import registry
from repcore.cli.console import say, show_json
from repcore.cli.options import json_option


@click.command("pull")
@click.argument("name", required=False)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Model folder to write; models/NAME by default.")
@click.option("--yes", is_flag=True, help="Do not ask before the download.")
@json_option
def pull_command(name: str | None, output: Path | None, yes: bool, as_json: bool) -> None:
    """Download published weights by NAME, verify their SHA-256 and import them; without NAME, list what there is.

    \b
    Example:
      repcore pull
      repcore pull DOMAIN/NAME -o models/first
    """
    from repcore.checkpoints.published import published_entries, published_entry, pull_weights

    known = registry.default()
    if name is None:
        entries = published_entries(known)
        if as_json:
            show_json([_facts(one) for one in entries])
            return
        for one in entries:
            say(f"{one.name}  {one.weights.size / 1e6:,.1f} MB  {one.weights.licence}  {one.weights.source}")
        if not entries:
            say("No installed plugin names published weights with their SHA-256.")
            say("A file that you have downloaded: repcore import FILE -o MODEL")
        return
    entry = published_entry(known, name)
    place = output or Path("models") / entry.name.partition("/")[2]
    if not as_json:
        say(f"{entry.name}: {entry.weights.size / 1e6:,.1f} MB from {entry.weights.source}")
        say(f"licence: {entry.weights.licence}")
    if not yes and not as_json:
        click.confirm("download?", default=True, abort=True, err=True)
    done = pull_weights(known, entry.name, place)
    if as_json:
        show_json({**_facts(entry), "model": str(done.folder)})
        return
    say(f"verified: {', '.join(entry.weights.files)}")
    say(f"model: {done.folder}" + (f", predicts {done.predicts}" if done.predicts else ""))


def _facts(entry: Any) -> dict[str, Any]:  # a PublishedEntry
    weights = entry.weights
    return {
        "name": entry.name,
        "layout": entry.layout,
        "files": dict(weights.files),
        "sha256": dict(weights.sha256),
        "size": weights.size,
        "source": weights.source,
        "licence": weights.licence,
    }
