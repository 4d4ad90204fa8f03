"""SSAMBA, W2v-BERT and SpecMaskGIT at equal minutes, beside their untrained twins and filter-bank summaries.

Each family trains its ``tiny`` preset for the same processor time of one thread: a step is timed on a few batches
first, and the run gets as many steps as fit. Then a linear probe of the whole clip, on spoken digits (one speaker left
out at a time) and on generated sounds (random split). The twin is the same network with the seed's random weights;
baselines are summaries of the filter bank, for SpecMaskGIT also the counts of its tokens.

    python benchmarks/audio_families.py --data FOLDER [--minutes 1] [--seeds 3] [--sets sounds digits]

FOLDER holds fsdd/recordings. Results are added line by line to results/audio_families.jsonl and the table to
results/audio_families.md; a run that is there already is not repeated.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from measuring import RESULTS, facts

import repcore
from repcore import registry
from repcore.config.resolve import ResolvedRun, resolve_run
from repcore.data.batching import plain_batch
from repcore.embedding.inference import InferenceOptions, prepare_row
from repcore.evaluation.probing import compute_features, probe_features
from repcore.evaluation.protocol import RANDOM_INIT, TRAINED
from repcore.interfaces import Progress
from repcore.reporting import LogReporter
from repcore.training.assembly import RunParts, assemble
from repcore.training.run import start_run

FAMILIES = ("ssamba", "w2v-bert", "spec-mask-git")
SETS = {"digits": ("digit", "leave-one-group-out"), "sounds": ("sound", "random")}
PROTOCOL, METRIC = "linear@1", "accuracy"
BASELINES = ("fbank-statistics", "fbank-segments", "token-histogram")
SHOWN = ("loss", "code_perplexity", "contrast_accuracy", "contrast_chance", "prediction", "prediction_accuracy",
         "code_entropy", "cross_entropy", "place_frequencies", "code_frequencies", "masked_accuracy",
         "matching_accuracy", "explained")  # fmt: skip
TIMED_BATCHES = 4
SOUND_CLIPS = 300


def main() -> None:
    options = parse_arguments()
    torch.set_num_threads(1)
    path = options.out or RESULTS / "audio_families.jsonl"
    runs = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    done = {(run["family"], run["set"], run["seed"], run["minutes"]) for run in runs}
    for seed in range(options.seeds):
        for name in options.sets:
            for family in FAMILIES:
                if (family, name, seed, options.minutes) in done:
                    continue
                with tempfile.TemporaryDirectory() as folder:
                    runs.append(one_run(options, family, name, seed, Path(folder)))
                with path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(runs[-1]) + "\n")
                print(json.dumps(runs[-1]), flush=True)
                path.with_suffix(".md").write_text(page(runs), encoding="utf-8")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with fsdd")
    parser.add_argument("--minutes", type=float, default=1.0, help="processor time of each training")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--out", type=Path, default=None, help="result file (default: results/audio_families.jsonl)")
    return parser.parse_args()


def resolved(options: argparse.Namespace, family: str, name: str, seed: int, steps: int) -> ResolvedRun:
    """The preset ``tiny`` on one of the sets."""
    overrides = [f"trainer.seed={seed}", f"trainer.steps={steps}", "trainer.threads=1"]
    overrides += [f"trainer.validate_every={steps}", "data.validation_limit=64"]
    settings: dict[str, Any] = {"dataset.name": "audio/sounds", "dataset.clips": SOUND_CLIPS}
    if name == "digits":
        settings = {"dataset.name": "audio/fsdd", "dataset.path": str(options.data / "fsdd")}
    return resolve_run(registry.default(), family, domain="audio", overrides=overrides, settings=settings)


def seconds_a_step(parts: RunParts, batch_size: int) -> float:
    """Processor seconds of a training step, median of a few, preparation of its batch included."""
    objective: Any = parts.objective
    optimiser = torch.optim.AdamW(objective.parameters(), lr=0.0, weight_decay=0.0)
    generator, seconds = torch.Generator().manual_seed(0), []
    for number in range(TIMED_BATCHES):
        began = time.process_time()
        rows = [prepare_row(parts.reader, parts.preprocessor, int(row))
                for row in parts.train[number * batch_size : (number + 1) * batch_size]]  # fmt: skip
        usable = [row for row in rows if row.items and row.sample is not None]
        batch = plain_batch(
            parts.preprocessor, [row.items[0] for row in usable], [row.sample for row in usable],  # type: ignore[misc]
            parts.reader.targets, "audio",
        )  # fmt: skip
        draws = objective.draw(batch, generator, Progress(0, 1))
        optimiser.zero_grad()
        objective(batch, draws).total.backward()
        optimiser.step()
        seconds.append(time.process_time() - began)
    return statistics.median(seconds)


def one_run(options: argparse.Namespace, family: str, name: str, seed: int, folder: Path) -> dict[str, Any]:
    """Train and probe once; figures are mean accuracies over the parts of the split."""
    trial = resolved(options, family, name, seed, 100)
    each = seconds_a_step(assemble(trial, LogReporter()), trial.data.batch_size)
    steps = max(10, round(60 * options.minutes / each))
    parts = assemble(resolved(options, family, name, seed, steps), LogReporter())
    began = time.process_time()
    result = start_run(registry.default(), parts, LogReporter(), root=folder, name="run", device="cpu")
    spent = time.process_time() - began
    model = repcore.load(result.folder / "model")
    features = compute_features(
        model, parts.reader, [seed], InferenceOptions(batch_size=64), LogReporter(), baselines=seed == 0
    )
    label, split = SETS[name]
    table = probe_features(
        registry.default(), features, next(one for one in parts.reader.targets if one.name == label),
        preprocessor_name=model.folder.preprocessor_name, protocols=[PROTOCOL], split=split, seeds=[seed],
    )  # fmt: skip
    figures = {one.features: round(one.mean, 4) for one in table.entries if one.metric == METRIC}
    first = first_validation(result.folder)
    return {
        "family": family, "set": name, "seed": seed, "minutes": options.minutes, "steps": steps,
        "seconds_with_validation": round(spent, 1),
        "accuracy": {key: figures[key] for key in (TRAINED, RANDOM_INIT, *BASELINES) if key in figures},
        "loss_before": round(first, 4), "width": int(model.encoder.dim),  # type: ignore[arg-type]
        "validation": {key: round(value, 4) for key, value in result.validation.items() if key in SHOWN},
        **{key: value for key, value in facts(("repcore-audio", "torch")).items() if key == "versions"},
    }  # fmt: skip


def first_validation(folder: Path) -> float:
    """Validation loss before the first step."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return float(next((line["loss"] for line in lines if line.get("split") == "validation"), float("nan")))


