"""Every generic objective in every domain: does it teach an encoder anything, and where does it not help?

Protocol, fixed before any test row was read. Data: the generated or embedded sets of the plugins, 300 to 1,500 rows
(images instead of volumes for medical3d). Held out is the part that the set declares (sounds, clouds, films: every
fifth row, the same for all seeds), else 40 % drawn from the run's seed (molecules, graphs); objectives are trained on
the rest without labels. Then a probe is fitted on the labels of the training part (linear@1, accuracy; molecules:
ridge@1, R2 of logP) and scored on the held-out part. Beside each trained encoder stand its random twin (same
settings, the weights it started from), the domain's own objective at the same number of steps, and the domain's
raw-input baselines, on the same rows. Three seeds change the drawn split, weights, order and draws. Within a domain
every objective has the same encoder, steps, batch and learning rate; the objectives' settings are their defaults, and
contrast_weight=10 of cMIM is its card's. Encoders are tiny (one or two layers a stage, width 32 to 64) and runs
short, so that a cell takes seconds: the table asks whether a method moves an encoder the right way, not how far it
gets. Sizes, steps and learning rates were chosen with `--part inner`, which fits the probe on 70 % of the training
part, scores it on the other 30 %, and embeds no held-out row; 40 steps of 16 items were too few there (no objective
rose above its twin), and so was a learning rate of 1e-3 for sounds (100 to 150 steps of 64 items: .25 to .28 beside a
twin of .25; simclr at 3e-3: .44 beside .32). Clouds were not looked at beforehand. With 500 graphs and 60 steps, and
400 films and 80 steps, no generic objective was above its twin on all seeds of the test part; more rows and steps
were then chosen on the inner part of newly generated data (dataset.seed=1; simclr, three seeds), and both domains
made anew on those data, whose test rows nothing had seen.

mlcd and token-alignment are second stages: mlcd goes on from the encoder that the domain's own objective trained (its
row must be read against that row), token-alignment trains a fresh encoder towards it; `token-alignment-control` does
so towards a random teacher. matryoshka-2d is probed at full depth and width, and besides (`early`) at half depth and
an eighth of the width, beside simclr's model cut at the same point (`early` of its row).

    python benchmarks/generic_objectives.py [--part inner|test] [--domains ...] [--seeds 3] [--minutes 60]

First run the cells of one objective a domain on every seed (`FIRST`, chosen on the inner part), then all others seed
by seed; no cell starts after --minutes. One line a cell is appended to results/generic_objectives.jsonl, and cells
that are there are not run again, so that an interrupted run goes on; the table, which says how many cells it stands
on, is results/generic_objectives.json. Minutes are those of the processor for training. Pooled vectors are kept below
--keep for benchmarks/anomaly.py.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import RESULTS, facts, write_result

from repcore import registry
from repcore.config.resolve import resolve_run
from repcore.data.readers import open_part
from repcore.embedding.inference import InferenceOptions, embed_rows
from repcore.errors import ItemError
from repcore.evaluation.probing import build_probe
from repcore.interfaces import ProbeSplit
from repcore.reporting import LogReporter
from repcore.training.assembly import RunParts, assemble
from repcore.training.run import start_run

SEEDS = 3  # of the full table
HELD_OUT = 0.4
INNER = 0.7
PROBES = {"class": ("linear@1", "accuracy"), "regression": ("ridge@1", "r2")}
OWN = "own"
EARLY = "matryoshka-2d"
LOG = RESULTS / "generic_objectives.jsonl"


@dataclass(frozen=True)
class Domain:
    """Recipe, label that is probed, settings of the encoder and the data, and how long and fast it learns."""

    recipe: str
    label: str
    settings: tuple[str, ...]
    steps: int
    batch: int = 64
    lr: float = 1e-3


DOMAINS = {
    "molecules": Domain(
        "molecules/selformer", "logp",
        ("data.limit=800", "encoder.hidden_width=64", "encoder.feed_forward_width=64", "encoder.layers=2"), 80, 32,
    ),
    "audio": Domain(
        "audio/ssamba", "sound",
        ("dataset.clips=400", "dataset.seconds=0.6", "dataset.signal_to_noise_db=[10,25]", "preprocessor.frames=64",
         "preprocessor.mel_bins=64", "encoder.width=32", "encoder.depth=2", "encoder.pooling=mean",
         "encoder.patch_frequency=32", "encoder.patch_time=8"), 100, 32, 3e-3,
    ),
    "graphs": Domain(
        "graphs/graph-contrast", "rule", ("dataset.size=1500", "dataset.seed=1", "encoder.hidden_width=32"),
        200, 64, 2e-3,
    ),
    "pointcloud": Domain(
        "pointcloud/point-m2ae", "class",
        ("dataset.shapes=300", "dataset.points=256", "preprocessor.points=256", "encoder.groups=[32,16,8]",
         "encoder.neighbours=[16,4,4]", "encoder.depths=[1,1,1]", "encoder.pooling=max"), 80, 32,
    ),
    "medical3d": Domain(
        "medical3d/adam-v2", "finding",
        ("dataset.images=1200", "dataset.seed=1", "dataset.edge=64", "preprocessor.edge=64",
         "encoder.depths=[1,1,1,1]"), 300, 32,
    ),
}  # fmt: skip
FIRST = {"molecules": "vicreg"}  # runs before the others in a domain, on every seed: best on the inner part
FIRST_ELSEWHERE = "simclr"

OBJECTIVES: dict[str, tuple[str, ...]] = {
    OWN: (),
    "simclr": ("objective=generic/simclr",),
    "vicreg": ("objective=generic/vicreg",),
    "cmim": ("objective=generic/cmim", "objective.contrast_weight=10"),
    "masked-features": ("objective=generic/masked-features", "objective.momentum=0.98"),
    EARLY: ("objective=generic/matryoshka-2d",),
    "mlcd": ("objective=generic/mlcd",),
    "token-alignment": ("objective=generic/token-alignment", "objective.teacher={own}"),
    "token-alignment-control": ("objective=generic/token-alignment", "objective.teacher={random}"),
}
NEEDS_LAYERS = {EARLY}


def main() -> None:
    options = parse_arguments()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    log = LOG if options.part == "test" else options.keep / "inner.jsonl"
    options.keep.mkdir(parents=True, exist_ok=True)
    done = {(one["domain"], one["objective"], one["seed"]) for one in lines(log)}
    end = time.monotonic() + 60 * options.minutes
    for domain, objective, seed in ordered(options):
        if (domain, objective, seed) in done or not fits(domain, objective) or time.monotonic() > end:
            continue
        cell = one_cell(options, domain, objective, seed)
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(cell) + "\n")
        print(json.dumps(cell), flush=True)
        if options.part == "test":
            write_table(log)
    if options.part == "test":
        write_table(log)


def ordered(options: argparse.Namespace) -> list[tuple[str, str, int]]:
    """Cells: on every seed the objective that is first in its domain, then all others, seed by seed."""
    every = [
        (domain, objective, seed)
        for seed in range(options.seeds)
        for objective in options.objectives
        for domain in options.domains
    ]
    return sorted(every, key=lambda cell: cell[1] != first_of(cell[0]))


def first_of(domain: str) -> str:
    """The objective of the cells that run first."""
    return FIRST.get(domain, FIRST_ELSEWHERE)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("inner", "test"), default="test", help="inner: to choose settings")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--minutes", type=float, default=600.0, help="start no further cell after so many minutes")
    parser.add_argument("--domains", nargs="+", choices=list(DOMAINS), default=list(DOMAINS))
    parser.add_argument("--objectives", nargs="+", choices=list(OBJECTIVES), default=list(OBJECTIVES))
    parser.add_argument("--lr", type=float, help="another learning rate (inner part only)")
    parser.add_argument("--steps", type=int, help="another number of steps (inner part only)")
    parser.add_argument("--batch", type=int, help="another batch size (inner part only)")
    parser.add_argument("--keep", type=Path, default=Path("generic_objectives"), help="folder of models and vectors")
    return parser.parse_args()


def make_vectors(folder: Path, seeds: int) -> None:
    """Vectors of the first objective of every domain that ``folder`` lacks: what benchmarks/anomaly.py looks at."""
    folder.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    options = asked_for(folder)
    for domain in DOMAINS:
        for seed in range(seeds):
            objective = first_of(domain)
            if not (folder / f"{domain}-{objective}-{seed}.npz").is_file():
                print(json.dumps(one_cell(options, domain, objective, seed)), flush=True)


def asked_for(folder: Path) -> argparse.Namespace:
    """The options of the table, for other benchmarks that want a cell of it."""
    return argparse.Namespace(part="test", keep=folder, steps=None, lr=None, batch=None)


def lines(log: Path) -> list[dict[str, Any]]:
    """What is done already."""
    return [json.loads(one) for one in log.read_text(encoding="utf-8").splitlines()] if log.is_file() else []


def fits(domain: str, objective: str) -> bool:
    """Whether the domain's encoder offers what the objective needs."""
    resolved = resolve_run(registry.default(), DOMAINS[domain].recipe)
    return objective not in NEEDS_LAYERS or "layers" in resolved.encoder.entry.spec.capabilities


