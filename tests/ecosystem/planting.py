"""How a bug is planted into the toy plugin of ragged pairs: by the id of the check that must notice."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from repcore.interfaces import Batch, LossTerms
from tests.toys.toy_pairs import _plugin, code

Plant = Callable[[pytest.MonkeyPatch], None]
PLANTED: dict[str, list[Plant]] = {}


def plant(check: str) -> Callable[[Plant], Plant]:
    def add(function: Plant) -> Plant:
        PLANTED.setdefault(check, []).append(function)
        return function

    return add


def wrap(patch: pytest.MonkeyPatch, owner: type, name: str, change: Callable[..., Any]) -> None:
    """Replace a method by ``change(original, self, *arguments)``."""
    original = getattr(owner, name)
    patch.setattr(owner, name, lambda self, *given, **named: change(original, self, *given, **named))


# ----------------------------------------------------------------------------------------------- objective


def changed_terms(patch: pytest.MonkeyPatch, **change: Callable[[LossTerms, Batch], Any]) -> None:
    """Replace fields of what the toy objective returns."""

    def forward(original: Any, self: Any, batch: Batch, draws: Any) -> LossTerms:
        terms = original(self, batch, draws)
        return dataclasses.replace(terms, **{name: function(terms, batch) for name, function in change.items()})

    wrap(patch, code.TwoViews, "forward", forward)


def changed_spec(patch: pytest.MonkeyPatch, hook: str, **change: Any) -> None:
    """Other fields in the specs that one hook returns."""
    specs = [dataclasses.replace(one, **change) for one in getattr(_plugin, hook)()]
    fake = lambda: specs  # noqa: E731 - the marker goes onto the function object
    patch.setattr(_plugin, hook, _plugin.hookimpl(fake))
