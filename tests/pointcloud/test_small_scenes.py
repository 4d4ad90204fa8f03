"""Points of scenes in benchmarks/small_presets.py: what is chosen, what is judged, and what the choice must not see."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.benchmark_modules import of_benchmarks

CLASSES, REGION, BLOCK = 3, 10, 50
READINGS = {"points": "points", "neighbours": "neighbours", "regions": "regions"}


@pytest.fixture(scope="module")
def scenes() -> Iterator[Any]:
    """Without forests, which take seconds."""
    found = of_benchmarks("small_scenes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(found, "READINGS", {**found.READINGS, found.POINTS: ("dense-frequency@1",)})
        yield found


def made_up(scenes: Any, points: int = 500) -> Any:
    """Classes that last for a region; the trained side tells them apart at its last stage alone, others hardly do."""
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.integers(0, CLASSES, points // REGION), REGION)
    sides = (scenes.TRAINED, scenes.TWIN, scenes.DRAWN)
    names = [*(f"{side}, {stages}" for side in sides for stages in scenes.STAGES), scenes.CRAFTED]
    clear = f"{scenes.TRAINED}, last"
    features = {
        name: (np.eye(CLASSES)[labels] * (3.0 if name == clear else 0.3) + rng.normal(size=(points, CLASSES))).astype(
            "f"
        )
        for name in names
    }
    number = np.arange(points)
    fold = number * 5 // points - 1  # the first fifth is the test part
    region = number // REGION
    known = scenes.LabelledPoints(labels, fold >= 0, features, region, tuple(range(CLASSES)))
    return scenes.Labelled(known, fold, number // BLOCK)


def test_the_best_features_are_chosen_and_blocks_hold_every_test_point(scenes: Any) -> None:
    found = made_up(scenes)
    sets = scenes.judged(found, READINGS, {}, "baseline")
    for one in sets.values():
        (chosen,), (fold,) = one["trained"]["chosen"], one["trained"]["folds"]
        assert chosen.startswith("trained, last")
        assert one["trained"]["score"] > max(one["random twin"]["score"], one["baseline"]["score"])
        assert fold["rows"] == [0, 1]
        assert np.sum(fold["counts"]) == 100
    assert scenes.judged(found, READINGS, sets, "baseline")["points"]["baseline"] is sets["points"]["baseline"]


def test_a_region_answers_for_all_its_points_and_a_point_in_none_has_no_answer(scenes: Any) -> None:
    found = made_up(scenes)
    region = found.points.region.copy()
    region[:5] = -1
    found = replace(found, points=replace(found.points, region=region))
    kept, held = np.flatnonzero(found.fold >= 0), np.flatnonzero(found.fold < 0)
    said = scenes.answers(found, ("trained, last", scenes.LINEAR), kept, held, "regions")
    assert (said[:5] == -1).all()
    assert (said[5:] >= 0).all()
    assert all(len(np.unique(said[first : first + REGION])) == 1 for first in range(REGION, 100, REGION))


def test_the_choice_does_not_see_the_test_part(scenes: Any) -> None:
    found = made_up(scenes)
    labels = np.where(found.fold < 0, 0, found.points.labels)
    noise = {name: np.where((found.fold < 0)[:, None], 9.0, one) for name, one in found.points.features.items()}
    other = replace(found, points=replace(found.points, labels=labels, features=noise))
    for reading in READINGS:
        assert scenes.inner(found, reading, ("trained",)) == scenes.inner(other, reading, ("trained",))
