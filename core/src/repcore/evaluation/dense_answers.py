"""Predictions about elements and their scores against labels of elements.

Symbols: N elements of a sample, K classes or values.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from repcore.data.label_facts import unsaid_void
from repcore.data.label_numbers import as_floating
from repcore.embedding.answers import column_of, output_names
from repcore.embedding.dense import DenseRow, dense_windows
from repcore.embedding.inference import InferenceOptions
from repcore.embedding.model import Model
from repcore.errors import ConfigError, DataError
from repcore.evaluation.calibration import temperature_of
from repcore.evaluation.dense_metrics import confusion, dense_regression_scores, dense_scores, overlaps
from repcore.evaluation.element_metrics import ElementMetric, MetricRecord, element_metrics
from repcore.evaluation.metrics import Scores
from repcore.evaluation.probing import LabelledRows
from repcore.interfaces import Batch, DatasetReader, Preprocessor, Task
from repcore.specs import TargetSpec

NONE = -1
UNKNOWN = -2  # in files: labelled as a class that the model does not know
MOST_CLASSES = 1024
CALIBRATED_ELEMENTS = 4096  # of one validation row


@dataclass(slots=True)
class DensePredictor:
    """The networks of a task about elements; collects scores as rows pass.

    Args:
        tasks: one, or the members of an ensemble, whose probabilities are averaged.
        values: of a class target: the data's own number of each class.
        metrics: of the domain, beside IoU and Dice.
        facts: of the task; outputs of classes are divided by ``temperature``.

    Of an ensemble every row has the figure ``disagreement``, the mean over its elements: of classes the share of
    members that answer otherwise than the ensemble, of numbers the standard deviation over members.
    """

    tasks: Sequence[nn.Module]
    preprocessor: Preprocessor
    target: TargetSpec
    values: Sequence[int]
    domain: str
    metrics: Sequence[ElementMetric] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    _record: MetricRecord = field(default_factory=lambda: MetricRecord(()))
    _spread: list[Tensor] = field(default_factory=list)
    _counts: list[np.ndarray] = field(default_factory=list)
    _rows: list[int] = field(default_factory=list)
    _pairs: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    _notes: list[str] = field(default_factory=list)
    _last: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self._record = MetricRecord(self.metrics if self.target.kind == "class" else ())

    @classmethod
    def of(cls, model: Model, metrics: Sequence[str] = ()) -> DensePredictor:
        """From a fine-tuned model.

        Args:
            metrics: of the domain by name (``NAME`` or ``NAME:VALUE``); all of them if none is named.

        Raises:
            CheckpointError: the model has no task. ConfigError: no such metric.
        """
        predictor = model.predictor()
        values = class_values(predictor.tasks[0], predictor.target)
        own = element_metrics(model.registry, model.folder.preprocessor_name, metrics)
        return cls(predictor.tasks, model.preprocessor, predictor.target, values, model.domain, own, predictor.facts)

    def rows(
        self, reader: DatasetReader, options: InferenceOptions, rows: Sequence[int] | np.ndarray | None = None
    ) -> Iterator[DenseRow]:
        """Answers in order, one sample at a time."""
        for task in self.tasks:
            task.eval()

        def outputs(batch: Batch) -> Tensor:
            members = torch.stack([self._answered(task, task(batch)) for task in self.tasks])  # (M, E, K)
            if len(members) > 1:
                self._spread.append(spread_of(members, self.target))
            return members.mean(0)

        return self._at_elements(outputs, reader, options, rows, self.target)

    def raw(
        self, reader: DatasetReader, options: InferenceOptions, rows: Sequence[int] | np.ndarray
    ) -> Iterator[DenseRow]:
        """Outputs of the heads as they are, members side by side (..., M * K): what calibration looks at."""

        def outputs(batch: Batch) -> Tensor:
            return torch.cat([task(batch).float() for task in self.tasks], dim=1)

        return self._at_elements(outputs, reader, options, rows, None)

    def _at_elements(
        self,
        function: Callable[[Batch], Tensor],
        reader: DatasetReader,
        options: InferenceOptions,
        rows: Sequence[int] | np.ndarray | None,
        target: TargetSpec | None,
    ) -> Iterator[DenseRow]:
        return dense_windows(
            function, self.preprocessor, reader, options, level=self.target.level, domain=self.domain, rows=rows,
            target=target, values=self.values,
        )  # fmt: skip

    def _answered(self, task: nn.Module, raw: Tensor) -> Tensor:
        temperature = float(self.facts.get("temperature", 1.0))
        return cast(Task, task).predict(raw / temperature if temperature != 1.0 else raw)

    def scored(
        self, rows: Iterator[DenseRow], reader: DatasetReader, numbers: Sequence[int] | None = None
    ) -> Iterator[tuple[DenseRow, dict[str, float | None]]]:
        """Each row with its own figures; remembers what :meth:`scores` needs.

        Args:
            numbers: row numbers of ``rows``; counted from 0 when None.
        """
        data = next((one for one in reader.targets if one.name == self.target.name), self.target)
        for place, row in enumerate(rows):
            number = place if numbers is None else int(numbers[place])
            figures = self._figures(row, data, number)
            if len(self.tasks) > 1:
                found = torch.cat(self._spread) if self._spread and row.answer is not None else torch.zeros(0)
                figures["disagreement"] = float(found.mean()) if len(found) else None
            self._spread.clear()
            yield row, figures

    def _figures(self, row: DenseRow, data: TargetSpec, number: int) -> dict[str, float | None]:
        self._last = None
        names = ("miou", "dice", "element-accuracy") if self.target.kind == "class" else ("rmse",)
        nothing: dict[str, float | None] = dict.fromkeys((*names, *(one.name for one in self._record.metrics)))
        truth = row.labels.get(self.target.name)
        if row.answer is None or truth is None:
            return nothing
        truth, outputs = np.asarray(truth, np.float64), row.answer.outputs
        if truth.size * outputs.shape[-1] != outputs.size:
            count = outputs.size // outputs.shape[-1]
            self._notes.append(f"{row.id} is not scored: {truth.size} labels for {count} elements")
            return nothing
        if self.target.kind != "class":
            self._pairs.append((truth.reshape(-1), outputs.reshape(-1)))
            self._rows.append(number)
            known = ~np.isnan(truth.reshape(-1)) & np.isfinite(outputs.reshape(-1))
            error = (truth.reshape(-1) - outputs.reshape(-1))[known]
            return {"rmse": float(np.sqrt(np.mean(error**2))) if known.any() else None}
        known_truth = class_numbers(truth, data, self.target, self.values)
        answered = row.answer.numbers().reshape(-1)
        counts = confusion(known_truth, answered, outputs.shape[-1])
        judged = counts[:, :-1].sum()
        if not judged:
            if counts.sum():
                self._notes.append(
                    f"{row.id} is not scored: none of its {counts.sum():,} labelled elements is answered"
                )
            return nothing
        self._counts.append(counts)
        self._rows.append(number)
        iou, dice = overlaps(counts)
        shape = truth.shape
        own = self._record.add(
            row.answer.sample, np.where(answered >= 0, known_truth, NONE).reshape(shape), answered.reshape(shape),
            outputs.shape[-1],
        )  # fmt: skip
        measured = {name: rows[-1].tolist() for name, rows in self._record.rows.items()}
        self._last = {"row": number, "counts": counts.tolist(), "metrics": measured}
        return {
            **own,
            "miou": float(np.nanmean(iou)),
            "dice": float(np.nanmean(dice)),
            "element-accuracy": float(np.trace(counts[:, :-1]) / judged),
        }

    def labels(self, row: DenseRow, reader: DatasetReader) -> dict[str, list[Any]]:
        """The data's own label of every element, in the words of the model; empty where the row has none.

        A class that the model does not know keeps the data's name or number; missing and ignored labels are None.
        """
        truth = row.labels.get(self.target.name)
        if row.answer is None or truth is None:
            return {}
        flat, count = np.asarray(truth, np.float64).reshape(-1), row.answer.outputs.shape[-1]
        if flat.size * count != row.answer.outputs.size:
            return {}
        data = next((one for one in reader.targets if one.name == self.target.name), self.target)
        if self.target.kind != "class":
            return {f"label:{column_of(self.target)}": [None if np.isnan(one) else float(one) for one in flat]}
        names, ignored = output_names(self.target, count), {data.ignore, self.target.ignore}
        own = {float(n): str(name) for n, name in zip(data.ids or range(len(data.names)), data.names, strict=True)}
        numbers = class_numbers(flat, data, self.target, self.values)
        words = [
            names[number] if number != NONE else None if np.isnan(one) or one in ignored else own.get(one, f"{one:g}")
            for number, one in zip(numbers.tolist(), flat.tolist(), strict=True)
        ]
        return {f"label:{column_of(self.target)}": words}

    def labels_in_file(self, row: DenseRow, reader: DatasetReader) -> Mapping[str, Any]:
        """:meth:`labels`, of grids as an array of their shape: words for every voxel of a scan would fill the memory.

        Classes have the numbers that the answers have (int32): -1 = no label, -2 = one that the model does not know.
        """
        truth = row.labels.get(self.target.name)
        if row.answer is None or truth is None or row.answer.outputs.ndim == 2:
            return self.labels(row, reader)
        grid, shape = np.asarray(truth), row.answer.outputs.shape[:-1]
        if grid.size != int(np.prod(shape)):
            return {}
        name = f"label:{column_of(self.target)}"
        if self.target.kind != "class":
            return {name: as_floating(grid).reshape(shape)}
        data = next((one for one in reader.targets if one.name == self.target.name), self.target)
        flat = grid.reshape(-1).astype(np.float64)
        numbers = class_numbers(flat, data, self.target, self.values)
        told = ~np.isnan(flat) & ~np.isin(flat, [one for one in (data.ignore, self.target.ignore) if one is not None])
        values = np.asarray(self.values or range(row.answer.outputs.shape[-1]), np.int32)
        found = np.where(numbers == NONE, np.where(told, UNKNOWN, NONE), values[numbers])
        return {name: found.astype(np.int32).reshape(shape)}

    @property
    def last_record(self) -> dict[str, Any]:
        """What :meth:`remember` needs of the row that has passed last; empty where it has no class labels."""
        return self._last or {}

    def remember(self, records: Mapping[int, Mapping[str, Any]], done: int) -> None:
        """Count rows that an interrupted command has answered, or say that they are not counted.

        Args:
            records: :attr:`last_record` of rows by number.
            done: how many rows that command has written.
        """
        for number in sorted(number for number in records if number < done):
            record = records[number]
            if record:
                self._counts.append(np.asarray(record["counts"], np.int64))
                self._rows.append(number)
                for name, values in record["metrics"].items():
                    self._record.rows.setdefault(name, []).append(np.asarray(values, np.float64))
        if done and self.target.kind != "class":
            self._notes.append(f"scores are of the rows after the first {done:,}, which an earlier command has written")

    def scores(self) -> Scores | None:
        """Over all labelled rows that have passed; None where there was none."""
        rows = np.asarray(self._rows, np.int64)
        if self._counts:
            counts = np.stack(self._counts)
            names = output_names(self.target, counts.shape[1])
            scores = self._record.into(dense_scores(counts, names, rows), names)
        elif self._pairs:
            scores = dense_regression_scores([one for one, _ in self._pairs], [one for _, one in self._pairs], rows)
        else:
            return None
        scores.notes = (*scores.notes, *self._notes[:5])
        return scores


def spread_of(members: Tensor, target: TargetSpec) -> Tensor:
    """How far members disagree at each element that has an answer (E,).

    Args:
        members: (M, E, K) probabilities or values.
    """
    members = members[:, torch.isfinite(members).all(2).all(0)].double()
    if target.kind == "class":
        return (members.argmax(2) != members.mean(0).argmax(1)).double().mean(0)
    return members.std(0).mean(1)


def dense_temperature(
    predictor: DensePredictor, reader: DatasetReader, options: InferenceOptions, rows: Sequence[int] | np.ndarray
) -> float:
    """The temperature of a class task from labelled elements of the validation rows; 1 for all others.

    At most a few thousand elements of a row are looked at. A task whose ``predict`` is no softmax of its outputs stays
    as it is.
    """
    if predictor.target.kind != "class" or not len(rows):
        return 1.0
    drawn = np.random.default_rng(0)
    truth, raw = [], []
    for row in predictor.raw(reader, options, rows):
        labels = row.labels.get(predictor.target.name)
        if row.answer is None or labels is None:
            continue
        outputs = row.answer.outputs.reshape(-1, row.answer.outputs.shape[-1])
        numbers = class_numbers(np.asarray(labels, np.float64), predictor.target, predictor.target, predictor.values)
        if len(numbers) != len(outputs):
            continue
        good = np.flatnonzero((numbers != NONE) & np.isfinite(outputs).all(1))
        good = good if len(good) <= CALIBRATED_ELEMENTS else drawn.choice(good, CALIBRATED_ELEMENTS, replace=False)
        truth.append(numbers[good].astype(np.float64))
        raw.append(outputs[good].reshape(len(good), len(predictor.tasks), -1))
    if not sum(map(len, truth)):
        return 1.0
    known, values = np.concatenate(truth), np.concatenate(raw)
    sample = torch.from_numpy(values[:64, 0]).float()
    answered = cast(Task, predictor.tasks[0]).predict(sample)
    if answered.shape != sample.shape or not torch.allclose(answered, sample.softmax(1), atol=1e-4):
        return 1.0
    return temperature_of(predictor.target, known, values)


def class_values(task: nn.Module, target: TargetSpec) -> tuple[int, ...]:
    """The data's own number of each class, as the task learned it; 0 .. K-1 for tasks that know no other."""
    values = getattr(task, "values", None)
    if isinstance(values, Tensor):
        return tuple(int(one) for one in values)
    return tuple(range(len(target.names))) if target.kind == "class" else ()


