"""A whole fine-tuning: the model, its ensemble, its cross-validation and the control runs from random weights.

    runs/<domain>-finetune-<label>-<stamp>/    the run of the first seed (of all rows, with --folds)
      model/                                   the fine-tuned model with its task
      predictions/test.parquet                 (out-of-fold.parquet with --folds), of the model and of the controls
      finetune.json                            scores, verdict, rows, what was asked for
      members/<k>/  seeds/<s>/  folds/<f>/     further runs: of an ensemble, of other seeds, of folds
      all-rows/<k>/                            the steps that were chosen again, with all rows, where they are few
      controls/<name>/                         the same networks from random weights

Only the outer folder becomes ``runs/latest``. Every run inside can be interrupted and goes on when the command is
given again with ``--resume``.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from repcore.checkpoints.task_part import TaskPart
from repcore.data.bags import Bags
from repcore.data.split_plans import SplitPlan
from repcore.embedding.answers import answer_columns, label_columns, output_names, text_columns
from repcore.embedding.inference import InferenceOptions
from repcore.embedding.model import Model
from repcore.embedding.prediction import PredictedRows, Predictor, join_predictions
from repcore.embedding.prediction_files import TableWriter
from repcore.evaluation.calibration import task_facts, temperature_of
from repcore.evaluation.comparison import Comparison, compare
from repcore.evaluation.dense_answers import void_said
from repcore.evaluation.metrics import Scores, primary_metric, score_predictions
from repcore.evaluation.probing import LabelledRows, classes_shown
from repcore.files import as_strict, read_parquet, written_whole
from repcore.interfaces import DatasetReader, ProbeSplit
from repcore.launching import is_first_process
from repcore.reporting import Reporter
from repcore.specs import TargetSpec
from repcore.training.answer_pictures import write_answer_pictures
from repcore.training.export import export_model
from repcore.training.few_rows import for_rows, is_few
from repcore.training.finetune import (
    FinetuneSettings,
    TrainedTask,
    changes_after,
    fitted_to_all,
    train_task,
)
from repcore.training.finetune_dense import calibrated_elements, completed, test_elements
from repcore.training.finetune_labels import OneTarget
from repcore.training.finetune_parts import calibration_apart, with_validation
from repcore.training.label_pictures import pictures_of
from repcore.training.methods import completed_method, further_columns
from repcore.training.run_folder import RunFolder

MODEL, RANDOM, PLAIN = "model", "random", "plain"
AGAIN = "all-rows"  # folder of the same steps with all labelled rows, where they are few
NO_ROWS = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class FinetuneRequest:
    """What was asked for beyond the settings of one run.

    Args:
        seeds: one run each, and one control each.
        members: networks of the ensemble; 1 = no ensemble.
        twin: also train from random weights.
        plain: also train from the model's weights with the task's plain loss, without the method.
    """

    seeds: Sequence[int] = (0,)
    members: int = 1
    twin: bool = True
    plain: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """One training: a seed and fold, from the model's weights, from random ones, or without the method."""

    name: str  # of its folder within the run; empty = the run itself
    start: str
    seed: int
    split: ProbeSplit
    members: int = 1


@dataclass(frozen=True, slots=True)
class PartResult:
    """Scores of one part on its test rows; empty scores where it has none. ``steps`` are those of all its members."""

    part: Part
    folder: Path
    scores: Scores
    rows: Mapping[str, int]
    steps: int = 0


@dataclass(slots=True)
class FinetuneOutcome:
    """Everything that a fine-tuning gave."""

    folder: Path
    results: list[PartResult] = field(default_factory=list)
    verdict: Comparison | None = None
    method: str = ""
    against_plain: Comparison | None = None