def one_cell(options: argparse.Namespace, domain: str, objective: str, seed: int) -> dict[str, Any]:
    """Train once, probe; figures are accuracies."""
    known, name = DOMAINS[domain], f"{domain}-{objective}-{seed}"
    own = options.keep / f"{domain}-{OWN}-{seed}"
    if objective.startswith(("mlcd", "token-alignment")) and not (own / "model").is_dir():
        train(options, known, OWN, seed, options.keep, own.name)
    if objective == "token-alignment-control":
        random_teacher(options, known, seed, options.keep)
    started = time.process_time()
    parts, twin = train(options, known, objective, seed, options.keep, name)
    minutes = (time.process_time() - started) / 60
    rows, split = rows_and_split(options, parts)
    labels = labels_of(domain, parts, known.label, rows)
    sets = {"trained": vectors(parts, parts.encoder, rows), "random-init": twins_vectors(domain, parts, twin, rows)}
    if objective == OWN:
        sets |= baselines(parts, rows)
    arrays: dict[str, Any] = {key: value.astype(np.float32) for key, value in sets.items()}
    np.savez(options.keep / f"{name}.npz", labels=labels, train=split.train, test=split.test, **arrays)
    cell: dict[str, Any] = {"domain": domain, "objective": objective, "seed": seed, "minutes": round(minutes, 2)}
    cell |= {key: score(parts, known.label, value, labels, split, seed) for key, value in sets.items()}
    if objective in (EARLY, "simclr") and fits(domain, EARLY):
        cell |= early(parts, rows, known.label, labels, split, seed)
    if objective != OWN:
        shutil.rmtree(options.keep / name, ignore_errors=True)
    return cell