def class_numbers(truth: np.ndarray, data: TargetSpec, target: TargetSpec, values: Sequence[int]) -> np.ndarray:
    """Labels of the data as class numbers of the model, int64 (N,), -1 = missing or unknown.

    Args:
        truth: the data's numbers; NaN or ``ignore`` = missing.
        data / target: of the data and of the model: where both name their classes, names decide.
    """
    flat = truth.reshape(-1)
    known = ~np.isnan(flat)
    for ignored in {data.ignore, target.ignore} - {None}:
        known &= flat != ignored
    place: Mapping[int, int] = {int(value): k for k, value in enumerate(values)}
    if data.names and target.names and data.names != target.names and set(data.names) & set(target.names):
        own = {name: k for k, name in enumerate(target.names)}
        numbers = data.ids or range(len(data.names))
        place = {number: own[name] for number, name in zip(numbers, data.names, strict=True) if name in own}
    found = np.full(flat.shape, NONE, np.int64)
    for value in np.unique(flat[known]):
        if value in place:  # 1.5 and infinity are in no place
            found[known & (flat == value)] = place[value]
    return found


def label_values(rows: LabelledRows, target: TargetSpec) -> tuple[int, ...]:
    """Values that the labels of all rows show, ascending; those of all names where the target names its classes.

    The target's ``ignore`` is none of them, named or not.

    Raises:
        DataError: no labelled element, or too many values for classes.
    """
    total: Counter[int] = Counter()
    for counts in rows.dense.get(target.name, ()):
        total.update(counts)
    if target.ignore is not None:
        total.pop(target.ignore, None)
    if not total:
        raise DataError(f"no element of any row has a label {target.name!r}", rows=len(rows.ids))
    if len(total) > MOST_CLASSES:
        raise DataError(
            f"{len(total)} different values of {target.name!r} are no classes",
            hint="--ignore VALUE, or another --label",
        )
    known = target.ids or tuple(range(len(target.names)))
    if set(total) <= set(known):
        return tuple(sorted(set(known) - {target.ignore}))
    return tuple(sorted(total))


