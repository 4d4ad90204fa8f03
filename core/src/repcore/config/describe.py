"""Settings for people and editors: rows with type, default, help and unit; JSON Schema."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from repcore.config.bounds import range_words
from repcore.config.plain import arms, default_of, to_plain, walk_fields


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One setting as ``repcore show`` prints it."""

    path: str
    type: str
    default: str
    help: str
    unit: str


def describe(config_class: type, prefix: str = "") -> Iterator[SettingRow]:
    """Every setting of a config dataclass."""
    for path, field, annotation in walk_fields(config_class, prefix):
        default = default_of(field)
        yield SettingRow(
            path=path,
            type=", ".join(filter(None, (type_words(annotation), range_words(field.metadata)))),
            default="required" if default is dataclasses.MISSING else show_value(to_plain(default)),
            help=field.metadata.get("help", ""),
            unit=field.metadata.get("unit", ""),
        )


def type_words(annotation: Any) -> str:
    """An annotation as a user reads it: ``int or null``, ``mean | max``."""
    words = []
    for arm in arms(annotation):
        if typing.get_origin(arm) is typing.Literal:
            words.append(" | ".join(show_value(option) for option in typing.get_args(arm)))
        elif arm is type(None):
            words.append("null")
        elif typing.get_args(arm):
            inner = ", ".join("..." if part is Ellipsis else type_words(part) for part in typing.get_args(arm))
            words.append(f"{getattr(typing.get_origin(arm), '__name__', arm)} of {inner}")
        else:
            words.append({"str": "text", "bool": "true | false"}.get(arm.__name__, arm.__name__))
    return " or ".join(words)


def show_value(value: Any) -> str:
    """A plain value as it would be written in a config file."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(show_value(part) for part in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {show_value(part)}" for key, part in value.items()) + "}"
    return str(value)


def json_schema(config_class: type) -> dict[str, Any]:
    """JSON Schema for editors."""
    from pydantic import TypeAdapter

    return TypeAdapter(config_class).json_schema()
