"""What FAC learns from one street scan on a CPU, judged by dense probes on other sectors of the scan.

Pre-training as `repcore pointcloud train fac --preset lidar` makes it, without labels, then a class-balanced linear
probe of single points (600 a class from eight 30-degree sectors, tested on the other four), beside the same encoder
with random weights (one twin a seed, BatchNorm statistics calibrated), hand-crafted geometry (|n_z|, height, eigenvalue
ratios), and trained features joined to hand-crafted ones. Several seeds at one length, then one seed at other lengths.

    python benchmarks/scenes_learning.py --data FOLDER [--seeds 3] [--steps 260] [--budgets 60 800] [--threads 1]

FOLDER holds lidar_wachtberg/scan004.npz. 260 steps take four to ten minutes on one core.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import facts, write_result

import repcore
from repcore import registry
from repcore.config.resolve import resolve_run
from repcore.reporting import LogReporter
from repcore.training.assembly import assemble
from repcore.training.run import start_run
from repcore_pointcloud.probes.scene_points import (
    LabelledPoints,
    calibrate,
    collect_points,
    region_points,
    score_points,
)

LABEL, GROUP, IGNORED, TESTED = "label5", "sector", (0,), (3, 7, 9, 11)
TRAINED, TWIN, CRAFTED, JOINED = "trained", "random-init", "hand-crafted", "trained + hand-crafted"


def main() -> None:
    options = parse_arguments()
    torch.set_num_threads(options.threads)
    record: dict[str, Any] = facts(("repcore", "repcore-pointcloud", "torch", "lightning", "scikit-learn"))
    record |= {
        "threads": options.threads,
        "label": LABEL,
        "tested_sectors": TESTED,
        "overrides": options.set,
        "runs": [],
    }
    plan = [(seed, options.steps) for seed in range(options.seeds)]
    plan += [(0, steps) for steps in options.budgets if steps != options.steps]
    with tempfile.TemporaryDirectory() as folder:
        for seed, steps in plan:
            record["runs"].append(one_run(options, seed, steps, Path(folder)))
            print(json.dumps(record["runs"][-1]), flush=True)
            record["summary"] = summary(record["runs"], options.steps)
            write_result("scenes_learning", record, options.out)
    print(json.dumps(record["summary"], indent=1))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with lidar_wachtberg")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=260, help="of the runs with several seeds")
    parser.add_argument("--budgets", type=int, nargs="*", default=[60, 800], help="other lengths, seed 0 only")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", nargs="*", default=[], help="further key=value settings of the recipe")
    parser.add_argument("--out", type=Path, default=None, help="result file (default: results/scenes_learning.json)")
    return parser.parse_args()


def one_run(options: argparse.Namespace, seed: int, steps: int, folder: Path) -> dict[str, Any]:
    """Train and probe once."""
    file = options.data / "lidar_wachtberg" / "scan004.npz"
    overrides = [f"trainer.seed={seed}", f"trainer.steps={steps}", f"trainer.threads={options.threads}", *options.set]
    resolved = resolve_run(
        registry.default(),
        "fac",
        preset="lidar",
        domain="pointcloud",
        overrides=overrides,
        settings={"dataset.name": "pointcloud/scenes", "dataset.path": str(file)},
    )
    parts = assemble(resolved, LogReporter())
    started = time.perf_counter()
    result = start_run(
        registry.default(), parts, LogReporter(), root=folder, name=f"seed-{seed}-steps-{steps}", device="cpu"
    )
    minutes = (time.perf_counter() - started) / 60
    points = labelled_points(result.folder / "model", file, seed)
    return {"seed": seed, "steps": steps, "minutes": round(minutes, 2), **scores(points, seed)}


def labelled_points(folder: Path, file: Path, seed: int) -> LabelledPoints:
    """Features of all labelled points under the trained and the random encoder, and hand-crafted."""
    model: Any = repcore.load(folder)
    reader = model.reader(file)
    sample = reader[0]
    batch = model.preprocessor.collate(model.preprocessor.prepare(sample))
    encoders = {TRAINED: model.encoder, TWIN: calibrate(model.random_twin(seed), [batch])}
    points = collect_points(
        model.preprocessor, encoders, [sample], label=LABEL, ignored=IGNORED, group=GROUP, test=TESTED
    )
    joined = np.concatenate([points.features[TRAINED], points.features[CRAFTED]], axis=1)
    return dataclasses.replace(points, features={**points.features, JOINED: joined})


def scores(points: LabelledPoints, seed: int) -> dict[str, Any]:
    """mIoU of each set of features: points linear and knn, regions, and with 1 % of the labels."""
    regions = region_points(points)
    table: dict[str, Any] = {}
    for name in (TRAINED, TWIN, CRAFTED, JOINED):
        table[name] = {
            "linear": round(score_points(points, name, seed=seed).mean_iou, 4),
            "knn": round(score_points(points, name, seed=seed, kind="knn").mean_iou, 4),
            "region": round(score_points(regions, name, seed=seed).mean_iou, 4),
            "1 %": round(score_points(points, name, seed=seed, share=0.01).mean_iou, 4),
            "10 %": round(score_points(points, name, seed=seed, share=0.1).mean_iou, 4),
        }
    return table


def summary(runs: list[dict[str, Any]], steps: int) -> dict[str, Any]:
    """Mean and deviation over the seeds of one length, and the curve over lengths."""
    own = [one for one in runs if one["steps"] == steps]
    found: dict[str, Any] = {"steps": steps, "seeds": len(own), "curve": {}}
    for name in (TRAINED, TWIN, CRAFTED, JOINED):
        values = [one[name]["linear"] for one in own]
        found[name] = {"mean": round(statistics.mean(values), 4), "sd": round(statistics.pstdev(values), 4)}
    for one in sorted(runs, key=lambda run: run["steps"]):
        if one["seed"] == 0:
            found["curve"][str(one["steps"])] = one[TRAINED]["linear"]
    return found


if __name__ == "__main__":
    main()
