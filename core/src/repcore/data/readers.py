"""Which reader opens what the user pointed at, and opening it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from repcore.config.matching import in_words, reads_for
from repcore.config.plain import field_types
from repcore.config.resolve import ResolvedPart, resolve_part
from repcore.data.guard import error_in_words, is_strict
from repcore.data.headers import contradicts, shortened
from repcore.data.misfits import HARDLY, by_options, not_taken, reads_rows, runners_up, taken_by, unrecognised
from repcore.data.selection import OPTION, selected
from repcore.data.setting_flags import with_flag
from repcore.data.shards.addresses import is_address, recorded_place
from repcore.data.shards.joined import joined, joined_heads, of_folder, told
from repcore.data.shards.numbered import PARQUET, Numbered, numbered_tables
from repcore.data.shards.tar_reader import TarReader, first_row
from repcore.data.shards.tar_rows import is_tar_data
from repcore.errors import ConfigError, DataError, PluginError, RegistryError, RepcoreError
from repcore.files import special_kind
from repcore.interfaces import DatasetReader, Sample
from repcore.registry import Entry, Registry, default
from repcore.specs import DatasetSpec, PreprocessorSpec

ID_COLUMN = "id_column"


@dataclass(frozen=True, slots=True)
class Recognised:
    """How surely one reader fits a path."""

    entry: Entry[DatasetSpec]
    score: float


@dataclass(frozen=True, slots=True)
class Recognition:
    """Readers that fit a path, surest first; those that the consumer cannot take; sniffers that failed, in words."""

    fits: tuple[Recognised, ...]
    unfit: tuple[Recognised, ...] = ()
    problems: tuple[str, ...] = ()


def recognise(
    registry: Registry, path: Path, domain: str | None = None, consumer: Entry[PreprocessorSpec] | None = None
) -> Recognition:
    """Ask every reader's sniffer. One that raises is named and counts as not fitting.

    Args:
        consumer: what will prepare the samples; readers whose samples it does not accept are set apart.

    Raises:
        DataError: the path holds tar archives, and one is damaged; or tables in parts of which some are missing.
    """
    if is_tar_data(path):
        first_row(path)  # said once, not by every reader
    fits: list[Recognised] = []
    unfit: list[Recognised] = []
    problems: list[str] = []
    tables = numbered_tables(path)
    with joined_heads(path, tables) as heads:
        for entry in registry.entries("dataset", domain):
            if not entry.spec.sniff:
                continue
            try:
                score = sniffed(entry, path if _takes_parts(entry, tables) else heads)
            except Exception as error:
                if is_strict():
                    raise
                words = str(error).partition("\n")[0] if isinstance(error, RepcoreError) else error_in_words(error)
                problems.append(f"{entry.full_name} could not look at it: {words}")
                continue
            if score > 0.0:
                (fits if consumer is None or reads_for(entry, consumer) else unfit).append(Recognised(entry, score))
    by_score = partial(sorted, key=lambda one: (-one.score, one.entry.full_name))
    return Recognition(tuple(by_score(fits)), tuple(by_score(unfit)), tuple(problems))


def refuse_misfit(consumer: Entry[PreprocessorSpec] | None, entry: Entry[DatasetSpec]) -> None:
    """Refuse a reader that was named by hand but whose samples the preprocessor cannot take; names both sides.

    Raises:
        DataError: it does not fit.
    """
    if consumer is None or reads_for(entry, consumer):
        return
    raise DataError(
        f"reader {entry.full_name} gives {in_words(entry.spec.produces)}, "
        f"which preprocessor {consumer.full_name} does not take",
        preprocessor_takes=in_words(consumer.spec.accepts),
        hint="another --reader, or a recipe or model for this kind of data",
    )


def sniffed(entry: Entry[DatasetSpec], path: Path) -> float:
    """How surely a reader fits a path, in [0, 1]: what its sniffer says, unless headers say that names lie.

    Of tar archives the members of the first row are looked at.
    """
    if is_tar_data(path):
        return max((sniffed(entry, one) for one in first_row(path).values()), default=0.0)
    with shortened(path) as seen:
        score = float(entry.load("sniff")(seen))
    return 0.0 if score > 0.0 and contradicts(path) else score


def dataset_settings(
    registry: Registry,
    data: str,
    *,
    domain: str | None = None,
    reader: str | None = None,
    preprocessor: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The ``dataset`` section for ``--data``: a registered name, or a path and the reader that fits it.

    Args:
        data: name of a data set that needs no files, or a path.
        reader: registered reader to use instead of the surest one.
        preprocessor: full name of what will prepare the samples: readers that it cannot take are not chosen.
        options: settings of the reader that the user gave; they tell between readers that hardly fit.

    Raises:
        DataError: the path does not exist, no reader fits, or two fit equally. RegistryError: unknown reader or domain.
    """
    if domain and not registry.entries("dataset", domain):
        registry.require_domain(domain)
    if not data.strip():
        raise DataError(f"{data!r} is an empty path", hint="'.' is the current folder")
    path = local_path(data)
    kept = recorded_place(data)
    if special_kind(path):
        raise DataError(f"{data!r} is {special_kind(path)}, no file or folder", hint="save its content as a file first")
    consumer = None if not preprocessor else registry.preprocessor(preprocessor, domain)
    if reader is not None:
        entry = registry.dataset(reader, domain)
        refuse_misfit(consumer, entry)
        return {"name": entry.full_name, **({"path": kept} if _takes_path(entry) else {})}
    if not os.path.lexists(path):
        with contextlib.suppress(RegistryError):
            named = registry.dataset(data, domain)
            if named.spec.embedded or not _takes_path(named):
                refuse_misfit(consumer, named)
                return {"name": named.full_name}
        names = [one.full_name for one in registry.entries("dataset", domain) if one.spec.embedded]
        raise DataError(f"{data!r} is neither a path nor a data set", data_sets=", ".join(names) or "none")
    if not path.exists():
        raise DataError(
            f"{data!r} is a link that leads nowhere",
            target=path.readlink(),
            hint="the path of the data themselves, or the link made again",
        )
    found = recognise(registry, path, domain, consumer)
    if not found.fits:
        raise _nothing_fits(registry, data, found, domain, consumer)
    fits = found.fits
    if fits[0].score <= HARDLY and len(fits) > 1:
        tried = partial(_tried, registry, kept, options or {})
        entry = by_options([one.entry for one in fits], tried, data, path, options or {})
        return {"name": entry.full_name, "path": kept}
    tied = [one for one in fits if one.score == fits[0].score]
    if len(tied) > 1:
        raise DataError(
            f"{len(tied)} readers fit {data!r} equally ({found.fits[0].score:.2f})",
            readers=", ".join(one.entry.full_name for one in tied),
            hint=f"--reader {tied[0].entry.full_name}",
        )
    return {"name": fits[0].entry.full_name, "path": kept}


