"""Checks of what a preprocessor says about elements: the way back to them, and what a domain adds for them.

Elements are points, voxels, tokens, nodes or edges of a sample. The labels of the data tell whether the way back is
right: those of the items, given as outputs, must come out as those of the sample.

Symbols: E elements of an item, N elements of a sample, K classes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from repcore.data.batching import plain_batch
from repcore.data.guard import read_sample
from repcore.embedding.dense import covering, restored
from repcore.embedding.inference import prepare_row
from repcore.embedding.windows import PreparedRow
from repcore.errors import ItemError, RepcoreError
from repcore.interfaces import Item, Preprocessor, Sample
from repcore.specs import TargetSpec
from repcore.testing.check import Check, NotJudgedError, fail
from repcore.testing.randomness import untouched
from repcore.testing.subjects import RecipeSubject
from repcore.testing.tensors import difference

TRIED_ROWS = 2
LOOKED_AT = 8  # rows of which the largest are tried
MOST_CLASSES = 64
RESAMPLED = 0.7  # mean over classes of the share that comes back where labels were resampled on the way
LEAST = 20  # elements of a class that counts there
PART, PART_ROUNDING = 0.25, 1e-2  # of a whole number, which an array of integers loses
SEEDS = 4
DETAILS = ("", "2", "10")  # behind the colon of a division; the first that is taken
FAR = 1e9  # beside it float32 loses all that is below 64
VALUES = (None, 2.0)  # behind the colon of a metric


@dataclass(frozen=True, slots=True)
class ElementSubject:
    """One division or metric of a preprocessor's spec, by name, on the samples of a recipe."""

    recipe: RecipeSubject
    name: str


def dense_targets(recipe: RecipeSubject) -> list[TargetSpec]:
    """Class labels of elements that the data has."""
    return [one for one in recipe.parts.reader.targets if one.level != "item" and one.kind == "class"]


def labelled_rows(
    recipe: RecipeSubject, largest: bool = False
) -> Iterator[tuple[PreparedRow, int, Sample, TargetSpec, np.ndarray]]:
    """A few usable training rows with each of their labels of elements, float64 of the sample's own shape, NaN = none.

    Args:
        largest: of the first rows those with most elements, which rather come in several items.

    Raises:
        NotJudgedError: afterwards, if there was none.
    """
    found, parts = 0, recipe.parts
    for target in dense_targets(recipe):
        for number in _largest(recipe, target) if largest else parts.train[:TRIED_ROWS]:
            row = prepare_row(parts.reader, parts.preprocessor, int(number), whole=True)
            value = None if row.sample is None else row.sample.targets.get(target.name)
            if row.items and row.sample is not None and value is not None:
                labels = np.array(value, np.float64)
                labels[labels == (np.nan if target.ignore is None else target.ignore)] = np.nan
                found += 1
                yield row, int(number), row.sample, target, labels
    if not found:
        raise NotJudgedError("the recipe's data has no class labels of elements")


def _largest(recipe: RecipeSubject, target: TargetSpec) -> list[int]:
    sizes: dict[int, int] = {}
    for number in recipe.parts.train[:LOOKED_AT]:
        with suppress(ItemError):
            sizes[int(number)] = np.size(read_sample(recipe.parts.reader, int(number)).targets.get(target.name, ()))
    return sorted(sizes, key=lambda one: -sizes[one])[:TRIED_ROWS]


def elements_restored(recipe: RecipeSubject) -> None:
    """Labels of the items, given as outputs, come back as the sample's own; elements in another order come back so."""
    judged, preprocessor = False, recipe.parts.preprocessor
    for row, _, sample, target, truth in labelled_rows(recipe):
        labels = [_item_labels(recipe, item, sample, target) for item in row.items]
        if any(one is None for one in labels):
            continue
        judged = True
        known = [np.asarray(one) for one in labels]
        _compare(recipe, row, target, truth, known)
        numbers = [np.arange(len(one), dtype=np.float32)[:, None] for one in known]
        forward = restored(preprocessor, row, numbers, target.level)
        turned = restored(preprocessor, row, [one[::-1].copy() for one in numbers], target.level)
        if len(known) == 1:
            last = len(known[0]) - 1
            if np.nanmax(np.abs(last - forward - turned), initial=0.0) > 1e-5 * max(1, last):
                fail(
                    f"{sample.id}: outputs in the reverse order of the elements do not come back so: restore sorts them"
                )
            parts = restored(preprocessor, row, [np.full_like(numbers[0], PART)], target.level)
            if np.nanmax(np.abs(parts - PART), initial=0.0) > PART_ROUNDING:
                fail(f"{sample.id}: outputs of {PART} come back as {np.nanmin(parts):g}: restore rounds them")
    if not judged:
        raise NotJudgedError("items carry no labels of elements to compare with")


