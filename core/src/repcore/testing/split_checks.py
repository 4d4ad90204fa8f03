"""Checks of a domain's own splits: parts apart, groups and copies whole, a function of the seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from repcore.data.batching import label_array
from repcore.data.split_plans import SplitFunction, SplitInputs
from repcore.embedding.inference import prepare_row
from repcore.errors import RepcoreError
from repcore.interfaces import ProbeSplit, Sample
from repcore.testing.check import Check, CheckFailedError, SubjectError, fail
from repcore.testing.data_checks import readable_samples
from repcore.testing.randomness import untouched
from repcore.testing.subjects import RecipeSubject

ROWS = 120
SEEDS = (0, 1, 2, 3)
GROUPS, FOLDS = 15, 5
COPIES = 20  # samples that stand twice, under another id


@dataclass
class SplitSubject:
    """One split of a preprocessor's spec, on the samples of a recipe."""

    recipe: RecipeSubject
    name: str

    @cached_property
    def samples(self) -> list[Sample]:
        """Usable ones; the last are copies of the first under other ids.

        Raises:
            SubjectError: too few rows can be read.
        """
        reader, prepare = self.recipe.reader, self.recipe.parts.preprocessor
        rows = [(sample, prepare_row(reader, prepare, row)) for row, sample in readable_samples(reader, ROWS)]
        samples = [sample for sample, row in rows if row.items]  # what cannot be used may lie anywhere
        if len(samples) < COPIES:
            raise SubjectError(f"{len(samples)} samples are too few to split")
        return samples + [replace(one, id=f"{one.id} again") for one in samples[:COPIES]]

    def inputs(self) -> SplitInputs:
        """What core gives to the function for the recipe's data."""
        reader, samples = self.recipe.reader, list(self.samples)
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

    def richer(self) -> SplitInputs:
        """The same rows with what the recipe's data may lack: groups, folds of whole groups, two classes."""
        count = len(self.samples)
        number = np.random.default_rng(0).integers(GROUPS, size=count)
        number[count - COPIES :] = number[:COPIES]
        groups = [f"group-{one}" for one in number]
        samples = [replace(one, group=name) for one, name in zip(self.samples, groups, strict=True)]
        folds = {f"fold-{one + 1}": np.flatnonzero(number % FOLDS == one).tolist() for one in range(FOLDS)}
        return replace(self.inputs(), groups=groups, samples=samples, declared=folds, labels=np.arange(count) % 2.0)

    def declared(self, samples: Sequence[Sample]) -> dict[str, list[int]]:
        """The reader's own splits, in rows of these samples."""
        reader, place = self.recipe.reader, {one.id: row for row, one in enumerate(samples)}
        named = {row: sample.id for row, sample in readable_samples(reader, ROWS)}
        return {
            name: [place[named[int(row)]] for row in rows if named.get(int(row)) in place]
            for name, rows in reader.splits.items()
        }

    @cached_property
    def given(self) -> SplitInputs:
        """Inputs that the split takes: the recipe's own, or richer ones. One that refuses both is never tried, which is
        a failure."""
        refused: list[str] = []
        for inputs in (self.inputs(), self.richer()):
            try:
                folds = self._made(inputs, SEEDS[0])
            except RepcoreError as error:
                refused.append(str(error).partition("\n")[0])
                continue
            if folds and all(len(one.train) and len(one.test) for one in folds):
                return inputs
            refused.append("no train or no test row" if folds else "no fold")
        raise CheckFailedError(
            f"split {self.name!r} cannot be tried: on the recipe's data: {refused[0]}; with groups, classes and "
            f"declared folds: {refused[1]}"
        )

    def folds(self, seed: int) -> list[ProbeSplit]:
        """Splits of one seed."""
        given = self.given
        return self._made(replace(given, ids=list(given.ids), samples=list(given.samples)), seed)

    def _made(self, inputs: SplitInputs, seed: int) -> list[ProbeSplit]:
        function: SplitFunction = self.recipe.resolved.preprocessor.entry.load("splits", self.name)
        made = function(inputs, seed)
        return [made] if isinstance(made, ProbeSplit) else list(made)


def parts_apart(subject: SplitSubject) -> None:
    """Parts share no row, name none twice, name rows that exist, and only validation may be empty."""
    count = len(subject.given.ids)
    for seed in SEEDS:
        for fold in subject.folds(seed):
            parts = {name: np.asarray(rows, np.int64) for name, rows in _parts(fold).items()}
            for name, rows in parts.items():
                if not rows.size and name != "validation":
                    fail(f"split {subject.name!r}, seed {seed}: the {name} part is empty; refuse by a DataError")
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
    """No group and no copy of a sample is in two parts: train, validation, test."""
    inputs, copies = subject.given, len(subject.given.ids) - COPIES
    for seed in SEEDS:
        for fold in subject.folds(seed):
            side = {int(row): part for part, rows in _parts(fold).items() for row in rows}
            seen: dict[object, str] = {}
            for row, part in side.items():
                key = inputs.groups[row] if row < len(inputs.groups) else None
                other = part if key is None else seen.setdefault(key, part)
                if other != part:
                    fail(f"split {subject.name!r}, seed {seed}: group {key!r} is in {other} and {part}")
            for row in range(COPIES):
                part, other = side.get(row, ""), side.get(copies + row, "")
                if part and other and part != other:
                    fail(f"split {subject.name!r}, seed {seed}: {inputs.ids[row]} is in {part}, its copy in {other}")


def by_seed(subject: SplitSubject) -> None:
    """The same seed gives the same parts, whatever the global random state."""
    for seed in SEEDS[:2]:
        with untouched(f"split {subject.name!r}", "draw from the seed that it gets"):
            first, second = subject.folds(seed), subject.folds(seed)
        alike = len(first) == len(second) and all(
            _parts(one).keys() == _parts(other).keys()
            and all(np.array_equal(rows, _parts(other)[name]) for name, rows in _parts(one).items())
            for one, other in zip(first, second, strict=True)
        )
        if not alike:
            fail(f"split {subject.name!r} from seed {seed} twice gives other rows")


CHECKS = (
    Check("split-parts-apart", parts_apart),
    Check("split-groups-whole", groups_whole),
    Check("split-by-seed", by_seed),
)
