"""What I2P-MAE's objective learns from 283 low-poly models on a CPU, with each teacher, judged on 119 others.

Pre-training as `repcore pointcloud train i2p-mae --preset tiny` makes it, then the linear SVM (C by cross-validation on
train), beside the same encoder with random weights, two shape descriptors, and a kernel SVM on the better descriptor.
Teachers are compared over the same seeds; the verdict is the paired difference with its deviation.

    python benchmarks/pointcloud_learning.py --data FOLDER [--seeds 3] [--teachers none classical random] [--threads 1]

FOLDER is quaternius_lowpoly. One run of 300 steps takes about five minutes on one free core.
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
from repcore.evaluation.probing import FeatureSets, compute_features, probe_features
from repcore.evaluation.protocol import RANDOM_INIT, TRAINED
from repcore.reporting import LogReporter
from repcore.training.assembly import assemble
from repcore.training.run import start_run

LABEL, PROTOCOL, METRIC = "class", "svm@1", "accuracy"
BASELINES = ("extents", "extents-d2")
KERNEL = "extents-d2, kernel SVM"


def main() -> None:
    options = parse_arguments()
    torch.set_num_threads(options.threads)
    threadpool_limits(options.threads)
    record: dict[str, Any] = facts(("repcore", "repcore-pointcloud", "torch", "lightning", "scikit-learn"))
    record |= {"threads": options.threads, "protocol": PROTOCOL, "label": LABEL, "runs": []}
    target = options.out or RESULTS / "pointcloud_learning.json"
    if options.resume and target.is_file():
        record["runs"] = json.loads(target.read_text(encoding="utf-8"))["runs"]
    done = {(run["teacher"], run["seed"]) for run in record["runs"]}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.seeds):
            for teacher in options.teachers:
                if (teacher, seed) in done:
                    continue
                record["runs"].append(one_run(options, teacher, seed, Path(folder)))
                print(json.dumps(record["runs"][-1]), flush=True)
                record["summary"] = summary(record["runs"])
                write_result("pointcloud_learning", record, options.out)
    print(json.dumps(record["summary"], indent=1))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with points.npz")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--teachers", nargs="+", default=["none", "classical", "random"])
    parser.add_argument("--steps", type=int, default=None, help="of every run (default: the recipe's)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--resume", action="store_true", help="keep the runs of the result file, add what is missing")
    parser.add_argument(
        "--out", type=Path, default=None, help="result file (default: results/pointcloud_learning.json)"
    )
    return parser.parse_args()


def one_run(options: argparse.Namespace, teacher: str, seed: int, folder: Path) -> dict[str, Any]:
    """Train and probe once."""
    overrides = [f"trainer.seed={seed}", f"trainer.threads={options.threads}", f"objective.teacher={teacher}"]
    if teacher == "none":
        overrides.append("objective.saliency=uniform")
    if options.steps is not None:
        overrides.append(f"trainer.steps={options.steps}")
    resolved = resolve_run(
        registry.default(),
        "i2p-mae",
        domain="pointcloud",
        overrides=overrides,
        settings={"dataset.name": "pointcloud/shape-arrays", "dataset.path": str(options.data)},
    )
    parts = assemble(resolved, LogReporter())
    started = time.perf_counter()
    name = f"{teacher}-{seed}"
    result = start_run(registry.default(), parts, LogReporter(), root=folder, name=name, device="cpu")
    minutes = (time.perf_counter() - started) / 60
    model = repcore.load(result.folder / "model")
    features = compute_features(
        model, parts.reader, [seed], InferenceOptions(batch_size=64), LogReporter(), baselines=True
    )
    label = next(one for one in features.rows.reader.targets if one.name == LABEL)
    table = probe_features(
        registry.default(), features, label, preprocessor_name=model.folder.preprocessor_name, protocols=[PROTOCOL],
        split="declared", seeds=[seed],
    )  # fmt: skip
    found = {one.features: round(one.mean, 4) for one in table.entries if one.metric == METRIC}
    return {
        "teacher": teacher,
        "seed": seed,
        "steps": result.steps,
        "minutes": round(minutes, 2),
        **{key: found[key] for key in (TRAINED, RANDOM_INIT, *BASELINES) if key in found},
        KERNEL: round(kernel_svm(features), 4),
    }


def kernel_svm(features: FeatureSets) -> float:
    """Accuracy of a kernel SVM on the better descriptor, C by cross-validation on train."""
    reader = features.rows.reader
    label = next(one for one in reader.targets if one.name == LABEL)
    values, classes = np.asarray(features.matrices["extents-d2"]), features.rows.labels(label).reshape(-1)
    train, test = (np.asarray(reader.splits[part]) for part in ("train", "test"))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    machine = make_pipeline(StandardScaler(), SVC())
    search = GridSearchCV(machine, {"svc__C": [0.1, 1.0, 10.0, 100.0]}, cv=folds)
    return float(search.fit(values[train], classes[train]).score(values[test], classes[test]))


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Accuracy and gain over the random twin of each teacher, and paired differences between teachers."""
    by_teacher: dict[str, dict[int, dict[str, Any]]] = {}
    for run in runs:
        by_teacher.setdefault(run["teacher"], {})[run["seed"]] = run
    found: dict[str, Any] = {
        teacher: {
            "trained": of([run[TRAINED] for run in each.values()]),
            "gain over random-init twin": of([run[TRAINED] - run[RANDOM_INIT] for run in each.values()]),
        }
        for teacher, each in by_teacher.items()
    }
    names = list(by_teacher)
    for first in names:
        for second in names[names.index(first) + 1 :]:
            shared = sorted(by_teacher[first].keys() & by_teacher[second].keys())
            pairs = [by_teacher[second][seed][TRAINED] - by_teacher[first][seed][TRAINED] for seed in shared]
            if pairs:
                found[f"{second} minus {first}"] = of(pairs)
    return found | {name: runs[0][name] for name in (*BASELINES, KERNEL) if name in runs[0]}


def of(values: list[float]) -> dict[str, Any]:
    """Mean, deviation over seeds, and every value."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    each = [round(value, 4) for value in values]
    return {"mean": round(statistics.mean(values), 4), "sd": round(deviation, 4), "each": each}


if __name__ == "__main__":
    main()
