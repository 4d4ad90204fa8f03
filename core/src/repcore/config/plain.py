"""Dataclasses to plain JSON values and back-references to their fields."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Any

from repcore.errors import ConfigError


def to_plain(value: Any) -> Any:  # any config value in, JSON value out
    """Dataclasses, tuples, paths and enums as JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_plain(part) for part in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, Enum):
        return to_plain(value.value)
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ConfigError(f"a config value of type {type(value).__name__} cannot be written as JSON", got=repr(value))


def field_types(config_class: Any) -> Mapping[str, Any]:  # a class; lru_cache below needs it hashable
    """Resolved annotation of every field of a config dataclass.

    Raises:
        ConfigError: the class is no dataclass, or an annotation cannot be resolved at run time.
    """
    return _field_types(config_class)


@lru_cache(maxsize=256)
def _field_types(config_class: Any) -> Mapping[str, Any]:  # lru_cache wants hashable types, which Any is
    if not dataclasses.is_dataclass(config_class):
        raise ConfigError(
            f"{config_class!r} is not a dataclass", hint="decorate it: @dataclass(frozen=True, kw_only=True)"
        )
    try:
        hints = typing.get_type_hints(config_class)
    except NameError as error:
        raise ConfigError(
            f"an annotation of {config_class!r} cannot be resolved: {error}",
            hint="import the type at run time, not under TYPE_CHECKING",
        ) from error
    return {field.name: hints[field.name] for field in dataclasses.fields(config_class)}


def arms(annotation: Any) -> tuple[Any, ...]:  # annotations are arbitrary objects
    """The alternatives of a union, or the annotation alone."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)


def nested_class(annotation: Any) -> type | None:
    """The config dataclass inside an annotation, if there is exactly one."""
    found = [arm for arm in arms(annotation) if isinstance(arm, type) and dataclasses.is_dataclass(arm)]
    return found[0] if len(found) == 1 else None


def default_of(field: dataclasses.Field[Any]) -> Any:
    """A field's default value; ``dataclasses.MISSING`` if it has none."""
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return dataclasses.MISSING


def walk_fields(config_class: type, prefix: str = "") -> Iterator[tuple[str, dataclasses.Field[Any], Any]]:
    """Every leaf field as (dotted path, field, annotation), nested dataclasses opened."""
    types_by_name = field_types(config_class)
    for field in dataclasses.fields(config_class):
        annotation = types_by_name[field.name]
        inner = nested_class(annotation)
        if inner is not None:
            yield from walk_fields(inner, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", field, annotation


def find_field(config_class: type, dotted: str) -> dataclasses.Field[Any] | None:
    """The field at a dotted path, or None."""
    head, _, rest = dotted.partition(".")
    fields = {field.name: field for field in dataclasses.fields(config_class)}
    if head not in fields:
        return None
    inner = nested_class(field_types(config_class)[head])
    return find_field(inner, rest) if rest and inner is not None else fields[head]
