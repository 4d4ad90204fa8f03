"""Published systems and what comes with them: their weights, fast operations and commands of a plugin's own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from repcore.errors import PluginError
from repcore.specs.base import Spec, target_field, target_map


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemSpec(Spec):
    """A published system: its parts (short names), its papers and notices, and its replay of golden data.

    Args:
        replay: ``fn(golden: repcore.verification.Golden, fed: frozenset[str]) -> Iterator[StageResult]``.
        bench: ``fn(options) -> None`` behind ``repcore bench SYSTEM``.
        differences: ``(topic, published, here, flag)`` rows: where our default departs from the paper or its code.
    """

    kind: ClassVar[str] = "system"
    paper: str = ""
    licence: str = ""
    notices: str = ""
    encoders: tuple[str, ...] = ()
    objectives: tuple[str, ...] = ()
    recipes: tuple[str, ...] = ()
    checkpoints: tuple[str, ...] = ()
    replay: str = target_field("")
    bench: str = target_field("")
    differences: tuple[tuple[str, str, str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Weights that somebody published, for ``repcore pull NAME``.

    Args:
        files: name of each file -> its address (https).
        sha256: name of each file -> hexadecimal SHA-256 of its content, without which nothing is imported.
        size: bytes of all files together.
        source: page that describes them.
        licence: their terms.
        options: of the layout, as in ``repcore import --option``.
    """

    files: Mapping[str, str]
    sha256: Mapping[str, str]
    size: int
    source: str
    licence: str
    options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.files:
            if name in ("", ".", "..") or "/" in name or "\\" in name:
                raise PluginError(f"Published.files: {name!r} is no plain file name")
            if not re.fullmatch("[0-9a-f]{64}", self.sha256.get(name, "")):
                raise PluginError(f"Published.sha256 has no SHA-256 of {name!r}", expected="64 hexadecimal digits")
        if not self.files or self.size < 1 or not self.licence:
            raise PluginError("Published says files with their size and licence")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSpec(Spec):
    """A layout of published weights.

    Args:
        target: ``fn(state, source: Path, options: Mapping[str, str]) -> repcore.checkpoints.Imported``.
        sniff: ``fn(keys: frozenset[str]) -> float`` in [0, 1], from key names only.
        encoder: full or short name of the encoder that the converted weights fit.
        options: name -> words that ``import --option NAME=WORD`` takes; no words = anything. Others are refused.
        files / sha256 / licence: what is published, as far as known.
        published: name -> weights that ``repcore pull NAME`` downloads, verifies and imports.
    """

    kind: ClassVar[str] = "checkpoint"
    target: str = target_field()
    sniff: str = target_field()
    encoder: str = ""
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    sha256: Mapping[str, str] = field(default_factory=dict)
    licence: str = ""
    published: Mapping[str, Published] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpSpec(Spec):
    """An operation: ``reference`` is its plain torch definition, ``implementations`` are faster twins.

    Args:
        cases: ``fn(device, dtype) -> Iterator[tuple[str, tuple, dict]]``: named inputs incl. degenerate ones, on
            which all implementations must agree within ``tolerance`` (absolute and relative).
        priority: ``fn(device_type, dtype_name, sizes) -> tuple[str, ...]``: preferred implementations in order.
        usable: implementation -> ``fn() -> str``: empty if usable here, otherwise the reason why not.
    """

    kind: ClassVar[str] = "op"
    reference: str = target_field()
    implementations: Mapping[str, str] = target_map()
    cases: str = target_field("")
    priority: str = target_field("")
    usable: Mapping[str, str] = target_map()
    tolerance: float = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSpec(Spec):
    """A command of the plugin's own: ``target`` is a click command, shown as ``repcore DOMAIN NAME``."""

    kind: ClassVar[str] = "command"
    target: str = target_field()
