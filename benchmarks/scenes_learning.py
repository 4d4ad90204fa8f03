"""What FAC learns from real scenes on a CPU, judged by dense probes on parts that the probes never saw.

Pre-training as `repcore pointcloud train fac --preset lidar` (or `tabletop`) makes it, without labels, on all points
(those of tested sectors and scenes included: pre-training sees no label). Then a class-balanced linear probe of single
points (600 a class), beside the same encoder with random weights (one twin a seed, with BatchNorm statistics of the
data, and as drawn), hand-crafted geometry (|n_z|, height, eigenvalue ratios), and trained features joined to
hand-crafted ones. Features are those of the last stage, and those of all decoder stages side by side.

    python benchmarks/scenes_learning.py --data FOLDER --scenes street --seeds 3 --steps 300
    python benchmarks/scenes_learning.py --data FOLDER --choose ARM [ARM ...]

street: lidar_wachtberg/scan004.npz, tested on four of twelve sectors. tabletop: tabletop_mosd, object or not, tested on
the four scenes that the data set declares. ``--choose`` compares settings by cross-validation among the eight training
sectors alone, one seed, and writes results/scenes_choice.json. Earlier results of other scenes, seeds, lengths and arms
stay in their file.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import RESULTS, facts, write_result
from scenes_points import (
    CRAFTED,
    LabelledPoints,
    collect_points,
    labelled_rows,
    region_points,
    score_points,
)

import repcore
from repcore import registry
from repcore.config.resolve import resolve_run
from repcore.interfaces import Sample
from repcore.reporting import LogReporter
from repcore.training.assembly import assemble
from repcore.training.run import start_run
from repcore_pointcloud.probes.scene_features import Stages, calibrate


@dataclass(frozen=True)
class Scenes:
    """A data set, the preset that is trained on it, and what is tested."""

    path: str
    preset: str
    label: str
    ignored: tuple[int, ...] = ()
    group: str = ""
    tested: tuple[int | str, ...] = ()
    judged: int = 1  # one point in so many

    def labels(self) -> dict[str, Any]:
        """Arguments of what reads labels."""
        return {"label": self.label, "ignored": self.ignored, "group": self.group, "test": self.tested}


NOT_JUDGED = -1
SCENES = {
    "street": Scenes("lidar_wachtberg/scan004.npz", "lidar", "label5", (0,), "sector", (3, 7, 9, 11)),
    "tabletop": Scenes(
        "tabletop_mosd",
        "tabletop",
        "foreground",
        (NOT_JUDGED,),
        tested=("learn01", "learn18", "learn26", "learn34"),
        judged=8,
    ),
}
LEARNING = RESULTS / "scenes_learning.json"
CHOICE = RESULTS / "scenes_choice.json"
FOLDS = ((0, 4), (1, 5), (2, 6), (8, 10))  # of the training sectors, each of two that lie apart
BASE = [
    "trainer.steps=150", "optimiser.lr=0.003", "objective.temperature=0.1", "objective.feature_weight=1",
    "objective.negatives=regions", "objective.momentum=0.99",
    "views.rotation_deg=45", "views.scale=[0.95,1.05]", "views.window_points=16000", "views.view_points=16000",
    "preprocessor.merge_constant=0.08", "preprocessor.channels=[constant,height,slope,shape]",
]  # fmt: skip
"""Where the choice began; arms change one thing."""
ARMS: dict[str, list[str]] = {
    "base": [],
    "small": ["views.window_points=8000", "views.view_points=8000"],
    "warm": ["objective.temperature=0.4"],
    "turned": ["views.rotation_deg=180", "views.scale=[0.8,1.2]"],
    "large-regions": ["preprocessor.merge_constant=0.3"],
    "geometric-only": ["objective.feature_weight=0"],
    "slow": ["optimiser.lr=0.001"],
    "normals": ["preprocessor.channels=[constant,height,slope,shape,normal]"],
    "points": ["objective.negatives=points"],
    "long": ["trainer.steps=450"],
}  # fmt: skip
TRAINED, TWIN, DRAWN, JOINED = "trained", "random-init", "random-init, as drawn", "trained, decoder + hand-crafted"
STAGES: tuple[Stages, ...] = ("last", "decoder")
STAGED = tuple(f"{name}, decoder" for name in (TRAINED, TWIN, DRAWN))
FEATURES = (TRAINED, TWIN, DRAWN, *STAGED, CRAFTED, JOINED)
SHARES = (0.01, 0.1)
COMPARED = (*STAGED, CRAFTED)  # also by neighbours, by regions and with few labels


def main() -> None:
    options = parse_arguments()
    torch.set_num_threads(options.threads)
    record: dict[str, Any] = facts(("repcore", "repcore-pointcloud", "torch", "lightning", "scikit-learn"))
    record |= {"threads": options.threads, "overrides": options.set}
    with tempfile.TemporaryDirectory() as folder:
        if options.choose:
            choose(options, record, Path(folder))
        else:
            measure(options, record, Path(folder))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with lidar_wachtberg and tabletop_mosd")
    parser.add_argument("--scenes", nargs="+", default=list(SCENES), choices=list(SCENES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=None, help="of the runs with several seeds; default: the preset's")
    parser.add_argument("--budgets", type=int, nargs="*", default=[], help="other lengths on the street, seed 0 only")
    parser.add_argument("--choose", nargs="+", default=[], choices=list(ARMS), help="cross-validate settings instead")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", nargs="*", default=[], help="further key=value settings of the recipe")
    parser.add_argument("--out", type=Path, default=None, help="result file (default: below results/)")
    return parser.parse_args()


def measure(options: argparse.Namespace, record: dict[str, Any], folder: Path) -> None:
    """Several seeds at one length, then other lengths; the result file grows run by run."""
    is_known = LEARNING.is_file() and options.out is None
    record["runs"] = json.loads(LEARNING.read_text(encoding="utf-8"))["runs"] if is_known else []
    plan = [(name, seed, options.steps) for name in options.scenes for seed in range(options.seeds)]
    plan += [("street", 0, steps) for steps in options.budgets]
    for name, seed, steps in plan:
        trained = train(options, SCENES[name], seed, steps, folder, options.set)
        points = labelled_points(SCENES[name], trained, seed)
        found = {"scenes": name, "seed": seed, **trained.facts, **scores(points, seed)}
        same = [all(one[key] == found[key] for key in ("scenes", "seed", "steps")) for one in record["runs"]]
        record["runs"] = [*(one for one, again in zip(record["runs"], same, strict=True) if not again), found]
        print(json.dumps(found), flush=True)
        record["summary"] = summary(record["runs"])
        write_result("scenes_learning", record, options.out)
    print(json.dumps(record["summary"], indent=1))


def choose(options: argparse.Namespace, record: dict[str, Any], folder: Path) -> None:
    """Settings by cross-validation among the training sectors; tested sectors stay unseen."""
    known = json.loads(CHOICE.read_text(encoding="utf-8"))["arms"] if CHOICE.is_file() and options.out is None else []
    kept = [one for one in known if one["arm"] not in options.choose]
    record |= {"folds": FOLDS, "base": BASE, "arms": kept}  # arms of other days stay
    scenes = SCENES["street"]
    for arm in options.choose:
        trained = train(options, scenes, 0, options.steps, folder, [*BASE, *ARMS[arm], *options.set])
        points = labelled_points(scenes, trained, 0)
        found = {"arm": arm, "settings": ARMS[arm], **trained.facts, **cross_validated(points, trained, scenes)}
        record["arms"].append(found)
        print(json.dumps(found), flush=True)
        write_result("scenes_choice", record, options.out)


@dataclass(frozen=True)
class Trained:
    """A run's model and the scenes, prepared once."""

    model: Any  # repcore.Model
    samples: list[Sample]
    facts: dict[str, Any]