def elements_covered(recipe: RecipeSubject) -> None:
    """Answers are about whole samples: every labelled element is in an item of the preparation for them, and only
    that preparation changes."""
    judged, plain, reader = False, recipe.parts.preprocessor, recipe.parts.reader
    for row, number, sample, target, truth in labelled_rows(recipe, largest=True):
        preprocessor = covering(plain)
        if not callable(getattr(preprocessor, "prepare", None)):
            fail(f"covering() gives {type(preprocessor).__name__}, which prepares nothing; a preprocessor is due")
        whole = prepare_row(reader, preprocessor, number, whole=True)
        if not whole.items:
            fail(f"{sample.id} has items, but none of covering(): {whole.status}: {whole.reason}")
        again = prepare_row(reader, plain, number, whole=True)
        if difference([one.values for one in row.items], [one.values for one in again.items]):
            fail(f"{sample.id}: after covering() the preprocessor itself prepares other items; a copy is due")
        labels = [_item_labels(recipe, item, sample, target, preprocessor) for item in whole.items]
        if any(one is None for one in labels):
            continue
        judged = True
        known = [np.asarray(one) for one in labels]
        ones = [np.ones((len(one), 1), np.float32) for one in known]
        answered = np.isfinite(restored(preprocessor, whole, ones, target.level)[..., 0].reshape(-1))
        due = ~np.isnan(truth.reshape(-1))
        if len(answered) != len(due) or (due & ~answered).any():
            lost = int((due & ~answered).sum()) if len(answered) == len(due) else abs(len(due) - len(answered))
            fail(
                f"{sample.id}: {lost:,} of {int(due.sum()):,} labelled elements are in no item of the preparation for "
                "answers: covering() leaves them out"
            )
        _compare(recipe, whole, target, truth, known, preprocessor)
    if not judged:
        raise NotJudgedError("items carry no labels of elements to compare with")


def labels_unrounded(recipe: RecipeSubject) -> None:
    """Numbers far from zero, given as labels of elements, are in the items and batches as they are."""
    judged, preprocessor = False, recipe.parts.preprocessor
    for row, _, sample, target, labels in labelled_rows(recipe):
        own = np.where(np.isnan(labels), np.nan, FAR + np.arange(labels.size, dtype=np.float64).reshape(labels.shape))
        given = replace(sample, targets={target.name: own})
        for item in preprocessor.prepare(given):
            found = _item_labels(recipe, item, given, replace(target, ignore=None))
            if found is None:
                continue
            judged = True
            known = found[found >= 0]  # label maps of integers: -1 = none
            wrong = known[~np.isin(known, own)]
            if len(wrong):
                fail(
                    f"{row.id}: {len(wrong)} of {len(known)} labels {target.name!r} such as {FAR + 1:.0f} become "
                    f"others, first {wrong[0]!r}: keep labels float64 (repcore.data.label_numbers.as_floating)"
                )
    if not judged:
        raise NotJudgedError("items carry no labels of elements to compare with")


def _item_labels(
    recipe: RecipeSubject, item: Item, sample: Sample, target: TargetSpec, preprocessor: Preprocessor | None = None
) -> np.ndarray | None:
    """Labels of an item's own elements (E,) as a batch of it carries them, NaN = none; None where it carries none."""
    parts = recipe.parts
    batch = plain_batch(
        preprocessor or parts.preprocessor, [item], [sample], parts.reader.targets, recipe.resolved.domain
    )
    found = batch.targets.get(target.name)
    if not isinstance(found, Tensor) or not found.numel():
        return None
    labels = found.double().numpy().reshape(-1).copy()
    labels[labels == (np.nan if target.ignore is None else target.ignore)] = np.nan
    return labels