def _tried(registry: Registry, path: str, options: Mapping[str, Any], entry: Entry[DatasetSpec]) -> DatasetReader:
    known = field_types(entry.load("config"))
    asked = _with_ids(options, entry)
    settings = {"path": path, **{name: value for name, value in asked.items() if name in known}}
    return _opened(resolve_part(registry, "dataset", entry.full_name, settings))


def _with_ids(options: Mapping[str, Any], entry: Entry[DatasetSpec]) -> Mapping[str, Any]:
    """Settings in which what names the rows is called as the reader calls it.

    Raises:
        ConfigError: it is given twice, or the reader has no such setting.
    """
    config = entry.load("config")
    if ID_COLUMN not in options or ID_COLUMN in field_types(config):
        return options
    own = next((one.name for one in fields(config) if one.metadata.get("names_rows")), None)
    column, rest = options[ID_COLUMN], {key: value for key, value in options.items() if key != ID_COLUMN}
    if own is None:
        raise ConfigError(
            f"{ID_COLUMN}={column!r}: {entry.full_name} finds the names of its rows itself",
            settings=", ".join(sorted(field_types(config))),
        )
    if rest.get(own, column) != column:
        raise ConfigError(f"{ID_COLUMN}={column!r} and {own}={rest[own]!r} both name the rows", hint="leave one out")
    return {**rest, own: column}


def local_path(data: str | Path) -> Path:
    """Where data lie on this machine: a path as it is, of an address its stand-in (:mod:`repcore.data.shards.remote`).

    Raises:
        DataError: nothing at the address, or it cannot be reached. PluginError: a package for it is missing.
    """
    if not is_address(data):
        return Path(data).expanduser()
    from repcore.data.shards.remote import stand_in

    return stand_in(data)


def _nothing_fits(
    registry: Registry,
    data: str,
    found: Recognition,
    domain: str | None,
    consumer: Entry[PreprocessorSpec] | None,
) -> DataError:
    problems = "\n".join(found.problems)
    readers = [one for one in registry.entries("dataset", domain) if _takes_path(one)]
    if found.unfit and consumer is not None:
        return not_taken(found.unfit[0].entry, consumer, taken_by(readers, consumer), data, problems)
    return unrecognised(readers, data, local_path(data), problems)


def open_part(part: ResolvedPart) -> DatasetReader:
    """Open a resolved dataset part.

    Raises:
        DataError: as the reader reports it, with other readers that do read rows of the data. PluginError: the reader
            fails in an unexpected way.
    """
    try:
        return _opened(part)
    except RepcoreError as error:
        _name_others(error, part)
        raise


