"""How many labelled training rows count: a number (``5``) or a share (``0.1``, ``10%``) of them.

The rows of a smaller budget are contained in those of a larger one with the same seed; test rows stay what they are.
Under a budget no other label is used: a validation part of the split is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from repcore.data.seeds import generator
from repcore.data.split_plans import SplitPlan
from repcore.errors import ConfigError, DataError
from repcore.interfaces import ProbeSplit

LEAST_HELD_OUT = 10
"""Below so many labelled rows fine-tuning validates on its training rows: none can be spared."""


@dataclass(frozen=True, slots=True)
class LabelBudget:
    """``count`` rows, or the ``share`` of the labelled training rows; ``word`` as it was given."""

    word: str
    count: int | None = None
    share: float | None = None

    def rows(self, labelled: int) -> int:
        """Number of rows out of so many.

        Raises:
            DataError: there are fewer.
        """
        if self.share is not None:
            return max(1, round(self.share * labelled))
        assert self.count is not None
        if self.count > labelled:
            raise DataError(
                f"--labels {self.word}: the training part has {labelled} labelled rows",
                hint=f"--labels {labelled}, or a share such as 0.5",
            )
        return self.count


def label_budgets(text: str) -> tuple[LabelBudget, ...]:
    """Budgets from words such as ``1,3,10`` or ``0.1,50%``.

    Raises:
        ConfigError: it is no such list.
    """
    return tuple(_budget(word.strip(), text) for word in text.split(","))


def _budget(word: str, text: str) -> LabelBudget:
    try:
        if word.isdecimal() and int(word) > 0:
            return LabelBudget(word, count=int(word))
        share = float(word[:-1]) / 100 if word.endswith("%") else float(word)
    except ValueError:
        share = 0.0
    if not 0.0 < share < 1.0:
        raise ConfigError(
            f"--labels {text!r} is no list of numbers or shares of labelled rows", hint="--labels 1,3,10 or 0.1 or 10%"
        )
    return LabelBudget(word, share=share)


def within_budget(
    plan: SplitPlan,
    budget: LabelBudget,
    labelled: np.ndarray,
    seeds: Sequence[int],
    classes: Sequence[Collection[int]] | None = None,
) -> SplitPlan:
    """The plan with so many labelled training rows.

    Args:
        labelled: bool (N,).
        seeds: those of the plan; another one draws other rows.
        classes: that each row shows, of items one, of elements several: classes then take turns, and rows that show a
            single class of elements come after the others of their turn.

    Raises:
        DataError: a training part has fewer labelled rows.
    """
    folds = tuple(
        tuple(_restricted(one, budget, labelled, seed, classes) for one in own)
        for seed, own in zip(seeds, plan.folds, strict=True)
    )
    return SplitPlan(f"{plan.title}, {budget.word} labelled rows", folds, plan.seeded or len(seeds) > 1)


def _restricted(
    split: ProbeSplit, budget: LabelBudget, labelled: np.ndarray, seed: int, classes: Sequence[Collection[int]] | None
) -> ProbeSplit:
    part = np.asarray(split.train, np.int64)
    rows = part[labelled[part]]
    order = generator(seed, "label-budget").permutation(rows)
    if classes is not None:
        order = _in_turn(order, classes)
    kept = np.sort(order[: budget.rows(len(rows))])
    return ProbeSplit(train=kept, test=split.test, unlabelled=np.setdiff1d(part, kept))


def _in_turn(order: np.ndarray, classes: Sequence[Collection[int]]) -> np.ndarray:
    """The same rows, of each class one before a second of any."""
    several = any(len(classes[row]) > 1 for row in order)
    seen: Counter[int] = Counter()
    turn = []
    for row in order:
        own = classes[row]
        first = min((seen[one] for one in own), default=0)
        turn.append(2 * first + (several and len(own) < 2))
        seen.update(own)
    return order[np.argsort(turn, kind="stable")]


def validated_on_itself(plan: SplitPlan) -> SplitPlan:
    """For fine-tuning: parts with fewer than ten training rows are their own validation part."""

    def own(split: ProbeSplit) -> ProbeSplit:
        few = split.validation is None and len(split.train) < LEAST_HELD_OUT
        return replace(split, validation=split.train) if few else split

    return SplitPlan(plan.title, tuple(tuple(own(one) for one in folds) for folds in plan.folds), plan.seeded)
