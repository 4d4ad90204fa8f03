"""Checks of what a preprocessor says about elements, and of tasks about them: green on the toy, red on planted bugs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from repcore import registry
from repcore.interfaces import Item, Sample
from repcore.testing.kit import find_plugin, plan, run_check
from repcore.testing.report import CheckResult
from tests.ecosystem.planting import wrap
from tests.toys.toy_pairs import elements, fitted

ELEMENTS, PAIRS = "tests.toys.toy_pairs.elements", "tests.toys.toy_pairs._plugin"
CHECKS = {
    "elements-restored",
    "elements-covered",
    "element-labels-unrounded",
    "division-of-elements",
    "labelled-item-of-labels",
    "metric-of-elements",
}
TASK_CHECKS = {
    "task-loss-and-predictions", "task-predicts-what-it-fits", "task-missing-labels-masked", "task-state-saved",
    "task-finite-in-bf16",
}  # fmt: skip


@pytest.fixture(autouse=True)
def only_toys(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("REPCORE_PLUGINS", "toy_pairs,elements")
    registry.default.cache_clear()
    yield
    registry.default.cache_clear()


def results(target: str, checks: set[str], word: str = "") -> list[CheckResult]:
    known, record = find_plugin(target)
    return [run_check(one) for one in plan(known, record, "fast") if one.check.id in checks and word in one.target]


def test_right_elements_pass() -> None:
    found = results(ELEMENTS, CHECKS)
    assert {one.id for one in found} == CHECKS
    assert {one.status for one in found} == {"passed"}, [(one.id, one.message) for one in found]


def test_a_task_about_points_is_judged() -> None:
    found = results(PAIRS, TASK_CHECKS, "side")
    assert len(found) == len(TASK_CHECKS)
    assert {one.status for one in found} == {"passed"}, [(one.id, one.message) for one in found]


Change = Callable[[Sample, Item, np.random.Generator], Item]


def changed_item(patch: pytest.MonkeyPatch, change: Change) -> None:
    original = elements.labelled_points

    def draw(preprocessor: Any, sample: Sample, generator: np.random.Generator) -> Item:
        return change(sample, original(preprocessor, sample, generator), generator)

    patch.setattr(elements, "labelled_points", draw)


def relabelled(item: Item, change: Callable[[np.ndarray], np.ndarray]) -> Item:
    return dataclasses.replace(item, targets={name: change(values) for name, values in item.targets.items()})


def missing_is_zero(sample: Sample, item: Item, generator: np.random.Generator) -> Item:
    return relabelled(item, lambda values: np.where(np.isfinite(values), values, values.size + 3))


def every_label_hidden(sample: Sample, item: Item, generator: np.random.Generator) -> Item:
    return relabelled(item, lambda values: np.full_like(values, np.nan))


def global_jitter(sample: Sample, item: Item, generator: np.random.Generator) -> Item:
    values = item.values + torch.randn(()).item()
    return dataclasses.replace(item, values=values.astype(np.float32))


def labels_changed_in_place(sample: Sample, item: Item, generator: np.random.Generator) -> Item:
    next(iter(sample.targets.values()))[0] = 99
    return item


@pytest.mark.parametrize("bug", [missing_is_zero, every_label_hidden, global_jitter, labels_changed_in_place])
def test_a_wrong_training_item_is_caught(bug: Change, monkeypatch: pytest.MonkeyPatch) -> None:
    changed_item(monkeypatch, bug)
    (found,) = results(ELEMENTS, {"labelled-item-of-labels"})
    assert found.status == "failed", found


def test_a_training_item_without_chance_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    original = elements.labelled_points
    fixed = lambda preprocessor, sample, generator: original(preprocessor, sample, np.random.default_rng(0))  # noqa: E731
    monkeypatch.setattr(elements, "labelled_points", fixed)
    (found,) = results(ELEMENTS, {"labelled-item-of-labels"})
    assert "the generator is not used" in found.message


def sorted_figures(figures: np.ndarray) -> np.ndarray:
    return np.sort(figures)


def one_figure_for_all(figures: np.ndarray) -> np.ndarray:
    return figures.mean(keepdims=True)


def blind_to_answers(figures: np.ndarray) -> np.ndarray:
    return np.ones_like(figures)


def infinite_for_an_error(figures: np.ndarray) -> np.ndarray:
    return np.where(figures < 1, np.inf, figures)


@pytest.mark.parametrize("bug", [sorted_figures, one_figure_for_all, blind_to_answers, infinite_for_an_error])
def test_a_wrong_metric_is_caught(bug: Callable[[np.ndarray], np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    wrap(monkeypatch, elements.Share, "__call__", lambda original, self, *given: bug(original(self, *given)))
    (found,) = results(ELEMENTS, {"metric-of-elements"})
    assert found.status == "failed", found


def outputs_of_the_item(patch: pytest.MonkeyPatch) -> None:
    """One answer an item where one a point is due."""
    wrap(
        patch, fitted.SideTask, "forward",
        lambda f, self, batch: torch.stack([one.mean(0) for one in f(self, batch).split(7)]),
    )  # fmt: skip


def logits_for_probabilities(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fitted.SideTask, "predict", lambda self, outputs: outputs)


def missing_is_the_first_class(patch: pytest.MonkeyPatch) -> None:
    wrap(patch, fitted.SideTask, "loss", lambda f, self, outputs, labels: f(self, outputs, labels.nan_to_num(0.0)))


@pytest.mark.parametrize("bug", [outputs_of_the_item, logits_for_probabilities, missing_is_the_first_class])
def test_a_wrong_task_about_points_is_caught(
    bug: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    bug(monkeypatch)
    found = results(PAIRS, TASK_CHECKS, "side")
    assert "failed" in {one.status for one in found}, [(one.id, one.message) for one in found]
