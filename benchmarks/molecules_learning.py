"""What SELFormer learns from 50,000 unlabelled molecules in about 480 steps: several seeds, honest baselines.

For each seed: pre-train the `tiny` preset on the corpus, note validation loss and accuracy of hidden tokens, and embed
ESOL, FreeSolv and BBBP with the trained encoder and with its random-init twin. Then probe all of them, symbol counts
and ECFP4 on the published scaffold split. One table a data set, everything as JSON.

    python benchmarks/molecules_learning.py --corpus FOLDER --sets FOLDER [--seeds 3] [--steps 480] [--threads 2]

CORPUS holds one table of SMILES; SETS holds the folders esol, freesolv and bbbp. 20 to 30 minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import facts, write_result

import repcore
from repcore import registry
from repcore.config.resolve import resolve_run
from repcore.data.guard import read_sample
from repcore.embedding.inference import InferenceOptions
from repcore.embedding.model import Model
from repcore.errors import ItemError
from repcore.evaluation.probing import FeatureSets, LabelledRows, probe_features, read_rows
from repcore.evaluation.protocol import RANDOM_INIT, TRAINED, ProbeTable
from repcore.evaluation.raw_inputs import RawFeatures
from repcore.interfaces import DatasetReader, Sample
from repcore.reporting import LogReporter
from repcore.training.assembly import assemble
from repcore.training.run import start_run
from repcore_molecules.preprocessors.prepared import PreparedMolecules
from repcore_molecules.preprocessors.selfies import SelfiesPreprocessor

SETS = {"esol": "logS", "freesolv": "dG_hyd_kcal_mol", "bbbp": "p_np"}
LARGEST_LOSS, SMALLEST_ACCURACY = 1.95, 0.45
PREPROCESSOR = "molecules/selfies"


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    sets = {name: LabelledSet(arguments.sets / name, label) for name, label in SETS.items()}
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(arguments.seeds):
            model, run = train(arguments, seed, Path(folder))
            runs.append(run)
            print(json.dumps(run), flush=True)
            for one in sets.values():
                one.embed(model, seed)
    tables = {name: one.probe(list(range(arguments.seeds))) for name, one in sets.items()}
    for name, table in tables.items():
        show(name, table)
    record = {
        **facts(("repcore", "torch", "lightning", "rdkit", "selfies", "scikit-learn")),
        "settings": {"steps": arguments.steps, "seeds": arguments.seeds, "threads": arguments.threads,
                     "overrides": arguments.override, "corpus": arguments.corpus.name},
        "runs": runs,
        "limits": {"validation_loss": LARGEST_LOSS, "masked_accuracy": SMALLEST_ACCURACY},
        "within_limits": all(
            run["validation"]["loss"] <= LARGEST_LOSS and run["validation"]["masked_accuracy"] >= SMALLEST_ACCURACY
            for run in runs
        ),
        "beats_random_init": {name: beats_twin(table) for name, table in tables.items()},
        "probes": {name: json.loads(table.to_json()) for name, table in tables.items()},
    }  # fmt: skip
    print(f"validation within limits: {record['within_limits']}; mean better than the random-init twin: "
          f"{record['beats_random_init']}")  # fmt: skip
    print(f"written to {write_result('molecules_learning', record, arguments.output)}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="table of SMILES, or its folder")
    parser.add_argument("--sets", type=Path, required=True, help="folder with esol, freesolv and bbbp")
    parser.add_argument("--seeds", type=int, default=3, help="runs (default 3)")
    parser.add_argument("--steps", type=int, default=480, help="optimiser steps of 64 molecules (default 480)")
    parser.add_argument("--threads", type=int, default=2, help="torch threads (default 2)")
    parser.add_argument("--override", action="append", default=[], help="further settings, for example data.limit=3000")
    parser.add_argument("--output", type=Path, help="result file (default: results/molecules_learning.json)")
    return parser.parse_args()


def train(arguments: argparse.Namespace, seed: int, folder: Path) -> tuple[Model, dict[str, Any]]:
    """One pre-training run: its model, and what validation said."""
    resolved = resolve_run(
        registry.default(),
        "selformer",
        domain="molecules",
        preset="tiny",
        overrides=[f"trainer.steps={arguments.steps}", f"trainer.seed={seed}", *arguments.override],
        settings={
            "dataset.name": "molecules/smiles-table",
            "dataset.path": str(arguments.corpus),
            "dataset.labels": [],
        },
    )
    parts = assemble(resolved, LogReporter())
    started = time.perf_counter()
    result = start_run(registry.default(), parts, LogReporter(), root=folder, name=f"seed{seed}", device="cpu")
    assert isinstance(parts.reader, PreparedMolecules)
    assert isinstance(parts.preprocessor, SelfiesPreprocessor)
    run = {
        "seed": seed,
        "seconds": round(time.perf_counter() - started, 1),
        "rows": {"train": len(parts.train), "validation": len(parts.validation)},
        "tokens": parts.preprocessor.tokeniser.size,
        "validation": {name: round(value, 4) for name, value in result.validation.items()},
        "token_frequencies_alone": frequencies_alone(parts.reader, parts.train, parts.validation),
    }
    return repcore.load(result.folder), run


def frequencies_alone(reader: PreparedMolecules, train: np.ndarray, validation: np.ndarray) -> dict[str, float]:
    """Loss and accuracy of guessing hidden tokens by their frequency in training rows."""
    known, held = reader.symbol_counts(train), reader.symbol_counts(validation)
    total, hidden = sum(known.values()), sum(held.values())
    loss = -sum(count * math.log(max(known.get(symbol, 0), 0.5) / total) for symbol, count in held.items()) / hidden
    return {"loss": round(loss, 4), "accuracy": round(held.get(max(known, key=lambda one: known[one]), 0) / hidden, 4)}


@dataclass
class LabelledSet:
    """A data set with the vectors of every seed's encoder and of its twin."""

    path: Path
    label: str
    rows: LabelledRows | None = None
    matrices: dict[str, Any] = field(default_factory=lambda: {TRAINED: [], RANDOM_INIT: []})
    raw: dict[str, np.ndarray] = field(default_factory=dict)

    def embed(self, model: Model, seed: int) -> None:
        """Vectors of one seed; baselines with the first."""
        reader = model.reader(str(self.path), options={"labels": [self.label]})
        if self.rows is None:
            self.rows = read_rows(reader)
            raw = RawFeatures.of(model)
            raw.add([read_or_none(reader, row) for row in range(len(reader))])
            self.raw = raw.joined()
        trained = model.encoder
        for name, encoder in ((TRAINED, trained), (RANDOM_INIT, model.random_twin(seed))):
            model.encoder = encoder
            vectors = model.embed(reader, options=InferenceOptions(batch_size=64)).vectors
            self.matrices[name].append(np.asarray(vectors, np.float64))
        model.encoder = trained

    def probe(self, seeds: list[int]) -> ProbeTable:
        """The default probe on the published scaffold split."""
        assert self.rows is not None
        return probe_features(
            registry.default(),
            FeatureSets(self.matrices | self.raw, self.rows, {}, tuple(self.raw)),
            self.rows.reader.targets[0],
            preprocessor_name=PREPROCESSOR,
            protocols=[],
            split="scaffold",
            seeds=seeds,
        )


def read_or_none(reader: DatasetReader, row: int) -> Sample | None:
    try:
        return read_sample(reader, row)
    except ItemError:
        return None


def show(name: str, table: ProbeTable) -> None:
    print(f"\n{name}: {table.target.name}, {table.split} split, {table.rows_used} rows")
    for row in table.rows():
        print(f"  {row['features']:<16}{row['probe']:<12}{row['metric']:<12}{row['mean']:>8} +- {row['sd']}")
    for sentence in table.verdicts():
        print(f"  {sentence}")


def beats_twin(table: ProbeTable) -> bool:
    """Whether the mean over seeds is better than the twin's."""
    means = {one.features: one for one in table.entries if one.primary and one.features in (TRAINED, RANDOM_INIT)}
    gain = means[TRAINED].mean - means[RANDOM_INIT].mean
    return gain > 0 if means[TRAINED].higher_is_better else gain < 0


if __name__ == "__main__":
    main()
