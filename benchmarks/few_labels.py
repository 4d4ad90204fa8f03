"""Few labels: every method of fine-tuning beside the plain loss, a linear probe and the best raw-input baseline.

Protocol. It was fixed before any test row was read, but for the defaults for few rows, which came after a first table
of seed 0 (see below). Real sets of five domains (`SETS`). One model a set is pre-trained first, with the preset `tiny`
of the domain's own recipe and seed 0, without labels: on the same files (molecules: on 4,000 of a corpus of drug-like
molecules), test rows included, which is the same for all methods. Then it is fine-tuned with 1, 5
and 10 labels a class (ESOL: 50 and 200 rows), with the defaults of `repcore DOMAIN finetune`. `--labels` draws the
labelled rows, as a user's command does; labels of all other training rows are hidden, and shrinkmatch sees those rows
without them. Test rows are those that the set declares (shapes, films), a speaker (digits), else a tenth that the seed
draws. `linear-probe` and the raw baselines are `repcore probe --labels` on the same rows; the best of them is chosen by
its test score, which favours it. Scores are accuracy, AUROC where there are two classes, R2 for numbers. `plain` is the
loss of core's own task, a linear layer on the encoder's pooled vector that starts as a linear probe, as all methods
have it; beside it stands the domain's own task, where it has one for such labels. By default a start that training does
not surely better is kept, for every method, and then all of them are the linear probe. So only `plain` is run that way,
as what a user gets; all other rows keep trained weights (`finetune.keep_start=never`), and what a method adds is its
difference from `plain, trained`.

How the defaults for few rows were chosen (`repcore.training.few_rows`): on rows that are in no test part of the seeds
0, 1, 2. Of them, labelled rows were drawn with the seeds 10, 11 and 12, and the others (digits: another speaker; 250 at
most) judged states of the training. Means over two or three of these seeds, core's task, all labelled rows:

* Starts, without a step: ESOL 50, ESOL 200, FSDD 5, FSDD 10, PROTEINS 5, PROTEINS 10, quaternius 5, films 5 a class.
  `repcore probe` .527 .725 .540 .569 .655 .731 .447 .737; penalty and sureness by held-out rows (`head_start=linear`)
  .509 .719 .549 .584 .500 .653 .397 .586; the probe's penalty (`head_start=probe`) .572 .740 .540 .571 .654 .727 .443
  .726. So few rows start as a probe.
* Training from the probe (score of the start; after the last step). Head at 1e-3 as with many rows, encoder 1e-4: ESOL
  50 .572; .543, FSDD 5 .643; .623, PROTEINS 10 .727; .681 (running statistics kept .709), quaternius 1 .293; .271.
  Head at the encoder's rate, statistics kept, 3e-5: ESOL 50 .591; .586, FSDD 5 .643; .650, PROTEINS 10 .703; .705.
  1e-4: ESOL 50 .591; .564, PROTEINS 10 .703; .666, FSDD 5 .643; .650, FSDD 10 .673; .697, ESOL 200 .742; .750 after
  100 steps and .776 after 312 (3e-5: .760). So the rate grows with the rows up to 200, the length stays 25 passes.

Not chosen so: that what was chosen is done again with all labelled rows was added after one test score was seen
(FSDD 5, seed 0: .340 with the 33 rows that were left, .493 with all 50; probe .487), so that cell is no fresh evidence.
The limit of 500 rows, the 60 steps and the one standard error were set once and not varied, and more than 200 rows
were not tried.

    python benchmarks/few_labels.py --data FOLDER [--sets ...] [--labels 1 5 10] [--seeds 3] [--minutes 60]

One line a cell is appended to results/few_labels.jsonl, and cells that are there are not run again; a command makes the
cells of all seeds, and none starts after --minutes. results/few_labels.md is the table: how many cells it stands on,
and in how many of them the start was kept, so that the model is the linear probe.
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
PLAIN, TRAINED, OWN, PROBE = "plain", "plain, trained", "domain's own task", "linear-probe"
NEVER_START = "finetune.keep_start=never"
METHODS: dict[str, tuple[str, ...]] = {
    PLAIN: (),
    TRAINED: (),
    OWN: (),
    "core-tuning": (),
    "metrix": (),
    "hydra": (),
    "shrinkmatch": ("data.unlabelled_ratio=3.0",),
    "class-gaussian-contrast": (),
    "stationary": ("method.slots=64",),
    "sherl": ("method.form=pooled",),
    "experts": (),
}
NEEDS_LAYERS = "sherl"  # of one width
NEEDS_CLASSES = "hydra"  # three of them
NEEDS_DOMAINS = "experts"
CLASS_BUDGETS, ROW_BUDGETS = (1, 5, 10), (50, 200)
FOR_NUMBERS = (PLAIN, TRAINED, OWN, PROBE, "sherl")


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
    own: str = ""  # the domain's task
    apart: str = ""  # column that tells domains of its rows apart

    def takes(self, method: str) -> bool:
        """Whether the method fits the labels and the encoder."""
        if (method == NEEDS_LAYERS and not self.layers) or (method == OWN and not self.own):
            return False
        if method == NEEDS_DOMAINS and not self.apart:
            return False
        return self.classes >= 3 or method != NEEDS_CLASSES if self.classes else method in FOR_NUMBERS


CORPUS = "molecules/corpus50k/corpus50k.tsv.gz"
SELFORMER = ("selformer", "data.limit=4000")
SETS = {
    "ESOL": Set("molecules", "molecules/esol/esol.csv", "logS", 0, "random", "r2", SELFORMER, CORPUS),
    "BBBP": Set("molecules", "molecules/bbbp/bbbp.csv", "p_np", 2, "stratified", "auroc", SELFORMER, CORPUS),
    "FSDD": Set(
        "audio", "audio/fsdd", "digit", 10, "group", "accuracy", ("ssamba", "data.split=group"), own="sound-class",
        apart="speaker",
    ),
    "PROTEINS": Set(
        "graphs", "graphs/PROTEINS", "label", 2, "stratified", "auroc", ("graph-contrast",), own="graph-class"
    ),
    "quaternius": Set(
        "pointcloud", "pointcloud/quaternius_lowpoly/points.npz", "class", 20, "declared", "accuracy", ("point-m2ae",),
        layers=False, own="shape-class",
    ),
    "NIH films": Set(
        "medical3d", "medical2d/nih_cxr_small", "pneumonia", 2, "declared", "auroc", ("adam-v2",), layers=False,
        own="radiograph-class",
    ),
}  # fmt: skip
EXPERTS = (
    "Experts: of the speakers, whose test part is a speaker without one; no other of these sets tells domains apart"
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
    parser.add_argument("--minutes", type=float, default=600.0)
    parser.add_argument("--keep", type=Path, default=Path("few_labels"))
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    end = time.monotonic() + 60 * given.minutes
    done = {key(one) for one in lines()}
    for cell in cells(given):
        wanted = [{**cell, "seed": seed} for seed in range(given.seeds)]
        if all(key(one) in done for one in wanted) or time.monotonic() > end:
            continue
        found = [{**one, **own} for one, own in zip(wanted, one_command(cell, given), strict=True)]
        with LOG.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(one) + "\n" for one in found if key(one) not in done)
        print(json.dumps(found), flush=True)
        write_table()
    write_table()


def cells(given: argparse.Namespace) -> list[dict[str, Any]]:
    """In the order of methods, so that an early stop leaves whole rows."""
    return [
        {"set": name, "labels": labels, "method": method}
        for method in given.methods
        for name in given.sets
        for labels in (given.labels if SETS[name].classes else ROW_BUDGETS)
        if SETS[name].takes(method)
    ]


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


def one_command(cell: dict[str, Any], given: argparse.Namespace) -> list[dict[str, Any]]:
    """The cells of all seeds."""
    one, method, seeds = SETS[cell["set"]], cell["method"], range(given.seeds)
    model = model_of(cell["set"], given)
    count = str(cell["labels"] * (one.classes or 1))
    words = [str(model), "--data", str(given.data / one.path), "--label", one.label, "--split", one.split]
    words += ["--labels", count, "--seeds", str(given.seeds), "--json", "--device", "cpu"]
    started = time.process_time()
    if method == PROBE:
        code, out, err = quietly(["probe", *words])
        found = [probed(out, seed, one.metric) for seed in seeds] if code == 0 else []
    else:
        words += ["--no-twin", "--no-plain", "--out", str(given.keep / "runs")]
        if method in (PLAIN, TRAINED, OWN):
            plain = "classification" if one.classes else "regression"
            words += ["--task", f"{one.domain}/{one.own}" if method == OWN else plain]
        else:
            words += ["--method", method, *METHODS[method]]
            words += [f"method.domain={one.apart}"] if method == NEEDS_DOMAINS else []
        if method != PLAIN:
            words.append(NEVER_START)
        name = "-".join(map(str, (*cell.values(), time.time_ns()))).replace(" ", "_")
        code, out, err = quietly([one.domain, "finetune", *words, "--name", name])
        folder = given.keep / "runs" / name
        found = [tuned(out, seed, one.metric, folder) for seed in seeds] if code == 0 else []
        shutil.rmtree(folder, ignore_errors=True)
    minutes = round((time.process_time() - started) / 60 / given.seeds, 2)
    return [{**own, "minutes": minutes} for own in found or [{"failed": err.strip()[-300:]} for _ in seeds]]


def tuned(out: str, seed: int, metric: str, folder: Path) -> dict[str, Any]:
    told = json.loads(out[out.index("{") :])
    (own,) = [one for one in told["parts"] if one["seed"] == seed and one["start"] == "model"]
    place = folder / "seeds" / str(seed) if seed else folder
    trained = json.loads((place / "trained.json").read_text())
    kept = {"kept_step": trained["kept_step"], "steps": trained["steps"]}
    return {"score": round(own["test"][metric], 4), "rows": own["rows"], **kept}


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
        "R2 of ESOL. `N started`: in so many of them the start was kept, the linear probe. Protocol and choice of the",
        "defaults: benchmarks/few_labels.py.",
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
    started = sum(one.get("kept_step") == 0 for one in cells) if field == "score" else 0
    return f"{statistics.mean(values):.3f}{spread} ({len(values)}{f', {started} started' if started else ''})"


if __name__ == "__main__":
    main()
