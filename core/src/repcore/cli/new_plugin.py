"""``repcore new-plugin``: a working plugin to start from, written offline."""

from __future__ import annotations

from pathlib import Path

import click

from repcore.cli.console import say
from repcore.plugins import find_candidates
from repcore.scaffold.generate import PARTS, describe, write


@click.command("new-plugin")
@click.argument("name")
@click.option("--domain", help="Domain to found or to join; the name without hyphens by default.")
@click.option(
    "--with", "parts", default="encoder,objective,dataset", show_default=True,
    help=f"Parts, comma separated: {', '.join(PARTS)}; or all. What a part cannot do without comes with it.",
)  # fmt: skip
@click.option("--dest", type=click.Path(path_type=Path), default=Path(), help="Where the new folder goes; here.")
def new_plugin_command(name: str, domain: str | None, parts: str, dest: Path) -> None:
    """Write a plugin called NAME that installs, trains and passes every check as it is.

    Nothing is ever overwritten, and no network is used.

    \b
    Example:
      repcore new-plugin mri-sleep --with all
    """
    plugin = describe(name, domain, parts.split(","), taken=[one.name for one in find_candidates()])
    folder = write(plugin, dest)
    say(f"{folder}: {len([one for one in folder.rglob('*') if one.is_file()])} files")
    if plugin.brought:
        say(f"with {', '.join(plugin.brought)}, which the parts asked for cannot do without")
    say("README.md there has a command for every part. Next:")
    say(f'  pip install -e "{folder}"')
    second = f"{plugin.domain} train {plugin.name}" if plugin.trains else f"list --domain {plugin.domain}"
    say(f"  repcore {second}")
    say(f"  repcore plugins check {plugin.name}")
