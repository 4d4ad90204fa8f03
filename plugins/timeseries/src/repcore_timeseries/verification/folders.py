"""What both replays do with a golden folder: its weights into modules, and only the stages that it has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import nn

from repcore.interfaces import StageResult
from repcore.verification.golden import Golden


def load_part(module: nn.Module, golden: Golden, prefix: str) -> None:
    """Every tensor below ``prefix.`` goes into the module, whose parameters have the published names."""
    start = f"{prefix}."
    names = [name for name in golden.weights if name.startswith(start)]
    module.load_state_dict({name.removeprefix(start): golden.weights[name] for name in names})


def asked_for(golden: Golden, results: Iterable[StageResult]) -> Iterator[StageResult]:
    """Stages that the folder has, with the tensors that it stores; core finds what is stored and not produced."""
    known = {stage.name for stage in golden.stages}
    for one in results:
        if one.stage in known:
            stored = set(golden.expected(one.stage))
            kept = {name: value for name, value in one.produced.items() if name in stored}
            yield StageResult(one.stage, kept)