def named(target: TargetSpec, values: tuple[int, ...]) -> TargetSpec:
    """The target with a name for every class."""
    if len(target.names) == len(values) and not target.ids:
        return target
    return dataclasses.replace(target, names=tuple(map(target.name_of, values)), ids=())


def named_classes(rows: LabelledRows, target: TargetSpec) -> tuple[tuple[int, ...], TargetSpec]:
    """The data's number of each class, and the target with a name for each.

    Raises:
        DataError: no labelled element, or too many values for classes.
    """
    values = label_values(rows, target)
    return values, named(target, values)


def void_said(rows: LabelledRows, target: TargetSpec) -> str | None:
    """:func:`repcore.data.label_facts.unsaid_void` of labelled rows."""
    total: Counter[int] = Counter()
    for counts in rows.dense.get(target.name, ()):
        total.update(counts)
    return unsaid_void(total, target)


def with_ignored(target: TargetSpec, ignored: int | None) -> TargetSpec:
    """The target with another value that means "not labelled".

    Raises:
        ConfigError: the target is of items.
    """
    if ignored is None:
        return target
    if target.level == "item":
        raise ConfigError(f"--ignore {ignored} is for labels of elements; {target.name!r} is a label of items")
    return dataclasses.replace(target, ignore=ignored)
