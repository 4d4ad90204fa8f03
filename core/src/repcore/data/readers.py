"""Which reader opens what the user pointed at, and opening it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repcore.config.plain import field_types
from repcore.config.resolve import ResolvedPart, resolve_part
from repcore.data.headers import contradicts
from repcore.errors import DataError, PluginError, RegistryError, RepcoreError
from repcore.interfaces import DatasetReader
from repcore.registry import Entry, Registry
from repcore.specs import DatasetSpec


@dataclass(frozen=True, slots=True)
class Recognised:
    """How surely one reader fits a path."""

    entry: Entry[DatasetSpec]
    score: float


def recognise(registry: Registry, path: Path, domain: str | None = None) -> list[Recognised]:
    """Readers that fit a path, surest first. A sniffer that fails counts as not fitting."""
    found = []
    for entry in registry.entries("dataset", domain):
        if not entry.spec.sniff:
            continue
        with contextlib.suppress(Exception):  # other people's code on anything that lies at a path
            score = sniffed(entry, path)
            if score > 0.0:
                found.append(Recognised(entry, score))
    return sorted(found, key=lambda one: (-one.score, one.entry.full_name))


def sniffed(entry: Entry[DatasetSpec], path: Path) -> float:
    """How surely a reader fits a path, in [0, 1]: what its sniffer says, unless headers say that names lie."""
    score = float(entry.load("sniff")(path))
    return 0.0 if score > 0.0 and contradicts(path) else score


def dataset_settings(
    registry: Registry, data: str, *, domain: str | None = None, reader: str | None = None
) -> dict[str, Any]:
    """The ``dataset`` section for ``--data``: a registered name, or a path and the reader that fits it.

    Args:
        data: name of a data set that needs no files, or a path.
        reader: registered reader to use instead of the surest one.

    Raises:
        DataError: the path does not exist or no reader fits. RegistryError: unknown reader.
    """
    path = Path(data).expanduser()
    if reader is not None:
        entry = registry.dataset(reader, domain)
        return {"name": entry.full_name, **({"path": str(path)} if _takes_path(entry) else {})}
    if not path.exists():
        with contextlib.suppress(RegistryError):
            named = registry.dataset(data, domain)
            if named.spec.embedded or not _takes_path(named):
                return {"name": named.full_name}
        names = [one.full_name for one in registry.entries("dataset", domain) if one.spec.embedded]
        raise DataError(f"{data!r} is neither a path nor a data set", data_sets=", ".join(names) or "none")
    fits = recognise(registry, path, domain)
    if not fits:
        names = [one.full_name for one in registry.entries("dataset", domain) if _takes_path(one)]
        raise DataError(
            f"no reader recognises {data!r}",
            readers=", ".join(names) or "none",
            hint="--reader NAME forces one; repcore inspect PATH says what was found",
        )
    return {"name": fits[0].entry.full_name, "path": str(path)}


def open_part(part: ResolvedPart) -> DatasetReader:
    """Open a resolved dataset part.

    Raises:
        DataError: as the reader reports it. PluginError: the reader fails in an unexpected way.
    """
    try:
        reader: DatasetReader = part.entry.load()(part.config)
        return reader
    except RepcoreError:
        raise
    except Exception as error:
        raise PluginError(
            f"reader {part.name} failed: {type(error).__name__}: {error}",
            data=getattr(part.config, "path", ""),
            plugin=part.entry.plugin.label,
        ) from error


def open_data(
    registry: Registry,
    data: str,
    *,
    domain: str | None = None,
    reader: str | None = None,
    options: Mapping[str, Any] | None = None,
    preferences: Mapping[str, Any] | None = None,
) -> tuple[ResolvedPart, DatasetReader]:
    """Recognise and open.

    Args:
        options: further settings of the reader; those it does not know are an error.
        preferences: settings that a reader may ignore (``labels``: which labels are wanted).
    """
    settings = dataset_settings(registry, data, domain=domain, reader=reader)
    name = settings.pop("name")
    known = field_types(registry.dataset(name, domain).load("config"))
    settings.update({key: value for key, value in (preferences or {}).items() if key in known})
    settings.update(options or {})
    part = resolve_part(registry, "dataset", name, settings, domain)
    return part, open_part(part)


def _takes_path(entry: Entry[DatasetSpec]) -> bool:
    return "path" in field_types(entry.load("config"))
