"""Do 90 % intervals and sets hold the truth in 90 % of held-out rows? ESOL, FreeSolv, BBBP and FSDD, ten random splits.

Conformal coverage must hold for any model, so the encoders are small and all but untrained: their vectors are computed
once, and for every split the product's own task (its head, its labels' scale) is trained on them, the weights of the
best validation loss are kept, and the product's own code does the rest: the validation part and the rows for
calibration (`with_validation` and `calibration_apart` of `repcore.training.finetune`), temperature and scores
(`repcore.evaluation.calibration`), intervals and sets (`repcore.embedding.answers`). Splits are `--split random`, of
seeds 0 to 9.

The gate: a mean over the splits between 87 and 93 %. Beside it stand the lowest and highest split and the spread that
would be expected of exact 90 % coverage: of one split with n validation and m test rows, the number of covered rows is
beta-binomial with a = ceil((n + 1) 0.9) and b = n + 1 - a.

    python benchmarks/answer_coverage.py --data FOLDER [--splits 10] [--coverage 0.9]

FOLDER holds molecules/{esol,freesolv,bbbp} and audio/fsdd. Four minutes on one core; writes results/coverage.md.
"""

from __future__ import annotations

import argparse
import copy
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import RESULTS, facts
from scipy.stats import betabinom
from torch import Tensor, nn

import repcore
from repcore import registry
from repcore.cli.main import run
from repcore.data.chosen_labels import LabelledOnly
from repcore.embedding.answers import Columns, answer_columns, column_of, names_in_set
from repcore.embedding.prediction import PredictedRows, Predictor
from repcore.evaluation.calibration import task_facts, temperature_of
from repcore.evaluation.probing import LabelledRows, read_rows, split_plan
from repcore.interfaces import Batch, Features, ProbeSplit
from repcore.specs import TargetSpec
from repcore.training.finetune_parts import calibration_apart, with_validation

GATE = (0.87, 0.93)
STEPS, EVERY, RATE, DECAY = 150, 10, 0.01, 0.1
TASKS = {"class": "classification", "regression": "regression"}


@dataclass(frozen=True)
class DataSet:
    """Which rows, which label, which model."""

    name: str
    path: str
    label: str
    domain: str


SETS = (
    DataSet("ESOL", "molecules/esol/esol.csv", "logS", "molecules"),
    DataSet("FreeSolv", "molecules/freesolv/freesolv.csv", "dG_hyd_kcal_mol", "molecules"),
    DataSet("BBBP", "molecules/bbbp/bbbp.csv", "p_np", "molecules"),
    DataSet("FSDD", "audio/fsdd/manifest.csv", "digit", "audio"),
)
SMALL: Mapping[str, list[str]] = {
    "molecules": ["selformer", "encoder.hidden_width=64", "encoder.layers=2", "encoder.attention_heads=2",
                  "encoder.feed_forward_width=64", "data.limit=400", "trainer.steps=20"],
    "audio": ["ssamba", "encoder.width=32", "encoder.depth=2", "encoder.states=4", "dataset.clips=40",
              "dataset.seconds=0.6", "trainer.steps=5", "schedule.warmup_steps=1"],
}  # fmt: skip


class Vectors(nn.Module):
    """An encoder whose inputs are vectors already."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, batch: Batch) -> Features:
        return Features(batch.inputs)


@dataclass(frozen=True)
class Split:
    """Coverage and size of one split."""

    covered: int
    test: int
    validation: int
    size: float  # mean number of classes in a set, or width of an interval


def vectors(model: repcore.embedding.model.Model, rows: LabelledRows) -> Tensor:
    """Standardised vectors (N, D); rows that fail are NaN."""
    found = torch.from_numpy(model.embed(rows.reader).vectors).float()
    good = torch.isfinite(found).all(1)
    return (found - found[good].mean(0)) / found[good].std(0).clamp(min=1e-6)


def trained(target: TargetSpec, x: Tensor, truth: np.ndarray, split: ProbeSplit, seed: int) -> Any:
    """The product's task on vectors, with the weights of the best validation loss."""
    torch.manual_seed(seed)
    entry = registry.default().task(TASKS[target.kind], "")
    task: Any = entry.load()(entry.load("config")(dropout=0.0), Vectors(x.shape[1]), target)
    task.fit_targets(truth[split.train])
    optimiser = torch.optim.AdamW(task.parameters(), lr=RATE, weight_decay=DECAY)
    labels = torch.from_numpy(truth).float()
    best, state = math.inf, task.state_dict()
    for step in range(STEPS):
        if step % EVERY == 0:
            with torch.no_grad():
                loss = float(task.loss(task(batch_of(x, split.validation)), labels[split.validation]))
            if loss < best:
                best, state = loss, copy.deepcopy(task.state_dict())
        optimiser.zero_grad()
        task.loss(task(batch_of(x, split.train)), labels[split.train]).backward()
        optimiser.step()
    task.load_state_dict(state)
    return task.eval()


def batch_of(x: Tensor, rows: np.ndarray | None) -> Batch:
    assert rows is not None
    return Batch(inputs=x[rows], size=len(rows))