def plan_parts(plan: SplitPlan, request: FinetuneRequest) -> Iterator[Part]:
    """The trainings of a plan, the one whose model is kept first.

    Several folds: every fold is trained for its out-of-fold predictions, and the kept model on all rows.
    """
    several = len(plan.folds[0]) > 1
    if several:
        rows = np.unique(np.concatenate([np.concatenate([one.train, one.test]) for one in plan.folds[0]]))
        free = [one.unlabelled for one in plan.folds[0] if one.unlabelled is not None]
        further = np.setdiff1d(np.concatenate(free), rows) if free else None
        yield Part("", MODEL, request.seeds[0], ProbeSplit(rows, NO_ROWS, unlabelled=further), request.members)
    for number, (seed, folds) in enumerate(zip(request.seeds, plan.folds, strict=True)):
        for place, split in enumerate(folds, start=1):
            name = _name(number, seed, place if several else 0)
            yield Part(name, MODEL, seed, split, request.members)
            if request.plain:
                yield Part(
                    f"controls/plain-{_word(seed, place if several else 0)}", PLAIN, seed, split, request.members
                )
            if request.twin:
                control = f"controls/random-init-{_word(seed, place if several else 0)}"
                yield Part(control, RANDOM, seed, split, request.members)


def untrained_classes(plan: SplitPlan, request: FinetuneRequest, rows: LabelledRows, target: TargetSpec) -> str:
    """What to say of classes that test rows show and training rows do not; empty where there are none."""
    shown = classes_shown(rows, target)
    if shown is None:
        return ""
    parts = [one for one in plan_parts(plan, request) if one.start == MODEL and len(one.split.test)]
    lost: Counter[int] = Counter()
    for part in parts:
        trained = {number for row in part.split.train for number in shown[row]}
        lost.update({number for row in part.split.test for number in shown[row]} - trained)
    if not lost:
        return ""
    words = ", ".join(
        repr(target.name_of(number)) + (f" ({count} of {len(parts)} splits)" if len(parts) > 1 else "")
        for number, count in sorted(lost.items())[:5]
    )
    return f"no training row shows {words} of {target.name!r}, test rows do: that cannot be learned"


def _word(seed: int, fold: int) -> str:
    return f"seed-{seed}" + (f"-fold-{fold}" if fold else "")


def _name(number: int, seed: int, fold: int) -> str:
    if fold:
        return f"folds/{_word(seed, fold)}"
    return f"seeds/{seed}" if number else ""


def run_plan(
    model: Model,
    settings: FinetuneSettings,
    rows: LabelledRows,
    plan: SplitPlan,
    request: FinetuneRequest,
    folder: RunFolder,
    reporter: Reporter,
    *,
    device: str,
) -> FinetuneOutcome:
    """Train everything that is not finished yet, predict, compare, and write the model.

    Raises:
        DataError: a part of the split has no labelled row. RunError: interrupted; given again it goes on.
    """
    outcome = FinetuneOutcome(folder.path)
    if void := void_said(rows, settings.target):
        reporter.warn(void)
    if lost := untrained_classes(plan, request, rows, settings.target):
        reporter.warn(lost)
    settings = settings_with_data(model, settings, rows)
    runner = _Runner(model, settings, rows, folder, reporter, device)
    for part in plan_parts(plan, request):
        where = part.name or "the model that is kept"
        words = f"from {'random' if part.start == RANDOM else 'pre-trained'} weights"
        words += ", plain loss" if part.start == PLAIN else ""
        reporter.info(f"{where}: seed {part.seed}, {words}")
        outcome.results.append(runner.run(part))
    outcome.verdict = verdict(outcome.results, runner.settings.target)
    if settings.method is not None:
        outcome.method = settings.method.name
        sides = {MODEL: settings.method.name, PLAIN: "the plain loss"}
        outcome.against_plain = verdict(outcome.results, runner.settings.target, sides)
    _write_out_of_fold(outcome, settings.target, folder)
    return outcome


def settings_with_data(model: Model, settings: FinetuneSettings, rows: LabelledRows) -> FinetuneSettings:
    """Settings of the task and of the method with what the data and the model say.

    Raises:
        DataError / ConfigError: the data or the model do not say what they need.
    """
    settings = completed(model, settings, rows)
    method, targets = settings.method, rows.reader.targets
    if method is not None:
        method = completed_method(method, settings.target, model.folder, targets)
    return dataclasses.replace(settings, method=method, further=further_columns(model.encoder, method, targets))