def settings(options: argparse.Namespace, known: Domain, objective: str, seed: int, folder: Path) -> list[str]:
    """Overrides of a run."""
    own = folder / f"{name_of(known)}-{OWN}-{seed}"
    random = folder / f"{name_of(known)}-random-{seed}"
    steps, lr, batch = options.steps or known.steps, options.lr or known.lr, options.batch or known.batch
    chosen = [
        *known.settings,
        *OBJECTIVES[objective],
        f"trainer.seed={seed}",
        f"trainer.steps={steps}",
        f"trainer.validate_every={steps}",
        "trainer.threads=1",
        f"optimiser.lr={lr}",
        "schedule.warmup_steps=10",
        f"data.batch_size={batch}",
        "data.split=random",
        f"data.validation_share={HELD_OUT}",
    ]
    return [one.format(own=own, random=random) for one in chosen]


def name_of(known: Domain) -> str:
    return next(name for name, one in DOMAINS.items() if one is known)


def train(
    options: argparse.Namespace, known: Domain, objective: str, seed: int, folder: Path, name: str
) -> tuple[RunParts, torch.nn.Module]:
    """A finished run, and its encoder as it was before."""
    shutil.rmtree(folder / name, ignore_errors=True)
    resolved = resolve_run(
        registry.default(), known.recipe, overrides=settings(options, known, objective, seed, folder)
    )
    start = folder / f"{name_of(known)}-{OWN}-{seed}" / "model" if objective == "mlcd" else None
    parts = assemble(resolved, LogReporter(), init_from=start)
    fresh = assemble(resolved, LogReporter()).encoder if start is not None else parts.encoder
    twin = registry.default().encoder(resolved.encoder.name).load()(parts.resolved.encoder.config)
    twin.load_state_dict(fresh.state_dict())
    result = start_run(registry.default(), parts, LogReporter(), root=folder, name=name, device="cpu")
    if result.status != "finished":  # a signal ends a run early and in good order: such a cell is none
        raise SystemExit(f"{name}: {result.status} at step {result.steps}; nothing is recorded")
    return parts, twin


