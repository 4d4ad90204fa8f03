"""Checks of a domain's own splits: parts apart, groups and copies whole, a function of the seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from repcore.data.batching import label_array
from repcore.data.split_plans import SplitFunction, SplitInputs
from repcore.embedding.inference import prepare_row
from repcore.errors import RepcoreError
from repcore.interfaces import ProbeSplit, Sample
from repcore.testing.check import Check, NotJudgedError, SubjectError, fail
from repcore.testing.data_checks import readable_samples
from repcore.testing.randomness import untouched
from repcore.testing.subjects import RecipeSubject

ROWS = 120
SEEDS = (0, 1, 2, 3)
COPIES = 20  # samples that stand twice, under another id


@dataclass(frozen=True, slots=True)
class SplitSubject:
    """One split of a preprocessor's spec, on the samples of a recipe."""

    recipe: RecipeSubject
    name: str

    def inputs(self) -> SplitInputs:
        """What core gives to the function; the last rows are copies of the first under other ids.

        Raises:
            SubjectError: too few rows can be read.
        """
        reader = self.recipe.reader
        prepare = self.recipe.parts.preprocessor
        rows = [(sample, prepare_row(reader, prepare, row)) for row, sample in readable_samples(reader, ROWS)]
        samples = [sample for sample, row in rows if row.items]  # what cannot be used may lie anywhere
        if len(samples) < COPIES:
            raise SubjectError(f"{len(samples)} samples are too few to split")
        samples += [replace(one, id=f"{one.id} again") for one in samples[:COPIES]]
        target = next((one for one in reader.targets if one.level == "item" and one.kind == "class"), None)
        labels: Sequence[object] | np.ndarray = []
        if target is not None:
            labels = label_array([one.targets.get(target.name) for one in samples], target)
        return SplitInputs(
            ids=[one.id for one in samples],
            groups=[one.group for one in samples],
            labels=labels,
            declared=self.declared(samples),
            samples=samples,
        )

    def declared(self, samples: Sequence[Sample]) -> dict[str, list[int]]:
        """The reader's own splits, in rows of these samples."""
        reader, place = self.recipe.reader, {one.id: row for row, one in enumerate(samples)}
        named = {row: sample.id for row, sample in readable_samples(reader, ROWS)}
        return {
            name: [place[named[int(row)]] for row in rows if named.get(int(row)) in place]
            for name, rows in reader.splits.items()
        }

    def folds(self, seed: int) -> list[ProbeSplit]:
        """Splits of one seed.

        Raises:
            NotJudgedError: the data lacks what the split needs.
        """
        function: SplitFunction = self.recipe.resolved.preprocessor.entry.load("splits", self.name)
        try:
            made = function(self.inputs(), seed)
        except RepcoreError as error:
            raise NotJudgedError(f"split {self.name!r} needs other data than the recipe's: {error}") from error
        return [made] if isinstance(made, ProbeSplit) else list(made)


def parts_apart(subject: SplitSubject) -> None:
    """Parts share no row, name none twice, and name rows that exist."""
    count = len(subject.inputs().ids)
    for seed in SEEDS:
        for fold in subject.folds(seed):
            parts = {name: np.asarray(rows, np.int64) for name, rows in _parts(fold).items()}
            for name, rows in parts.items():
                if not rows.size and name != "validation":
                    raise NotJudgedError(f"split {subject.name!r} leaves the {name} part of the recipe's rows empty")
                if rows.size and not 0 <= rows.min() <= rows.max() < count:
                    fail(f"split {subject.name!r}, seed {seed}: the {name} part names rows outside 0 to {count - 1}")
                if len(np.unique(rows)) != rows.size:
                    fail(f"split {subject.name!r}, seed {seed}: the {name} part names a row twice")
            together = np.concatenate(list(parts.values()))
            if len(np.unique(together)) != together.size:
                fail(f"split {subject.name!r}, seed {seed}: a row is in two parts")


def _parts(fold: ProbeSplit) -> dict[str, np.ndarray]:
    parts = {"train": fold.train, "test": fold.test}
    return parts if fold.validation is None else {**parts, "validation": fold.validation}


def groups_whole(subject: SplitSubject) -> None:
    """No group and no copy of a sample is on both sides."""
    inputs = subject.inputs()
    keys: list[tuple[str, object]] = [("group", one) for one in inputs.groups]
    copies = len(inputs.ids) - COPIES
    for seed in SEEDS:
        for fold in subject.folds(seed):
            side = dict.fromkeys(map(int, fold.train), "train") | dict.fromkeys(map(int, fold.test), "test")
            seen: dict[object, str] = {}
            for row, part in side.items():
                key = keys[row]
                if key[1] is not None and seen.setdefault(key, part) != part:
                    fail(f"split {subject.name!r}, seed {seed}: group {key[1]!r} is in train and test")
            for row in range(COPIES):
                if side.get(row, "") and side.get(copies + row, side.get(row)) != side.get(row):
                    fail(f"split {subject.name!r}, seed {seed}: {inputs.ids[row]} is in train, a copy of it in test")


def by_seed(subject: SplitSubject) -> None:
    """The same seed gives the same parts, whatever the global random state."""
    for seed in SEEDS[:2]:
        with untouched(f"split {subject.name!r}", "draw from the seed that it gets"):
            first, second = subject.folds(seed), subject.folds(seed)
        alike = len(first) == len(second) and all(
            np.array_equal(one.train, other.train) and np.array_equal(one.test, other.test)
            for one, other in zip(first, second, strict=True)
        )
        if not alike:
            fail(f"split {subject.name!r} from seed {seed} twice gives other rows")


CHECKS = (
    Check("split-parts-apart", parts_apart),
    Check("split-groups-whole", groups_whole),
    Check("split-by-seed", by_seed),
)
