"""One vector for a long recording: scans, attention, largest and mean over the windows of a frozen encoder.

Two sets of generated recordings (30 to 60 windows of 0.64 s, 19 to 38 s, at 16 kHz: hum, clicks, bands of noise and
silence, over a noise floor) with a label of two classes:

* order: every recording holds three pairs of neighbouring windows, of a rising and of a warbling tone; in one class the
  rising tone comes first in all of them, in the other second. What is in a recording is the same in both.
* presence: recordings of one class hold two windows of a rising tone, those of the other none; both may warble.

160 recordings teach, 40 choose the step that is kept and calibrate, 200 are scored (AUROC), in their order and with
their windows shuffled (mean of five shuffles). One small SSAMBA encoder (width 32, 2 blocks, 150 steps without labels
on 300 clips of one window each) is below all arms; `repcore audio finetune --method mamba-mil` with its defaults (width
64, 8 states, 2 blocks) and a learning rate of 3e-3 (at 1e-3, the default, attention, largest and mean had learned
nothing on either set after these steps, scans had), same steps and batch for all. Seeds make other recordings.

    python benchmarks/bag_aggregators.py [--seeds 3] [--sets order presence] [--arms ...] [--steps 400] [--keep FOLDER]

Results are added line by line to results/bag_aggregators.jsonl, and the table to results/bag_aggregators.md; a run
that is there already is not repeated.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from measuring import RESULTS, facts
from sklearn.metrics import roc_auc_score

import repcore
from repcore.cli.main import run
from repcore.data.bags import BagVectors
from repcore.embedding.inference import InferenceOptions
from repcore.embedding.model import Model
from repcore.embedding.windows import prepared_windows
from repcore.interfaces import Sample

RATE, SLOT = 16_000, 10_240  # Hz, and samples of a window of 64 frames
SMALLEST, LARGEST = 30, 60  # windows of a recording
PARTS = {"train": 160, "validation": 40, "test": 200}
FILLERS = ("hum", "clicks", "low", "high", "silence")
SETS = ("order", "presence")
ARMS: dict[str, list[str]] = {
    "bimamba": ["method.scan=bimamba"],
    "mamba": ["method.scan=mamba"],
    "srmamba": ["method.scan=srmamba"],
    "srmamba as published": ["method.scan=srmamba", "method.reference_compat=true"],
    "attention": ["method.aggregate=attention"],
    "max": ["method.aggregate=max"],
    "mean": ["method.aggregate=mean"],
}
SEEDS = (3, 4, 5)
SHUFFLES = 5
CLIPS = 300


def main() -> None:
    options = parse_arguments()
    torch.set_num_threads(1)
    path = RESULTS / "bag_aggregators.jsonl"
    runs = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    done = {(run["set"], run["arm"], run["seed"], run["steps"]) for run in runs}
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        for seed in options.seeds:
            for name in options.sets:
                due = [arm for arm in options.arms if (name, arm, seed, options.steps) not in done]
                if not due:
                    continue
                data = recordings(folder / f"{name}-{seed}", name, seed, PARTS)
                shown: list[Any] = []
                for arm in due:
                    runs.append(one_run(options, folder, data, name, arm, seed, shown))
                    with path.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(runs[-1]) + "\n")
                    print(json.dumps(runs[-1]), flush=True)
    runs = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    path.with_suffix(".md").write_text(page(runs), encoding="utf-8")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=SETS)
    parser.add_argument("--arms", nargs="*", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--steps", type=int, default=400, help="of each fine-tuning; batches of 8 recordings")
    parser.add_argument("--keep", type=Path, default=None, help="folder for recordings and runs; else they are removed")
    return parser.parse_args()


# ------------------------------------------------------------------------------------- recordings


def sound(kind: str, generator: np.random.Generator) -> np.ndarray:
    """One window (SLOT,) of a kind, at random pitch and level."""
    time_s = np.arange(SLOT) / RATE
    pitch = generator.uniform(0.85, 1.15)
    noise = generator.normal(size=SLOT)
    if kind == "rising":
        wave = np.sin(2 * np.pi * pitch * (400 * time_s + 0.5 * 1200 / 0.64 * time_s**2))
    elif kind == "warbling":
        wave = np.sin(2 * np.pi * pitch * 1800 * time_s + 12 * np.sin(2 * np.pi * 7 * time_s))
    elif kind == "hum":
        wave = np.sum([np.sin(2 * np.pi * pitch * 110 * one * time_s) / one for one in range(1, 6)], axis=0)
    elif kind == "clicks":
        wave = 6.0 * noise * (generator.random(SLOT) < 0.002)
    elif kind == "low":
        wave = np.convolve(noise, np.ones(40) / 12, "same")
    elif kind == "high":
        wave = 0.6 * np.diff(noise, append=0.0)
    else:
        wave = np.zeros(SLOT)
    edge = np.minimum(1.0, np.minimum(time_s, time_s[::-1]) / 0.01)
    return 0.1 * generator.uniform(0.5, 1.5) * edge * wave


def script(name: str, label: int, generator: np.random.Generator) -> list[str]:
    """Kinds of the windows of a recording."""
    count = int(generator.integers(SMALLEST, LARGEST + 1))
    kinds = [str(one) for one in generator.choice(FILLERS, count)]
    if name == "order":
        pair = ("rising", "warbling") if label else ("warbling", "rising")
        for place in generator.choice(count // 3, 3, replace=False):  # pairs never touch
            kinds[3 * place : 3 * place + 2] = pair
        return kinds
    for place in generator.choice(count, 4, replace=False)[: 2 + 2 * label]:
        kinds[place] = "warbling"
    for place in [place for place, kind in enumerate(kinds) if kind == "warbling"][: 2 * label]:
        kinds[place] = "rising"
    return kinds


def recordings(folder: Path, name: str, seed: int, parts: dict[str, int]) -> Path:
    """A folder of recordings with a table of their labels and parts; returns the table."""
    table = folder / "recordings.csv"
    if table.is_file():
        return table
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng([seed, SETS.index(name)])
    rows = []
    for part, count in parts.items():
        for number in range(count):
            label = number % 2
            wave = np.concatenate([sound(kind, generator) for kind in script(name, label, generator)])
            wave += 0.003 * generator.normal(size=len(wave))
            file = f"{part}-{number}.wav"
            soundfile.write(folder / file, wave.astype(np.float32).clip(-1, 1), RATE, subtype="PCM_16")
            rows.append((file, "one" if label else "two", part))
    with table.open("w", newline="", encoding="utf-8") as opened:
        csv.writer(opened).writerows([("file", "kind", "split"), *rows])
    return table


# ------------------------------------------------------------------------------------- runs


def encoder(folder: Path) -> Path:
    """The encoder below all arms, trained without labels."""
    found = folder / "runs" / "encoder"
    if (found / "model").is_dir():
        return found
    clips = folder / "clips"
    clips.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(1000)
    for number in range(CLIPS):
        kind = (*FILLERS, "rising", "warbling")[number % (len(FILLERS) + 2)]
        wave = sound(kind, generator) + 0.003 * generator.normal(size=SLOT)
        soundfile.write(clips / f"{number}.wav", wave.astype(np.float32).clip(-1, 1), RATE, subtype="PCM_16")
    words = ["audio", "train", "ssamba", "--data", str(clips), "--name", "encoder", "--out", str(folder / "runs")]
    words += ["--device", "cpu", "trainer.steps=150", "preprocessor.frames=64", "encoder.width=32", "encoder.depth=2"]
    checked([*words, "encoder.pooling=mean"])
    return found


def checked(words: list[str]) -> None:
    """A command of ``repcore``, which has to succeed."""
    if run(words) != 0:
        raise SystemExit(f"repcore {' '.join(words)} failed")


def one_run(
    options: argparse.Namespace, folder: Path, data: Path, name: str, arm: str, seed: int, shown: list[Any]
) -> dict[str, Any]:
    model = encoder(folder)
    began = time.perf_counter()
    own = f"{name}-{seed}-{arm.replace(' ', '-')}"
    shutil.rmtree(folder / "runs" / own, ignore_errors=True)  # of an interrupted call: a new one would get another name
    words = ["audio", "finetune", str(model), "--data", str(data), "--label", "kind", "--split", "declared"]
    words += ["--name", own, "--out", str(folder / "runs"), "--device", "cpu", "--no-twin", "--no-plain"]
    words += ["--method", "mamba-mil", f"trainer.steps={options.steps}", "data.batch_size=8"]
    words += ["finetune.head_lr_factor=30", "trainer.validate_every=40"]  # a learning rate of 3e-3
    checked([*words, *ARMS[arm]])
    seconds = time.perf_counter() - began
    trained = repcore.load(folder / "runs" / own)
    if not shown:  # windows of the test recordings are encoded once for all arms
        shown.extend(test_bags(trained, data))
    return {
        "set": name, "arm": arm, "seed": seed, "steps": options.steps, "seconds": round(seconds),
        "auroc": round(score(trained, shown, None), 4),
        "shuffled": round(statistics.mean(score(trained, shown, one) for one in range(SHUFFLES)), 4),
        "parameters": sum(one.numel() for key, one in trained.encoder.named_parameters() if key.startswith("bag.")),
    }  # fmt: skip


def test_bags(model: Model, data: Path) -> list[Sample]:
    """Test recordings with the vectors of their windows."""
    reader = model.reader(str(data), labels=["kind"])
    found = []
    for window in prepared_windows(reader, model.preprocessor, np.asarray(reader.splits["test"])):
        for row in window:
            assert row.sample is not None, row.reason
            with torch.inference_mode():
                values = model.encoder.instances(model.preprocessor.collate(row.items)).values  # type: ignore[operator]
            found.append(replace(row.sample, inputs=BagVectors(values.numpy())))
    return found


class Held:
    """Samples in memory as a reader."""

    targets, splits, fingerprint = (), {}, ""  # type: ignore[var-annotated]

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


def score(model: Model, bags: Sequence[Sample], shuffle: int | None) -> float:
    """AUROC on test recordings, their windows in order or shuffled by a seed."""
    samples = list(bags)
    if shuffle is not None:
        generator = np.random.default_rng(shuffle)
        samples = [replace(one, inputs=BagVectors(generator.permutation(one.inputs.values))) for one in bags]
    predictor = model.predictor()
    outputs = [part.outputs for part in predictor.windows(Held(samples), InferenceOptions())]  # type: ignore[arg-type]
    truth = [float(one.targets["kind"]) for one in samples]
    return float(roc_auc_score(truth, np.concatenate(outputs)[:, 1]))


def page(runs: Sequence[dict[str, Any]]) -> str:
    """Means and standard deviations over seeds."""
    lines = ["# Aggregators of the windows of long recordings", "", "`python benchmarks/bag_aggregators.py`"]
    lines += ["AUROC on 200 test recordings, mean and standard deviation over seeds; chance 0.5.", ""]
    lines += ["| set | aggregator | AUROC | windows shuffled | seeds | parameters | minutes a run |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for name in SETS:
        for arm in ARMS:
            own = [one for one in runs if (one["set"], one["arm"]) == (name, arm) and one["seed"] in SEEDS]
            if own:
                minutes = statistics.mean(one["seconds"] for one in own) / 60
                figures = [spread([one[key] for one in own]) for key in ("auroc", "shuffled")]
                facts_of = [str(len(own)), f"{own[0]['parameters']:,}", f"{minutes:.1f}"]
                lines.append(f"| {' | '.join([name, arm, *figures, *facts_of])} |")
    machine = facts(("torch", "numpy", "repcore"))
    return "\n".join([*lines, "", f"```json\n{json.dumps(machine, indent=1)}\n```", ""])


def spread(values: Sequence[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.3f} ± {deviation:.3f}"


if __name__ == "__main__":
    main()