def random_teacher(options: argparse.Namespace, known: Domain, seed: int, folder: Path) -> None:
    """The model folder of an encoder that one step has hardly moved, from other random weights than the student."""
    name = f"{name_of(known)}-random-{seed}"
    if (folder / name / "model").is_dir():
        return
    chosen = settings(options, known, OWN, seed, folder)
    chosen += ["trainer.steps=1", "optimiser.lr=1e-12", "schedule.warmup_steps=0"]
    parts = assemble(resolve_run(registry.default(), known.recipe, overrides=chosen), LogReporter())
    torch.manual_seed(1000 + seed)
    other = registry.default().encoder(parts.resolved.encoder.name).load()(parts.resolved.encoder.config)
    parts.encoder.load_state_dict(other.state_dict())
    start_run(registry.default(), parts, LogReporter(), root=folder, name=name, device="cpu")


def rows_and_split(options: argparse.Namespace, parts: RunParts) -> tuple[np.ndarray, ProbeSplit]:
    """Rows that are embedded, and which of them the probe is fitted and scored on."""
    if options.part == "test":
        rows = np.concatenate([parts.train, parts.validation])
        return rows, ProbeSplit(np.arange(len(parts.train)), np.arange(len(parts.train), len(rows)))
    order = np.random.default_rng(parts.resolved.trainer.seed).permutation(len(parts.train))
    cut = round(INNER * len(order))
    return parts.train, ProbeSplit(order[:cut], order[cut:])


def labels_of(domain: str, parts: RunParts, label: str, rows: np.ndarray) -> np.ndarray:
    """Class numbers, NaN where missing or unreadable; a domain's rows are read once."""
    known = LABELS.setdefault(domain, {})
    source = None
    found = []
    for row in rows:
        name = parts.reader[int(row)].id
        if name not in known:
            source = source or open_part(parts.resolved.dataset)  # prepared readers leave labels out
            try:
                known[name] = float(source.by_id(name).targets.get(label, np.nan))
            except ItemError:  # a row that cannot be read has no vector either
                known[name] = float("nan")
        found.append(known[name])
    return np.asarray(found)


def twins_vectors(domain: str, parts: RunParts, twin: torch.nn.Module, rows: np.ndarray) -> np.ndarray:
    """Vectors of the twin, computed once for all objectives that start from the same weights."""
    weights = b"".join(one.detach().numpy().tobytes() for one in twin.state_dict().values())
    key = (domain, sha256(weights + np.asarray(rows).tobytes()).hexdigest())
    if key not in TWINS:
        TWINS[key] = vectors(parts, twin, rows)
    return TWINS[key]


LABELS: dict[str, dict[str, float]] = {}
TWINS: dict[tuple[str, str], np.ndarray] = {}


def vectors(parts: RunParts, encoder: torch.nn.Module, rows: np.ndarray, **options: Any) -> np.ndarray:
    """Pooled vectors (N, D)."""
    return embed_rows(encoder, parts.preprocessor, parts.reader, InferenceOptions(**options), rows=rows).vectors


