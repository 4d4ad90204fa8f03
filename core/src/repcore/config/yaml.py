"""Config files and ``key=value`` overrides, read without YAML 1.1's guesses.

PyYAML reads ``1e-4`` as text, ``no`` as False, ``010`` as 8 and ``12:30`` as 750. Here every unquoted scalar stays
text (:class:`Unquoted`) until the type of its field is known; :func:`coerce` then reads it as that type.
What does not fit stays as it is, so that validation reports it with the user's own words.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from repcore.config.plain import arms, field_types, nested_class
from repcore.credentials import held
from repcore.errors import ConfigError
from repcore.files import special_kind

MOST_BYTES, MOST_VALUES, MOST_DIGITS = 8 * 2**20, 1_000_000, 400  # no settings are larger
INTEGER = re.compile(r"[-+]?\d+(_\d+)*")
FLOAT = re.compile(r"[-+]?(\d+(_\d+)*\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?(inf|nan)|[-+]?\.(inf|nan)", re.IGNORECASE)
TRUE, FALSE = {"true", "yes", "on"}, {"false", "no", "off"}
NULL = {"null", "none", "~", ""}


class Unquoted(str):
    """A scalar that was written without quotation marks; ``line`` is its line in the file (0 = command line)."""

    line: int = 0


def load_file(path: Path) -> dict[str, Any]:
    """A YAML (or JSON) file as nested mappings whose unquoted scalars are :class:`Unquoted`.

    Raises:
        ConfigError: missing, unreadable or not a mapping.
    """
    if kind := special_kind(path):  # a pipe waits for ever, a device has no end
        raise ConfigError(f"config file {str(path)!r} is {kind}, no file", hint="a YAML file")
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)  # whatever size the system gives: some files have 0 and never end
        if len(content) > MOST_BYTES:
            raise ConfigError(
                f"config file {str(path)!r} has more than {MOST_BYTES:,} bytes; settings never need so many"
            )
        text = content.decode("utf-8")
    except FileNotFoundError:
        raise ConfigError(f"config file {str(path)!r} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"config file {str(path)!r} cannot be read: {error}") from None
    value = _parse(text, str(path))
    if value is None or (isinstance(value, Unquoted) and value in NULL):
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"config file {str(path)!r} is not a mapping", got=type(value).__name__)
    return value


def parse_override(text: str) -> tuple[str, Any]:
    """``key.sub=value`` as (dotted key, value); lists and mappings in YAML's flow style.

    Raises:
        ConfigError: no ``=`` or an empty key, or the value has broken brackets.
    """
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key or any(not part for part in key.split(".")):
        raise ConfigError(f"override {text!r} is not of the form key=value", hint="trainer.steps=100")
    return key, _parse(value, f"override {text!r}") if value.strip() else Unquoted("")


def _parse(text: str, origin: str) -> Any:  # nested plain values
    import yaml

    class Loader(yaml.SafeLoader):
        """Safe loader that resolves nothing but structure."""

    Loader.yaml_implicit_resolvers = {}

    def scalar(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
        if node.style is not None:
            return str(node.value)
        raw = Unquoted(node.value)
        raw.line = node.start_mark.line + 1
        return raw

    def mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(loader.construct_object(key_node, deep=True))
            if key in result:
                raise ConfigError(f"key {key!r} stands twice", where=f"{origin}:{key_node.start_mark.line + 1}")
            result[key] = loader.construct_object(value_node, deep=True)
        return result

    Loader.add_constructor("tag:yaml.org,2002:str", scalar)
    Loader.add_constructor("tag:yaml.org,2002:map", mapping)
    try:
        value = yaml.load(text, Loader)
        _check_size(value, origin)
        return value
    except yaml.YAMLError as error:
        raise ConfigError(f"{origin} is not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ConfigError(f"{origin} is nested too deeply") from None
    except (ValueError, TypeError, AttributeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{origin} is not valid YAML: {' '.join(str(error).split())[:200]}") from None


def _check_size(value: Any, origin: str) -> None:
    """Aliases (``*name``) may stand for ever larger parts of a tiny file, or a part for itself."""
    sizes: dict[int, int] = {}

    def size(part: Any) -> int:
        if not isinstance(part, dict | list):
            return 1
        if id(part) not in sizes:
            sizes[id(part)] = MOST_VALUES  # while it is being counted: a part that holds itself is too large
            inner = part.values() if isinstance(part, dict) else part
            sizes[id(part)] = 1 + sum(size(one) for one in inner)
        return sizes[id(part)]

    if size(value) >= MOST_VALUES:
        raise ConfigError(f"{origin} stands for more than {MOST_VALUES:,} values", hint="write it without aliases")


def coerce(value: Any, annotation: Any) -> Any:  # plain values in and out
    """Read unquoted scalars inside ``value`` as the type that ``annotation`` asks for."""
    if isinstance(value, Unquoted):
        text = held(value)
        return _coerce_scalar(value if text == value else Unquoted(text), annotation)
    if isinstance(value, str):
        return held(value)
    if isinstance(value, list):
        return _coerce_list(value, annotation)
    if isinstance(value, Mapping):
        inner = nested_class(annotation)
        if inner is not None:
            types_by_name = field_types(inner)
            return {key: coerce(part, types_by_name.get(key, Any)) for key, part in value.items()}
        for arm in arms(annotation):
            arguments = typing.get_args(arm)
            if len(arguments) == 2:
                return {key: coerce(part, arguments[1]) for key, part in value.items()}
        return {key: coerce(part, Any) for key, part in value.items()}
    return value


def _coerce_list(value: list[Any], annotation: Any) -> list[Any]:
    for arm in arms(annotation):
        arguments = typing.get_args(arm)
        if not arguments or typing.get_origin(arm) is typing.Literal:
            continue
        if (len(arguments) == 2 and arguments[1] is Ellipsis) or len(arguments) == 1:
            return [coerce(part, arguments[0]) for part in value]
        if len(arguments) == len(value):
            return [coerce(part, kind) for part, kind in zip(value, arguments, strict=True)]
    return [coerce(part, Any) for part in value]


def _coerce_scalar(text: Unquoted, annotation: Any) -> Any:
    """The first alternative that can read the text, tried from narrow to wide; the text itself if none can."""
    choices = arms(annotation)
    lower = text.lower()
    if annotation is Any:
        choices = (type(None), bool, int, float)
    if type(None) in choices and lower in NULL:
        return None
    if bool in choices and lower in TRUE | FALSE:
        return lower in TRUE
    if int in choices and len(text) <= MOST_DIGITS and INTEGER.fullmatch(text):
        return int(text)
    if float in choices and len(text) <= MOST_DIGITS and FLOAT.fullmatch(text):
        return float(lower.replace(".inf", "inf").replace(".nan", "nan"))
    for arm in choices:
        if typing.get_origin(arm) is typing.Literal:
            for option in typing.get_args(arm):
                if str(option) == text or (isinstance(option, bool) and lower in (TRUE if option else FALSE)):
                    return option
    return str(text)
