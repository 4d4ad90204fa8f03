"""Few labels: every method of fine-tuning beside the plain loss, a linear probe and the best raw-input baseline.

Protocol, fixed before any test row was read. Real sets of five domains (`SETS`). One model a set is pre-trained first,
with the preset `tiny` of the domain's own recipe and seed 0, without labels: on the same files (molecules: on 4,000 of
a corpus of drug-like molecules), test rows included, which is the same for all methods. Then it is fine-tuned with 1, 5
and 10 labels a class (ESOL: 50 and 200 rows), --epochs passes over them, defaults otherwise. `--labels` draws the
labelled rows and keeps some of them back for the choice of the epoch, as a user's command does; labels of all other
training rows are hidden, and shrinkmatch sees those rows without them. Test rows are those that the set declares
(shapes, films), a speaker (digits), else a tenth that the seed draws. `linear-probe` and the raw baselines are `repcore
probe --labels` on the same rows; the best of them is chosen by its test score, which favours it. Scores are accuracy,
AUROC where there are two classes, R2 for numbers. `plain` is the loss of core's own task, a linear layer on the
encoder's pooled vector that starts as a linear probe, as all methods have it; beside it stands the task that the domain
takes where no method is named.

    python benchmarks/few_labels.py --data FOLDER [--sets ...] [--labels 1 5 10] [--seeds 3] [--minutes 60]

One line a cell is appended to results/few_labels.jsonl, and cells that are there are not run again; no cell starts
after --minutes. results/few_labels.md is the table, which says how many cells it stands on.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import shutil
import statistics
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from measuring import RESULTS

from repcore.cli.main import run

LOG, TABLE = RESULTS / "few_labels.jsonl", RESULTS / "few_labels.md"
PLAIN, OWN, PROBE = "plain", "domain's own task", "linear-probe"
METHODS: dict[str, tuple[str, ...]] = {
    PLAIN: (),
    OWN: (),
    "core-tuning": (),
    "metrix": (),
    "hydra": (),
    "shrinkmatch": ("data.unlabelled_ratio=3.0",),
    "class-gaussian-contrast": (),
    "stationary": ("method.slots=64",),
    "sherl": ("method.form=pooled",),
}
NEEDS_LAYERS = "sherl"  # of one width
NEEDS_CLASSES = "hydra"  # three of them
CLASS_BUDGETS, ROW_BUDGETS = (1, 5, 10), (50, 200)
FOR_NUMBERS = (PLAIN, OWN, PROBE, "sherl")


@dataclass(frozen=True)
class Set:
    """A labelled set of real data, and what its model is pre-trained on."""

    domain: str
    path: str
    label: str
    classes: int  # 0 for numbers
    split: str
    metric: str
    train: tuple[str, ...]  # recipe and settings
    corpus: str = ""  # unlabelled data, where they are not the set itself
    layers: bool = True  # of one width

    def takes(self, method: str) -> bool:
        """Whether the method fits the labels and the encoder."""
        if method == NEEDS_LAYERS and not self.layers:
            return False
        return self.classes >= 3 or method != NEEDS_CLASSES if self.classes else method in FOR_NUMBERS


CORPUS = "molecules/corpus50k/corpus50k.tsv.gz"
SELFORMER = ("selformer", "data.limit=4000")
SETS = {
    "ESOL": Set("molecules", "molecules/esol/esol.csv", "logS", 0, "random", "r2", SELFORMER, CORPUS),
    "BBBP": Set("molecules", "molecules/bbbp/bbbp.csv", "p_np", 2, "stratified", "auroc", SELFORMER, CORPUS),
    "FSDD": Set("audio", "audio/fsdd", "digit", 10, "group", "accuracy", ("ssamba", "data.split=group")),
    "PROTEINS": Set("graphs", "graphs/PROTEINS", "label", 2, "stratified", "auroc", ("graph-contrast",)),
    "quaternius": Set(
        "pointcloud", "pointcloud/quaternius_lowpoly/points.npz", "class", 20, "declared", "accuracy", ("point-m2ae",),
        layers=False,
    ),
    "NIH films": Set(
        "medical3d", "medical2d/nih_cxr_small", "pneumonia", 2, "declared", "auroc", ("adam-v2",), layers=False
    ),
}  # fmt: skip
EXPERTS = (
    "experts need a column that tells domains apart, which none of these sets has: see tests/generic/test_experts.py"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the sets")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--labels", nargs="+", type=int, default=CLASS_BUDGETS, help="labels a class")
    parser.add_argument(
        "--methods", nargs="+", choices=[*METHODS, PROBE], default=list(dict.fromkeys([PLAIN, PROBE, *METHODS]))
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=600.0)
    parser.add_argument("--keep", type=Path, default=Path("few_labels"))
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    end = time.monotonic() + 60 * given.minutes
    done = {key(one) for one in lines()}
    for cell in cells(given):
        if key(cell) in done or time.monotonic() > end:
            continue
        done.add(key(cell))
        found = {**cell, **one_cell(cell, given)}
        with LOG.open("a", encoding="utf-8") as file:
            file.write(json.dumps(found) + "\n")
        print(json.dumps(found), flush=True)
        write_table()
    write_table()


def cells(given: argparse.Namespace) -> list[dict[str, Any]]:
    """In the order of seeds, so that an early stop leaves whole rows."""
    found = []
    for seed in range(given.seeds):
        for name in given.sets:
            one = SETS[name]
            for labels in given.labels if one.classes else ROW_BUDGETS:
                for method in given.methods:
                    if one.takes(method):
                        found.append({"set": name, "labels": labels, "method": method, "seed": seed})
    return found


def key(cell: dict[str, Any]) -> tuple[Any, ...]:
    return cell["set"], cell["labels"], cell["method"], cell["seed"]


def lines() -> list[dict[str, Any]]:
    return [json.loads(line) for line in LOG.read_text().splitlines()] if LOG.is_file() else []


def quietly(words: list[str]) -> tuple[int, str, str]:
    """Exit code, output and errors of a command."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(words)
    return code, out.getvalue(), err.getvalue()


