"""Which starting points and learning rates of the head should fine-tuning have unless told otherwise?

Judged by the lowest validation loss of short runs with the smallest encoders, as a user's first try has them; test rows
are not looked at. Arms: the head's last layer random or fitted to frozen training features (`finetune.head_start`), its
learning rate 1 or 10 times that of the encoder, which is 1e-4 (1e-3 is what an unset `finetune.head_lr_factor` gives).

    python benchmarks/finetuning_defaults.py --data FOLDER [--epochs 2 10] [--seeds 2]

FOLDER holds molecules/{esol,freesolv,bbbp} and audio/fsdd. One core; writes results/finetuning_defaults.md.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from coverage import SETS, SMALL, DataSet
from measuring import RESULTS, facts

from repcore.cli.main import run
from repcore.files import read_lines

ARMS = {
    "random head, rate x 1 (before)": ("random", 1),
    "random head, rate x 10": ("random", 10),
    "fitted head, rate x 1": ("linear", 1),
    "fitted head, rate x 10 (default)": ("linear", 10),
}


def lowest_loss(folder: Path) -> float:
    """Lowest validation loss of a run."""
    lines = [line for line in read_lines(folder / "metrics.jsonl") if line.get("split") == "validation"]
    return min(float(line["loss"]) for line in lines if "loss" in line)


def tuned(model: Path, one: DataSet, data: Path, arm: tuple[str, int], epochs: int, seeds: int) -> float:
    """Lowest validation loss of a fine-tuning, mean over seeds, each with its own split."""
    start, factor = arm
    name = f"t{time.time_ns()}"
    words = [one.domain, "finetune", str(model), "--data", str(data), "--label", one.label, "--no-twin",
             "--seeds", str(seeds), "--out", str(model.parent), "--name", name, "--device", "cpu",
             f"trainer.epochs={epochs}", f"finetune.head_start={start}",
             f"finetune.head_lr_factor={factor}"]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        assert run(words) == 0
    outer = model.parent / name
    return float(np.mean([lowest_loss(folder) for folder in (outer, *(outer / "seeds").glob("*"))]))


def table_of(source: Path, most: int, target: Path) -> Path:
    """Every k-th row of a table, ``most`` at most; paths of files become absolute."""
    with source.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rows = rows[:: max(1, len(rows) // most)][:most]
    for row in rows:
        for name, value in row.items():
            if value and (source.parent / value).is_file():
                row[name] = str((source.parent / value).resolve())
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--epochs", type=int, nargs="*", default=[2, 10])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--output", type=Path, default=RESULTS / "finetuning_defaults.md")
    given = parser.parse_args()
    torch.set_num_threads(1)
    lines = ["# Defaults of fine-tuning", "",
             "Made by `python benchmarks/finetuning_defaults.py`; method in its head. Mean over seeds of the lowest",
             "validation loss (classes: nats; values: squared standard deviations), lower is better. A constant",
             "predictor has the entropy of the classes, or about 1.", "",
             f"{facts([])['date']}, {given.rows} rows each, {given.seeds} seeds.", "",
             f"| data | epochs | {' | '.join(ARMS)} |", "|---" * (2 + len(ARMS)) + "|"]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("REPCORE_CACHE", f"{folder}/cache")
        for one in SETS:
            if given.only and one.name not in given.only:
                continue
            model = Path(folder) / one.domain
            if not model.exists():
                recipe, *settings = SMALL[one.domain]
                assert run([one.domain, "train", recipe, "--out", folder, "--name", one.domain, "--device", "cpu",
                            *settings]) == 0  # fmt: skip
            data = table_of(given.data / one.path, given.rows, Path(folder) / f"{one.name}.csv")
            for epochs in given.epochs:
                cells = [f"{tuned(model, one, data, arm, epochs, given.seeds):.3f}" for arm in ARMS.values()]
                lines.append(f"| {one.name} | {epochs} | {' | '.join(cells)} |")
                print(lines[-1], flush=True)
    given.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
