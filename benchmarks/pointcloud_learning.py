"""What I2P-MAE's objective learns from 283 low-poly models on a CPU, with each teacher, judged on 119 others.

Pre-training as `repcore pointcloud train i2p-mae --preset tiny` makes it, then the linear SVM (C by cross-validation on
train), beside the same encoder with random weights (one twin a seed), two shape descriptors, and a kernel SVM on the
better descriptor. Vectors are the preset's (every level, mean and maximum) and the published feature (maximum of the
coarse tokens). Teachers are compared over the same seeds; the verdict is the paired difference
with its standard deviation.
``none`` is the recipe with its teacher taken out; ``point-m2ae``, as a teacher, is the recipe of that name. Other
lengths of one seed show what budget does.

    python benchmarks/pointcloud_learning.py --data FOLDER [--seeds 3] [--teachers classical none random] [--threads 1]

FOLDER is quaternius_lowpoly. One run takes about two minutes on one free core.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import RESULTS, facts, write_result
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

import repcore
from repcore import registry
from repcore.config.resolve import resolve_run
from repcore.embedding.inference import InferenceOptions
from repcore.embedding.model import Model
from repcore.evaluation.probing import FeatureSets, compute_features, probe_features
from repcore.evaluation.protocol import RANDOM_INIT, TRAINED
from repcore.interfaces import DatasetReader
from repcore.reporting import LogReporter
from repcore.specs import TargetSpec
from repcore.training.assembly import assemble
from repcore.training.run import start_run
from repcore_pointcloud.encoders.i2p_mae import HierarchicalPointEncoder

LABEL, PROTOCOL, METRIC, SPLIT = "class", "svm@1", "accuracy", "declared"
BASELINES = ("extents", "extents-d2")
KERNEL = "extents-d2, kernel SVM"
POINT_M2AE = "point-m2ae"  # the recipe without a teacher, with settings of its own
MAXIMUM = "maximum of coarse tokens"
GAIN, GAIN_MAXIMUM = "gain over random-init twin", f"gain over random-init twin, {MAXIMUM}"


def main() -> None:
    options = parse_arguments()
    torch.set_num_threads(options.threads)
    threadpool_limits(options.threads)
    record: dict[str, Any] = facts(("repcore", "repcore-pointcloud", "torch", "lightning", "scikit-learn"))
    record |= {"threads": options.threads, "protocol": f"{PROTOCOL}, {SPLIT} split", "label": LABEL}
    record |= {"references": {}, "runs": []}
    target = options.out or RESULTS / "pointcloud_learning.json"
    if options.resume and target.is_file():
        kept = json.loads(target.read_text(encoding="utf-8"))
        record |= {name: kept[name] for name in ("references", "runs")}
    done = {(run["teacher"], run["seed"], run["asked_steps"]) for run in record["runs"]}
    first, *others = options.teachers
    plan = [(first, seed, options.steps) for seed in range(options.seeds)]
    plan += [(teacher, seed, options.steps) for seed in range(options.seeds) for teacher in others]
    plan += [(first, 0, steps) for steps in options.budgets]
    with tempfile.TemporaryDirectory() as folder:
        for teacher, seed, steps in (one for one in plan if one not in done):
            run, references = one_run(
                options, (teacher, seed, steps), Path(folder), record["references"].get(str(seed))
            )
            record["runs"].append(run)
            record["references"][str(seed)] = references
            print(json.dumps(run), flush=True)
            record["summary"] = summary(record["runs"], record["references"])
            write_result("pointcloud_learning", record, options.out)
    print(json.dumps(record["summary"], indent=1))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with points.npz")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--teachers", nargs="+", default=["classical", "none", "random"])
    parser.add_argument("--steps", type=int, default=None, help="of every run (default: the recipe's)")
    parser.add_argument("--budgets", type=int, nargs="*", default=[], help="other lengths, seed 0, first teacher")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--resume", action="store_true", help="keep the runs of the result file, add what is missing")
    parser.add_argument(
        "--out", type=Path, default=None, help="result file (default: results/pointcloud_learning.json)"
    )
    return parser.parse_args()


Run = dict[str, Any]


def one_run(
    options: argparse.Namespace, asked: tuple[str, int, int | None], folder: Path, references: Run | None
) -> tuple[Run, Run]:
    """Train and probe once; what does not depend on the teacher is measured once a seed."""
    teacher, seed, steps = asked
    overrides = [f"trainer.seed={seed}", f"trainer.threads={options.threads}"]
    if teacher != POINT_M2AE:
        overrides.append(f"objective.teacher={teacher}")
    if teacher == "none":
        overrides.append("objective.saliency=uniform")
    if steps is not None:
        overrides.append(f"trainer.steps={steps}")
    resolved = resolve_run(
        registry.default(),
        POINT_M2AE if teacher == POINT_M2AE else "i2p-mae",
        domain="pointcloud",
        overrides=overrides,
        settings={"dataset.name": "pointcloud/shape-arrays", "dataset.path": str(options.data)},
    )
    parts = assemble(resolved, LogReporter())
    started = time.perf_counter()
    processor = time.process_time()
    result = start_run(
        registry.default(), parts, LogReporter(), root=folder, name=f"{teacher}-{seed}-{steps}", device="cpu"
    )
    seconds = {"wall_seconds": time.perf_counter() - started, "processor_seconds": time.process_time() - processor}
    model = repcore.load(result.folder / "model")
    features, found = measured(model, parts.reader, seed, is_first=references is None)
    run = {"teacher": teacher, "seed": seed, "asked_steps": steps, "steps": result.steps}
    run |= {name: round(value, 1) for name, value in seconds.items()} | found.pop(TRAINED)
    if references is None:
        references = found | {KERNEL: round(kernel_svm(features), 4)}
    return run, references


def measured(model: Model, reader: DatasetReader, seed: int, *, is_first: bool) -> tuple[FeatureSets, Run]:
    """Accuracy of the trained vectors; for a first teacher also of the published feature, the twin and descriptors."""
    features = compute_features(
        model,
        reader,
        [seed] if is_first else [],
        InferenceOptions(batch_size=64),
        LogReporter(),
        baselines=is_first,
    )
    label = target_of(reader)
    matrices = {TRAINED: features.matrices[TRAINED]}
    if is_first:
        matrices[RANDOM_INIT] = features.matrices[RANDOM_INIT][0]
    found: Run = {}
    for name, values in matrices.items():
        found[name] = {"accuracy": accuracy(model, features, values, label, seed)}
        if is_first:
            assert isinstance(model.encoder, HierarchicalPointEncoder)
            width = model.encoder.config.widths[-1]
            found[name][MAXIMUM] = accuracy(model, features, values[:, width : 2 * width], label, seed)
    for name in BASELINES if is_first else ():
        found[name] = accuracy(model, features, features.matrices[name], label, seed)
    return features, found


def accuracy(model: Model, features: FeatureSets, values: np.ndarray, label: TargetSpec, seed: int) -> float:
    """Share of test items that the linear SVM names."""
    table = probe_features(
        registry.default(), FeatureSets({TRAINED: values}, features.rows, features.failed), label,
        preprocessor_name=model.folder.preprocessor_name, protocols=[PROTOCOL], split=SPLIT, seeds=[seed],
        external=True,
    )  # fmt: skip
    return round(table.value(TRAINED, PROTOCOL, METRIC).mean, 4)


def target_of(reader: DatasetReader) -> TargetSpec:
    return next(one for one in reader.targets if one.name == LABEL)


def kernel_svm(features: FeatureSets) -> float:
    """Accuracy of a kernel SVM on the better descriptor, C by cross-validation on train."""
    reader = features.rows.reader
    values, classes = np.asarray(features.matrices["extents-d2"]), features.rows.labels(target_of(reader)).reshape(-1)
    train, test = (np.asarray(reader.splits[part]) for part in ("train", "test"))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    machine = make_pipeline(StandardScaler(), SVC())
    search = GridSearchCV(machine, {"svc__C": [0.1, 1.0, 10.0, 100.0]}, cv=folds)
    return float(search.fit(values[train], classes[train]).score(values[test], classes[test]))


def summary(runs: list[Run], references: dict[str, Run]) -> Run:
    """Accuracy and gain over the random twin of each teacher, paired differences between teachers, other lengths."""
    usual = [run for run in runs if run["asked_steps"] == runs[0]["asked_steps"]]
    by_teacher: dict[str, dict[int, Run]] = {}
    for run in usual:
        by_teacher.setdefault(run["teacher"], {})[run["seed"]] = run
    found: Run = {}
    for teacher, each in by_teacher.items():
        twins = {seed: references[str(seed)][RANDOM_INIT] for seed in each}
        found[teacher] = {"trained": of([run["accuracy"] for run in each.values()])}
        if teacher != POINT_M2AE:  # which has other groups, and so another twin
            found[teacher][GAIN] = of([run["accuracy"] - twins[seed]["accuracy"] for seed, run in each.items()])
        if all(MAXIMUM in run for run in each.values()):
            found[teacher][f"trained, {MAXIMUM}"] = of([run[MAXIMUM] for run in each.values()])
            found[teacher][GAIN_MAXIMUM] = of([run[MAXIMUM] - twins[seed][MAXIMUM] for seed, run in each.items()])
    names = list(by_teacher)
    for place, first in enumerate(names):
        for second in names[place + 1 :]:
            shared = sorted(by_teacher[first].keys() & by_teacher[second].keys())
            pairs = [by_teacher[first][seed]["accuracy"] - by_teacher[second][seed]["accuracy"] for seed in shared]
            if pairs:
                found[f"{first} minus {second}"] = of(pairs)
    for one in ("accuracy", MAXIMUM):
        found[f"random-init twin, {one}"] = of([each[RANDOM_INIT][one] for each in references.values()])
    for name in (*BASELINES, KERNEL):
        found[name] = of([each[name] for each in references.values()])
    longer = [run for run in runs if run["seed"] == 0 and run["teacher"] == names[0]]
    return found | {"by steps, seed 0": {str(one["steps"]): one["accuracy"] for one in sorted(longer, key=steps_of)}}


def steps_of(run: Run) -> int:
    return int(run["steps"])


def of(values: list[float]) -> Run:
    """Mean, standard deviation over seeds, and every value."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    each = [round(value, 4) for value in values]
    return {"mean": round(statistics.mean(values), 4), "sd": round(deviation, 4), "each": each}


if __name__ == "__main__":
    main()