class _Runner:
    def __init__(
        self,
        model: Model,
        settings: FinetuneSettings,
        rows: LabelledRows,
        folder: RunFolder,
        reporter: Reporter,
        device: str,
    ) -> None:
        self.model, self.settings, self.rows, self.folder = model, settings, rows, folder
        self.reporter, self.device = reporter, device
        self.dense = settings.target.level != "item"
        self.truth = np.zeros(0) if self.dense else rows.labels(settings.target)
        self.options = InferenceOptions(device=device)

    def run(self, part: Part) -> PartResult:
        """Train the networks of one part, calibrate on validation, predict its test rows, keep the model."""
        split = with_validation(part.split, self.rows, self.settings.target, part.seed)
        validation = NO_ROWS if split.validation is None else split.validation
        calibration, labelled = validation, np.union1d(split.train, validation)
        settings = for_rows(self.settings, len(labelled), part.members)
        if not self.dense:
            split, calibration = calibration_apart(split, part.seed)
        own = self.folder if not part.name else RunFolder.inside(self.folder.path / part.name)
        trained = [self._train(part, settings, split, own, member) for member in range(part.members)]
        if self.dense:
            scores = self._elements(trained, part, split, own)
        else:
            scores = self._items(trained, part, settings, split, labelled, calibration, own)
        counts = {"train": len(split.train), "validation": len(validation), "test": len(split.test)}
        record = {"start": part.start, "seed": part.seed, "rows": counts, "test": dict(scores)}
        if part.name:
            own.write_json("finetune.json", record)
        return PartResult(part, own.path, scores, counts, sum(one.run.steps for one in trained))

    def _items(
        self,
        trained: list[TrainedTask],
        part: Part,
        settings: FinetuneSettings,
        split: ProbeSplit,
        labelled: np.ndarray,
        calibration: np.ndarray,
        own: RunFolder,
    ) -> Scores:
        facts = self._calibrated(trained, split, calibration).facts
        few, whole = is_few(settings, len(labelled)), dataclasses.replace(split, train=labelled)
        trained = [
            self._again(one, part, settings, whole, own, member) if few or one.kept == 0 else one
            for member, one in enumerate(trained)
        ]
        predictor = self._predictor(trained, facts)
        if part.start == MODEL:
            self._export(trained, predictor.facts, own)
        return self._test(trained, predictor, split.test, own, drawn=not part.name)

    def _elements(self, trained: list[TrainedTask], part: Part, split: ProbeSplit, own: RunFolder) -> Scores:
        validation = NO_ROWS if split.validation is None else split.validation
        target = self.settings.target
        predictor = calibrated_elements(trained, self.model, target, self.rows, validation, self.options)
        if part.start == MODEL:
            self._export(trained, predictor.facts, own)
        if not len(split.test):
            return Scores({})
        pictures = pictures_of(self.settings.dataset.entry, predictor.target, predictor.values)
        keep = part.start == MODEL  # controls are scored only
        with _kept_by_first(own.path) as place:
            scores = test_elements(predictor, self.rows, split.test, place, self.options, pictures.see, keep=keep)
        if is_first_process():
            pictures.write(own)
        return scores

    def _train(
        self, part: Part, settings: FinetuneSettings, split: ProbeSplit, own: RunFolder, member: int
    ) -> TrainedTask:
        place = own if member == 0 else RunFolder.inside(own.path / "members" / str(member))
        plain = part.start == PLAIN
        settings = dataclasses.replace(settings, method=None) if plain else settings
        return train_task(
            self.model, settings, self.rows, split, place, self.reporter,
            seed=part.seed + 1000 * member, start=MODEL if plain else part.start, device=self.device,
        )  # fmt: skip

    def _again(
        self,
        trained: TrainedTask,
        part: Part,
        settings: FinetuneSettings,
        whole: ProbeSplit,
        own: RunFolder,
        member: int,
    ) -> TrainedTask:
        plain = part.start == PLAIN
        settings = dataclasses.replace(settings, method=None) if plain else settings
        place = RunFolder.inside(own.path / AGAIN / str(member))
        return fitted_to_all(
            trained, self.model, settings, self.rows, whole, place, self.reporter,
            seed=part.seed + 1000 * member, start=MODEL if plain else part.start, device=self.device,
        )  # fmt: skip

    def _predictor(self, trained: Sequence[TrainedTask], facts: Mapping[str, Any]) -> Predictor:
        tasks = [one.task.to(self.device) for one in trained]
        domain = self.model.domain
        preprocessor = trained[0].parts.preprocessor
        return Predictor(tasks, preprocessor, self.settings.target, facts, domain, self.device)

    def _calibrated(self, trained: Sequence[TrainedTask], split: ProbeSplit, calibration: np.ndarray) -> Predictor:
        assert split.validation is not None
        target, truth = self.settings.target, self.truth[split.validation]
        plain = self._predictor(trained, {})
        raw = plain.raw(self._reader(trained), self.options, split.validation)
        facts: dict[str, Any] = {"temperature": temperature_of(target, truth, raw)}
        answers = self._answers(trained, self._predictor(trained, facts), calibration)
        return self._predictor(
            trained, task_facts(target, self.truth[calibration], answers.outputs, facts["temperature"])
        )

    def _reader(self, trained: Sequence[TrainedTask]) -> DatasetReader:
        """The rows as they lie there; of bags those of which the windows are encoded already, where one encoder did so
        (members that start from random weights have encoders of their own)."""
        parts = trained[0].parts
        if isinstance(parts.preprocessor, Bags) and len(trained) == 1:
            return parts.reader
        return OneTarget(self.rows.reader, self.settings.target, further=self.settings.further)

    def _answers(self, trained: Sequence[TrainedTask], predictor: Predictor, rows: np.ndarray) -> PredictedRows:
        return join_predictions(list(predictor.windows(self._reader(trained), self.options, rows)))

    def _export(self, trained: Sequence[TrainedTask], facts: Mapping[str, Any], own: RunFolder) -> None:
        part = TaskPart(
            name=self.settings.task.name,
            config=self.settings.task.config,
            target=self.settings.target,
            module=trained[0].task,
            facts=facts,
            members=[one.task for one in trained[1:]],
        )
        if not is_first_process():
            return
        first = trained[0]
        changes = changes_after(self.model, self.settings)
        run, kept = first.run, first.kept
        export_model(self.model.registry, first.parts, own, run.validation, run.steps, part, changes, kept)

    def _test(
        self, trained: Sequence[TrainedTask], predictor: Predictor, test: np.ndarray, own: RunFolder, *, drawn: bool
    ) -> Scores:
        if not len(test):
            return Scores({})
        target, truth = self.settings.target, self.truth[test]
        found = self._answers(trained, predictor, test)
        if is_first_process():
            write_predictions(own.path / "predictions" / "test.parquet", predictor, found)
        if drawn and is_first_process():
            answers = (target, predictor.facts, found.outputs, truth)
            missing = write_answer_pictures(own, self.settings.dataset.entry, self.rows.reader, test, answers)
            if missing:
                self.reporter.info(missing)
        good = np.isfinite(found.outputs).all(1)
        scores = score_predictions(target, truth[good], found.outputs[good])
        scores.rows = test[good]
        if not good.all():
            scores.notes = (*scores.notes, f"{int((~good).sum())} test rows have no prediction")
        return scores


