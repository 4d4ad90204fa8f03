"""Few labels: every method of fine-tuning beside the plain loss, a linear probe and the best raw-input baseline.

Sets, encoders and settings are those of benchmarks/generic_objectives.py (generated or embedded sets, tiny encoders);
each domain's model is pre-trained once with generic/simclr and fine-tuned with 1, 5 and 10 labels a class (molecules:
50 and 200 rows of logP), --epochs passes over them, batches of 16, defaults otherwise, on a random split that the seed
draws. Labels of all other training rows are hidden; shrinkmatch sees those rows without them. `linear-probe` and the
raw baselines are `repcore probe --labels` on the same rows. Accuracy (molecules: R2) on the test rows.

    python benchmarks/few_labels.py [--domains ...] [--labels 1 5 10] [--seeds 3] [--minutes 60] [--keep FOLDER]

One line a cell is appended to results/few_labels.jsonl, and cells that are there are not run again; no cell starts
after --minutes. results/few_labels.md is the table, which says how many cells it stands on.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
import time
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import torch
from generic_objectives import DOMAINS
from measuring import RESULTS

from repcore import registry
from repcore.cli.main import run
from repcore.config.resolve import resolve_run
from repcore.data.readers import open_part

LOG, TABLE = RESULTS / "few_labels.jsonl", RESULTS / "few_labels.md"
PLAIN, PROBE = "plain", "linear-probe"
METHODS: dict[str, tuple[str, ...]] = {
    PLAIN: (),
    "core-tuning": (),
    "metrix": (),
    "hydra": (),
    "shrinkmatch": ("data.unlabelled_ratio=3.0",),
    "class-gaussian-contrast": (),
    "stationary": ("method.slots=64",),
    "sherl": ("method.form=pooled",),
}
SKIPPED = {
    "sherl": ("pointcloud", "medical3d", "graphs"),  # no layers of one width
}
FEW_ROWS = (50, 200)  # molecules: numbers, no classes
FOR_NUMBERS = (PLAIN, PROBE, "sherl")
EXPERTS = (
    "experts need a column that tells domains apart, which none of these sets has: see tests/generic/test_experts.py"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--domains", nargs="+", choices=list(DOMAINS), default=list(DOMAINS))
    parser.add_argument("--labels", nargs="+", type=int, default=[1, 5, 10])
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
        for domain in given.domains:
            numbers = domain == "molecules"
            for labels in FEW_ROWS if numbers else given.labels:
                for method in given.methods:
                    if domain in SKIPPED.get(method, ()) or (numbers and method not in FOR_NUMBERS):
                        continue
                    found.append({"domain": domain, "labels": labels, "method": method, "seed": seed})
    return found


def key(cell: dict[str, Any]) -> tuple[Any, ...]:
    return cell["domain"], cell["labels"], cell["method"], cell["seed"]


def lines() -> list[dict[str, Any]]:
    return [json.loads(line) for line in LOG.read_text().splitlines()] if LOG.is_file() else []


def quietly(words: list[str]) -> tuple[int, str, str]:
    """Exit code, output and errors of a command."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(words)
    return code, out.getvalue(), err.getvalue()


def model_of(domain: str, keep: Path) -> Path:
    """The pre-trained model, made once."""
    folder = keep / domain
    if not (folder / "model").is_dir():
        one = DOMAINS[domain]
        words = [domain, "train", one.recipe, "objective=generic/simclr", "--name", domain, "--out", str(keep)]
        words += ["--device", "cpu", f"trainer.steps={one.steps}", f"data.batch_size={one.batch}"]
        code, _, err = quietly([*words, f"optimiser.lr={one.lr}", *one.settings])
        if code:
            raise SystemExit(f"{domain}: {err[-2000:]}")
    return folder


@cache
def classes_of(domain: str) -> int:
    """Classes of the label; 1 for numbers, which are counted by rows."""
    one = DOMAINS[domain]
    reader = open_part(resolve_run(registry.default(), one.recipe, overrides=one.settings).dataset)
    (target,) = [known for known in reader.targets if known.name == one.label]
    return len(target.names) if target.kind == "class" else 1


def data_of(domain: str, model: Path) -> list[str]:
    """The set that the model was trained on, with its settings."""
    told = json.loads((model / "model" / "config.json").read_text())["origin"]["run"]["dataset"]
    asked = {one.partition("=")[0].removeprefix("dataset.") for one in DOMAINS[domain].settings if "dataset." in one}
    words = [f"{name}={json.dumps(told[name])}" for name in sorted(asked)]
    return ["--data", told["name"], "--label", DOMAINS[domain].label, *[x for one in words for x in ("--read", one)]]