def answers(
    task: Any, target: TargetSpec, x: Tensor, truth: np.ndarray, split: ProbeSplit, rows: np.ndarray, coverage: float
) -> Columns:
    """Columns of test rows, calibrated as `finetune` does it: temperature of validation rows, scores of ``rows``."""
    assert split.validation is not None
    with torch.no_grad():
        chosen, held, tested = (task(batch_of(x, part)).float() for part in (split.validation, rows, split.test))
    known = truth[rows]
    temperature = temperature_of(target, truth[split.validation], chosen[:, None].numpy())
    predictor = Predictor([task], None, target, {"temperature": temperature}, "")  # type: ignore[arg-type]
    facts_of_task = task_facts(target, known, predictor.answered(task, held).numpy(), temperature)
    outputs = predictor.answered(task, tested).numpy()
    count = len(outputs)
    return answer_columns(
        target, facts_of_task, PredictedRows([""] * count, ["ok"] * count, [""] * count, outputs), coverage
    )


def covered(target: TargetSpec, columns: Columns, truth: np.ndarray) -> tuple[int, float]:
    """Rows whose truth lies within, and the mean size of an answer."""
    name = column_of(target)
    if target.kind == "class":
        sets = [names_in_set(str(one or "")) for one in columns["set"]]
        inside = [target.names[int(y)] in one for y, one in zip(truth, sets, strict=True)]
        return sum(inside), float(np.mean([len(one) for one in sets]))
    low, high = (np.asarray(columns[f"{end}:{name}"], float) for end in ("low", "high"))
    return int(((low <= truth) & (truth <= high)).sum()), float((high - low).mean())


def measure(one: DataSet, folder: Path, model: Any, splits: int, coverage: float) -> tuple[TargetSpec, list[Split]]:
    reader = model.reader(str(folder / one.path), labels=[one.label])
    target = next(spec for spec in reader.targets if spec.name == one.label)
    rows = read_rows(LabelledOnly(reader, target))
    x = vectors(model, rows)
    truth = rows.labels(target).astype(np.float64).reshape(len(rows.ids))
    truth[~torch.isfinite(x).all(1).numpy()] = np.nan
    usable = ~np.isnan(truth)
    plan = split_plan(registry.default(), model.folder.preprocessor_name, rows, target, "random", range(splits))
    found = []
    for seed in range(splits):
        part = with_validation(plan.folds[seed][0], rows, target, seed)
        assert part.validation is not None
        part = ProbeSplit(*(rows_[usable[rows_]] for rows_ in (part.train, part.test, part.validation)))
        part, rows_apart = calibration_apart(part, seed)
        task = trained(target, x, truth, part, seed)
        columns = answers(task, target, x, truth, part, rows_apart, coverage)
        inside, size = covered(target, columns, truth[part.test])
        found.append(Split(inside, len(part.test), len(rows_apart), size))
    return target, found


def expected(splits: list[Split], coverage: float) -> tuple[float, float]:
    """95 % range of one split's coverage if it is exact, from the first split's sizes."""
    n, m = splits[0].validation, splits[0].test
    a = math.ceil((n + 1) * coverage - 1e-9)
    low, high = betabinom.interval(0.95, m, a, n + 1 - a)
    return float(low) / m, float(high) / m


def report(results: Mapping[str, tuple[TargetSpec, list[Split]]], coverage: float) -> str:
    """Markdown."""
    told = facts(["torch", "numpy"])
    lines = [
        f"# Coverage of {coverage:.0%} intervals and sets", "",
        "Made by `python benchmarks/answer_coverage.py`; method in its head. Intervals: split-conformal,",
        "absolute residuals, one width for all rows.",
        "Sets: least ambiguous sets (a class is in the set where 1 - p is at most the",
        "threshold), not randomised. Threshold: the ceil((n + 1) c)-th smallest validation score, the finite-sample",
        "correction. Expected range: 95 % of splits, if coverage is exact.", "",
        f"{told['date']}, {told['machine']['processor']}, {len(next(iter(results.values()))[1])} random splits.", "",
        "| data | label | calibration / test rows | mean coverage | lowest to highest | expected range | mean size |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, (target, splits) in results.items():
        shares = [one.covered / one.test for one in splits]
        low, high = expected(splits, coverage)
        unit = "classes" if target.kind == "class" else target.unit or target.name
        lines.append(
            f"| {name} | {target.name} | {splits[0].validation} / {splits[0].test} | {np.mean(shares):.1%} | "
            f"{min(shares):.1%} to {max(shares):.1%} | {low:.1%} to {high:.1%} | "
            f"{np.mean([one.size for one in splits]):.2f} {unit} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--coverage", type=float, default=0.9)
    parser.add_argument("--output", type=Path, default=RESULTS / "coverage.md")
    given = parser.parse_args()
    torch.set_num_threads(1)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("REPCORE_CACHE", f"{folder}/cache")
        models = {}
        for domain, words in SMALL.items():
            recipe, *settings = words
            command = [domain, "train", recipe, "--out", folder, "--name", domain, "--device", "cpu", *settings]
            assert run(command) == 0
            models[domain] = repcore.load(Path(folder) / domain)
        for one in SETS:
            results[one.name] = measure(one, given.data, models[one.domain], given.splits, given.coverage)
            shares = [split.covered / split.test for split in results[one.name][1]]
            print(f"{one.name}: {np.mean(shares):.3f} ({', '.join(f'{share:.3f}' for share in shares)})", flush=True)
    given.output.write_text(report(results, given.coverage), encoding="utf-8")
    wrong = {n: v for n, (_, s) in results.items()
             if not GATE[0] <= (v := float(np.mean([x.covered / x.test for x in s]))) <= GATE[1]}  # fmt: skip
    if given.coverage == 0.9 and wrong:
        raise SystemExit(f"outside {GATE}: {wrong}")


if __name__ == "__main__":
    main()
