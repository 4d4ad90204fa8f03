"""From samples to batches: the one place where readers, preprocessors and views meet.

Runs inside loader workers. A row that cannot be used never disappears: training replaces it by another draw and
hands its :class:`Rejected` record along with the batch; embedding turns it into an output row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from repcore.data.guard import concerns_item, is_strict, item_guard, named_guard, prepare_sample, read_sample
from repcore.data.label_numbers import as_floating, check_size, label_type
from repcore.data.seeds import generator
from repcore.data.stream import ItemKey
from repcore.errors import DataError, ItemError
from repcore.interfaces import Batch, DatasetReader, Item, Preprocessor, Progress, Sample, Views
from repcore.specs import TargetSpec

REPLACEMENT_TRIES = 20


@dataclass(frozen=True, slots=True)
class Rejected:
    """One row that could not be used, and why."""

    row: int
    status: str
    reason: str


@dataclass(slots=True)
class Drawn:
    """One training item: a plain item or one item a view, with what core adds to its batch."""

    items: Mapping[str, Item]
    sample_id: str
    targets: Mapping[str, Any]
    rejected: tuple[Rejected, ...] = ()
    row: int = -1


@dataclass(slots=True)
class LoadedBatch:
    """What a training loader yields."""

    batch: Batch
    rejected: tuple[Rejected, ...] = ()

    def pin_memory(self) -> LoadedBatch:
        return LoadedBatch(self.batch.pin_memory(), self.rejected)


PLAIN = ""  # key of the only item when there are no views


class TrainingItems(torch.utils.data.Dataset[Drawn]):
    """Map-style data set over :class:`ItemKey`: reads, prepares and builds views.

    Args:
        reader / preprocessor / views: as configured; ``views`` None = one plain item a sample.
        keeps_inputs: with views, whether the untouched item is prepared, too.
        indices: rows of the split, from which replacements for unusable rows are drawn.
    """

    def __init__(
        self,
        reader: DatasetReader,
        preprocessor: Preprocessor,
        views: Views | None,
        indices: np.ndarray,
        *,
        keeps_inputs: bool = False,
    ) -> None:
        self.reader, self.preprocessor, self.views, self.indices = reader, preprocessor, views, indices
        self.keeps_inputs = keeps_inputs

    def __getitem__(self, key: ItemKey) -> Drawn:
        rng = generator(key.seed)
        index, rejected = key.index, []
        for _ in range(REPLACEMENT_TRIES):
            try:
                drawn = self._draw(index, rng, key.progress)
            except ItemError as error:
                rejected.append(Rejected(index, error.status, error.reason))
                index = int(rng.choice(self.indices))
                continue
            drawn.rejected = tuple(rejected)
            return drawn
        raise DataError(
            f"{REPLACEMENT_TRIES} rows in a row cannot be used, the last for: {rejected[-1].reason}",
            hint="repcore inspect PATH shows which rows are unusable",
        )

    def _draw(self, index: int, rng: np.random.Generator, progress: Progress) -> Drawn:
        items: dict[str, Item] = {}
        sample = read_sample(self.reader, index)
        if self.views is not None:
            with item_guard(self.views, "building views"):
                items.update(self.views.build(index, _Held(self.reader, index, sample), rng, progress))
        if PLAIN not in items and (self.views is None or self.keeps_inputs):
            items[PLAIN] = one_item(self.preprocessor, sample, rng)
        return Drawn(items, sample.id, sample.targets, row=index)


DrawLabelled = Callable[[Preprocessor, Sample, np.random.Generator], Item]


class LabelledDraws:
    """Stands in for views where labels of elements are learned: ``PreprocessorSpec.labelled_item`` makes the item."""

    def __init__(self, draw: DrawLabelled, preprocessor: Preprocessor) -> None:
        self._draw, self.preprocessor = draw, preprocessor

    def build(
        self, index: int, reader: DatasetReader, generator: np.random.Generator, progress: Progress
    ) -> Mapping[str, Item]:
        """The one item of a training row; what the target ignores is no label."""
        del progress
        sample, targets = reader[index], {}
        for spec in [one for one in reader.targets if one.name in sample.targets]:
            labels = np.asarray(sample.targets[spec.name]).astype(label_type(spec.kind))
            targets[spec.name] = labels if spec.ignore is None else np.where(labels == spec.ignore, np.nan, labels)
        return {PLAIN: self._draw(self.preprocessor, replace(sample, targets=targets), generator)}


class _Held:
    """A reader that holds the sample that was just read, so that views do not decode it again."""

    def __init__(self, reader: DatasetReader, index: int, sample: Sample) -> None:
        self._reader, self._index, self._sample = reader, index, sample

    def __getitem__(self, index: int) -> Sample:
        return self._sample if index == self._index else self._reader[index]

    def __len__(self) -> int:
        return len(self._reader)

    def __getattr__(self, name: str) -> Any:  # whatever else the reader has
        return getattr(self._reader, name)


def one_item(preprocessor: Preprocessor, sample: Sample, rng: np.random.Generator) -> Item:
    """An item of the sample at random: by the preprocessor's optional ``draw``, else one of all that it prepares.

    Raises:
        ItemError: the row cannot be used.
    """
    draw = getattr(preprocessor, "draw", None)
    if draw is not None:
        with item_guard(preprocessor, "drawing an item"):
            drawn: Item = draw(sample, rng)
            return drawn
    prepared = prepare_sample(preprocessor, sample)
    return prepared[0] if len(prepared) == 1 else prepared[int(rng.integers(len(prepared)))]


class TrainingCollator:
    """Joins drawn items to a :class:`LoadedBatch`."""

    def __init__(self, preprocessor: Preprocessor, targets: Sequence[TargetSpec], domain: str) -> None:
        self.preprocessor, self.targets, self.domain = preprocessor, tuple(targets), domain

    def __call__(self, drawn: Sequence[Drawn]) -> LoadedBatch:
        try:
            parts = self._joined(drawn)
        except Exception as error:
            if is_strict() or not concerns_item(error):
                raise
            drawn = self._without_odd(drawn)
            with named_guard(self.preprocessor, "joining items to a batch"):
                parts = self._joined(drawn)
        batch = parts.pop(PLAIN, None) or Batch(inputs=None, size=len(drawn))
        batch.views = parts
        ids = [one.sample_id for one in drawn]
        complete(batch, ids, stack_targets([one.targets for one in drawn], self.targets), self.domain)
        return LoadedBatch(batch, tuple(row for one in drawn for row in one.rejected))

    def _joined(self, drawn: Sequence[Drawn]) -> dict[str, Batch]:
        return {name: collated(self.preprocessor, [one.items[name] for one in drawn]) for name in drawn[0].items}

    def _without_odd(self, drawn: Sequence[Drawn]) -> list[Drawn]:
        """Items that cannot even be a batch of their own give their place to a neighbour, and are rejected rows."""
        reasons: dict[int, ItemError] = {}
        for place, one in enumerate(drawn):
            try:
                with item_guard(self.preprocessor, "making a batch"):
                    self._joined([one])
            except ItemError as error:
                reasons[place] = error
        good = [one for place, one in enumerate(drawn) if place not in reasons]
        if not good:
            return list(drawn)  # no item's fault: the caller says whose
        filled = []
        for place, one in enumerate(drawn):
            if place not in reasons:
                filled.append(one)
                continue
            why, other = reasons[place], good[place % len(good)]
            told = Rejected(one.row, why.status, why.reason)
            filled.append(Drawn(other.items, other.sample_id, other.targets, (*one.rejected, told), other.row))
        return filled


def collated(preprocessor: Preprocessor, items: Sequence[Item]) -> Batch:
    """A batch with the dense labels of its items joined flat (sum of elements,), NaN where missing; see
    :func:`repcore.data.label_numbers.as_floating`."""
    batch = preprocessor.collate(items)
    names = set.intersection(*(set(one.targets) for one in items)) if items else set()
    joined = {name: np.concatenate([np.asarray(one.targets[name]).reshape(-1) for one in items]) for name in names}
    batch.targets = {**{k: torch.from_numpy(as_floating(v)) for k, v in joined.items()}, **batch.targets}
    return batch


def complete(batch: Batch, ids: Sequence[str], targets: Mapping[str, Any], domain: str) -> None:
    """Set what core adds to a batch and its views; labels that the preprocessor collated itself stay."""
    for part in (batch, *batch.views.values()):
        part.sample_id, part.domain = ids, domain
        part.targets = {**targets, **part.targets}


def stack_targets(rows: Sequence[Mapping[str, Any]], targets: Sequence[TargetSpec]) -> dict[str, torch.Tensor]:
    """Item-level labels as float tensors (B,) or (B, K); NaN where missing."""
    return {
        spec.name: torch.from_numpy(label_array([row.get(spec.name) for row in rows], spec))
        for spec in targets
        if spec.level == "item"
    }


def label_array(values: Sequence[Any], spec: TargetSpec) -> np.ndarray:
    """Labels of one target as float64 (N,) or (N, K), of several yes/no labels float32; NaN where missing.

    Raises:
        DataError: labels of different lengths, text where numbers are needed, or numbers too large to be squared.
    """
    width = max((np.size(value) for value in values if value is not None), default=1)
    width = max(width, len(spec.names) if spec.kind == "multilabel" else 1)
    result = np.full((len(values), width), np.nan, label_type(spec.kind))
    for row, value in enumerate(values):
        if value is None:
            continue
        try:
            numbers = np.asarray(value, result.dtype).reshape(-1)
        except (TypeError, ValueError):
            raise DataError(f"label {spec.name!r} of row {row} is {value!r}, not a number") from None
        if len(numbers) != width:
            raise DataError(f"label {spec.name!r} of row {row} has {len(numbers)} values; others have {width}")
        result[row] = numbers
    check_size(result, spec)
    return result if width > 1 or spec.kind == "multilabel" else result[:, 0]


def plain_batch(
    preprocessor: Preprocessor,
    items: Sequence[Item],
    samples: Sequence[Sample],
    targets: Sequence[TargetSpec],
    domain: str,
) -> Batch:
    """A batch of prepared items with ids and labels, for embedding and fine-tuning."""
    batch = collated(preprocessor, items)
    complete(batch, [one.id for one in samples], stack_targets([one.targets for one in samples], targets), domain)
    return batch
