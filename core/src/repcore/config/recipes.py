"""What is known of a recipe before a run of it is resolved: its presets, and the parts that they name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from repcore.config.yaml import load_file, parse_override
from repcore.errors import RegistryError, closest
from repcore.registry import Entry, Registry


def preset_of(entry: Entry[Any], preset: str | None) -> str:
    """Name of a recipe's preset, its default if None.

    Raises:
        RegistryError: it has no such preset; names the nearest one.
    """
    chosen = preset or str(entry.spec.default)
    if chosen not in entry.spec.presets:
        raise RegistryError(
            f"recipe {entry.full_name} has no preset {chosen!r}",
            did_you_mean=closest(chosen, entry.spec.presets),
            presets=f"{', '.join(entry.spec.presets)} (what each is for: repcore show {entry.full_name})",
        )
    return chosen


def recipe_preprocessor(
    registry: Registry,
    recipe: str,
    domain: str | None,
    preset: str | None = None,
    file: Path | None = None,
    overrides: Iterable[str] = (),
) -> str:
    """Full name of the preprocessor that a run would have, before its data set is chosen (which depends on it)."""
    entry = registry.recipe(recipe, domain)
    name = entry.load("presets", preset_of(entry, preset))().preprocessor.name
    section = load_file(file).get("preprocessor") if file is not None else None
    name = section.get("name", name) if isinstance(section, Mapping) else section or name
    for key, value in map(parse_override, overrides):
        if key in ("preprocessor", "preprocessor.name") and isinstance(value, str):
            name = value
    return registry.preprocessor(name, entry.domain).full_name if name else ""


def learns_by_own_objective(registry: Registry, recipe: str) -> bool:
    """Whether a recipe's objective, as its default preset has it, is of the recipe's own domain.

    Read off its name: the plugin of another one need not be installed.
    """
    entry = registry.recipe(recipe)
    name: str = entry.load("presets", preset_of(entry, None))().objective.name
    return name.rpartition("/")[0] in ("", entry.domain)
