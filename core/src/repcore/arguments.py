"""What a call from Python was given, against what it says that it takes: one check for every public function.

The annotations of a function are the truth (``int``, ``str | None``, ``Sequence[str]``, ``Literal["raise", "nan"]``);
this reads them as they are written, without importing anything. Whole numbers may be NumPy's, True and False are no
numbers, a text is no list of texts. Where an annotation names a class of ours (``Model``, ``Run``, ``Registry``), plain
values (texts, numbers, lists, dicts) are refused and everything else is left to the function.
"""

from __future__ import annotations

import ast
import functools
import inspect
import numbers
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from repcore.errors import ConfigError, closest

P = ParamSpec("P")
R = TypeVar("R")

ANYTHING = ("Any", "object")
PLAIN = (str, bytes, bool, int, float, complex, list, tuple, set, dict)
WORDS = {
    "str": "text",
    "int": "whole number",
    "float": "number",
    "Path": "path",
    "Mapping": "dict",
    "Sequence": "list",
    "Callable": "function",
    "torch.device": "torch device",
    "torch.dtype": "torch dtype",
}
LEAST = {"batch_size": 1, "seeds": 1, "ensemble": 1, "workers": 0, "layer": 0, "folds": 2}
"""Least value of a number by the name of the argument, which means the same wherever it occurs."""
EXACT = ("InferenceOptions", "Registry")
"""Classes of ours for which nothing else can stand."""
LONGEST = 60  # characters of a value in a message


class CallError(ConfigError, TypeError):
    """A call with an argument that is not there, is missing, or is given twice."""


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """The function, with its named arguments looked at before it begins.

    Raises:
        CallError: an argument that the function does not have, one that is missing, or one that is given twice.
        ConfigError: an argument of another kind than its annotation says, or out of range; names it, its value and
            what is expected.
    """
    signature = inspect.signature(function)
    kinds = {
        name: _atoms(str(one.annotation))
        for name, one in signature.parameters.items()
        if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD) and one.annotation is not one.empty
    }

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise wrong_call(function.__name__, signature, args, kwargs) from error
        for name, value in given.items():
            if name in kinds:
                check_argument(name, value, kinds[name])
        return function(*args, **kwargs)

    return call


def wrong_call(name: str, signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]) -> CallError:
    """What is wrong with a call that does not fit a signature, in words."""
    parameters = list(signature.parameters.values())
    known = [one.name for one in parameters if one.name != "self" and one.kind is not one.VAR_KEYWORD]
    by_position = [one.name for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    shown = [one for one in by_position if one != "self"]
    facts = {"arguments": ", ".join(known)}
    if len(args) > len(by_position):
        first = _shown(args[len(by_position)])
        words = f"{name}() takes {' and '.join(shown) or 'nothing'} by position, and {first} is one too many"
        return CallError(words, **facts, hint="give the others by name")
    for given in by_position[: len(args)]:
        if given in kwargs:
            takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters)
            section = f"; settings of a section {given!r} are {given}__NAME=VALUE" if takes_any else ""
            return CallError(
                f"{name}() got multiple values for argument {given!r}: by position and {given}={_shown(kwargs[given])}",
                hint=f"leave one out{section}",
            )
    for given in kwargs:
        if given not in known:
            return CallError(f"{name}() has no argument {given!r}", did_you_mean=closest(given, known), **facts)
    taken = {*by_position[: len(args)], *kwargs}
    missing = [one.name for one in parameters if one.default is one.empty and one.name not in taken]
    missing = [one for one in missing if one in known and one != "self"]
    return CallError(f"{name}() needs {' and '.join(missing)}", **facts)


def check_argument(name: str, value: Any, kinds: Sequence[ast.expr]) -> None:
    """Refuse a value that is of none of the kinds, or a number below the least one.

    Raises:
        ConfigError: names the argument, the value and what is expected.
    """
    if not any(_fits(value, one) for one in kinds):
        allowed = next((_choices(one) for one in kinds if _choices(one)), ())
        if allowed and isinstance(value, str):
            raise ConfigError(f"{name}={value!r} is unknown", expected=" or ".join(map(str, allowed)))
        words = dict.fromkeys(word for one in kinds if _name(one) != "None" for word in _words(one))
        hint = f"{name}.model" if hasattr(type(value), "model") else None  # a Run
        raise ConfigError(f"{name}={_shown(value)} is no {_listed(list(words))}", hint=hint)
    if isinstance(value, str) and not value.strip() and any(_name(one) == "Path" for one in kinds):
        raise ConfigError(f"{name}={value!r} is an empty path", hint="'.' is the current folder")
    least = LEAST.get(name)
    if least is not None and isinstance(value, numbers.Real) and value < least:
        raise ConfigError(f"{name}={value} is less than {least}")


def _listed(words: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, PLAIN) or value is None else f"<{type(value).__name__}>"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _atoms(annotation: str) -> list[ast.expr]:
    """The kinds of ``A | B | None``."""

    def apart(node: ast.expr) -> list[ast.expr]:
        if isinstance(node, ast.BinOp):
            return [*apart(node.left), *apart(node.right)]
        return [node]

    return apart(ast.parse(annotation, mode="eval").body)


def _name(kind: ast.expr) -> str:
    return ast.unparse(kind.value if isinstance(kind, ast.Subscript) else kind)


def _choices(kind: ast.expr) -> tuple[Any, ...]:
    """Values of a ``Literal``."""
    if not isinstance(kind, ast.Subscript) or _name(kind) != "Literal":
        return ()
    found = ast.literal_eval(kind.slice)
    return found if isinstance(found, tuple) else (found,)


def _words(kind: ast.expr) -> list[str]:
    name = _name(kind)
    if name == "Literal":
        return [repr(one) for one in _choices(kind)]
    if name in ("bool", "Progress"):
        return ["True", "False", *(["function"] if name == "Progress" else [])]
    if name == "Sequence" and isinstance(kind, ast.Subscript) and ast.unparse(kind.slice) == "str":
        return ["list of texts"]
    return [WORDS.get(name, name)]


def _fits(value: Any, kind: ast.expr) -> bool:
    name = _name(kind)
    if name in ANYTHING:
        return True
    if name == "None":
        return value is None
    if name == "Literal":
        return any(value == one and type(value) is type(one) for one in _choices(kind))
    if name == "Sequence":
        return _is_sequence(value, ast.unparse(kind.slice) if isinstance(kind, ast.Subscript) else "Any")
    simple: dict[str, Callable[[Any], bool]] = {
        "str": lambda one: isinstance(one, str),
        "bool": lambda one: isinstance(one, bool) or type(one).__name__ in ("bool_", "bool"),
        "int": lambda one: isinstance(one, numbers.Integral) and not isinstance(one, bool),
        "float": lambda one: isinstance(one, numbers.Real) and not isinstance(one, bool),
        "Path": lambda one: isinstance(one, Path),
        "Mapping": lambda one: isinstance(one, Mapping),
        "Callable": callable,
        "Progress": lambda one: isinstance(one, bool) or callable(one),
    }
    if name in simple:
        return simple[name](value)
    if name.startswith("torch."):
        return type(value).__module__ == "torch" and type(value).__name__ == name.partition(".")[2]
    if name in EXACT:
        return any(one.__name__ == name for one in type(value).__mro__)
    return value is not None and not isinstance(value, PLAIN)  # a class of ours: the function itself looks closer


def _is_sequence(value: Any, of: str) -> bool:
    if isinstance(value, str | bytes | Mapping) or not hasattr(value, "__len__") or not hasattr(value, "__iter__"):
        return False
    return of != "str" or all(isinstance(one, str) for one in value)
