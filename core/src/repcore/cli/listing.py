"""``repcore list``."""

from __future__ import annotations

import click

from repcore import registry
from repcore.cli.console import say, show_json, table
from repcore.plugins import missing_modules
from repcore.specs import SPEC_TYPES

SHOWN_BY_DEFAULT = ("system", "recipe", "encoder", "objective", "dataset")


@click.command("list")
@click.argument("kind", required=False)
@click.option("--domain", help="Only this domain.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def list_command(kind: str | None, domain: str | None, as_json: bool) -> None:
    """What is installed. KIND is one of encoders, objectives, datasets, recipes, systems, probes, ...; without it the
    kinds that most people ask for, and with --domain all that the domain has.

    \b
    Example:
      repcore list recipes --domain molecules
    """
    known = registry.default()
    kinds = [known.kind(kind)] if kind else [spec.kind for spec in SPEC_TYPES]
    rows = []
    for one in kinds:
        for entry in known.entries(one, domain):
            missing = missing_modules(entry.spec)
            note = f"needs {', '.join(missing)}" if missing else ""
            rows.append((one, entry.full_name, entry.spec.summary, entry.plugin.label, note))
    if as_json:
        keys = ("kind", "name", "summary", "plugin", "note")
        show_json([dict(zip(keys, row, strict=True)) for row in rows])
        return
    shown = rows if kind else [row for row in rows if row[0] in SHOWN_BY_DEFAULT or _is_of(domain, row[1])]
    table(("kind", "name", "summary", "plugin", "note"), shown)
    if not known.domains():
        say("No plugin is installed. Get one, for example:")
        for name in registry.installable_domains():
            say(f"  {registry.install_command(name)}")


def _is_of(domain: str | None, full_name: str) -> bool:
    """Whether a thing is the domain's own, not one that fits every domain."""
    return domain is not None and full_name.rpartition("/")[0] == domain
