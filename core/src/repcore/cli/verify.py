"""``repcore verify``: a system against numbers from its authors' own code."""

from __future__ import annotations

from pathlib import Path

import click

from repcore import registry
from repcore.cli.console import say, show_json
from repcore.cli.options import json_option


@click.command("verify")
@click.argument("system")
@click.option("--golden", required=True, type=click.Path(path_type=Path), help="Folder with manifest.json.")
@json_option
@click.pass_context
def verify_command(ctx: click.Context, system: str, golden: Path, as_json: bool) -> None:
    """Replay SYSTEM on a golden folder; exit code 1 if any stage differs or did not run.

    \b
    Example:
      repcore verify molecules/selformer --golden golden/selformer
    """
    entry = registry.default().system(system)
    replay = entry.load("replay")
    from repcore.verification.run import verify

    verdict = verify(replay, golden, system=entry.full_name)
    if as_json:
        show_json(verdict.to_json())
    else:
        say(verdict.text())
    ctx.exit(0 if verdict.ok else 1)