def one_cell(cell: dict[str, Any], given: argparse.Namespace) -> dict[str, Any]:
    domain, method, seed = cell["domain"], cell["method"], cell["seed"]
    model = model_of(domain, given.keep)
    count = cell["labels"] * classes_of(domain)
    started = time.process_time()
    if method == PROBE:
        words = ["probe", str(model), *data_of(domain, model), "--split", "random", "--labels", str(count)]
        code, out, err = quietly([*words, "--seeds", str(seed + 1), "--json"])
        found = probed(out, seed) if code == 0 else {"failed": err.strip()[-300:]}
    else:
        name = f"{domain}-{cell['labels']}-{method}-{seed}-{time.time_ns()}"
        words = [domain, "finetune", str(model), *data_of(domain, model), "--split", "random", "--labels", str(count)]
        words += ["--seeds", str(seed + 1), "--no-twin", "--no-plain", "--json", "--device", "cpu"]
        words += ["--out", str(given.keep / "runs"), "--name", name, f"trainer.epochs={given.epochs}"]
        words += ["--method", method, *METHODS[method]] if method != PLAIN else []
        code, out, err = quietly(words)
        found = tuned(out, seed) if code == 0 else {"failed": err.strip()[-300:]}
    return {**found, "minutes": round((time.process_time() - started) / 60, 2)}


def metric_of(scores: dict[str, Any]) -> float:
    return float(scores["accuracy"] if "accuracy" in scores else scores["r2"])


def tuned(out: str, seed: int) -> dict[str, Any]:
    told = json.loads(out[out.index("{") :])
    (own,) = [one for one in told["parts"] if one["seed"] == seed and one["start"] == "model"]
    return {"score": round(metric_of(own["test"]), 4), "rows": own["rows"]}


def probed(out: str, seed: int) -> dict[str, Any]:
    """Linear probe and the best baseline of one seed."""
    (table,) = json.loads(out[out.index("[") :])
    rows: dict[tuple[str, str], float] = {}
    for one in table["entries"]:
        if one["metric"] in ("accuracy", "r2") and one["values"][seed] is not None:
            rows[one["features"], one["probe"].partition("@")[0]] = float(one["values"][seed])
    own = {probe: value for (features, probe), value in rows.items() if features == "trained"}
    raw = {key: value for key, value in rows.items() if key[0] not in ("trained", "random-init")}
    best = max(raw, key=lambda key: raw[key]) if raw else None
    told = {"baseline": " ".join(best), "baseline_score": round(raw[best], 4)} if best else {}
    return {"score": round(own.get("linear", own.get("ridge", max(own.values()))), 4), **told}


def write_table() -> None:
    """Mean and standard deviation over seeds, a row a method, a column a domain and number of labels."""
    found = lines()
    columns = sorted({(one["domain"], one["labels"]) for one in found})
    methods = [one for one in (PLAIN, PROBE, *METHODS) if any(cell["method"] == one for cell in found)]
    text = [
        "# Few labels",
        "",
        f"{len(found)} cells; accuracy (molecules: R2) on held-out rows, mean +- standard deviation over seeds (their",
        "number). Labels a class, of molecules labelled rows. Protocol: benchmarks/few_labels.py.",
        f"{EXPERTS}.",
        "",
        "| method | " + " | ".join(f"{domain} {labels}" for domain, labels in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for name in dict.fromkeys(methods):
        text.append(f"| {name} | " + " | ".join(_mean(found, column, name, "score") for column in columns) + " |")
    raw = " | ".join(_mean(found, column, PROBE, "baseline_score") for column in columns)
    text.append(f"| best raw baseline | {raw} |")
    TABLE.write_text("\n".join(text) + "\n", encoding="utf-8")


def _mean(found: list[dict[str, Any]], column: tuple[str, int], method: str, field: str) -> str:
    cells = [one for one in found if (one["domain"], one["labels"]) == column and one["method"] == method]
    values = [one[field] for one in cells if one.get(field) is not None]
    if not values:
        return "failed" if any("failed" in one for one in cells) else ""
    spread = f" +- {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread} ({len(values)})"


if __name__ == "__main__":
    main()
