"""Bugs to plant into the toy's way back to its points and into its divisions; see :mod:`planted_bugs`."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from repcore.interfaces import Item, Sample
from tests.ecosystem.planting import plant, wrap
from tests.toys.toy_pairs import code, extras


@plant("elements-restored")
def points_from_the_last_to_the_first(patch: pytest.MonkeyPatch) -> None:
    wrap(patch, code.Sets, "restore", lambda f, self, *given: f(self, *given)[::-1])


@plant("elements-restored")
def one_point_too_late(patch: pytest.MonkeyPatch) -> None:
    wrap(patch, code.Sets, "restore", lambda f, self, *given: np.roll(f(self, *given), 1, axis=0))


@plant("elements-restored")
def answers_in_order_of_size(patch: pytest.MonkeyPatch) -> None:
    wrap(patch, code.Sets, "restore", lambda f, self, *given: np.sort(f(self, *given), axis=0))


@plant("elements-restored")
def the_last_point_is_lost(patch: pytest.MonkeyPatch) -> None:
    wrap(patch, code.Sets, "restore", lambda f, self, *given: f(self, *given)[:-1])


@plant("elements-restored")
def outputs_are_normalised_in_place(patch: pytest.MonkeyPatch) -> None:
    def restore(
        original: Any, self: Any, sample: Sample, items: Sequence[Item], outputs: Sequence[np.ndarray], level: str
    ) -> np.ndarray:
        for one in outputs:
            one *= 0.5
        found: np.ndarray = original(self, sample, items, outputs, level)
        return found

    wrap(patch, code.Sets, "restore", restore)


@plant("elements-restored")
def labels_of_the_item_are_turned_round(patch: pytest.MonkeyPatch) -> None:
    def prepare(original: Any, self: Any, sample: Sample) -> list[Item]:
        turned = {name: np.asarray(one)[::-1].copy() if np.ndim(one) else one for name, one in sample.targets.items()}
        items: list[Item] = original(self, dataclasses.replace(sample, targets=turned))
        return items

    wrap(patch, code.Sets, "prepare", prepare)


class WithoutTheEnd(code.Sets):
    """Answers about all but the last points."""

    def cuts(self, count: int) -> list[slice]:
        return [slice(0, count - 2)]

    def restore(self, *given: Any) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return super().restore(*given)


@plant("elements-covered")
def the_last_points_are_in_no_window(patch: pytest.MonkeyPatch) -> None:
    def covering(self: code.Sets) -> code.Sets:
        found = WithoutTheEnd(self.config)
        found.mean = self.mean
        return found

    patch.setattr(code.Sets, "covering", covering, raising=False)


@plant("elements-covered")
def covering_changes_the_preprocessor_itself(patch: pytest.MonkeyPatch) -> None:
    def covering(self: code.Sets) -> code.Sets:
        self.mean = self.mean + 1
        return self

    patch.setattr(code.Sets, "covering", covering, raising=False)


@plant("elements-covered")
def windows_of_the_covering_come_back_turned_round(patch: pytest.MonkeyPatch) -> None:
    def covering(self: code.Sets) -> code.Sets:
        found = copy.copy(self)
        found.restore = lambda *given: code.Sets.restore(self, *given)[::-1]  # type: ignore[method-assign]
        return found

    patch.setattr(code.Sets, "covering", covering, raising=False)


@plant("division-of-elements")
def a_division_in_too_few_rows(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(extras, "thirds", lambda preprocessor, sample, level, detail: np.arange(3))


@plant("division-of-elements")
def a_division_by_the_label(patch: pytest.MonkeyPatch) -> None:
    def thirds(preprocessor: Any, sample: Sample, level: str, detail: str) -> np.ndarray:
        return np.asarray(sample.targets.get("side", np.zeros(len(sample.inputs), int)))

    patch.setattr(extras, "thirds", thirds)


@plant("division-of-elements")
def a_division_by_chance(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        extras, "thirds",
        lambda preprocessor, sample, level, detail: torch.randint(3, (len(sample.inputs),)).numpy(),
    )  # fmt: skip


@plant("division-of-elements")
def a_division_into_fractions(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(extras, "thirds", lambda preprocessor, sample, level, detail: np.arange(len(sample.inputs)) / 3)
