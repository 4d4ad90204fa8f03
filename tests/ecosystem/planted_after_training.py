"""Bugs to plant into the toy's estimator, its task about points and its file of points; see :mod:`planted_bugs`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from repcore.interfaces import DenseAnswer, FeatureBatch
from tests.ecosystem.planting import plant, wrap
from tests.toys.toy_pairs import extras, fitted

# ---------------------------------------------------------------------------------------------- estimators


@plant("estimator-deterministic")
def starts_where_the_global_generator_stands(patch: pytest.MonkeyPatch) -> None:
    def fit(original: Any, self: Any, features: Iterable[FeatureBatch], target: Any = None) -> Any:
        found = original(self, features, target)
        self.sums = self.sums + np.random.default_rng(torch.initial_seed()).normal(size=len(self.sums))
        return found

    wrap(patch, fitted.Spread, "fit", fit)


@plant("estimator-deterministic")
def draws_from_the_global_generator(patch: pytest.MonkeyPatch) -> None:
    def fit(original: Any, self: Any, features: Iterable[FeatureBatch], target: Any = None) -> Any:
        torch.randn(3)
        return original(self, features, target)

    wrap(patch, fitted.Spread, "fit", fit)


@plant("estimator-one-pass")
def goes_over_the_features_twice(patch: pytest.MonkeyPatch) -> None:
    def fit(original: Any, self: Any, features: Iterable[FeatureBatch], target: Any = None) -> Any:
        original(self, features, target)
        again = list(features)
        return original(self, again, target) if again else self

    wrap(patch, fitted.Spread, "fit", fit)


@plant("estimator-one-pass")
def the_last_window_counts_only(patch: pytest.MonkeyPatch) -> None:
    wrap(patch, fitted.Spread, "fit", lambda f, self, features, target=None: f(self, list(features)[-1:], target))


@plant("estimator-one-pass")
def centres_the_features_in_place(patch: pytest.MonkeyPatch) -> None:
    def apply(original: Any, self: Any, features: FeatureBatch) -> Mapping[str, np.ndarray]:
        found = original(self, features)
        features.values -= features.values.mean(0)
        return found

    wrap(patch, fitted.Spread, "apply", apply)


@plant("estimator-one-pass")
def merge_forgets_the_other(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fitted.Spread, "merge", lambda self, other: self)


@plant("estimator-row-an-item")
def sorted_by_value(patch: pytest.MonkeyPatch) -> None:
    wrap(
        patch, fitted.Spread, "apply",
        lambda f, self, features: {name: np.sort(values) for name, values in f(self, features).items()},
    )  # fmt: skip


@plant("estimator-row-an-item")
def relative_to_the_window(patch: pytest.MonkeyPatch) -> None:
    wrap(
        patch, fitted.Spread, "apply",
        lambda f, self, features: {name: values / values.max() for name, values in f(self, features).items()},
    )  # fmt: skip


@plant("estimator-row-an-item")
def not_finite_for_some(patch: pytest.MonkeyPatch) -> None:
    def apply(original: Any, self: Any, features: FeatureBatch) -> Mapping[str, np.ndarray]:
        values = original(self, features)["spread"]
        return {"spread": np.where(values > 1.4, np.nan, values)}

    wrap(patch, fitted.Spread, "apply", apply)


@plant("estimator-row-an-item")
def a_map_of_whole_items(patch: pytest.MonkeyPatch) -> None:
    wrap(patch, fitted.Spread, "maps", lambda f, self, features: f(self, features)[:100])
    patch.setattr(fitted.Spread, "apply", lambda self, features: {"spread": features.values.mean(1)})


@plant("estimator-row-an-item")
def zero_for_everything(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fitted.Spread, "maps", lambda self, features: np.zeros(len(features.values)))


@plant("estimator-failed-rows")
def zero_for_a_row_without_features(patch: pytest.MonkeyPatch) -> None:
    wrap(
        patch, fitted.Spread, "apply",
        lambda f, self, features: {name: np.nan_to_num(values) for name, values in f(self, features).items()},
    )  # fmt: skip


@plant("estimator-state-saved")
def the_floor_is_learned_and_not_saved(patch: pytest.MonkeyPatch) -> None:
    def fit(original: Any, self: Any, features: Iterable[FeatureBatch], target: Any = None) -> Any:
        found = original(self, features, target)
        self.factor = float(self.sums[0])
        return found

    wrap(patch, fitted.Spread, "fit", fit)
    wrap(
        patch, fitted.Spread, "apply",
        lambda f, self, features: {"spread": f(self, features)["spread"] * getattr(self, "factor", 1.0)},
    )  # fmt: skip


@plant("estimator-state-saved")
def saved_in_single_precision(patch: pytest.MonkeyPatch) -> None:
    def load_state(original: Any, self: Any, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
        original(self, {name: values.astype(np.float32) for name, values in arrays.items()}, facts)

    wrap(patch, fitted.Spread, "load_state", load_state)


@plant("estimator-other-width")
def takes_vectors_of_any_width(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fitted, "check_width", lambda features, width: None)


@plant("estimator-nothing-to-fit")
def fits_on_nothing(patch: pytest.MonkeyPatch) -> None:
    def fit(original: Any, self: Any, features: Iterable[FeatureBatch], target: Any = None) -> Any:
        windows = list(features)
        return original(self, windows, target) if sum(len(one.values) for one in windows) else self

    wrap(patch, fitted.Spread, "fit", fit)


@plant("estimator-nothing-to-fit")
def crashes_on_nothing(patch: pytest.MonkeyPatch) -> None:
    def fit(original: Any, self: Any, features: Iterable[FeatureBatch], target: Any = None) -> Any:
        windows = list(features)
        np.concatenate([one.values for one in windows])
        return original(self, windows, target)

    wrap(patch, fitted.Spread, "fit", fit)


@plant("estimator-labels")
def reads_labels_without_saying_so(patch: pytest.MonkeyPatch) -> None:
    def fit(original: Any, self: Any, features: Iterable[FeatureBatch], target: Any = None) -> Any:
        windows = list(features)
        found = original(self, windows, target)
        self.count += int(np.nansum(windows[0].targets["drawn"])) if windows else 0
        return found

    wrap(patch, fitted.Spread, "fit", fit)


# ------------------------------------------------------------------------------------------- dense writers


def written(patch: pytest.MonkeyPatch, change: Any) -> None:
    """Replace the toy's writer by ``change(original, path, answer)``."""
    original = fitted.write_points
    patch.setattr(fitted, "write_points", lambda path, answer: change(original, path, answer))


