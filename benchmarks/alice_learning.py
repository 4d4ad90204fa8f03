"""What Alice learns from 90 hippocampus MR crops on a CPU, judged on 40 other ones.

Pre-training as `repcore medical3d train alice --preset tiny` makes it, then the dense linear probe and fine-tuning with
1, 3 and 10 labelled scans (Dice at the scans' own spacing), beside the same encoder with random weights (one twin a
seed), smoothed intensities and place alone. Arms: the preset, reconstruction only, one of the two distillation
terms with it, the published losses.

    python benchmarks/alice_learning.py --data FOLDER [--seeds 3] [--arms tiny reconstruction] [--set key=value ...]

FOLDER holds msd_hippocampus.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import alice_dense as probe
import numpy as np
import torch
from alice_segmentation import SegmentationConfig, labelled, score_segmentation, train_segmentation
from measuring import facts, write_result

import repcore
from repcore import registry
from repcore.config.resolve import resolve_run
from repcore.embedding.model import Model
from repcore.interfaces import Sample
from repcore.reporting import LogReporter
from repcore.training.assembly import RunParts, assemble
from repcore.training.run import start_run

ARMS: dict[str, list[str]] = {
    "tiny": [],
    "reconstruction": ["objective.inter_volume_weight=0", "objective.intra_volume_weight=0"],
    "reconstruction + intra": ["objective.inter_volume_weight=0"],
    "reconstruction + inter": ["objective.intra_volume_weight=0"],
    "raw heads": ["objective.head_inputs=raw"],
    "published": [
        "objective.teacher_temperature=0.01", "objective.teacher_temperature_start=0.008",
        "objective.teacher_temperature_warmup=0.029", "objective.mask_shape=columns", "objective.clip_per_tensor=3.0",
        "objective.head_inputs=raw", "objective.alignment_residual=queries", "objective.alignment_outputs=layer-norm",
        "objective.alignment_teacher=shared", "objective.reconstruction_target=values",
        "objective.reconstruction_region=all", "objective.distillation_ramp=0", "objective.is_last_layer_tied=true",
    ],
}  # fmt: skip
SIZES = (1, 3, 10)
CURVE = ("reconstruction", "inter_volume", "intra_volume", "teacher_entropy", "teacher_information")
POINTS = 10  # of each curve


def main() -> None:
    options = parse_arguments()
    torch.set_num_threads(options.threads)
    tuning = SegmentationConfig(steps=options.tuning_steps)
    record: dict[str, Any] = facts(("repcore", "repcore-medical3d", "torch", "lightning", "scikit-learn"))
    record |= {"threads": options.threads, "settings": options.set, "protocol": probe.constants()}
    record |= {
        "segmentation": {**asdict(tuning), "volumes": options.volumes},
        "baselines": [],
        "runs": [],
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.runs or Path(scratch)
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            for arm in options.arms:
                run, model, parts = trained(options, arm, seed, folder)
                is_tuned = arm in options.tuned
                judge = Judge(parts, model.preprocessor, seed, options.volumes, tuning)
                if arm == options.arms[0]:
                    record["baselines"].append({"seed": seed, **judge.baselines(model, is_tuned=is_tuned)})
                record["runs"].append({**run, **judge.encoder(model.encoder, is_tuned=is_tuned)})
                record["summary"] = summary(record)
                print(json.dumps(record["runs"][-1]), flush=True)
                write_result("alice_learning", record, options.out)
    print(json.dumps(record["summary"], indent=1))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with msd_hippocampus")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=None, help="steps of pre-training (default: the preset's)")
    parser.add_argument("--arms", nargs="+", default=["tiny", "reconstruction"], choices=list(ARMS))
    parser.add_argument("--tuned", nargs="*", default=["tiny"], choices=list(ARMS), help="arms that are fine-tuned too")
    steps = SegmentationConfig().steps
    parser.add_argument("--tuning-steps", type=int, default=steps, help="of fine-tuning; fewer show who learns sooner")
    parser.add_argument("--volumes", type=int, nargs="+", default=list(SIZES), help="labelled scans of fine-tuning")
    parser.add_argument(
        "--runs", type=Path, default=None, help="folder where runs are kept; known ones are not repeated"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None, help="result file (default: results/alice_learning.json)")
    parser.add_argument("--set", nargs="*", default=[], metavar="key=value", help="further settings of the run")
    return parser.parse_args()


def trained(options: argparse.Namespace, arm: str, seed: int, folder: Path) -> tuple[dict[str, Any], Model, RunParts]:
    """One run as the command line makes it: its record, the model, and the data it saw."""
    steps = [] if options.steps is None else [f"trainer.steps={options.steps}"]
    resolved = resolve_run(
        registry.default(),
        "alice",
        domain="medical3d",
        overrides=[
            f"trainer.seed={seed}", f"trainer.threads={options.threads}", "data.validation_limit=16", *steps,
            *ARMS[arm], *options.set,
        ],
        settings={
            "dataset.name": "medical3d/volume-folder", "dataset.path": str(options.data / "msd_hippocampus"),
        },
    )  # fmt: skip
    parts = assemble(resolved, LogReporter())
    name = f"{arm}-{seed}".replace(" ", "")
    spent: dict[str, Any] = {}
    if not (folder / name / "model").is_dir():
        started, busy = time.perf_counter(), time.process_time()
        start_run(registry.default(), parts, LogReporter(), root=folder, name=name, device="cpu")
        spent["minutes"] = round((time.perf_counter() - started) / 60, 2)
        spent["processor_minutes"] = round((time.process_time() - busy) / 60, 2)
    lines = (folder / name / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    record = {
        "arm": arm, "seed": seed, "steps": resolved.trainer.steps, **spent,
        "validation": figures([row for row in rows if row.get("split") == "validation"], 1),
        "curve": figures([row for row in rows if row.get("split") != "validation"], POINTS),
    }  # fmt: skip
    return record, repcore.load(folder / name / "model"), parts


def figures(rows: list[dict[str, Any]], points: int) -> dict[str, Any]:
    """The last row, or means of every tenth of the run."""
    found: dict[str, Any] = {}
    for name in CURVE:
        values = [float(row[key]) for row in rows for key in row if key.rsplit("/", 1)[-1] == name]
        if values and points > 1:
            found[name] = [round(float(np.mean(part)), 4) for part in np.array_split(values, min(points, len(values)))]
        elif values:
            found[name] = round(values[-1], 4)
    return found


class Judge:
    """Probe and fine-tuning on the same scans for everything that is compared.

    Args:
        parts: data of a run.
        preprocessor: of its model.
        seed: of the choice of labelled scans, of the probe and of fine-tuning.
        volumes: numbers of labelled scans of fine-tuning.
        tuning: its settings, but for the seed.
    """

    def __init__(
        self, parts: RunParts, preprocessor: Any, seed: int, volumes: Sequence[int], tuning: SegmentationConfig
    ) -> None:
        self.preprocessor, self.seed, self.volumes, self.tuning = preprocessor, seed, volumes, tuning
        self.train = [parts.reader[int(row)] for row in parts.reader.splits["train"]]
        self.test = [parts.reader[int(row)] for row in parts.reader.splits["test"]]

    def baselines(self, model: Model, *, is_tuned: bool) -> dict[str, Any]:
        """The random twin, smoothed intensities, and place alone."""
        twin = self.encoder(model.random_twin(self.seed), is_tuned=is_tuned)
        others = {"intensities": probe.intensity_maps(self.preprocessor), "place": probe.place_maps(self.preprocessor)}
        dice = {"random-init": twin["dice"], **{name: self.probed(maps) for name, maps in others.items()}}
        return {"dice": dice, "segmentation_dice": twin["segmentation_dice"]}

    def encoder(self, backbone: Any, *, is_tuned: bool) -> dict[str, Any]:
        """Dice of the probe on frozen features, then of fine-tuning, by number of labelled scans."""
        maps = probe.encoder_maps(backbone, self.preprocessor, range(len(backbone.widths)))
        dice, tuned = self.probed(maps), {}
        for size in self.volumes if is_tuned else ():
            chosen = labelled(self.few(size), self.preprocessor)
            config = replace(self.tuning, seed=self.seed)
            network = train_segmentation(copy.deepcopy(backbone), self.preprocessor, chosen, config).network
            tuned[str(size)] = round(score_segmentation(network, self.preprocessor, self.test)["dice"], 4)
        return {"dice": dice, "segmentation_dice": tuned}

    def few(self, size: int) -> list[Sample]:
        """The same labelled scans for every arm."""
        rows = np.random.default_rng(1000 * size + self.seed).choice(len(self.train), size, replace=False)
        return [self.train[int(row)] for row in rows]

    def probed(self, maps_of: probe.MapsOf) -> dict[str, float]:
        """Maps are made once."""
        known: dict[str, probe.Maps] = {}

        def maps(sample: Sample) -> probe.Maps:
            if sample.id not in known:
                known[sample.id] = maps_of(sample)
            return known[sample.id]

        return {
            str(size): round(probe.score(maps, probe.fit(maps, self.few(size), self.seed), self.test)["dice"], 4)
            for size in SIZES
        }


def summary(record: dict[str, Any]) -> dict[str, Any]:
    """Mean, standard deviation and gain over the random twin, by arm, kind of evaluation and labelled scans."""
    twins = {one["seed"]: one for one in record["baselines"]}
    result: dict[str, Any] = {}
    for arm in dict.fromkeys(run["arm"] for run in record["runs"]):
        runs = [run for run in record["runs"] if run["arm"] == arm]
        for kind in ("dice", "segmentation_dice"):
            for size in runs[0][kind]:
                mine = [run[kind][size] for run in runs]
                base = [twins[run["seed"]][kind] for run in runs]
                random = [(one["random-init"] if kind == "dice" else one)[size] for one in base]
                gains = [a - b for a, b in zip(mine, random, strict=True)]
                result[f"{arm}, {kind}, {size} scans"] = {
                    "model": spread_of(mine), "random-init": spread_of(random), "gain": spread_of(gains),
                    "seeds_with_gain": sum(gain > 0 for gain in gains), "seeds": len(gains),
                }  # fmt: skip
    for name in ("place", "intensities"):
        result[name] = {
            size: spread_of([one["dice"][name][size] for one in record["baselines"]]) for size in map(str, SIZES)
        }
    return result


def spread_of(values: list[float]) -> dict[str, float]:
    """Mean and standard deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": round(statistics.mean(values), 4), "sd": round(deviation, 4)}


if __name__ == "__main__":
    main()