@contextmanager
def _kept_by_first(folder: Path) -> Iterator[Path]:
    """Where scoring writes: into the folder in the first process of a run; what others write is not kept."""
    with TemporaryDirectory() as apart:
        yield folder if is_first_process() else Path(apart)


def write_predictions(path: Path, predictor: Predictor, found: PredictedRows) -> None:
    """Predictions with their labels, in the form of ``repcore predict``; replaces the file."""
    target, count = predictor.target, found.outputs.shape[1]
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = answer_columns(target, predictor.facts, found)
    columns.update(label_columns(target, target, found.labels, count))
    names = output_names(target, count)
    answer = f"p:{names[0]}" if target.kind in ("class", "multilabel") else names[0]
    writer = TableWriter(path, {"target": target.name, "kind": target.kind}, answer, text_columns(target, count))
    writer.restart()
    writer.write(found.ids, found.status, found.reason, columns)
    writer.finish()


AGAINST_RANDOM: Mapping[str, str] = {MODEL: "pre-trained", RANDOM: "random starting weights"}


def verdict(
    results: Sequence[PartResult], target: TargetSpec, words: Mapping[str, str] = AGAINST_RANDOM
) -> Comparison | None:
    """The model against a control, by default random starting weights, paired by seed and fold; None without it.

    Args:
        words: what to call the two sides, by ``Part.start``, the model's first.
    """
    sides: dict[str, dict[int, list[Scores]]] = {start: {} for start in words}
    for one in results:
        if one.scores and one.part.start in sides:
            sides[one.part.start].setdefault(one.part.seed, []).append(one.scores)
    _, control = sides.values()
    if not sides[MODEL] or sides[MODEL].keys() != control.keys():
        return None
    first = next(iter(sides[MODEL].values()))[0]
    metric = primary_metric(target.kind, 2 if first.predictions is None else first.predictions.shape[1])
    if metric not in first:  # labels of elements
        metric = next(iter(first))
    ours, theirs = ((words[start], list(sides[start].values())) for start in words)
    return compare("fine-tuning", metric, (ours, theirs), target, generator=np.random.default_rng(0))