def train(
    options: argparse.Namespace, scenes: Scenes, seed: int, steps: int | None, folder: Path, overrides: list[str]
) -> Trained:
    """One run of the recipe."""
    path = options.data / scenes.path
    settings = [f"trainer.seed={seed}", f"trainer.threads={options.threads}", *overrides]
    resolved = resolve_run(
        registry.default(),
        "fac",
        preset=scenes.preset,
        domain="pointcloud",
        overrides=[*settings, *([f"trainer.steps={steps}"] if steps else [])],
        settings={"dataset.name": "pointcloud/scenes", "dataset.path": str(path)},
    )
    parts = assemble(resolved, LogReporter())
    started = time.perf_counter()
    name = f"{scenes.preset}-{seed}-{time.monotonic_ns()}"
    result = start_run(registry.default(), parts, LogReporter(), root=folder, name=name, device="cpu")
    minutes = (time.perf_counter() - started) / 60
    model: Any = repcore.load(result.folder / "model")
    reader = model.reader(path)
    samples = [reader[row] for row in range(len(reader))]
    samples = [
        dataclasses.replace(one, inputs=model.preprocessor.geometry(one), targets=judged_points(one, scenes))
        for one in samples
    ]
    return Trained(model, samples, {"steps": resolved.trainer.steps, "minutes": round(minutes, 2)})


