"""Settings with origin, environment and the commands that go on from here."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repcore.errors import shortened
from repcore.report.collect import RunRecord

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Setting:
    """One resolved value: dotted path, value as text, and where it came from."""

    path: str
    value: str
    origin: str


@dataclass(frozen=True, slots=True)
class Command:
    """A command line and what it is good for."""

    purpose: str
    line: str


def flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Dotted path and text of every value in nested mappings."""
    found: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            found += flat(value, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", _text(value)))
    return found


def _text(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return shortened(", ".join(_text(one) for one in value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def settings(record: RunRecord) -> list[Setting]:
    """Every setting of the run; those without a recorded origin are defaults."""
    return [Setting(path, value, record.origin.get(path, DEFAULT)) for path, value in flat(record.config)]


def environment(record: RunRecord) -> list[tuple[str, str]]:
    """Versions, machine, plugins, op choices, teachers, data fingerprint."""
    values = dict(record.environment)
    named = {"plugins": "none", "ops": "no op with a choice was used", "teachers": "none"}
    for key, empty in named.items():
        if key in values and not values[key]:
            values[key] = empty
    if isinstance(values.get("teachers"), list):
        values["teachers"] = {
            str(one.get("name", place)): one.get("sha256", "") for place, one in enumerate(values["teachers"])
        }
    if isinstance(values.get("command"), list):
        values["command"] = shlex.join(["repcore", *map(str, values["command"])])
    return flat(values)


def next_commands(record: RunRecord) -> list[Command]:
    """What to type next."""
    run = shlex.quote(shown_path(record.path))
    domain, recipe = shlex.quote(record.domain), shlex.quote(record.recipe.partition("/")[2])  # of a received run, too
    found = []
    if record.has_model:
        data = record.section("dataset").get("path")
        source = shlex.quote(str(data)) if data else "DATA"
        found += [
            Command("one vector a row, as a table", f"repcore embed {run}/model {source} -o embeddings.parquet"),
            Command("how good are the frozen features", f"repcore probe {run}/model --data {source}"),
        ]
        if record.finetune:
            output = "predictions.csv" if record.target.get("level", "item") == "item" else "answers/"
            found.insert(0, Command("predictions for new rows", f"repcore predict {run} DATA -o {output}"))
        else:
            found.append(Command("train on", f"repcore {domain} train {recipe} --init-from {run}/model"))
    elif not record.finetune:
        found.append(Command("go on where the run stopped", f"repcore {domain} train --resume {run}"))
    found.append(Command("this page again, with new probe results", f"repcore report {run}"))
    return found


def shown_path(path: Path) -> str:
    """As a user would type it here: relative to the working folder if it lies below."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
