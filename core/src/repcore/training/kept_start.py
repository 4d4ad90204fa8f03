"""Whether training has made a head's start, the linear probe, better: told by validation rows.

Of few validation rows the smallest loss of ten is small by chance. So the losses of a trained step and of the start are
compared row by row, and where few rows are labelled the mean gain has to be above its standard error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import nn

from repcore.data.label_numbers import labels_for
from repcore.embedding.inference import InferenceOptions
from repcore.embedding.model import Model
from repcore.embedding.prediction import Predictor
from repcore.evaluation.probing import LabelledRows
from repcore.interfaces import Task
from repcore.specs import TargetSpec
from repcore.training.assembly import RunParts


@dataclass(frozen=True, slots=True)
class Gain:
    """How far the loss of a trained step is below the start's: mean over validation rows, its standard error (NaN
    where one row's loss is none), and their number; 0 rows where all of them were trained on."""

    mean: float
    error: float
    rows: int

    def keeps_start(self, rule: str) -> bool:
        """Whether the start is kept under ``finetune.keep_start``: a gain that is no number is none."""
        if rule == "never":
            return False
        sure = self.error if rule == "unless-surely-worse" and not np.isnan(self.error) else 0.0
        return self.rows == 0 or not self.mean > sure

    def __str__(self) -> str:
        if self.rows == 0:
            return "no validation row that was not trained on says that training has made it better"
        spread = f" +- {self.error:.3g}" if np.isfinite(self.error) else ""
        return f"training lowered the loss of {self.rows:,} validation rows by {self.mean:.3g}{spread}"


def gain_of_training(
    start: nn.Module,
    trained: nn.Module,
    parts: RunParts,
    model: Model,
    target: TargetSpec,
    rows: LabelledRows,
    device: str,
) -> Gain:
    """Compare two states of a task on the validation rows of a run; both are on the CPU afterwards."""
    apart = np.setdiff1d(parts.validation, parts.train)
    if not len(apart):
        return Gain(0.0, np.nan, 0)
    labels = labels_for(start, torch.from_numpy(rows.labels(target)[apart]))
    before, after = (_answers(one, parts, model, target, apart, device) for one in (start, trained))
    usable = torch.isfinite(before).all(1) & torch.isfinite(after).all(1)
    before, after, labels = before[usable], after[usable], labels[usable]
    by_row = [
        _loss(start, before[row : row + 1], labels[row : row + 1])
        - _loss(trained, after[row : row + 1], labels[row : row + 1])
        for row in range(len(labels))
    ]
    if not np.isfinite(by_row).all():  # a loss of pairs has none of single rows
        return Gain(_loss(start, before, labels) - _loss(trained, after, labels), np.nan, len(labels))
    error = float(np.std(by_row, ddof=1) / len(by_row) ** 0.5) if len(by_row) > 1 else np.inf
    return Gain(float(np.mean(by_row)) if by_row else 0.0, error, len(by_row))


def _answers(
    task: nn.Module, parts: RunParts, model: Model, target: TargetSpec, rows: np.ndarray, device: str
) -> torch.Tensor:
    """Raw outputs (n, K) of a task in eval mode."""
    task.to(device).eval()
    predictor = Predictor([task], parts.preprocessor, target, {}, model.domain, device)
    found = torch.from_numpy(predictor.raw(parts.reader, InferenceOptions(device=device), rows)[:, 0])
    task.cpu()
    return found


def _loss(task: nn.Module, outputs: torch.Tensor, labels: torch.Tensor) -> float:
    return float(cast(Task, task).loss(outputs, labels))
