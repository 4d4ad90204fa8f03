"""From what a user calls a model to its folder: a path, a run, the Hub, or the name of an installed model.

Every command and function that takes a model comes through :func:`model_path`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repcore import registry as registries
from repcore.checkpoints.hub import fetched, is_hub_name
from repcore.errors import DataError, PluginError, RegistryError, RepcoreError, closest
from repcore.files import entries_of, read_object
from repcore.plugins import WORKING
from repcore.registry import Entry, Registry
from repcore.specs import ModelSpec

WEIGHTS, CONFIG = "weights.safetensors", "config.json"
NAMED = re.compile(r"(?:[A-Za-z0-9_-]+:)?(?P<domain>[a-z][a-z0-9]*)/[A-Za-z0-9@_-]+")
"""``domain/name``, or ``plugin:domain/name``, which is never a path."""


def model_path(path: Path | str, registry: Registry | None = None) -> Path:
    """A model folder from itself, from the run folder that holds it, from the Hub (``hf://owner/name@revision``), or by
    the name of an installed model (``domain/name``).

    Args:
        registry: where names are looked up; the installed plugins when None.

    Raises:
        DataError: none of these, or both a folder here and the name of an installed model.
    """
    given = fetched(path) if is_hub_name(path) else Path(path)
    here = next((one for one in (given, given / "model") if (one / WEIGHTS).is_file()), None)
    installed = named_model(path, registry)
    if here is not None and installed is not None:
        raise DataError(
            f"{str(path)!r} is a model folder here and the name of a model of {installed.plugin.label}",
            hint=f"{str(here.absolute())!r} is the one, {f'{installed.plugin.name}:{installed.full_name}'!r} the other",
        )
    if here is not None:
        return here
    if installed is not None:
        return _complete(installed)
    if not given.exists():
        raise _unknown(str(path), registry or registries.default())
    raise DataError(
        f"{str(path)!r} is not a model folder (no {WEIGHTS})",
        hint="a published checkpoint becomes one with: repcore import CKPT -o MODEL",
    )


def named_model(path: Path | str, registry: Registry | None = None) -> Entry[ModelSpec] | None:
    """The installed model of this full name; None where the text is none."""
    text = Path(path).as_posix()
    if not NAMED.fullmatch(text):
        return None
    try:
        return (registry or registries.default()).model(text)
    except RegistryError:
        return None


def lasting_name(folder: Path, registry: Registry | None = None) -> str:
    """What finds a model folder again from any working directory: ``plugin:domain/name`` of an installed model, whose
    folder is another in every environment, else the absolute path."""
    real = folder.resolve()
    for entry in (registry or registries.default()).entries("model"):
        with contextlib.suppress(PluginError):  # a package that is gone
            if entry.spec.place().resolve() == real:
                return f"{entry.plugin.name}:{entry.full_name}"
    return str(real)


def _complete(entry: Entry[ModelSpec]) -> Path:
    folder = entry.spec.place()
    if (folder / WEIGHTS).is_file():
        return folder
    raise DataError(
        f"model {entry.full_name} of {entry.plugin.label} is not whole: {str(folder)!r} has no {WEIGHTS}",
        hint=f"pip install --force-reinstall {entry.plugin.distribution}",
    )


def _unknown(text: str, registry: Registry) -> DataError:
    """Why a text is no model: a path that is not there, a name with an error, or models that are not installed."""
    entries = registry.entries("model")
    names = [one.full_name for one in entries]
    found = NAMED.fullmatch(Path(text).as_posix())
    domain = found["domain"] if found else ""
    if domain not in {*registry.domains(), *registries.installable_domains(), *(one.domain for one in entries)}:
        return DataError(
            f"model {text!r} does not exist", did_you_mean=_same_short(text, names) or closest(text, names)
        )
    distribution = registries.models_distribution(domain)
    record = next((one for one in registry.records if distribution and one.distribution == distribution), None)
    hint = ""
    if distribution and record is None:
        plugin = "" if domain in registry.domains() else registries.install_command(domain).removeprefix("pip install ")
        hint = " ".join(filter(None, ("pip install", plugin, distribution)))
    return DataError(
        f"model {text!r} does not exist: no such folder, and no installed model has this name",
        installed=", ".join(one for one in names if one.startswith(f"{domain}/")) or f"no model of {domain}",
        did_you_mean=closest(text, names),
        problem=record.problem if record is not None and record.status not in WORKING else "",
        hint=hint or "repcore list models",
    )


def _same_short(text: str, names: list[str]) -> str:
    """The full name whose second half is the text."""
    return next((one for one in names if one.partition("/")[2] == text), "")


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the card of an installed model says, in one line each.

    Args:
        size: bytes of its folder.
        licence / data / figures: of the weights, of what they were trained on, and how good they are.
        needs: command that installs the domain without which it cannot be built; empty where that is there.
    """

    size: int
    licence: str
    data: str
    figures: str
    needs: str


def model_facts(entry: Entry[ModelSpec], registry: Registry) -> ModelFacts:
    """Facts of an installed model from its ``config.json``, without torch.

    Raises:
        RepcoreError: its folder is gone or damaged.
    """
    folder = _complete(entry)
    config = read_object(folder / CONFIG)
    card: Mapping[str, Any] = config.get("card") or {}
    data = card.get("training_data") or (card.get("data") or {}).get("name") or ""
    figures = card.get("figures") or ""
    return ModelFacts(
        size=sum(one.stat().st_size for one in entries_of(folder) if one.is_file()),
        licence=str(card.get("licence") or "").partition("\n")[0],
        data=str(data),
        figures="; ".join(_lines(figures)),
        needs=_missing_domain(str((config.get("encoder") or {}).get("name") or ""), registry),
    )


def _lines(figures: Any) -> list[str]:  # of a card: a text, several, or texts by what they are of
    if isinstance(figures, Mapping):
        return [f"{name}: {text}" for name, text in figures.items()]
    return [str(one) for one in (figures if isinstance(figures, list) else [figures]) if one]


def _missing_domain(encoder: str, registry: Registry) -> str:
    try:
        registry.encoder(encoder)
    except RepcoreError as error:
        return str(error.facts.get("hint") or error.summary)
    return ""