def _compare(
    recipe: RecipeSubject,
    row: PreparedRow,
    target: TargetSpec,
    truth: np.ndarray,
    labels: list[np.ndarray],
    preprocessor: Preprocessor | None = None,
) -> None:
    """One-hot labels of the items, restored, beside the sample's."""
    every = np.concatenate(labels)
    values = np.unique(every[~np.isnan(every)])[:MOST_CLASSES]
    outputs = [(one[:, None] == values).astype(np.float32) for one in labels]
    kept = copy.deepcopy(outputs)
    answer = restored(preprocessor or recipe.parts.preprocessor, row, outputs, target.level)
    if difference(kept, outputs):
        fail(f"{row.id}: restore changes the outputs that it is given")
    if answer.shape[-1] != len(values) or answer[..., 0].size != truth.size:
        fail(f"{row.id}: restore gives {answer.shape} for {truth.size} elements and {len(values)} outputs each")
    flat, wanted = answer.reshape(-1, len(values)), truth.reshape(-1)
    there = np.isin(wanted, values) & np.isfinite(flat).all(1) & (flat.sum(1) > 0)
    if not there.any():
        fail(f"{row.id}: no labelled element gets an answer from restore")
    found, wanted = values[flat[there].argmax(1)], wanted[there]
    if len(labels) == 1 and len(labels[0]) == truth.size:
        if (found != wanted).any():
            wrong = int((found != wanted).sum())
            fail(f"{row.id}: labels {target.name!r} of {wrong} of {len(found)} elements come back as others'")
        return
    counted = [one for one in values if (wanted == one).sum() >= LEAST] or list(values)
    shares = [float((found[wanted == one] == one).mean()) for one in counted if (wanted == one).any()]
    if np.mean(shares) < RESAMPLED:
        fail(
            f"{row.id}: only {np.mean(shares):.0%} of the labels {target.name!r} (mean over {len(shares)} classes) "
            "come back to their elements: restore or the items' labels are in another order"
        )


def division_of_elements(subject: ElementSubject) -> None:
    """A group for every element of the sample, from its input alone, the same every time."""
    recipe = subject.recipe
    preprocessor, function = recipe.parts.preprocessor, _loaded(recipe, "divisions", subject.name)
    for row, _, sample, target, labels in labelled_rows(recipe):
        detail = next((one for one in DETAILS if _takes(function, preprocessor, sample, target, one)), None)
        if detail is None:
            raise NotJudgedError(f"takes none of the details {', '.join(map(repr, DETAILS))}")
        with untouched(f"division {subject.name}", "groups are a function of the sample"):
            groups = np.asarray(function(preprocessor, sample, target.level, detail))
        if groups.shape != labels.shape and groups.shape != (labels.size,):
            fail(f"division {subject.name!r} gives {groups.shape} for {labels.size} elements of {row.id}")
        if groups.dtype.kind not in "iuUSO":
            fail(f"division {subject.name!r} gives {groups.dtype}; whole numbers or names of groups are due")
        blind = replace(sample, id="another", targets={}, group=None)
        other = np.asarray(function(preprocessor, blind, target.level, detail))
        if not np.array_equal(groups, other):
            fail(f"division {subject.name!r} changes without labels and id: groups are of the input alone")
        return


def _takes(function: Any, preprocessor: Any, sample: Sample, target: TargetSpec, detail: str) -> bool:
    try:
        function(preprocessor, sample, target.level, detail)
    except RepcoreError:
        return False
    return True


def labelled_item(recipe: RecipeSubject) -> None:
    """The random training item around labels: all chance from the generator, and only labels that the sample has."""
    function, parts = _loaded(recipe, "labelled_item", ""), recipe.parts
    for _, _, sample, target, labels in labelled_rows(recipe):
        own = FAR + np.arange(labels.size, dtype=np.float64)  # each labelled element has a number of its own
        own[np.isnan(labels.reshape(-1))] = np.nan
        own[1::2] = np.nan
        given = replace(sample, targets={target.name: own.reshape(labels.shape)})
        kept, drawn = copy.deepcopy(given), []
        for seed in (*range(SEEDS), 0):
            with untouched("labelled_item", "it gets a generator"):
                drawn.append(function(parts.preprocessor, given, np.random.default_rng(seed)))
        if difference(kept, given):
            fail(f"labelled_item changed sample {sample.id}: {difference(kept, given)}")
        if difference(drawn[0], drawn[-1]):
            fail(f"labelled_item twice with one generator: {difference(drawn[0], drawn[-1])}")
        if not any(difference(drawn[0], one) for one in drawn[1:-1]):
            fail(f"labelled_item with {SEEDS} generators gives the same item: the generator is not used")
        _only_known(recipe, drawn, given, replace(target, ignore=None), own)
        return


