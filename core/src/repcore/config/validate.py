"""Plain values to config dataclasses: types, unknown keys and ranges, with every problem reported at once.

pydantic does the checking behind a wrapper of ours that forbids extra keys, so authors write plain dataclasses.
JSON is validated in strict mode: pydantic's lax mode would take ``true`` for 1.0 and ``"3"`` for 3.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from repcore.config.bounds import range_words, violation
from repcore.config.plain import arms, default_of, field_types, find_field, nested_class
from repcore.errors import ConfigError, closest

OriginOf = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with one field."""

    path: str
    text: str
    got: Any
    meaning: str = ""
    suggestion: str = ""


def build(config_class: type, values: Mapping[str, Any], *, prefix: str, origin: OriginOf | None = None) -> Any:
    """An instance of a config dataclass.

    Args:
        config_class: the author's dataclass.
        values: plain JSON values by field name; missing fields take their defaults.
        prefix: dotted path of the section, for messages.
        origin: dotted path -> where the value came from.

    Raises:
        ConfigError: names every unknown key, wrong type and refused value.
    """
    problems, instance = check(config_class, values, prefix=prefix)
    if problems:
        raise problems_error(problems, origin or (lambda path: ""))
    return instance


def check(config_class: type, values: Mapping[str, Any], *, prefix: str) -> tuple[list[Problem], Any]:
    """Like :func:`build`, but returns the problems (and None) instead of raising."""
    from pydantic import ValidationError

    outside = _outside_range(config_class, values, prefix)
    try:
        document = json.dumps({"value": _with_lists(config_class, values)})
        instance = _wrapper(config_class).model_validate_json(document, strict=True).value
    except ValidationError as error:
        found = [_problem(config_class, prefix, dict(one)) for one in error.errors(include_url=False)]
        known = {one.path for one in outside}
        if outside:  # __post_init__ says the same again, of the whole section
            found = [one for one in found if one.path not in known and one.path != prefix.rstrip(".")]
        return [*outside, *_without_union_noise(found)], None
    except (RecursionError, ValueError) as error:
        return [Problem(prefix, f"cannot be read: {str(error)[:200]}", "...")], None
    return outside, None if outside else instance


def _outside_range(config_class: type, values: Mapping[str, Any], prefix: str) -> list[Problem]:
    """Values outside the range that the metadata of their field give."""
    found = []
    for name, value in values.items():
        field = find_field(config_class, name)
        if field is None:
            continue
        inner = nested_class(field_types(config_class)[name])
        path = ".".join(part for part in (prefix, name) if part)
        if inner is not None and isinstance(value, Mapping):
            found += _outside_range(inner, value, path)
        elif words := violation(field.metadata, value):
            default = default_of(field)
            shown = isinstance(default, int | float | str) and not isinstance(default, bool)
            meaning = ", ".join(filter(None, (_meaning(field), range_words(field.metadata))))
            found.append(Problem(path, words, value, meaning, f"{name}: {default}" if shown else ""))
    return found