@plant("dense-writer-one-file")
def a_second_file_beside(patch: pytest.MonkeyPatch) -> None:
    def write(original: Any, path: Path, answer: DenseAnswer) -> None:
        original(path, answer)
        path.with_suffix(".json").write_text("{}")

    written(patch, write)


@plant("dense-writer-one-file")
def named_by_the_sample(patch: pytest.MonkeyPatch) -> None:
    """An id from a file of others leads out of the folder."""

    def write(original: Any, path: Path, answer: DenseAnswer) -> None:
        target = path.parent / f"{answer.sample.id}.txt"
        target.parent.mkdir(parents=True, exist_ok=True)
        original(target, answer)

    written(patch, write)


@plant("dense-writer-one-file")
def a_log_in_the_working_directory(patch: pytest.MonkeyPatch) -> None:
    def write(original: Any, path: Path, answer: DenseAnswer) -> None:
        original(path, answer)
        Path("points.log").write_text("done")

    written(patch, write)


@plant("dense-writer-one-file")
def rounds_the_answer_in_place(patch: pytest.MonkeyPatch) -> None:
    def write(original: Any, path: Path, answer: DenseAnswer) -> None:
        answer.outputs[:] = answer.outputs.round(1)
        original(path, answer)

    written(patch, write)


@plant("dense-writer-every-element")
def loses_the_last_point(patch: pytest.MonkeyPatch) -> None:
    written(patch, lambda f, path, answer: f(path, dataclasses.replace(answer, outputs=answer.outputs[:-1])))


@plant("dense-writer-every-element")
def points_in_order_of_their_answer(patch: pytest.MonkeyPatch) -> None:
    def write(original: Any, path: Path, answer: DenseAnswer) -> None:
        order = np.argsort(np.nan_to_num(answer.outputs)[:, 0])
        original(path, dataclasses.replace(answer, outputs=answer.outputs[order]))

    written(patch, write)


@plant("dense-writer-aligned")
def points_from_the_end(patch: pytest.MonkeyPatch) -> None:
    written(patch, lambda f, path, answer: f(path, dataclasses.replace(answer, outputs=answer.outputs[::-1])))


@plant("dense-writer-aligned")
def one_point_too_late_in_binary(patch: pytest.MonkeyPatch) -> None:
    def write(original: Any, path: Path, answer: DenseAnswer) -> None:
        labels = answer.labels(missing=0).astype("<u4")
        path.write_bytes(b"head" + np.roll(labels, 1).tobytes())

    written(patch, write)


@plant("dense-writer-aligned")
def places_of_classes_for_their_numbers(patch: pytest.MonkeyPatch) -> None:
    written(patch, lambda f, path, answer: f(path, dataclasses.replace(answer, values=())))


# --------------------------------------------------------------------------------------------------- tasks


@plant("task-finite-in-bf16")
def masks_with_the_lowest_of_another_type(patch: pytest.MonkeyPatch) -> None:
    """Fine in float32; bfloat16 rounds it to minus infinity, and 0 x inf is NaN."""

    def loss(original: Any, self: Any, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        low = torch.full_like(outputs, torch.finfo(torch.float32).min)
        return original(self, outputs, labels) + 0 * low.mean()

    wrap(patch, extras.KindTask, "loss", loss)
