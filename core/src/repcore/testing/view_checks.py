"""Checks of views: as many as the spec names, different from one another, drawn from the given generator only."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from repcore.errors import ItemError
from repcore.interfaces import Item, Views
from repcore.registry import Entry
from repcore.specs import ViewsSpec
from repcore.testing.check import Check, SubjectError, fail
from repcore.testing.randomness import untouched
from repcore.testing.subjects import RecipeSubject, progress
from repcore.testing.tensors import content_hash, difference

ROWS_LOOKED_AT = 8


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

    def build(self, row: int, seed: int) -> Mapping[str, Item]:
        """Views of one row from a seed."""
        return self.views.build(row, self.recipe.parts.reader, np.random.default_rng([seed, row]), progress(0))

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
    """Views of different names differ in content for some row, where the spec names several."""
    rows = [(row, subject.build(row, 1)) for row in subject.rows()]
    for one, other in itertools.combinations(rows[0][1], 2):
        if all(content_hash(built[one].values) == content_hash(built[other].values) for _, built in rows):
            fail(f"views {one!r} and {other!r} are the same for all of {len(rows)} rows")


def from_the_generator(subject: ViewsSubject) -> None:
    """The same generator gives the same views; over several seeds something changes where views differ at random."""
    changed = False
    for row in subject.rows():
        first = subject.build(row, 1)
        if difference(first, subject.build(row, 1)):
            fail(f"row {row} from one seed twice: {difference(first, subject.build(row, 1))}")
        changed = changed or any(difference(first, subject.build(row, seed)) for seed in (2, 3, 4))
    if not changed and len(subject.entry.spec.names) > 1:
        fail("no row's views change with the generator: they are drawn from a seed of their own")


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


CHECKS = (
    Check("views-named-as-declared", named_as_declared),
    Check("views-distinct", distinct),
    Check("views-from-the-generator", from_the_generator),
    Check("views-no-global-rng", no_global_rng),
    Check("views-leave-the-sample", sample_unchanged),
)
