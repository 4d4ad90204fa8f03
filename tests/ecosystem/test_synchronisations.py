"""How often a training step reads values back from its device: on a GPU each one waits for all work before it.

Counted on a CPU, by what a step calls; ``numpy`` is left out, since only compiled CPU code asks for it.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from repcore import registry
from repcore.config.resolve import resolve_run
from repcore.data.batching import TrainingCollator
from repcore.data.stream import EndlessBatches
from repcore.reporting import LogReporter
from repcore.training.assembly import assemble
from repcore.training.plan import stream_order

READ_BACK = ("item", "tolist", "cpu", "nonzero", "__bool__", "__int__", "__float__", "__index__")

# recipe: what may be read back in one step, by name of the function, and how often
ALLOWED: dict[str, dict[str, int]] = {
    "audio/ssamba": {"layout": 1},  # lengths of the clips, once a batch
    "graphs/masked-edge": {},
    "graphs/edge-reconstruction": {},
    "medical3d/alice": {},
    "pointcloud/fac": {
        "of": 2,  # bounds of the voxels, once a view
        "_sort": 2,  # whether they are in order, once a view
        "region_tokens": 2,  # whether all points have a region, once a view
        "region_classification_places": 1,
        "pairs": 4,  # 1 x 1 convolutions, on a CPU alone
        "starts": 4,
    },
    "pointcloud/scene-moco": {"of": 2, "_sort": 2, "region_tokens": 2, "pairs": 4, "starts": 4},
}
LARGER = ["data.limit=12", "data.batch_size=4", "trainer.steps=2"]


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Calls that read values back, by the function of this project that makes them."""
    found: Counter[str] = Counter()
    kept = {name: getattr(torch.Tensor, name) for name in READ_BACK}

    def noted(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: torch.Tensor, *arguments: Any, **options: Any) -> Any:
            frame = sys._getframe(1)
            if "repcore" in frame.f_code.co_filename:
                found[frame.f_code.co_name] += 1
            return original(self, *arguments, **options)

        return call

    try:
        for name, original in kept.items():
            setattr(torch.Tensor, name, noted(original))
        yield found
    finally:
        for name, original in kept.items():
            setattr(torch.Tensor, name, original)


@pytest.mark.parametrize("recipe", ALLOWED)
def test_a_step_reads_back_what_it_must_and_no_more(recipe: str) -> None:
    domain, name = recipe.split("/")
    pytest.importorskip(f"repcore_{domain}", reason=f"the plugin {domain} is not installed")
    resolved = resolve_run(registry.default(), name, domain=domain, overrides=LARGER, settings={})
    parts = assemble(resolved, LogReporter())
    batches = EndlessBatches(stream_order(parts), start=0, accumulate=1, total_steps=2)
    items, collate = parts.items(parts.train), TrainingCollator(parts.preprocessor, parts.reader.targets, domain)
    batch = collate([items[key] for key in next(iter(batches))]).batch
    objective = parts.objective.train()
    draws = objective.draw(batch, torch.Generator().manual_seed(0), batches.progress(0))
    with counted() as found:
        objective(batch, draws).total.backward()
    more = {where: count for where, count in found.items() if count > ALLOWED[recipe].get(where, 0)}
    assert not more, f"{recipe} reads values back: {more}"


def test_reading_back_is_counted() -> None:
    with counted() as found:
        assert torch.ones(2).sum().item() == 2  # this file is of no "repcore" package
        source = "def look(x):\n    return bool(x.any()), x.tolist()\nlook(x)"
        exec(compile(source, "repcore/x.py", "exec"), {"x": torch.ones(2)})
    assert found == {"look": 2}
