"""Checks of views: as many as the spec names, different from one another, drawn from the given generator only."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from repcore.errors import ItemError
from repcore.interfaces import DatasetReader, Item, Sample, Views
from repcore.registry import Entry
from repcore.specs import ViewsSpec
from repcore.testing.check import Check, SubjectError, fail
from repcore.testing.randomness import untouched
from repcore.testing.subjects import RecipeSubject, progress
from repcore.testing.tensors import content_hash, difference

ROWS_LOOKED_AT = 8
SEEDS = (1, 2, 3, 4)
MOST_ALIKE = 0.5  # of the draws: weak changes leave some small samples as they are


@dataclass(frozen=True, slots=True)
class ViewsSubject:
    """Views with the reader and preprocessor of a recipe that uses them."""

    entry: Entry[ViewsSpec]
    recipe: RecipeSubject

    @property
    def views(self) -> Views:
        """As the recipe's run builds them."""
        found = self.recipe.parts.views
        assert found is not None  # the recipe was chosen by its views
        return found

    def build(self, row: int, seed: int, reader: Any = None) -> Mapping[str, Item]:
        """Views of one row from a seed, of the recipe's reader or of another one."""
        chosen = self.recipe.parts.reader if reader is None else reader
        return self.views.build(row, chosen, np.random.default_rng([seed, row]), progress(0))

    def is_prepared_sample(self, name: str, rows: list[int]) -> bool:
        """Whether a view is what the preprocessor makes of the sample, unchanged."""
        parts = self.recipe.parts
        plain = [[item.values for item in parts.preprocessor.prepare(parts.reader[row])] for row in rows[:2]]
        shown = [self.build(row, 1)[name].values for row in rows[:2]]
        return all(any(not difference(one, other) for one in items) for items, other in zip(plain, shown, strict=True))

    def rows(self) -> list[int]:
        """Training rows of which views can be built.

        Raises:
            SubjectError: there are none.
        """
        found = []
        for row in self.recipe.parts.train:
            try:
                self.build(int(row), 0)
            except ItemError:  # a row that cannot be used is reported, not a failure
                continue
            found.append(int(row))
            if len(found) == ROWS_LOOKED_AT:
                break
        if not found:
            raise SubjectError(f"{self.entry.full_name} can be built of no training row")
        return found


def named_as_declared(subject: ViewsSubject) -> None:
    """Every row has the views that the spec names, each a prepared item that can be collated."""
    expected = set(subject.entry.spec.names)
    for row in subject.rows():
        built = subject.build(row, 0)
        if expected and set(built) != expected:
            fail(f"row {row} has views {', '.join(sorted(built))}; the spec names {', '.join(sorted(expected))}")
        wrong = [name for name, item in built.items() if not isinstance(item, Item)]
        if wrong or not built:
            fail(f"row {row}: {', '.join(wrong) or 'no view'} is no Item")
        for name, item in built.items():
            size = subject.recipe.parts.preprocessor.collate([item, item]).size
            if size != 2:
                fail(f"two items of view {name!r} are collated to a batch of {size}")


def distinct(subject: ViewsSubject) -> None:
    """Views of different names differ in content for most rows and draws, where the spec names several."""
    built = [subject.build(row, seed) for row in subject.rows() for seed in SEEDS[:2]]
    for one, other in itertools.combinations(built[0], 2):
        same = sum(content_hash(views[one].values) == content_hash(views[other].values) for views in built)
        if same > MOST_ALIKE * len(built):
            fail(f"views {one!r} and {other!r} are the same in {same} of {len(built)} draws")


def from_the_generator(subject: ViewsSubject) -> None:
    """The same generator gives the same views; each view changes with the generator for some row.

    But views that the spec names as ``fixed``, and one that is the prepared sample itself.
    """
    spec, rows = subject.entry.spec, subject.rows()
    still = set(subject.build(rows[0], 1))
    for row in rows:
        first = subject.build(row, 1)
        if difference(first, subject.build(row, 1)):
            fail(f"row {row} from one seed twice: {difference(first, subject.build(row, 1))}")
        for seed in SEEDS[1:] if still else ():
            again = subject.build(row, seed)
            still -= {name for name in still if name not in again or difference(first[name].values, again[name].values)}
    stuck = sorted(name for name in still - set(spec.fixed) if not subject.is_prepared_sample(name, rows))
    if stuck and len(first) > 1:
        fail(
            f"view {', '.join(map(repr, stuck))} is the same from every generator: it is drawn from a seed of its own, "
            "or draws nothing, which ViewsSpec.fixed says"
        )
    lost = sorted(set(spec.fixed) - still)
    if lost:
        fail(f"the spec says that {', '.join(lost)} is fixed, but it changes with the generator or does not exist")


def no_global_rng(subject: ViewsSubject) -> None:
    """Building views neither reads nor changes a global random state."""
    for row in subject.rows():
        with untouched(f"building views of row {row}", "draw from the generator that build() gets"):
            subject.build(row, 0)


def sample_unchanged(subject: ViewsSubject) -> None:
    """Building views leaves the sample as it was, also where the reader keeps it in memory."""
    reader = subject.recipe.parts.reader
    for row in subject.rows():
        before = content_hash(reader[row].inputs)
        subject.build(row, 0)
        if content_hash(reader[row].inputs) != before:
            fail(f"building views changes the sample of row {row}")


def read_no_label(subject: ViewsSubject) -> None:
    """Views are of the input alone: from one generator they are the same without labels and groups."""
    recipe, reader = subject.recipe, subject.recipe.parts.reader
    for row in subject.rows()[:2]:
        seen, blind = subject.build(row, 1), subject.build(row, 1, _Blind(reader))
        for name in seen:
            batches = [recipe.parts.preprocessor.collate([views[name]]) for views in (seen, blind)]
            if where := recipe.encoder_sees_apart(*batches):
                fail(f"row {row}: without labels and groups view {name!r} is another one: {where}")


class _Blind:
    """A reader whose samples have neither labels nor groups."""

    def __init__(self, reader: DatasetReader) -> None:
        self._reader = reader

    def __getattr__(self, name: str) -> Any:  # whatever else the reader has
        return getattr(self._reader, name)

    def __len__(self) -> int:
        return len(self._reader)

    def __getitem__(self, index: int) -> Sample:
        return dataclasses.replace(self._reader[index], targets={}, group=None)

    def by_id(self, sample_id: str) -> Sample:
        return dataclasses.replace(self._reader.by_id(sample_id), targets={}, group=None)


CHECKS = (
    Check("views-named-as-declared", named_as_declared),
    Check("views-distinct", distinct),
    Check("views-from-the-generator", from_the_generator),
    Check("views-read-no-label", read_no_label),
    Check("views-no-global-rng", no_global_rng),
    Check("views-leave-the-sample", sample_unchanged),
)