def _with_lists(config_class: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values in which a single word stands as a list of one where words are listed: ``labels=cls`` is ``[cls]``."""
    types = field_types(config_class)
    found = dict(values)
    for name, value in values.items():
        inner = nested_class(types.get(name, Any))
        if inner is not None and isinstance(value, Mapping):
            found[name] = _with_lists(inner, value)
        elif isinstance(value, str) and value and _lists_words(types.get(name, Any)):
            found[name] = [value]
    return found


def _lists_words(annotation: Any) -> bool:  # annotations are arbitrary objects
    """Whether a field takes a list of words of any number, and no word."""
    taken = arms(annotation)
    return str not in taken and any(one in (tuple[str, ...], list[str]) for one in taken)


@lru_cache(maxsize=256)
def _wrapper(config_class: type) -> Any:  # a pydantic model class
    from pydantic import ConfigDict, create_model

    field_types(config_class)  # a clear error of ours before pydantic meets an unresolvable annotation
    return create_model(
        f"{config_class.__name__}Wrapper",
        __config__=ConfigDict(extra="forbid", arbitrary_types_allowed=True),
        value=(config_class, ...),
    )


def _problem(config_class: type, prefix: str, error: Mapping[str, Any]) -> Problem:
    location = [str(part) for part in error["loc"][1:]]
    dotted = _drop_type_names(config_class, location)
    path = ".".join(part for part in (prefix, dotted) if part)
    field = find_field(config_class, dotted) if dotted else None
    meaning = "" if field is None else _meaning(field)
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        known = _sibling_names(config_class, dotted)
        near = closest(dotted.rpartition(".")[2], known)
        parent = path.rpartition(".")[0] or "the top level"
        return Problem(path, "is not a setting", error["input"], f"{parent} has: {', '.join(known)}", near)
    if error["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return Problem(path, "is required", None, meaning)
    text = str(error["msg"])
    for start in ("Value error, ", "Input "):
        text = text.removeprefix(start)
    default = default_of(field) if field is not None and error["type"] != "value_error" else None
    suggestion = (
        "" if field is None or not isinstance(default, int | float | str | bool) else f"{field.name}: {default}"
    )
    return Problem(path, text, error["input"], meaning, suggestion)


TYPE_WORDS = frozenset({"int", "float", "str", "bool", "none", "tuple", "list", "dict", "function-after"})


def _drop_type_names(config_class: type, location: list[str]) -> str:
    """pydantic adds the tried alternative of a union to a location; keep only field names and indices."""
    kept: list[str] = []
    for part in location:
        is_field = find_field(config_class, ".".join([*kept, part])) is not None
        if is_field or part.isdigit() or not kept or (part.isidentifier() and part not in TYPE_WORDS):
            kept.append(part)
    return ".".join(kept)


def _sibling_names(config_class: type, dotted: str) -> list[str]:
    parent = dotted.rpartition(".")[0]
    names = list(field_types(config_class))
    if not parent:
        return names
    current: type = config_class
    for part in parent.split("."):
        inner = nested_class(field_types(current).get(part, Any))
        if inner is None:
            return []
        current = inner
    return list(field_types(current))


def _meaning(field: Any) -> str:
    text, unit = field.metadata.get("help", ""), field.metadata.get("unit", "")
    return f"{text} ({unit})" if text and unit else text


def _without_union_noise(problems: list[Problem]) -> list[Problem]:
    """One problem a path: a union reports each alternative it tried."""
    merged: dict[str, Problem] = {}
    for one in problems:
        if one.path in merged:
            first = merged[one.path]
            merged[one.path] = Problem(one.path, f"{first.text}, or {one.text}", one.got, one.meaning, one.suggestion)
        else:
            merged[one.path] = one
    return list(merged.values())


def problems_error(problems: list[Problem], origin: OriginOf) -> ConfigError:
    """All problems in one error; the first in full, the others a line each."""
    first = problems[0]
    summary = _headline(first)
    if len(problems) > 1:
        summary = f"{len(problems)} problems in the configuration: {summary}"
    came_from = origin(first.path)
    return ConfigError(
        summary,
        field=first.path + (f"   (from {came_from})" if came_from else ""),
        meaning=first.meaning,
        also="\n".join(_headline(one) for one in problems[1:]),
        hint=first.suggestion,
    )


def _headline(problem: Problem) -> str:
    if problem.text in ("is not a setting", "is required") or problem.text.startswith("is a group"):
        return f"{problem.path} {problem.text}"
    if problem.text.startswith("is "):
        return f"{problem.path}={problem.got!r} {problem.text}"
    got = problem.got if isinstance(problem.got, str | int | float | bool | type(None) | list) else "..."
    name = problem.path.rpartition(".")[2]
    return f"{problem.text}" if problem.text.startswith(name) else f"{problem.path}={got!r}: {problem.text}"
