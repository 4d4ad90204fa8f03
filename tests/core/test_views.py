"""Bases of changed views: one reading for all views, the order of the draws, no labels, refusals before any row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from repcore.data.views import Change, ChangedPair, ChangedViews, ChangedWeakStrong
from repcore.errors import ConfigError, ItemError
from repcore.interfaces import Item, Progress, Sample

PROGRESS = Progress(0, 1)


class Windows:
    """Preprocessor of two windows a sample, with labels of elements."""

    def prepare(self, sample: Sample) -> Sequence[Item]:
        values = np.asarray(sample.inputs, float)
        return [Item(part, {"steps": 2}, targets={"label": np.zeros(2)}) for part in (values[:2], values[2:])]

    def cost(self, meta: Mapping[str, Any]) -> int:
        return int(meta["steps"])


class Rows:
    """Reader that counts how often it was asked."""

    def __init__(self) -> None:
        self.read = 0

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Sample:
        self.read += 1
        if index:
            raise ValueError("torn")
        return Sample("s", [1.0, 2.0, 30.0, 40.0])


def moved(item: Item, generator: np.random.Generator, *, by: float) -> Item:
    return Item(item.values + by * generator.random(len(item.values)), item.meta, targets=item.targets)


class Moved(ChangedViews):
    def change(self, settings: float) -> Change:
        if settings < 0:
            raise ConfigError(f"by={settings} is negative", field="views")
        return partial(moved, by=settings)


class Pair(Moved, ChangedPair):
    pass


class WeakStrong(Moved, ChangedWeakStrong):
    pass


PAIR, BOTH = SimpleNamespace(change=0.5), SimpleNamespace(weak=0.25, strong=4.0)


@pytest.mark.parametrize(
    ("kind", "config", "sizes"), [(Pair, PAIR, {"a": 0.5, "b": 0.5}), (WeakStrong, BOTH, {"weak": 0.25, "strong": 4.0})]
)
def test_window_then_views_in_order_from_one_reading(
    kind: type[ChangedViews], config: Any, sizes: dict[str, float]
) -> None:
    places = set()
    for seed in range(6):
        reader, generator = Rows(), np.random.default_rng(seed)
        views = kind(config, Windows()).build(0, reader, generator, PROGRESS)  # type: ignore[arg-type]
        assert reader.read == 1
        again = np.random.default_rng(seed)
        place = int(again.integers(2))
        places.add(place)
        expected = {
            name: np.array([[1.0, 2.0], [30.0, 40.0]][place]) + by * again.random(2) for name, by in sizes.items()
        }
        assert list(views) == list(expected)
        for name, values in expected.items():
            np.testing.assert_array_equal(views[name].values, values)
            assert (dict(views[name].meta), dict(views[name].targets)) == ({"steps": 2}, {})
        assert generator.random() == again.random()
    assert places == {0, 1}


def test_a_row_that_cannot_be_read_is_an_item_error() -> None:
    with pytest.raises(ItemError, match="torn"):
        Pair(PAIR, Windows()).build(1, Rows(), np.random.default_rng(0), PROGRESS)  # type: ignore[arg-type]


def test_settings_are_refused_before_any_row_is_read() -> None:
    with pytest.raises(ConfigError, match="negative"):
        WeakStrong(SimpleNamespace(weak=0.1, strong=-1.0), Windows())


def test_a_plugin_may_draw_another_item_for_each_view() -> None:
    """As sounds do, of which each view is another take."""

    class Takes(Moved, ChangedPair):
        def views(self, sample: Sample, generator: np.random.Generator) -> dict[str, Item]:
            return {name: change(self.item(sample, generator), generator) for name, change in self.changes.items()}

    drawn = [
        {name: one.values.max() > 20 for name, one in Takes(PAIR, Windows()).build(
            0, Rows(), np.random.default_rng(seed), PROGRESS  # type: ignore[arg-type]
        ).items()}
        for seed in range(12)
    ]  # fmt: skip
    assert any(one["a"] != one["b"] for one in drawn)


def test_what_changes_has_to_be_said() -> None:
    with pytest.raises(TypeError, match="abstract"):
        ChangedPair(PAIR, Windows())  # type: ignore[abstract]
