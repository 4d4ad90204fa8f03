"""Supervised fine-tuning of a model's encoder, on the same training machinery as pre-training.

The task is wrapped as an objective, so metrics, checkpoints, accumulation and diagnostics work alike. The weights of
the best validation loss are tested; beside them stands the same network trained from random weights.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from repcore.config import DataConfig, OptimiserConfig, ScheduleConfig, TrainerConfig
from repcore.config.resolve import ResolvedPart, ResolvedRun
from repcore.data.seeds import generator
from repcore.embedding.inference import InferenceOptions, PreparedRow, map_prepared, prepare_rows
from repcore.embedding.model import Model
from repcore.errors import DataError
from repcore.evaluation.metrics import Scores, score_predictions
from repcore.evaluation.probing import LabelledRows
from repcore.interfaces import Batch, DatasetReader, Draws, LossTerms, ProbeSplit, Progress, Task
from repcore.reporting import Reporter
from repcore.specs import TargetSpec
from repcore.stopping import Stopped
from repcore.training.assembly import RunParts, build
from repcore.training.run import RunResult, execute
from repcore.training.run_folder import RunFolder, run_name

DEFAULTS: Mapping[str, Any] = {
    "data": DataConfig(batch_size=16),
    "optimiser": OptimiserConfig(lr=1e-4, weight_decay=0.0),
    "schedule": ScheduleConfig(name="linear"),
    "trainer": TrainerConfig(epochs=25),
}
"""Sections of a fine-tuning run unless told otherwise (25 epochs and batches of 16, as is custom for small sets)."""


class Supervised(nn.Module):
    """A task as an objective: one loss term, counted in labelled items."""

    def __init__(self, task: nn.Module, target: str) -> None:
        super().__init__()
        self.task, self.target = task, target

    @property
    def encoder(self) -> nn.Module:
        """The encoder that is fine-tuned; it becomes the model."""
        return cast(nn.Module, self.task.encoder)

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        return {}

    def counts(self, batch: Batch, draws: Draws) -> Mapping[str, Tensor]:
        labels = batch.targets[self.target]
        return {"supervised": (~torch.isnan(labels)).sum()}

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        loss = cast(Task, self.task).loss(self.task(batch), batch.targets[self.target])
        return LossTerms.of({"supervised": loss}, counts=self.counts(batch, draws))


@dataclass(frozen=True, slots=True)
class FinetuneSettings:
    """What to train: the task part, its target, and the sections of the run."""

    task: ResolvedPart
    target: TargetSpec
    dataset: ResolvedPart
    sections: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FinetuneResult:
    """One fine-tuning run.

    Args:
        start: ``"model"`` or ``"random"``: where the encoder's weights came from.
        scores: metrics on the test part, of the weights with the best validation loss.
    """

    start: str
    seed: int
    run: RunResult
    scores: Scores
    rows: Mapping[str, int]


def finetune(
    model: Model,
    settings: FinetuneSettings,
    rows: LabelledRows,
    split: ProbeSplit,
    reporter: Reporter,
    *,
    seed: int,
    start: str,
    root: Path,
    device: str,
    name: str | None = None,
) -> FinetuneResult:
    """Train on one split from the model's weights, or from random ones.

    Args:
        rows: all rows, read once.
        split: train, test and (optionally) validation rows; without the latter a tenth of train is held out.
        start: ``"model"`` or ``"random"``.
        root: folder of runs.

    Raises:
        DataError: no usable labelled row in a part. Stopped: by a signal.
    """
    parts, prepared, test = _assemble(model, settings, rows, split, seed=seed, start=start)
    folder = RunFolder.create(root, run_name(f"{model.domain}/finetune-{settings.target.name}", name))
    folder.preprocessing.mkdir()
    parts.preprocessor.save(folder.preprocessing)
    result = execute(model.registry, parts, folder, reporter, device=device, resume=False)
    if result.status != "finished":
        raise Stopped(result.signal, f"step {result.steps} is saved in {folder.path}; a new command starts afresh")
    _load_best(parts, folder)
    scores = _test(parts, prepared, test, rows, settings.target, device)
    counts = {"train": len(parts.train), "validation": len(parts.validation), "test": len(test)}
    folder.write_json("finetune.json", {"start": start, "seed": seed, "rows": counts, "test": dict(scores)})
    return FinetuneResult(start, seed, result, scores, counts)


def _assemble(
    model: Model, settings: FinetuneSettings, rows: LabelledRows, split: ProbeSplit, *, seed: int, start: str
) -> tuple[RunParts, list[PreparedRow], np.ndarray]:
    labels = rows.labels(settings.target)
    labelled = ~np.isnan(labels.reshape(len(labels), -1)).all(1)
    prepared = prepare_rows(rows.reader, model.preprocessor, np.arange(len(rows.ids)))
    usable = labelled & np.asarray([bool(row.items) for row in prepared])
    train, validation, test = (_usable(part, usable, word) for part, word in _parts(split, seed))
    torch.manual_seed(seed)
    encoder = copy.deepcopy(model.encoder) if start == "model" else model.random_twin(seed)
    torch.manual_seed(seed)
    task: nn.Module = build(settings.task, encoder, settings.target)
    cast(Task, task).fit_targets(labels[train].astype(np.float64))
    sections = dict(settings.sections)
    sections["trainer"] = dataclasses.replace(sections["trainer"], seed=seed)
    resolved = _resolved(model, settings, sections)
    reader = _OneTarget(rows.reader, settings.target)
    objective = Supervised(task, settings.target.name)
    parts = RunParts(resolved, reader, model.preprocessor, train, validation, None, encoder, objective)
    return parts, prepared, test


class _OneTarget:
    """The reader with only the target that is trained, so that other labels are neither read nor stacked."""

    def __init__(self, reader: DatasetReader, target: TargetSpec) -> None:
        self._reader, self.targets = reader, (target,)

    def __getattr__(self, name: str) -> Any:  # everything else is the reader's own
        return getattr(self._reader, name)

    def __len__(self) -> int:
        return len(self._reader)

    def __getitem__(self, index: int) -> Any:
        return self._reader[index]


def _parts(split: ProbeSplit, seed: int) -> list[tuple[np.ndarray, str]]:
    if split.validation is not None and len(split.validation):
        return [(split.train, "train"), (split.validation, "validation"), (split.test, "test")]
    order = generator(seed, "finetune-validation").permutation(split.train)
    held = max(1, len(order) // 10)
    return [(np.sort(order[held:]), "train"), (np.sort(order[:held]), "validation"), (split.test, "test")]


def _usable(part: np.ndarray, usable: np.ndarray, word: str) -> np.ndarray:
    kept = np.asarray(part, np.int64)[usable[part]]
    if len(kept) == 0:
        raise DataError(f"the {word} part of the split has no usable labelled row", rows=len(part))
    return kept


def _resolved(model: Model, settings: FinetuneSettings, sections: Mapping[str, Any]) -> ResolvedRun:
    known = model.registry
    return ResolvedRun(
        recipe=f"{model.domain}/finetune",
        preset=settings.task.name,
        encoder=model.folder.part("encoder", known),
        objective=settings.task,
        dataset=settings.dataset,
        preprocessor=model.folder.part("preprocessor", known),
        views=None,
        origin={},
        **sections,
    )


def _load_best(parts: RunParts, folder: RunFolder) -> None:
    saved = torch.load(folder.best_checkpoint, map_location="cpu", weights_only=True)
    prefix = "objective."
    state = {key.removeprefix(prefix): value for key, value in saved["state_dict"].items() if key.startswith(prefix)}
    parts.objective.load_state_dict(state)


def _test(
    parts: RunParts,
    prepared: list[PreparedRow],
    test: np.ndarray,
    rows: LabelledRows,
    target: TargetSpec,
    device: str,
) -> Scores:
    task = cast(Supervised, parts.objective).task.eval().to(device)
    options = InferenceOptions(device=device)

    def predict(batch: Batch) -> Tensor:
        return cast(Task, task).predict(task(batch))

    chosen = [prepared[row] for row in test]
    found = map_prepared(predict, parts.preprocessor, chosen, options, width=1, domain=parts.resolved.domain)
    return score_predictions(target, rows.labels(target)[test], found.vectors.astype(np.float64))