def model_of(name: str, given: argparse.Namespace) -> Path:
    """The pre-trained model, made once; sets with the same recipe and corpus share one."""
    one = SETS[name]
    data = one.corpus or one.path
    folder: Path = given.keep / "-".join((one.domain, one.train[0], Path(data).parts[1]))
    if not (folder / "model").is_dir():
        words = [one.domain, "train", *one.train[:1], "--data", str(given.data / data), *one.train[1:]]
        words += ["--name", folder.name, "--out", str(given.keep), "--device", "cpu"]
        code, _, err = quietly(words)
        if code:
            raise SystemExit(f"{name}: {err[-2000:]}")
    return folder


def one_cell(cell: dict[str, Any], given: argparse.Namespace) -> dict[str, Any]:
    one, method, seed = SETS[cell["set"]], cell["method"], cell["seed"]
    model = model_of(cell["set"], given)
    count = str(cell["labels"] * (one.classes or 1))
    words = [str(model), "--data", str(given.data / one.path), "--label", one.label, "--split", one.split]
    words += ["--labels", count, "--seeds", str(seed + 1), "--json", "--device", "cpu"]
    started = time.process_time()
    if method == PROBE:
        code, out, err = quietly(["probe", *words])
        found = probed(out, seed, one.metric) if code == 0 else {"failed": err.strip()[-300:]}
    else:
        words += ["--no-twin", "--no-plain", "--out", str(given.keep / "runs"), f"trainer.epochs={given.epochs}"]
        if method == PLAIN:
            words += ["--task", "classification" if one.classes else "regression"]
        elif method != OWN:
            words += ["--method", method, *METHODS[method]]
        name = "-".join(map(str, (*cell.values(), time.time_ns()))).replace(" ", "_")
        code, out, err = quietly([one.domain, "finetune", *words, "--name", name])
        found = tuned(out, seed, one.metric) if code == 0 else {"failed": err.strip()[-300:]}
        shutil.rmtree(given.keep / "runs" / name, ignore_errors=True)
    return {**found, "minutes": round((time.process_time() - started) / 60, 2)}


def tuned(out: str, seed: int, metric: str) -> dict[str, Any]:
    told = json.loads(out[out.index("{") :])
    (own,) = [one for one in told["parts"] if one["seed"] == seed and one["start"] == "model"]
    return {"score": round(own["test"][metric], 4), "rows": own["rows"]}


def probed(out: str, seed: int, metric: str) -> dict[str, Any]:
    """Linear probe and the best baseline of one seed."""
    (table,) = json.loads(out[out.index("[") :])
    rows: dict[tuple[str, str], float] = {}
    for one in table["entries"]:
        if one["metric"] == metric and one["values"][seed] is not None:
            rows[one["features"], one["probe"].partition("@")[0]] = float(one["values"][seed])
    own = {probe: value for (features, probe), value in rows.items() if features == "trained"}
    raw = {key: value for key, value in rows.items() if key[0] not in ("trained", "random-init")}
    best = max(raw, key=lambda key: raw[key]) if raw else None
    told = {"baseline": " ".join(best), "baseline_score": round(raw[best], 4)} if best else {}
    return {"score": round(own.get("linear", own.get("ridge", max(own.values()))), 4), **told}


def write_table() -> None:
    """Mean and standard deviation over seeds, a row a method, a column a domain and number of labels."""
    found = lines()
    columns = [
        (name, labels) for name in SETS for labels in sorted({one["labels"] for one in found if one["set"] == name})
    ]
    methods = [one for one in (PLAIN, PROBE, *METHODS) if any(cell["method"] == one for cell in found)]
    text = [
        "# Few labels",
        "",
        f"{len(found)} cells; mean +- standard deviation over seeds (their number) on test rows. Columns: set and",
        "labels a class (ESOL: labelled rows). Accuracy of FSDD and quaternius, AUROC of BBBP, PROTEINS and the films,",
        "R2 of ESOL. Protocol: benchmarks/few_labels.py.",
        f"{EXPERTS}.",
        "",
        "| method | " + " | ".join(f"{name}, {labels}" for name, labels in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for name in dict.fromkeys(methods):
        text.append(f"| {name} | " + " | ".join(_mean(found, column, name, "score") for column in columns) + " |")
    raw = " | ".join(_mean(found, column, PROBE, "baseline_score") for column in columns)
    text.append(f"| best raw baseline | {raw} |")
    TABLE.write_text("\n".join(text) + "\n", encoding="utf-8")


def _mean(found: list[dict[str, Any]], column: tuple[str, int], method: str, field: str) -> str:
    cells = [one for one in found if (one["set"], one["labels"]) == column and one["method"] == method]
    values = [one[field] for one in cells if one.get(field) is not None]
    if not values:
        return "failed" if any("failed" in one for one in cells) else ""
    spread = f" +- {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread} ({len(values)})"


if __name__ == "__main__":
    main()
