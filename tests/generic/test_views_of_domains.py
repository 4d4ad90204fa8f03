"""Every kind of data has views of both roles: drawn from the generator alone, different, collated like the item, read
once; and both two-view objectives learn on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from repcore import registry
from repcore.config.matching import views_fit
from repcore.data.batching import TrainingItems
from repcore.data.stream import ItemKey
from repcore.interfaces import Batch, Item, Sample
from repcore.testing.tensors import difference
from repcore.training.assembly import build
from tests.generic.domains import PROGRESS, RUNS, batch_of, losses, parts_of

NAMES = {"pair": ("a", "b"), "weak-strong": ("weak", "strong")}
SIMCLR = "objective=generic/simclr"


def views_of(kind: str, role: str) -> Any:  # the author's class
    """The views of a role that a run on this data gets."""
    parts = parts_of(kind, SIMCLR)
    preprocessor = parts.resolved.preprocessor.entry
    entries = registry.default().entries("views", parts.resolved.domain)
    (entry,) = [one for one in entries if one.spec.role == role and views_fit(one, preprocessor)]
    assert entry.spec.names == NAMES[role]
    config = parts.resolved.views.config if role == "pair" else entry.load("config")()  # type: ignore[union-attr]
    return entry.load()(config, parts.preprocessor)


def items_of(kind: str, role: str, row: int, seed: int) -> Mapping[str, Item]:
    found: Mapping[str, Item] = views_of(kind, role).build(
        row, parts_of(kind, SIMCLR).reader, np.random.default_rng(seed), PROGRESS
    )
    return found


def collated(kind: str, item: Item) -> Batch:
    return parts_of(kind, SIMCLR).preprocessor.collate([item])


def comparable(batch: Batch) -> Any:
    """Inputs of a batch as a mapping, whatever holds them."""
    return batch.inputs.to_dict() if hasattr(batch.inputs, "to_dict") else batch.inputs


@pytest.mark.parametrize("role", NAMES)
@pytest.mark.parametrize("kind", RUNS)
def test_views_come_from_the_generator_alone_and_differ(kind: str, role: str) -> None:
    row = int(parts_of(kind, SIMCLR).train[1])
    state = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 - it must not move
    first = items_of(kind, role, row, seed=3)
    assert torch.equal(state[0], torch.random.get_rng_state())
    assert np.array_equal(state[1], np.random.get_state()[1])  # noqa: NPY002
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002
    again, other = items_of(kind, role, row, seed=3), items_of(kind, role, row, seed=4)
    assert tuple(first) == NAMES[role]
    for name in first:
        shown = comparable(collated(kind, first[name]))
        assert not difference(shown, comparable(collated(kind, again[name])))
        assert difference(shown, comparable(collated(kind, other[name])))
    one, two = (comparable(collated(kind, item)) for item in first.values())
    assert difference(one, two)


@pytest.mark.parametrize("kind", RUNS)
def test_views_take_the_place_of_the_item(kind: str) -> None:
    """An encoder built for items takes both views; ids and costs go with them, the item itself stays as it was."""
    parts = parts_of(kind, SIMCLR)
    sample = parts.reader[int(parts.train[0])]
    before = comparable(collated(kind, parts.preprocessor.prepare(sample)[0]))
    batch = batch_of(parts, size=3)
    for view in batch.views.values():
        assert view.size == 3
        assert view.sample_id == batch.sample_id
        with torch.no_grad():
            pooled = parts.encoder.eval()(view).pooled
        assert pooled.shape == (3, parts.encoder.dim)
        assert pooled.isfinite().all()
    assert not difference(before, comparable(collated(kind, parts.preprocessor.prepare(sample)[0])))
    for item in items_of(kind, "weak-strong", int(parts.train[0]), seed=1).values():
        assert parts.preprocessor.cost(item.meta) > 0


@pytest.mark.parametrize("kind", RUNS)
def test_a_sample_is_read_once_for_all_its_views(kind: str) -> None:
    parts = parts_of(kind, SIMCLR)
    reads: list[int] = []

    class Counting:
        def __getitem__(self, index: int) -> Sample:
            reads.append(index)
            return parts.reader[index]

        def __getattr__(self, name: str) -> Any:
            return getattr(parts.reader, name)

    items = TrainingItems(Counting(), parts.preprocessor, parts.views, parts.train, keeps_inputs=True)  # type: ignore[arg-type]
    items[ItemKey(int(parts.train[0]), 5, PROGRESS)]
    assert reads == [int(parts.train[0])]


@pytest.mark.parametrize("objective", ["simclr", "vicreg"])
@pytest.mark.parametrize("kind", RUNS)
def test_objectives_on_two_views_learn_in_every_domain(kind: str, objective: str) -> None:
    torch.manual_seed(0)
    parts = parts_of(kind, SIMCLR if objective == "simclr" else "objective=generic/vicreg")
    name = f"objective=generic/{objective}"
    assert parts.resolved.objective.name == name.removeprefix("objective=")
    found = losses(parts, steps=5)
    assert np.isfinite(found).all()
    assert min(found[-2:]) < found[0]


def test_settings_of_the_recipes_own_views_do_not_reach_the_roles() -> None:
    """alice's recipe sets jitter of its own pairs; a setting that is typed stays."""
    parts = parts_of("volumes", SIMCLR, "views.change.noise=0.5")
    assert parts.resolved.views is not None
    assert parts.resolved.views.name == "medical3d/volume-pair"
    assert parts.resolved.views.config.change.noise == 0.5
    assert build(parts.resolved.views, parts.preprocessor) is not None