def baselines(parts: RunParts, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Raw-input vectors of the domain."""
    entry = parts.resolved.preprocessor.entry
    found = {}
    source = open_part(parts.resolved.dataset)
    samples = [source.by_id(parts.reader[int(row)].id) for row in rows]
    for name in entry.spec.baselines:
        found[f"raw {name}"] = np.asarray(entry.load("baselines", name)(parts.preprocessor, samples))
    return found


def score(parts: RunParts, label: str, matrix: np.ndarray, labels: np.ndarray, split: ProbeSplit, seed: int) -> float:
    target = next(one for one in open_part(parts.resolved.dataset).targets if one.name == label)
    good = np.isfinite(matrix).all(1) & np.isfinite(labels)
    kept = ProbeSplit(split.train[good[split.train]], split.test[good[split.test]])
    protocol, metric = PROBES[target.kind]
    found = build_probe(registry.default(), protocol, target).score(matrix, labels, target, kept, seed)
    return round(float(found[metric]), 4)


def early(
    parts: RunParts, rows: np.ndarray, label: str, labels: np.ndarray, split: ProbeSplit, seed: int
) -> dict[str, Any]:
    """At half depth and an eighth of the width."""
    encoder: Any = parts.encoder
    depth, width = int(encoder.depth), int(encoder.token_width())
    layer, dim = max(1, depth // 2), max(1, width // 8)
    cut = vectors(parts, parts.encoder, rows, layer=layer, dim=dim)
    return {"early": score(parts, label, cut, labels, split, seed), "early_layer": layer, "early_dim": dim}


def write_table(log: Path) -> None:
    """Means over seeds by domain and objective, and in words where an objective does not help."""
    cells = lines(log)
    record: dict[str, Any] = facts(("repcore", "repcore-generic", "torch", "scikit-learn"))
    every = [(domain, name) for domain in DOMAINS for name in OBJECTIVES if fits(domain, name)]
    record |= {
        "protocol": f"{PROBES}, held out: the declared part, else {HELD_OUT:.0%}",
        "settings": {name: f"{one.steps} steps of {one.batch}, lr {one.lr:g}" for name, one in DOMAINS.items()},
        "cells": f"{len(cells)} of {SEEDS * len(every)} (domain x objective x seed)",
        "table": {},
        "above_the_twin_on_every_seed": {},
        "in_words": [],
    }
    for domain in DOMAINS:
        here = [one for one in cells if one["domain"] == domain]
        if not here:
            continue
        rows = {name: row([one for one in here if one["objective"] == name]) for name in OBJECTIVES}
        record["table"][domain] = {name: one for name, one in rows.items() if one}
        raw = [one for one in here if one["objective"] == OWN]
        record["table"][domain] |= {
            key: {"mean": mean(raw, key)} for key in (raw[0] if raw else {}) if key.startswith("raw ")
        }
        record["in_words"] += in_words(domain, here)
        record["above_the_twin_on_every_seed"][domain] = [
            f"{name} ({len(one['gain'])} seeds)" for name, one in rows.items() if one and min(one["gain"]) > 0
        ]
    write_result("generic_objectives", record)


def row(cells: Sequence[dict[str, Any]]) -> dict[str, Any]:
    if not cells:
        return {}
    gains = [round(one["trained"] - one["random-init"], 4) for one in cells]
    found = {"trained": mean(cells, "trained"), "random-init": mean(cells, "random-init"), "gain": gains,
             "minutes": round(statistics.mean(one["minutes"] for one in cells), 2)}  # fmt: skip
    return found | ({"early": mean(cells, "early")} if "early" in cells[0] else {})


def mean(cells: Sequence[dict[str, Any]], key: str) -> float:
    return round(statistics.mean(one[key] for one in cells), 4)


def in_words(domain: str, cells: Sequence[dict[str, Any]]) -> list[str]:
    """What helps, what does not, against the twin and the domain's own objective."""
    found = []
    for name in OBJECTIVES:
        mine = [one for one in cells if one["objective"] == name]
        if not mine or name == OWN:
            continue
        gains = [one["trained"] - one["random-init"] for one in mine]
        above = sum(gain > 0 for gain in gains)
        verdict = (
            "above" if above == len(gains) else "not above" if above == 0 else f"above on {above} of {len(gains)} seeds"
        )
        own = {one["seed"]: one["trained"] for one in cells if one["objective"] == OWN}
        against = [one["trained"] - own[one["seed"]] for one in mine if one["seed"] in own]
        words = f"; {statistics.mean(against):+.3f} against the domain's own objective" if against else ""
        found.append(f"{domain}, {name}: {verdict} the random twin ({statistics.mean(gains):+.3f}){words}")
    return found


if __name__ == "__main__":
    main()
