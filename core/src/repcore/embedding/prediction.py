"""Predictions of a fine-tuned model: one row out for every row in, from the task's networks to answers in words.

Outputs of a row's windows are averaged by weight, outputs of an ensemble's members with equal weight. Outputs of class
and multilabel tasks are divided by the calibrated temperature before they become probabilities.

Symbols: n rows, M members of an ensemble, K outputs (classes, tasks or values).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from repcore.embedding.columns import column_doubts, columns_read
from repcore.embedding.inference import InferenceOptions, map_prepared, mapped, windows_of
from repcore.embedding.windows import PreparedRow
from repcore.interfaces import Batch, DatasetReader, Preprocessor, Task
from repcore.specs import TargetSpec

PROBABILITIES = ("class", "multilabel")


@dataclass(frozen=True, slots=True)
class PredictedRows:
    """Consecutive rows with their outputs.

    Args:
        outputs: (n, K) mean over members: probabilities, or values in the units of the data; NaN rows failed.
        members: (n, M, K) outputs of an ensemble's members; None for a single network.
        labels: what the data says about each row, by label name; empty where a row could not be read.
    """

    ids: Sequence[str]
    status: Sequence[str]
    reason: Sequence[str]
    outputs: np.ndarray
    members: np.ndarray | None = None
    labels: Sequence[Mapping[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Predictor:
    """The networks of a task and what turns their outputs into answers.

    Args:
        tasks: one, or the members of an ensemble; on ``device``.
        target: what is predicted.
        facts: of the task, see :mod:`repcore.checkpoints.task_part`.
    """

    tasks: Sequence[nn.Module]
    preprocessor: Preprocessor
    target: TargetSpec
    facts: Mapping[str, Any]
    domain: str
    device: str = "cpu"

    def windows(
        self, reader: DatasetReader, options: InferenceOptions, rows: Sequence[int] | np.ndarray | None = None
    ) -> Iterator[PredictedRows]:
        """Predictions of the rows (None = all), one window of work at a time, in order."""
        modes = [task.training for task in self.tasks]
        for task in self.tasks:
            task.eval()
        options = self.carrying(reader, options)
        try:
            yield from mapped(self.predict, self.preprocessor, reader, options, rows)
        finally:
            for task, mode in zip(self.tasks, modes, strict=True):
                task.train(mode)

    def predict(self, rows: list[PreparedRow], options: InferenceOptions) -> PredictedRows:
        """Predictions of prepared rows; the networks are used in the mode they are in."""
        count = len(self.tasks)

        def outputs(batch: Batch) -> Tensor:
            return torch.cat([self._of_one(task, batch, options) for task in self.tasks], dim=1)  # (B, M * K)

        found = map_prepared(outputs, self.preprocessor, rows, options, width=self.width * count, domain=self.domain)
        values = found.vectors.reshape(len(rows), count, -1)
        labels = [{} if row.sample is None else row.sample.targets for row in rows]
        members = values if count > 1 else None
        return PredictedRows(found.ids, found.status, found.reason, values.mean(axis=1), members, labels)

    def raw(
        self, reader: DatasetReader, options: InferenceOptions, rows: Sequence[int] | np.ndarray | None = None
    ) -> np.ndarray:
        """Outputs of the heads as they are, float32 (n, M, K), averaged over windows: what calibration looks at."""
        count = len(self.tasks)
        options = self.carrying(reader, options)

        def outputs(batch: Batch) -> Tensor:
            return torch.cat([raw_outputs(task, batch, options) for task in self.tasks], dim=1)

        parts = [
            map_prepared(outputs, self.preprocessor, prepared, options, width=self.width * count, domain=self.domain)
            for prepared in windows_of(self.preprocessor, reader, options, rows)
        ]
        values = np.concatenate([part.vectors for part in parts])
        return values.reshape(len(values), count, -1)

    def carrying(self, reader: DatasetReader, options: InferenceOptions) -> InferenceOptions:
        """The options, with the labels that the networks read."""
        return replace(options, columns=columns_read(self._encoders(), reader.targets))

    def doubts(self, reader: DatasetReader) -> list[str]:
        """What the data lack of the labels that the networks read."""
        return column_doubts(self._encoders(), reader)

    def _encoders(self) -> list[nn.Module]:
        found = [getattr(one, "encoder", None) for one in self.tasks]
        return [one for one in found if isinstance(one, nn.Module)]

    def _of_one(self, task: nn.Module, batch: Batch, options: InferenceOptions) -> Tensor:
        return self.answered(task, raw_outputs(task, batch, options))

    def answered(self, task: nn.Module, raw: Tensor) -> Tensor:
        """Raw outputs of the head as calibrated probabilities or values in original units."""
        if self.target.kind in PROBABILITIES:
            raw = raw / float(self.facts.get("temperature", 1.0))
        return cast(Task, task).predict(raw)

    @property
    def width(self) -> int:
        """K as far as the target tells: for the NaN rows of a window in which no row can be used."""
        return int(getattr(self.tasks[0], "outputs", 0) or max(1, len(self.target.names)))


def raw_outputs(task: nn.Module, batch: Batch, options: InferenceOptions) -> Tensor:
    """Outputs of a task's head as float32."""
    with torch.autocast(torch.device(options.device).type, options.dtype, enabled=options.dtype != torch.float32):
        raw: Tensor = task(batch)
    return raw.float()


def join_predictions(parts: Sequence[PredictedRows]) -> PredictedRows:
    """Consecutive runs of rows as one."""
    members = [part.members for part in parts if part.members is not None]
    return PredictedRows(
        ids=[one for part in parts for one in part.ids],
        status=[one for part in parts for one in part.status],
        reason=[one for part in parts for one in part.reason],
        outputs=np.concatenate([part.outputs for part in parts]) if parts else np.zeros((0, 0), np.float32),
        members=np.concatenate(members) if members else None,
        labels=[one for part in parts for one in part.labels],
    )
