"""What SSAMBA learns from spoken digits on a CPU, judged on speakers it has no labels of.

Pre-training as `repcore audio train ssamba --preset tiny` makes it, then a linear probe of the digits with one speaker
left out at a time, beside the same encoder with random weights (one twin a seed) and two summaries of the filter bank.
Several seeds at the recipe's length, then one seed at other lengths: what budget does. The random split of takes is
near its ceiling even for filter-bank summaries, so it is not used.

Clip vectors keep mel bands and stretches of time apart; ``over bands`` is the same vectors with the bands averaged,
where random weights know little and what training adds shows more.

    python benchmarks/audio_learning.py --data FOLDER [--seeds 3] [--budgets 200 1600] [--threads 1]

FOLDER holds fsdd/recordings. 800 steps take three minutes on one free core.
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

import repcore
from repcore import registry
from repcore.config.resolve import resolve_run
from repcore.embedding.inference import InferenceOptions
from repcore.embedding.model import Model
from repcore.evaluation.probing import FeatureSets, compute_features, probe_features
from repcore.evaluation.protocol import RANDOM_INIT, TRAINED
from repcore.reporting import LogReporter
from repcore.training.assembly import assemble
from repcore.training.run import start_run

LABEL, SPLIT, PROTOCOL, METRIC = "digit", "leave-one-group-out", "linear@1", "accuracy"
BASELINES = ("fbank-statistics", "fbank-segments")
OVER_BANDS = "over bands"


def main() -> None:
    options = parse_arguments()
    torch.set_num_threads(options.threads)
    record: dict[str, Any] = facts(("repcore", "repcore-audio", "torch", "lightning", "scikit-learn"))
    record |= {"threads": options.threads, "protocol": f"{PROTOCOL}, {SPLIT}", "label": LABEL, "runs": []}
    plan = [(seed, options.steps) for seed in range(options.seeds)]
    plan += [(0, steps) for steps in options.budgets if steps != options.steps]
    if options.resume:
        record["runs"] = json.loads((options.out or RESULTS / "audio_learning.json").read_text(encoding="utf-8"))[
            "runs"
        ]
    done = {(run["seed"], run["steps"]) for run in record["runs"]}
    with tempfile.TemporaryDirectory() as folder:
        for seed, steps in (one for one in plan if one not in done):
            record["runs"].append(one_run(options, seed, steps, Path(folder)))
            print(json.dumps(record["runs"][-1]), flush=True)
            record["summary"] = summary(record["runs"], options.steps)
            write_result("audio_learning", record, options.out)
    print(json.dumps(record["summary"], indent=1))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with fsdd")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=800, help="of the runs with several seeds")
    parser.add_argument("--budgets", type=int, nargs="*", default=[200, 1600], help="other lengths, seed 0 only")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--resume", action="store_true", help="keep the runs of the result file, add what is missing")
    parser.add_argument("--out", type=Path, default=None, help="result file (default: results/audio_learning.json)")
    return parser.parse_args()


def one_run(options: argparse.Namespace, seed: int, steps: int, folder: Path) -> dict[str, Any]:
    """Train and probe once; figures are mean accuracies over the speakers."""
    resolved = resolve_run(
        registry.default(),
        "ssamba",
        domain="audio",
        overrides=[f"trainer.seed={seed}", f"trainer.steps={steps}", f"trainer.threads={options.threads}"],
        settings={"dataset.name": "audio/fsdd", "dataset.path": str(options.data / "fsdd")},
    )
    parts = assemble(resolved, LogReporter())
    started = time.perf_counter()
    result = start_run(
        registry.default(), parts, LogReporter(), root=folder, name=f"seed-{seed}-steps-{steps}", device="cpu"
    )
    trained_for = time.perf_counter() - started
    model = repcore.load(result.folder / "model")
    is_first = seed == 0 and steps == options.steps  # the filter bank is the same in every run
    features = compute_features(
        model, parts.reader, [seed], InferenceOptions(batch_size=64), LogReporter(), baselines=is_first
    )
    full = accuracies(model, features, seed)
    keep: dict[str, Any] = {TRAINED: over_bands(model, features.matrices[TRAINED])}
    keep[RANDOM_INIT] = [over_bands(model, matrix) for matrix in features.matrices[RANDOM_INIT]]
    averaged = accuracies(model, FeatureSets(keep, features.rows, features.failed), seed)
    return {
        "seed": seed,
        "steps": steps,
        "minutes": round(trained_for / 60, 2),
        "validation": {name: round(value, 4) for name, value in result.validation.items()},
        **{name: round(full[name], 4) for name in (TRAINED, RANDOM_INIT, *BASELINES) if name in full},
        OVER_BANDS: {name: round(averaged[name], 4) for name in (TRAINED, RANDOM_INIT)},
    }


def accuracies(model: Model, features: FeatureSets, seed: int) -> dict[str, float]:
    """Accuracy of each set of features, the mean over left-out speakers."""
    target = next(one for one in features.rows.reader.targets if one.name == LABEL)
    table = probe_features(
        registry.default(),
        features,
        target,
        preprocessor_name=model.folder.preprocessor_name,
        protocols=[PROTOCOL],
        split=SPLIT,
        seeds=[seed],
    )
    return {one.features: one.mean for one in table.entries if one.metric == METRIC}


def over_bands(model: Model, vectors: np.ndarray) -> np.ndarray:
    """(N, segments x bands x width) to (N, segments x width)."""
    encoder: Any = model.encoder
    return vectors.reshape(len(vectors), -1, encoder.rows, encoder.width).mean(2).reshape(len(vectors), -1)


def summary(runs: list[dict[str, Any]], steps: int) -> dict[str, Any]:
    """Gain over the twin at the main length, and accuracy by length."""
    main_runs = [run for run in runs if run["steps"] == steps]
    best = statistics.mean(run[TRAINED] for run in main_runs)
    return {
        "trained": round(best, 4),
        "gain over random-init twin": of([run[TRAINED] - run[RANDOM_INIT] for run in main_runs]),
        "gain over random-init twin, over bands": of(
            [run[OVER_BANDS][TRAINED] - run[OVER_BANDS][RANDOM_INIT] for run in main_runs]
        ),
        "gain over filter-bank summaries": {name: round(best - main_runs[0][name], 4) for name in BASELINES},
        "trained by steps, seed 0": {str(run["steps"]): run[TRAINED] for run in runs if run["seed"] == 0},
    }


def of(values: list[float]) -> dict[str, Any]:
    """Mean, standard deviation over seeds, and every value."""
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    each = [round(value, 4) for value in values]
    return {"mean": round(statistics.mean(values), 4), "sd": round(spread, 4), "each": each}


if __name__ == "__main__":
    main()