def page(runs: list[dict[str, Any]]) -> str:
    """The table of all runs, by set."""
    lines = ["# Audio families at equal minutes", "", "Written by `benchmarks/audio_families.py`; do not edit.", ""]
    for name, (label, split) in SETS.items():
        of_set = [run for run in runs if run["set"] == name]
        if not of_set:
            continue
        lines += [f"## {name}: accuracy of `{label}`, linear probe, split {split}", ""]
        lines += [
            "| family | processor minutes | seeds | steps | trained | random twin | gain, paired |",
            "|" + "---|" * 7,
        ]
        for minutes in sorted({run["minutes"] for run in of_set}):
            for family in FAMILIES:
                chosen = [run for run in of_set if run["family"] == family and run["minutes"] == minutes]
                if chosen:
                    lines.append(row_of(family, minutes, [run["accuracy"] for run in chosen], chosen))
        lines += ["", f"Baselines: {baselines_of(of_set)}.", ""]
        lines += ["What the losses did, seed by seed:", ""]
        lines += [f"* {words_of(run)}" for run in of_set] + [""]
    return "\n".join(lines)


def row_of(family: str, minutes: float, found: list[Mapping[str, float]], chosen: list[dict[str, Any]]) -> str:
    """One family at one budget: means over seeds, with their standard deviation."""
    gains = [one[TRAINED] - one[RANDOM_INIT] for one in found]
    cells = (
        family, f"{minutes:g}", len(found), "/".join(str(run["steps"]) for run in chosen),
        spread([one[TRAINED] for one in found]), spread([one[RANDOM_INIT] for one in found]), spread(gains),
    )  # fmt: skip
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def spread(values: list[float]) -> str:
    """Mean, and standard deviation where there are several."""
    mean = f"{statistics.mean(values):.3f}"
    return f"{mean} ± {statistics.stdev(values):.3f}" if len(values) > 1 else mean


def baselines_of(runs: list[dict[str, Any]]) -> str:
    """Best known figure of every baseline; front ends differ between families, so each names its own."""
    found = [
        f"{name} of {run['family']} {run['accuracy'][name]:.3f}"
        for run in runs
        for name in BASELINES
        if name in run["accuracy"] and run["seed"] == 0
    ]
    return ", ".join(dict.fromkeys(found)) or "none"


def words_of(run: Mapping[str, Any]) -> str:
    """Losses and codes of one run."""
    shown = ", ".join(f"{name} {value:g}" for name, value in run["validation"].items())
    return f"{run['family']}, seed {run['seed']}, {run['minutes']:g} min: loss {run['loss_before']:g} before; {shown}"


if __name__ == "__main__":
    main()