def _write_out_of_fold(outcome: FinetuneOutcome, target: TargetSpec, folder: RunFolder) -> None:
    """The test predictions of all folds in one file, with their fold and starting weights."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folds = [one for one in outcome.results if "fold-" in one.part.name]
    if not folds or not is_first_process():
        return
    tables = []
    for one in folds:
        table = read_parquet(one.folder / "predictions" / "test.parquet")
        table = table.append_column("fold", pa.array([one.part.name.rpartition("/")[2]] * table.num_rows))
        tables.append(table.append_column("start", pa.array([one.part.start] * table.num_rows)))
    path = folder.path / "predictions" / "out-of-fold.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as partial, partial.open("wb") as file:
        pq.write_table(pa.concat_tables([one.replace_schema_metadata() for one in tables]), file)


def record_of(outcome: FinetuneOutcome, request: Mapping[str, Any]) -> dict[str, Any]:
    """Content of ``finetune.json``: the kept run's figures at the top, then every part and the verdict."""
    kept = next(one for one in outcome.results if not one.part.name)
    scored = kept if kept.scores else None
    means = mean_scores([one.scores for one in outcome.results if one.part.start == MODEL and one.scores])
    parts = [
        {"part": one.part.name or MODEL, "start": one.part.start, "seed": one.part.seed, "rows": dict(one.rows),
         "test": dict(one.scores), "notes": list(one.scores.notes)}
        for one in outcome.results
    ]  # fmt: skip
    record = {
        "start": kept.part.start,
        "seed": kept.part.seed,
        "rows": dict(kept.rows),
        "test": dict(scored.scores) if scored else means,
        "verdict": "" if outcome.verdict is None else outcome.verdict.verdict,
        "method": outcome.method,
        "against_plain": "" if outcome.against_plain is None else outcome.against_plain.verdict,
        "parts": parts,
        "request": dict(request),
    }
    finite: dict[str, Any] = as_strict(record)
    return finite


def mean_scores(scores: Sequence[Scores]) -> dict[str, float]:
    """Mean of each metric over runs; NaN where one has none."""
    names = list(dict.fromkeys(name for one in scores for name in one))
    return {name: float(np.mean([one.get(name, math.nan) for one in scores])) for name in names}
