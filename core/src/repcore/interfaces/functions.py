"""Functions that specs name, and what a replay of golden data gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repcore.interfaces.data import Preprocessor, Sample
from repcore.interfaces.reporting import Picture


@dataclass(frozen=True, slots=True)
class StageResult:
    """What a replay produced for one stage of a golden folder: tensor or field name -> value."""

    stage: str
    produced: Mapping[str, Any]


Replay = Callable[[Any, frozenset[str]], Iterator[StageResult]]
Sniffer = Callable[[Path], float]
CheckpointConverter = Callable[[Mapping[str, Any], Path, Mapping[str, str]], Any]
Renderer = Callable[[Sample], Picture]
Baseline = Callable[[Preprocessor, Iterable[Sample]], Any]
