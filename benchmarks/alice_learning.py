"""What Alice learns from 90 hippocampus MR crops on a CPU, judged on 40 other ones.

Pre-training as `repcore medical3d train alice --preset tiny` makes it, then the dense linear probe with 1, 3 and 10
labelled scans (Dice at the scans' own spacing), beside the same encoder with random weights (one twin a seed), smoothed
intensities and place alone. Arms: the recipe, reconstruction only, the published losses; fine-tuning on request.

    python benchmarks/alice_learning.py --data FOLDER [--seeds 3] [--steps 1500] [--arms tiny reconstruction published]

FOLDER holds msd_hippocampus. A thousand steps take about ten minutes on one free core.
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
from measuring import facts, write_result

import repcore
from repcore import registry
from repcore.config.resolve import resolve_run
from repcore.interfaces import Sample
from repcore.reporting import LogReporter
from repcore.training.assembly import assemble
from repcore.training.run import start_run
from repcore_medical3d.configs.alice import SegmentationConfig
from repcore_medical3d.probes import alice_dense as probe
from repcore_medical3d.tasks.alice_segmentation import labelled, score_segmentation, train_segmentation

ARMS: dict[str, list[str]] = {
    "tiny": [],
    "reconstruction": ["objective.inter_volume_weight=0", "objective.intra_volume_weight=0"],
    "published": [
        "objective.alignment_residual=queries", "objective.alignment_outputs=layer-norm",
        "objective.alignment_teacher=shared", "objective.reconstruction_target=values",
        "objective.reconstruction_region=all", "objective.distillation_ramp=0", "objective.is_last_layer_tied=true",
    ],
}  # fmt: skip
SIZES = (1, 3, 10)


def main() -> None:
    options = parse_arguments()
    torch.set_num_threads(options.threads)
    record: dict[str, Any] = facts(("repcore", "repcore-medical3d", "torch", "lightning", "scikit-learn"))
    record |= {"threads": options.threads, "steps": options.steps, "protocol": probe.constants(), "runs": []}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.seeds):
            for arm in options.arms:
                record["runs"].append(one_run(options, arm, seed, Path(folder)))
                print(json.dumps(record["runs"][-1]), flush=True)
                record["summary"] = summary(record["runs"])
                write_result("alice_learning", record, options.out)
    print(json.dumps(record["summary"], indent=1))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with msd_hippocampus")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--segment", type=int, default=0, help="fine-tuning steps; 0 = no fine-tuning")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None, help="result file (default: results/alice_learning.json)")
    parser.add_argument("set", nargs="*", metavar="key=value", help="further settings of the run")
    return parser.parse_args()


def one_run(options: argparse.Namespace, arm: str, seed: int, folder: Path) -> dict[str, Any]:
    """Train, probe and, on request, fine-tune."""
    resolved = resolve_run(
        registry.default(),
        "alice",
        domain="medical3d",
        overrides=[
            f"trainer.seed={seed}", f"trainer.steps={options.steps}", f"trainer.threads={options.threads}",
            "data.validation_limit=16", *ARMS[arm], *options.set,
        ],
        settings={
            "dataset.name": "medical3d/volume-folder", "dataset.path": str(options.data / "msd_hippocampus"),
        },
    )  # fmt: skip
    parts = assemble(resolved, LogReporter())
    started = time.perf_counter()
    result = start_run(registry.default(), parts, LogReporter(), root=folder, name=f"{arm}-{seed}", device="cpu")
    minutes = (time.perf_counter() - started) / 60
    model = repcore.load(result.folder / "model")
    train = [parts.reader[int(row)] for row in parts.reader.splits["train"]]
    test = [parts.reader[int(row)] for row in parts.reader.splits["test"]]
    preprocessor: Any = model.preprocessor
    stages = range(len(model.encoder.widths))  # type: ignore[arg-type]
    sources = {
        "model": probe.encoder_maps(model.encoder, preprocessor, stages),  # type: ignore[arg-type]
        "random-init": probe.encoder_maps(model.random_twin(seed), preprocessor, stages),  # type: ignore[arg-type]
        "intensities": probe.intensity_maps(preprocessor),
        "place": probe.place_maps(preprocessor),
    }
    record: dict[str, Any] = {"arm": arm, "seed": seed, "minutes": round(minutes, 2)}
    record["validation"] = {name: round(value, 4) for name, value in result.validation.items()}
    record["dice"] = {name: probed(maps, train, test, seed) for name, maps in sources.items()}
    if options.segment:
        backbones = {"model": model.encoder, "random-init": model.random_twin(seed)}
        record["segmentation_dice"] = {}
        for name, backbone in backbones.items():
            chosen = labelled(few(train, 3, seed), preprocessor)
            network = train_segmentation(
                backbone, preprocessor, chosen, SegmentationConfig(steps=options.segment, seed=seed)
            )
            record["segmentation_dice"][name] = round(score_segmentation(network, preprocessor, test)["dice"], 4)
    return record


def few(train: list[Sample], size: int, seed: int) -> list[Sample]:
    """The same labelled scans for every arm."""
    rows = np.random.default_rng(1000 * size + seed).choice(len(train), size, replace=False)
    return [train[int(row)] for row in rows]


def probed(maps_of: probe.MapsOf, train: list[Sample], test: list[Sample], seed: int) -> dict[str, float]:
    """Dice by number of labelled scans; maps are made once."""
    known: dict[str, probe.Maps] = {}

    def maps(sample: Sample) -> probe.Maps:
        if sample.id not in known:
            known[sample.id] = maps_of(sample)
        return known[sample.id]

    return {
        str(size): round(probe.score(maps, probe.fit(maps, few(train, size, seed), seed), test)["dice"], 4)
        for size in SIZES
    }


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Gain over the random twin by arm and number of labelled scans."""
    result: dict[str, Any] = {}
    for arm in dict.fromkeys(run["arm"] for run in runs):
        chosen = [run["dice"] for run in runs if run["arm"] == arm]
        for size in map(str, SIZES):
            gains = [one["model"][size] - one["random-init"][size] for one in chosen]
            result[f"{arm}, {size} scans"] = {
                **{name: round(statistics.mean(one[name][size] for one in chosen), 4) for name in chosen[0]},
                "gain": round(statistics.mean(gains), 4),
                "gain_sd": round(statistics.stdev(gains), 4) if len(gains) > 1 else 0.0,
                "seeds_with_gain": sum(gain > 0 for gain in gains),
                "seeds": len(gains),
            }
    return result


if __name__ == "__main__":
    main()
