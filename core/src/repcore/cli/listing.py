"""``repcore list``."""

from __future__ import annotations

import click

from repcore import registry
from repcore.checkpoints.places import model_facts
from repcore.cli.console import say, show_json, table
from repcore.errors import RepcoreError
from repcore.plugins import missing_modules
from repcore.registry import Entry, Registry
from repcore.specs import SPEC_TYPES, ModelSpec

SHOWN_BY_DEFAULT = ("system", "recipe", "encoder", "objective", "dataset", "model")


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
    if kind and known.kind(kind) == ModelSpec.kind:
        _models(known, domain, as_json)
        return
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


def _models(known: Registry, domain: str | None, as_json: bool) -> None:
    """Installed models with what their cards say."""
    entries: list[Entry[ModelSpec]] = known.entries(ModelSpec.kind, domain)
    headers = ("name", "size", "trained on", "licence", "figures", "plugin", "note")
    rows: list[tuple[object, ...]] = []
    for entry in entries:
        try:
            facts = model_facts(entry, known)
        except RepcoreError as error:
            rows.append((entry.full_name, "", "", "", "", entry.plugin.label, error.in_one_line()))
            continue
        note = f"needs its domain: {facts.needs}" if facts.needs else ""
        size = facts.size if as_json else f"{facts.size / 1e6:.1f} MB"
        rows.append((entry.full_name, size, facts.data, facts.licence, facts.figures, entry.plugin.label, note))
    if as_json:
        show_json([{"kind": ModelSpec.kind, **dict(zip(headers, row, strict=True))} for row in rows])
        return
    table(headers, rows)
    missing = [one for one in map(registry.models_distribution, [domain] if domain else known.domains()) if one]
    missing = [one for one in missing if all(record.distribution != one for record in known.records)]
    if missing:
        say("More models, not installed: pip install " + " ".join(missing))


def _is_of(domain: str | None, full_name: str) -> bool:
    """Whether a thing is the domain's own, not one that fits every domain."""
    return domain is not None and full_name.rpartition("/")[0] == domain