@contextlib.contextmanager
def others_named(part: ResolvedPart, reader: DatasetReader) -> Iterator[None]:
    """Errors inside of it name the readers that do read rows of the data, where this one reads none of its first.

    Args:
        part: settings of the reader.
    """
    try:
        yield
    except RepcoreError as error:
        if not reads_rows(reader):
            _name_others(error, part)
        raise


def _name_others(error: RepcoreError, part: ResolvedPart) -> None:
    path = str(getattr(part.config, "path", "") or "")
    others = other_readers(part.entry.full_name, path) if path else ""
    if others:
        hint = error.facts.pop("hint", "")
        error.facts |= {"other_readers": others, **({"hint": hint} if hint else {})}


def other_readers(name: str, data: str) -> str:
    """What other readers that surely fit make of data of which the reader called ``name`` reads nothing: a sentence a
    line; empty where none of them reads a row."""
    known = default()
    try:
        path = local_path(data)
        fits = recognise(known, path).fits if path.exists() else ()
    except RepcoreError:
        return ""
    others = [one.entry for one in fits if one.score > HARDLY and one.entry.full_name != name]
    return runners_up(others, partial(_tried, known, data, {}))


def _opened(part: ResolvedPart) -> DatasetReader:
    try:
        config: Any = part.config
        path = getattr(config, "path", None)
        if isinstance(path, str | Path) and str(path):
            if is_address(path):
                config = replace(config, path=str(local_path(path)))
            given = Path(config.path).expanduser()
            if is_tar_data(given):
                return TarReader(part.entry, config)
            tables = numbered_tables(given)
            if tables and not _takes_parts(part.entry, tables):
                with of_folder(given):
                    return told(part.entry.load()(replace(config, path=str(joined(given, tables)))), tables)
        reader: DatasetReader = part.entry.load()(config)
        return reader
    except RepcoreError as error:
        if isinstance(hint := error.facts.get("hint"), str):
            error.facts["hint"] = with_flag(hint, field_types(type(part.config)))
        raise
    except Exception as error:
        if is_strict():
            raise
        raise PluginError(
            f"reader {part.name} failed: {type(error).__name__}: {error}",
            data=getattr(part.config, "path", ""),
            plugin=part.entry.plugin.label,
            hint="REPCORE_STRICT=1 shows where",
        ) from error


def open_data(
    registry: Registry,
    data: str,
    *,
    domain: str | None = None,
    reader: str | None = None,
    options: Mapping[str, Any] | None = None,
    preferences: Mapping[str, Any] | None = None,
    preprocessor: str | None = None,
) -> tuple[ResolvedPart, DatasetReader]:
    """Recognise and open.

    Args:
        options: further settings of the reader; those it does not know are an error. ``id_column`` is what names its
            rows, whatever the reader calls that (a field with ``names_rows``). ``selected_rows`` is taken of any
            reader: a csv of ids (:mod:`repcore.data.selection`).
        preferences: settings that a reader may ignore (``labels``: which labels are wanted; ``label_kind``: what they
            are, only for a reader that takes both, because others would read every column so).
        preprocessor: what will prepare the samples; see :func:`dataset_settings`.
    """
    known_by_readers = {key: value for key, value in (options or {}).items() if key != OPTION}
    settings = dataset_settings(
        registry, data, domain=domain, reader=reader, preprocessor=preprocessor, options=known_by_readers
    )
    name = settings.pop("name")
    known = field_types(registry.dataset(name, domain).load("config"))
    settings.update({key: value for key, value in (preferences or {}).items() if key in known})
    if "labels" not in known and preferences:
        settings.pop("label_kind", None)
    settings.update(_with_ids(options or {}, registry.dataset(name, domain)))
    rows = settings.pop(OPTION, None)
    part = resolve_part(registry, "dataset", name, settings, domain)
    return part, selected(open_part(part), rows)


def entry_of(
    registry: Registry,
    data: str,
    *,
    domain: str | None = None,
    reader: str | None = None,
    preprocessor: str | None = None,
) -> Entry[DatasetSpec]:
    """The registered data set that reads these data; arguments as in :func:`dataset_settings`."""
    settings = dataset_settings(registry, data, domain=domain, reader=reader, preprocessor=preprocessor)
    return registry.dataset(settings["name"], domain)


def renderer_of(entry: Entry[DatasetSpec]) -> Callable[[Sample], object] | None:
    """The function that draws samples of a data set; None where it comes without one."""
    return entry.load("render") if entry.spec.render else None


def _takes_parts(entry: Entry[DatasetSpec], tables: list[Numbered]) -> bool:
    """Whether a reader opens a folder of these tables in parts itself."""
    return entry.spec.shards and all(one.name.endswith(PARQUET) for one in tables)


def _takes_path(entry: Entry[DatasetSpec]) -> bool:
    return "path" in field_types(entry.load("config"))
