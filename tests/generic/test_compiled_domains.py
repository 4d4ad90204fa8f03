"""``trainer.compile=true`` in a real domain: the trial before a run passes and the compiled loss and gradients are the
plain ones, or the run is refused in words. Compiled by ``aot_eager``, which traces forwards and backwards as the
default backend does, without its code generation."""

from __future__ import annotations

import copy

import pytest
import torch

from repcore import registry
from repcore.config.resolve import resolve_run
from repcore.errors import ConfigError
from repcore.interfaces import Progress
from repcore.reporting import LogReporter
from repcore.training.assembly import RunParts, assemble
from repcore.training.compiling import compile_objective
from tests.generic.domains import RUNS, batch_of

PROGRESS = Progress(0, 10)
TRIED = ("molecules",)  # the other domains have not been run to their end on this backend yet
TINY = ("data.batch_size=2", "trainer.compile=true", "trainer.compile_backend=aot_eager")


def loss_and_gradients(parts: RunParts) -> tuple[float, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    batch = batch_of(parts, 2)
    draws = parts.rules.draw(batch, torch.Generator().manual_seed(0), PROGRESS)
    total = parts.rules(batch, draws).total
    total.backward()
    found = {name: one.grad for name, one in parts.objective.named_parameters() if one.grad is not None}
    return float(total.detach()), found


@pytest.mark.parametrize("kind", TRIED)
def test_it_works_or_is_refused_in_words(kind: str) -> None:
    run = RUNS[kind]
    parts = assemble(
        resolve_run(registry.default(), run.recipe, overrides=(*run.settings, *TINY)),
        LogReporter(),
    )
    plain = copy.deepcopy(parts.objective)
    try:
        compile_objective(parts, "cpu", 10, LogReporter())
    except ConfigError as refused:
        told = str(refused)
        assert "trainer.compile=true, but torch cannot compile" in told
        assert "trainer.compile=false" in told
        assert "Traceback" not in told
        return
    expected, gradients = loss_and_gradients(RunParts(**{**as_fields(parts), "objective": plain}))
    got, found = loss_and_gradients(parts)
    assert got == pytest.approx(expected, rel=1e-4)
    assert found.keys() == gradients.keys()
    for name, value in gradients.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-5, msg=name)


def as_fields(parts: RunParts) -> dict[str, object]:
    return {name: getattr(parts, name) for name in RunParts.__dataclass_fields__}