def judged_points(sample: Sample, scenes: Scenes) -> dict[str, Any]:
    """Labels of a scene, of one point in ``scenes.judged``."""
    labels = np.asarray(sample.targets[scenes.label]).astype(np.int64)
    labels[np.arange(len(labels)) % scenes.judged != 0] = NOT_JUDGED
    return {**sample.targets, scenes.label: labels}


def labelled_points(scenes: Scenes, trained: Trained, seed: int) -> LabelledPoints:
    """Features of all labelled points under the trained and the random encoder, and hand-crafted."""
    prepare = trained.model.preprocessor
    batches = [prepare.collate(prepare.prepare(one)) for one in trained.samples[:4]]
    encoders = {
        TRAINED: trained.model.encoder,
        TWIN: calibrate(trained.model.random_twin(seed), batches),
        DRAWN: trained.model.random_twin(seed),
    }
    found: dict[str, np.ndarray] = {}
    for stages in STAGES:
        points = collect_points(
            prepare, encoders, trained.samples, stages=stages, **scenes.labels(),
        )  # fmt: skip
        ending = "" if stages == "last" else f", {stages}"
        found |= {f"{name}{ending}": points.features[name] for name in encoders}
    found[CRAFTED] = points.features[CRAFTED]
    found[JOINED] = np.concatenate([found[STAGED[0]], found[CRAFTED]], axis=1)
    return dataclasses.replace(points, features=found)


def scores(points: LabelledPoints, seed: int) -> dict[str, Any]:
    """mIoU of each set of features: points linear and knn, regions, and with 1 % and 10 % of the labels."""
    regions = region_points(points)
    table: dict[str, Any] = {}
    for name in FEATURES:
        linear = score_points(points, name, seed=seed)
        table[name] = {
            "linear": round(linear.mean_iou, 4),
            "per_class": {str(one): round(iou, 3) for one, iou in zip(points.names, linear.per_class, strict=True)},
            "accuracy": round(linear.accuracy, 4),
        }
        if name not in COMPARED:
            continue
        table[name] |= {
            "knn": round(score_points(points, name, seed=seed, kind="knn").mean_iou, 4),
            "region": round(score_points(regions, name, seed=seed).mean_iou, 4),
            **{f"{one:.0%}": round(score_points(points, name, seed=seed, share=one).mean_iou, 4) for one in SHARES},
        }
    return table


def cross_validated(points: LabelledPoints, trained: Trained, scenes: Scenes) -> dict[str, float]:
    """Mean over the folds of the linear probe's mIoU, points of the training sectors only."""
    sample = trained.samples[0]
    rows, is_train = labelled_rows(sample, sample.inputs, **scenes.labels())
    sector = np.asarray(sample.targets[scenes.group])[rows][is_train]
    found: dict[str, list[float]] = {name: [] for name in points.features}
    for fold in FOLDS:
        part = LabelledPoints(
            points.labels[is_train], ~np.isin(sector, fold),
            {name: values[is_train] for name, values in points.features.items()}, points.region[is_train], points.names,
        )  # fmt: skip
        for name, values in found.items():
            values.append(score_points(part, name, seed=0).mean_iou)
    return {name: round(statistics.mean(values), 4) for name, values in found.items()}


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over the seeds of the most frequent length, and the curve of seed 0 over lengths."""
    found: dict[str, Any] = {}
    for scenes in dict.fromkeys(one["scenes"] for one in runs):
        own = [one for one in runs if one["scenes"] == scenes]
        steps = statistics.mode(one["steps"] for one in own)
        chosen = [one for one in own if one["steps"] == steps]
        found[scenes] = {"steps": steps, "seeds": len(chosen)}
        for name in FEATURES:
            values = [one[name]["linear"] for one in chosen]
            found[scenes][name] = {
                "mean": round(statistics.mean(values), 4), "sd": round(statistics.pstdev(values), 4),
            }  # fmt: skip
        curve = sorted((one for one in own if one["seed"] == 0), key=lambda one: one["steps"])
        found[scenes]["curve"] = {
            str(one["steps"]): {name: one[name]["linear"] for name in (TRAINED, STAGED[0])} for one in curve
        }
    return found


if __name__ == "__main__":
    main()
