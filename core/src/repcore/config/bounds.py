"""Ranges of settings, as data in the metadata of a field: shown by ``show``, checked before a run, for plugins alike.

    width: int = field(default=64, metadata={"help": "feature width", "min": 1})
    ratio: float = field(default=0.6, metadata={"help": "share hidden", "above": 0, "below": 1})
    kind: str = field(default="a", metadata={"help": "...", "choices": ("a", "b")})

``min`` and ``max`` belong to the range, ``above`` and ``below`` do not. A range of a tuple or list holds for each
element; ``null`` is always allowed where the type allows it. No number may be NaN, none infinite unless the
metadata say ``"infinite": True``, and no integer beyond 64 bits.

Standard library only: recipes import configs while plugins are listed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

BOUNDS = ("min", "max", "above", "below", "choices")
LARGEST = 2**63 - 1  # what files, torch and numpy hold


def range_words(metadata: Mapping[str, Any]) -> str:
    """``above 0``, ``0 to 1``, ``at least 1``, ``a, b or c``; empty without bounds."""
    if "choices" in metadata:
        *most, last = map(str, metadata["choices"])
        return f"{', '.join(most)} or {last}" if most else last
    low, high = metadata.get("min"), metadata.get("max")
    if low is not None and high is not None:
        return f"{_short(low)} to {_short(high)}"
    words = [
        f"{word} {_short(metadata[key])}"
        for key, word in (("min", "at least"), ("above", "above"), ("max", "at most"), ("below", "below"))
        if metadata.get(key) is not None
    ]
    return " and ".join(words)


def violation(metadata: Mapping[str, Any], value: Any) -> str:  # whatever stands in a config
    """What is wrong with a plain value, as ``is not above 0``; empty if nothing is."""
    if isinstance(value, list | tuple):
        return next((words for one in value if (words := violation(metadata, one))), "")
    if "choices" in metadata and value is not None and value not in metadata["choices"]:
        return f"is not {range_words(metadata)}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    if isinstance(value, float) and (math.isnan(value) or (math.isinf(value) and not metadata.get("infinite"))):
        return "is not a finite number"
    if isinstance(value, int) and abs(value) > LARGEST:
        return "is beyond 64 bits"
    for key, word, ok in (
        ("min", "below", lambda limit: value >= limit),
        ("above", "not above", lambda limit: value > limit),
        ("max", "above", lambda limit: value <= limit),
        ("below", "not below", lambda limit: value < limit),
    ):
        if metadata.get(key) is not None and not ok(metadata[key]):
            return f"is {word} {_short(metadata[key])}"
    return ""


def check_bounds(config: Any) -> None:  # a config instance
    """For ``__post_init__``: the ranges hold for instances that Python code makes, too.

    Raises:
        ValueError: names the first field outside its range.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        words = violation(field.metadata, value)
        if words:
            raise ValueError(f"{field.name}={value} {words}")


def _short(limit: Any) -> str:
    return f"{limit:g}" if isinstance(limit, float) else str(limit)