def _only_known(recipe: RecipeSubject, drawn: list[Item], sample: Sample, target: TargetSpec, own: np.ndarray) -> None:
    """Labels of drawn items are those of labelled elements, each at most once but on grids, and there are some."""
    for item in drawn:
        found = _item_labels(recipe, item, sample, target)
        found = np.zeros(0) if found is None else found[~np.isnan(found)]
        found = found[found >= 0] if target.level == "voxel" else found  # label maps of integers: -1 = none
        if not len(found) and not np.isnan(own).all():
            fail(f"labelled_item gives an item of {sample.id} without a label, though elements have some")
        twice = len(np.unique(found)) < len(found) and target.level != "voxel"  # these are brought to another grid
        if twice or not np.isin(found, own[~np.isnan(own)]).all():
            fail(f"labelled_item gives labels of {sample.id} to elements that have none, or others' labels")


def metric_of_elements(subject: ElementSubject) -> None:
    """One figure a class of each sample, which stays with its class, tells wrong answers, and changes nothing."""
    recipe, name = subject.recipe, subject.name
    metrics = [_loaded(recipe, "element_metrics", name)(value) for value in VALUES]
    if any(not isinstance(one.name, str) or not one.name for one in metrics):
        fail(f"metric {name!r} has no name for results")
    for _, _, sample, target, labels in labelled_rows(recipe):
        numbers, count = _class_numbers(labels)
        if count < 2:
            continue
        wrong = numbers.copy()
        wrong.flat[np.flatnonzero(numbers == 0)[::2]] = 1  # half of one class, so that classes have different figures
        kept = numbers.copy(), wrong.copy()
        with untouched(f"metric {name}", "a figure is a function of sample and answers"):
            perfect, figures = (_figures(metrics[0], sample, numbers, one, count, name) for one in (numbers, wrong))
        if difference(kept, (numbers, wrong)):
            fail(f"metric {name!r} changes the labels or answers that it is given")
        if np.allclose(perfect, figures, equal_nan=True):
            fail(f"metric {name!r} is the same for the right answer of {sample.id} and one with half a class wrong")
        turned, answered = (np.where(one < 0, -1, count - 1 - one) for one in (numbers, wrong))
        if not np.allclose(_figures(metrics[0], sample, turned, answered, count, name)[::-1], figures, equal_nan=True):
            fail(f"metric {name!r} of {target.name!r}: classes numbered the other way round have other figures")
        return
    raise NotJudgedError("no sample of the recipe has labels of two classes")


def _figures(metric: Any, sample: Sample, truth: np.ndarray, answered: np.ndarray, count: int, name: str) -> np.ndarray:
    found = np.asarray(metric(sample, truth, answered, count), np.float64)
    if found.size != count:
        fail(f"metric {name!r} gives {found.shape} for {count} classes; (K,) is due")
    if np.isinf(found).any():
        fail(f"metric {name!r} gives an infinite figure; a class without one is NaN")
    return found.reshape(count)


def _class_numbers(labels: np.ndarray) -> tuple[np.ndarray, int]:
    """Places of the values int64 in the sample's own shape, -1 = no label, and how many values there are."""
    values = np.unique(labels[~np.isnan(labels)])
    place = np.searchsorted(values, np.nan_to_num(labels)).clip(max=max(0, len(values) - 1))
    return np.where(np.isnan(labels), -1, place).astype(np.int64), len(values)


def _loaded(recipe: RecipeSubject, field: str, name: str) -> Any:  # the author's own
    entry = recipe.resolved.preprocessor.entry
    return entry.load(field, name) if name else entry.load(field)


RESTORE_CHECKS = (
    Check("elements-restored", elements_restored),
    Check("elements-covered", elements_covered),
    Check("element-labels-unrounded", labels_unrounded),
)  # due where a preprocessor has labels of elements
DIVISION_CHECKS = (Check("division-of-elements", division_of_elements),)
METRIC_CHECKS = (Check("metric-of-elements", metric_of_elements),)
LABELLED_ITEM_CHECKS = (Check("labelled-item-of-labels", labelled_item),)
