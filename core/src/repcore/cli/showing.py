"""``repcore show``: what one name stands for, and the settings of a recipe with their origin."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any

import click

from repcore import registry
from repcore.cli.console import say, show_json, table
from repcore.config.describe import describe, show_value
from repcore.config.plain import to_plain
from repcore.errors import RegistryError
from repcore.registry import Entry, Registry
from repcore.specs import TargetSpec, TensorSpec


@click.command("show")
@click.argument("name")
@click.argument("overrides", nargs=-1)
@click.option("--preset", help="Preset of a recipe.")
@click.option("--config", "file", type=click.Path(path_type=Path), help="YAML file merged over the preset.")
@click.option("--origin", is_flag=True, help="Every resolved value of a recipe and where it comes from.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def show_command(
    name: str, overrides: tuple[str, ...], preset: str | None, file: Path | None, origin: bool, as_json: bool
) -> None:
    """Everything about one NAME (encoder, recipe, ...); OVERRIDES are key=value as in train.

    \b
    Example:
      repcore show molecules/selformer
      repcore show molecules/selformer --origin trainer.steps=100
    """
    known = registry.default()
    if origin or overrides or file:
        _show_origin(known, name, overrides, preset, file, as_json)
        return
    found = known.find(name)
    if not found:
        raise _unknown(known, name)
    if as_json:
        show_json([_as_json(entry) for entry in found])
        return
    for entry in found:
        _show_entry(entry, preset)


def _unknown(known: Registry, name: str) -> RegistryError:
    from repcore.errors import closest

    names = {entry.full_name for kind in ("recipe", "encoder", "objective", "dataset", "system", "probe", "task", "op")
             for entry in known.entries(kind)}  # fmt: skip
    return RegistryError(f"nothing is called {name!r}", did_you_mean=closest(name, names), hint="repcore list")


def _as_json(entry: Entry[Any]) -> dict[str, Any]:
    spec = {field.name: getattr(entry.spec, field.name) for field in dataclasses.fields(entry.spec)}
    return {"kind": entry.spec.kind, "name": entry.full_name, "plugin": entry.plugin.label, **spec}


def _show_entry(entry: Entry[Any], preset: str | None) -> None:
    say(f"{entry.spec.kind} {entry.full_name}  (plugin {entry.plugin.label})")
    if entry.spec.summary:
        say(f"  {entry.spec.summary}")
    for field in dataclasses.fields(entry.spec):
        value = getattr(entry.spec, field.name)
        if field.name in ("name", "summary", "differences", "presets") or not value:
            continue
        say(f"  {field.name}: {_words(value)}")
    if getattr(entry.spec, "config", ""):
        rows = [(row.path, row.type, row.default, row.help, row.unit) for row in describe(entry.load("config"))]
        table(("setting", "type", "default", "meaning", "unit"), rows)
    if entry.spec.kind == "system" and entry.spec.differences:
        table(("topic", "published", "here", "flag"), entry.spec.differences)
    if entry.spec.kind == "recipe":
        table(("preset", "what it is"), [(one, _first_line(entry.load("presets", one))) for one in entry.spec.presets])
        chosen = preset or entry.spec.default
        say(f"  preset {chosen}:")
        for line in _flat(to_plain(entry.load("presets", chosen)())):
            say(f"    {line[0]}: {line[1]}")
    say()


def _first_line(preset: Any) -> str:
    """What a preset says of itself, without the marks of a reference."""
    words = (inspect.getdoc(preset) or "").partition("\n")[0]
    return re.sub(r":\w+:`~?([^`]*)`", r"\1", words)


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} = {part}" for key, part in value.items())
    if isinstance(value, tuple):
        return ", ".join(_words(part) for part in value)
    if isinstance(value, TensorSpec | TargetSpec):
        facts = (getattr(value, name, "") for name in ("shape", "kind", "dtype", "unit"))
        return f"{value.name} ({' '.join(filter(None, facts))})"
    return str(value)


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows = []
    for key, value in values.items():
        if isinstance(value, dict) and set(value) == {"name", "config"}:
            rows.append((f"{prefix}{key}.name", str(value["name"])))
            rows.extend(_flat(value["config"] or {}, f"{prefix}{key}."))
        elif isinstance(value, dict):
            rows.extend(_flat(value, f"{prefix}{key}."))
        else:
            rows.append((f"{prefix}{key}", show_value(value)))
    return rows


def _show_origin(
    known: Registry, name: str, overrides: tuple[str, ...], preset: str | None, file: Path | None, as_json: bool
) -> None:
    from repcore.config.resolve import resolve_run

    resolved = resolve_run(known, name, preset=preset, file=file, overrides=overrides)
    rows = [(path, value, resolved.origin.get(path, "default")) for path, value in _flat(resolved.plain())]
    if as_json:
        show_json({path: {"value": value, "origin": origin} for path, value, origin in rows})
    else:
        table(("setting", "value", "origin"), rows)
