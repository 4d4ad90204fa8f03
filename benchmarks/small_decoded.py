"""Sets of small_presets.py whose labels belong to voxels, read by a decoder: Dice of `medical3d/segmentation`.

A side is the trained encoder or its random twin, frozen: a fresh decoder on its stages (`SETTINGS`, the same for both,
fixed here, nothing is chosen) learns from the labelled training scans with the same seed, so from the same cubes and
the same first weights, and its last step is kept. Labelled scans, inner split and Dice are those of small_volumes.py;
so are the baselines, which a domain of the same sets has been read with.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from small_volumes import Labelled, dice

from repcore.api.given_data import given_data
from repcore.data.selection import SelectedRows
from repcore.embedding.inference import InferenceOptions
from repcore.embedding.model import Model
from repcore.evaluation.dense_answers import DensePredictor, class_values
from repcore.evaluation.probing import chosen_targets, read_rows
from repcore.interfaces import ProbeSplit
from repcore.reporting import LogReporter
from repcore.training.finetune import train_task
from repcore.training.finetune_dense import completed
from repcore.training.finetune_request import finetune_settings
from repcore.training.run_folder import RunFolder

TASK, STEPS = "medical3d/segmentation", 300
SETTINGS = (
    f"trainer.steps={STEPS}", f"trainer.validate_every={STEPS}", "data.batch_size=2", "optimiser.lr=2e-3",
    "optimiser.weight_decay=0.05", "optimiser.clip_norm=1.0", "schedule.name=cosine", "schedule.warmup_steps=20",
    "schedule.final_share=0.01", "finetune.frozen_epochs=100000", "finetune.head_lr_factor=1",
    "finetune.head_start=random", "finetune.keep_start=never", "task.decoder_width=16",
)  # fmt: skip
STARTS = {"trained": "model", "random twin": "random"}


class Scans:
    """The scans of a set, and decoders that learn from some of them."""

    def __init__(self, model: Model, path: Path, label: str, seed: int, threads: int) -> None:
        self.model, self.seed, self.threads = model, seed, threads
        given = given_data(
            model.registry, str(path), domain=model.domain, preprocessor=model.folder.preprocessor_name, reader=None
        )
        self.dataset, self.reader = given.opened(model.registry, model.domain)
        (self.target,) = chosen_targets(self.reader, [label], None)

    def part(self, name: str) -> np.ndarray:
        return np.asarray(self.reader.splits[name], np.int64)

    def decoder(self, start: str, rows: np.ndarray) -> DensePredictor:
        """Fitted to the labels of these scans; the others are not opened."""
        labelled = read_rows(SelectedRows(self.reader, sorted(int(row) for row in rows), "the draw of labelled scans"))
        overrides = [*SETTINGS, f"trainer.threads={self.threads}"]
        settings = finetune_settings(self.model, self.target, self.dataset, TASK, overrides)
        settings = completed(self.model, settings, labelled)
        every = np.arange(len(labelled.ids))
        split = ProbeSplit(every, every[:0], every[:1])  # nothing is chosen
        with tempfile.TemporaryDirectory() as folder:
            learned = train_task(
                self.model, settings, labelled, split, RunFolder.create(Path(folder), "decoder"), LogReporter(),
                seed=self.seed, start=start, device="cpu", tells=False,
            )  # fmt: skip
        if learned.kept != STEPS:
            raise SystemExit(f"step {learned.kept} of {STEPS} was kept")
        task = learned.task
        return DensePredictor(
            [task], self.model.preprocessor, settings.target, class_values(task, settings.target), self.model.domain
        )

    def scores(self, start: str, fit: np.ndarray, judge: np.ndarray) -> list[float]:
        """Dice of each scan of ``judge`` after learning from ``fit``."""
        found = []
        for row in self.decoder(start, fit).rows(self.reader, InferenceOptions(), [int(one) for one in judge]):
            assert row.answer is not None, row.reason
            labels = np.asarray(row.labels[self.target.name]).reshape(-1)
            found.append(round(dice(row.answer.labels().reshape(-1), labels), 4))
        return found


def inner(scans: Scans, counts: Mapping[str, int]) -> dict[str, dict[str, float]]:
    """Dice of the inner split by set and side."""
    parts = {name: Labelled(scans.part("train"), count) for name, count in counts.items()}
    return {
        name: {side: round(float(np.mean(scans.scores(how, part.kept, part.held))), 4) for side, how in STARTS.items()}
        for name, part in parts.items()
    }


def judged(
    scans: Scans, counts: Mapping[str, int], known: Mapping[str, Mapping[str, Any]], baseline: str
) -> dict[str, dict[str, Any]]:
    """What small_presets.py keeps of each set: facts, and every side's figures on the test scans.

    Args:
        counts: labelled training scans by name of the set; 0 = all.
        known: sets of the domain whose baselines stand here, too.
    """
    test, sets = scans.part("test").tolist(), {}
    check_baselines(known, list(counts), baseline, test)
    for name, count in counts.items():
        rows = Labelled(scans.part("train"), count).rows
        sets[name] = {"metric": "dice", "kind": "class", "rows": len(test), baseline: known[name][baseline]}
        for side, how in STARTS.items():
            each = scans.scores(how, rows, np.asarray(test))
            fold = {"score": round(float(np.mean(each)), 4), "each": each, "truth": [0.0] * len(test), "rows": test}
            sets[name][side] = {"score": fold["score"], "chosen": ["frozen, decoder"], "folds": [fold]}
    return sets


def check_baselines(
    known: Mapping[str, Mapping[str, Any]], names: Sequence[str], baseline: str, test: Sequence[int]
) -> None:
    """Baselines have to be there, and of the same test scans in the same order."""
    for name in names:
        if name not in known:
            raise SystemExit(f"no baseline of {name!r}: run the domain that `baselines_of` names first")
        if known[name][baseline]["folds"][0]["rows"] != list(test):
            raise SystemExit(f"the baseline of {name!r} is of other test scans")
