"""Checks of probes on drawn features: nothing but the training part is fitted, missing labels count nowhere."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from repcore.errors import RepcoreError
from repcore.evaluation.metrics import described, primary_metric
from repcore.interfaces import ProbeSplit
from repcore.registry import Entry
from repcore.specs import ProbeSpec, TargetKind, TargetSpec
from repcore.testing.check import Check, NotJudgedError, SubjectError, fail
from repcore.testing.randomness import untouched

TRAIN, TEST, OUTSIDE = 120, 150, 50  # rows
WIDTH, CLASSES = 12, 5
WILD = 1e3  # size of features that must not be looked at
MEMORY_WIDTH = 300  # more features than rows: whoever sees a label can learn it by heart
CHANCE_MARGIN = 0.25  # of the way from chance to the best value; 150 test rows at chance stay below
ROUNDING = 1e-9
DRAWS = 6.0  # times what another seed changes, for probes that draw among the test rows
SUM_ROUNDING = 1e-6
MEANS = ("accuracy", "element-accuracy", "balanced-accuracy", "mae", "r2", "ndcg@10")  # where labels are the same


@dataclass(frozen=True, slots=True)
class Task:
    """Features and labels of one kind of target."""

    features: np.ndarray
    labels: np.ndarray
    target: TargetSpec
    split: ProbeSplit


@dataclass(frozen=True, slots=True)
class ProbeSubject:
    """A probe with its default settings."""

    entry: Entry[ProbeSpec]

    def build(self) -> Any:  # the author's own object
        """A new probe.

        Raises:
            SubjectError: it cannot be made from its default settings.
        """
        try:
            return self.entry.load()(self.entry.load("config")())
        except Exception as error:
            raise SubjectError(f"{self.entry.full_name} cannot be built: {type(error).__name__}: {error}") from error

    def tasks(self, *, learnable: bool = True, width: int = WIDTH) -> Iterator[Task]:
        """One for each kind of target that the probe is for."""
        for kind in self.entry.spec.target_kinds or ("class", "multilabel", "regression"):
            yield drawn_task(kind, learnable=learnable, width=width)


def drawn_task(kind: TargetKind, *, learnable: bool, width: int = WIDTH) -> Task:
    """Rows whose labels follow from the features, or have nothing to do with them; some labels are missing."""
    rng = np.random.default_rng([len(kind), int(learnable), width])
    count = TRAIN + TEST + OUTSIDE
    features = rng.normal(size=(count, width))
    columns = 3 if kind in ("multilabel", "regression", "landmark") else CLASSES
    scores = features[:, :columns].copy() if learnable else rng.normal(size=(count, columns))
    labels = {"class": scores.argmax(1).astype(float), "multilabel": (scores > 0).astype(float)}.get(kind, scores)
    labels[rng.random(labels.shape) < 0.05] = np.nan
    names = tuple(f"name {number}" for number in range(columns)) if kind in ("class", "multilabel") else ()
    order = rng.permutation(count)
    split = ProbeSplit(train=np.sort(order[:TRAIN]), test=np.sort(order[TRAIN : TRAIN + TEST]))
    return Task(features, labels, TargetSpec("drawn", kind, names=names), split)


def scored(probe: Any, task: Task, seed: int = 0) -> dict[str, float]:
    """Scores as plain numbers."""
    found = probe.score(task.features, task.labels, task.target, task.split, seed)
    if not isinstance(found, Mapping) or not found:
        fail(f"score returned {type(found).__name__}; metric names and numbers are due")
    return {str(name): float(value) for name, value in found.items()}


def _same(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    return one.keys() == other.keys() and all(
        (math.isnan(one[name]) and math.isnan(other[name])) or abs(one[name] - other[name]) <= ROUNDING for name in one
    )


def _quality(scores: Mapping[str, float], task: Task) -> tuple[str, float]:
    """The primary metric (or the first that is reported), larger = better."""
    wanted = primary_metric(task.target.kind, max(2, len(task.target.names)))
    name = wanted if wanted in scores else next(iter(scores))
    return name, scores[name] if described(name).higher_is_better else -scores[name]


def repeatable(subject: ProbeSubject) -> None:
    """The same seed gives the same numbers, from new probes and without a global random state."""
    for task in subject.tasks():
        first = scored(subject.build(), task, seed=3)
        with untouched("score", "draw from the seed that score() gets"):
            second = scored(subject.build(), task, seed=3)
        if not _same(first, second):
            fail(f"{task.target.kind}: two probes with one seed give {first} and {second}")
        json_free = [name for name, value in dict(subject.build().constants()).items() if callable(value)]
        if json_free:
            fail(f"constants hold {', '.join(json_free)}, which cannot be written beside a result")


def outside_rows_ignored(subject: ProbeSubject) -> None:
    """Rows in neither part change nothing, whatever their features and labels."""
    for task in subject.tasks():
        first = scored(subject.build(), task)
        outside = np.setdiff1d(np.arange(len(task.features)), np.concatenate([task.split.train, task.split.test]))
        features, labels = task.features.copy(), task.labels.copy()
        features[outside] = WILD * np.random.default_rng(1).normal(size=features[outside].shape)
        labels[outside] = np.roll(labels[outside], 1, axis=0)
        changed = scored(subject.build(), Task(features, labels, task.target, task.split))
        if not _same(first, changed):
            fail(f"{task.target.kind}: rows outside train and test change the scores from {first} to {changed}")


def features_of_test_not_fitted(subject: ProbeSubject) -> None:
    """Test rows without a label change nothing, however wild: no statistic is taken over the test part."""
    for task in subject.tasks():
        first = scored(subject.build(), task)
        rng = np.random.default_rng(2)
        features = np.concatenate([task.features, WILD * rng.normal(size=(TEST, task.features.shape[1]))])
        labels = np.concatenate([task.labels, np.full((TEST, *task.labels.shape[1:]), np.nan)])
        more = np.arange(len(task.features), len(features))
        split = ProbeSplit(train=task.split.train, test=np.concatenate([task.split.test, more]))
        changed = scored(subject.build(), Task(features, labels, task.target, split))
        if not _same(first, changed):
            fail(
                f"{task.target.kind}: {TEST} test rows without a label change the scores from {first} to {changed}; "
                "statistics come from training rows only"
            )


def rows_answered_alone(subject: ProbeSubject) -> None:
    """Each test row is answered for itself: wild ones with labels beside the others change no answer of these.

    Two halves of a test part that have the same labels, row by row, together score the mean of both. Of AUROC, which is
    no such mean, one wild row may move only the pairs that it is in.
    """
    judged = False
    for task in map(_one_column, subject.tasks()):
        judged = _halves_are_means(subject, task) or _one_row_moves_little(subject, task) or judged
    if not judged:
        raise NotJudgedError(f"reports neither {', '.join(MEANS)} nor rmse or auroc")


def _halves_are_means(subject: ProbeSubject, task: Task) -> bool:
    """False where no metric is a mean over rows."""
    tested, count = task.split.test, len(task.features)
    wild = WILD * np.random.default_rng(4).normal(size=(len(tested), task.features.shape[1]))
    features = np.concatenate([task.features, wild])
    labels = np.concatenate([task.labels, task.labels[tested]])
    parts = [tested, np.arange(count, len(features))]
    splits = [ProbeSplit(task.split.train, rows) for rows in (*parts, np.concatenate(parts))]
    tame, outer, both = (scored(subject.build(), Task(features, labels, task.target, one)) for one in splits)
    judged = False
    for name in both:
        first, second, together = (_as_mean(name, one.get(name, math.nan)) for one in (tame, outer, both))
        gap = abs(together - (first + second) / 2)
        judged = judged or not math.isnan(gap)
        if math.isnan(gap) or gap <= SUM_ROUNDING * max(1.0, abs(first), abs(second)):
            continue
        drawn = abs(_as_mean(name, scored(subject.build(), task, seed=1).get(name, math.nan)) - first)
        if not gap <= DRAWS * drawn:
            fail(
                f"{task.target.kind}: {name} of some test rows is {tame[name]:.4g}, of wild ones with the same labels "
                f"{outer[name]:.4g}, of both {both[name]:.4g}: answers depend on the other test rows; statistics come "
                "from training rows only"
            )
    return judged


def _one_row_moves_little(subject: ProbeSubject, task: Task) -> bool:
    """False where AUROC is not reported."""
    kept = scored(subject.build(), task).get("auroc", math.nan)
    if math.isnan(kept):
        return False
    wild = WILD**2 * np.random.default_rng(4).normal(size=(1, task.features.shape[1]))
    label = np.ones_like(task.labels[:1])
    known = task.labels[task.split.test].reshape(len(task.split.test), -1)
    of_class = np.eye(CLASSES)[np.nan_to_num(known[:, 0]).astype(int)] if task.target.kind == "class" else known
    fewest = min(np.nansum(of_class, 0).min(), np.nansum(1 - of_class, 0).min())
    test = np.append(task.split.test, len(task.features))
    more = Task(
        np.concatenate([task.features, wild]), np.concatenate([task.labels, label]), task.target,
        ProbeSplit(task.split.train, test),
    )  # fmt: skip
    moved = scored(subject.build(), more)["auroc"]
    if abs(moved - kept) > 1.0 / fewest:
        fail(
            f"{task.target.kind}: one wild test row with a label moves auroc from {kept:.4g} to {moved:.4g}, more than "
            "the pairs that it is in: answers depend on the other test rows"
        )
    return True


def _one_column(task: Task) -> Task:
    """Means over several targets of what is no mean over rows say nothing; one is left of several numbers."""
    if task.target.kind in ("regression", "landmark"):
        return Task(task.features, task.labels[:, 0], task.target, task.split)
    return task


def _as_mean(name: str, value: float) -> float:
    """A metric as a mean over test rows, comparable between parts with the same labels; NaN where it is no such."""
    if name == "rmse":
        return value**2
    return value if name in MEANS else math.nan


def labels_of_test_not_fitted(subject: ProbeSubject) -> None:
    """On labels that have nothing to do with the features a probe is at chance: it has not seen the test part."""
    for task in subject.tasks(learnable=False, width=MEMORY_WIDTH):
        scores = [_quality(scored(subject.build(), task, seed), task) for seed in range(2)]
        name, value = scores[0][0], float(np.mean([one for _, one in scores]))
        ceiling, chance = _range(name, task)
        if value > chance + CHANCE_MARGIN * (ceiling - chance):
            fail(f"{task.target.kind}: {name} is {abs(value):.3f} on labels drawn at random; test rows were fitted")


def _range(name: str, task: Task) -> tuple[float, float]:
    """Best value and that of chance; of errors, 0 and the standard deviation of the labels with its sign."""
    if not described(name).higher_is_better:
        return 0.0, -float(np.nanstd(task.labels))
    return 1.0, {"auroc": 0.5, "accuracy": 1 / CLASSES, "balanced-accuracy": 1 / CLASSES}.get(name, 0.5)


def learns(subject: ProbeSubject) -> None:
    """Where labels follow from the features, scores are better than where features are drawn anew."""
    for task in subject.tasks():
        name, value = _quality(scored(subject.build(), task), task)
        noise = np.random.default_rng(5).normal(size=task.features.shape)
        _, blind = _quality(scored(subject.build(), Task(noise, task.labels, task.target, task.split)), task)
        if not math.isfinite(value) or value <= blind:
            fail(f"{task.target.kind}: {name} is {abs(value):.3f} with features that tell, {abs(blind):.3f} without")


def refuses_by_name(subject: ProbeSubject) -> None:
    """Tasks that cannot be judged (one class, one row, no label) give numbers or a named error, never a traceback."""
    for task in subject.tasks():
        train, test = task.split.train, task.split.test
        single = np.where(np.isnan(task.labels), np.nan, 1.0)
        nothing = np.full_like(task.labels, np.nan)
        cases = {
            "one value of the label": Task(task.features, single, task.target, task.split),
            "no label at all": Task(task.features, nothing, task.target, task.split),
            "one training row": Task(task.features, task.labels, task.target, ProbeSplit(train[:1], test)),
            "no test row": Task(task.features, task.labels, task.target, ProbeSplit(train, test[:0])),
            "constant features": Task(np.ones_like(task.features), task.labels, task.target, task.split),
        }
        for words, case in cases.items():
            try:
                scored(subject.build(), case)
            except RepcoreError:
                continue
            except Exception as error:
                fail(f"{task.target.kind}, {words}: {type(error).__name__}: {error}; raise a DataError that names it")


CHECKS = (
    Check("probe-repeatable", repeatable),
    Check("probe-ignores-other-rows", outside_rows_ignored),
    Check("probe-fits-no-test-features", features_of_test_not_fitted),
    Check("probe-answers-row-by-row", rows_answered_alone),
    Check("probe-fits-no-test-labels", labels_of_test_not_fitted),
    Check("probe-learns", learns),
    Check("probe-refuses-by-name", refuses_by_name),
)
