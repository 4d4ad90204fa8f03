"""Several processes against one, number formats, compiling and activation checkpointing, on one recipe a domain.

* processes: the same micro-batches in 1 process (``trainer.accumulate=2``) and in 2 (``ddp``, ``fsdp``; gloo), one
  thread each: largest difference of a loss and of a number of the checkpoint, items a second, efficiency (rate of two
  over twice that of one).
* sharded: every recipe, objectives of the domain ``generic`` in one, and its methods in a fine-tuning of what that has
  learned, in 1 process and in 2 with ``fsdp``: the same differences with the recipe's optimiser and with ``sgd``,
  and, where those of the former exceed 1e-5, with Adam's ``eps`` at 1e-4: gradients that are 0 but for rounding then
  make no whole steps.
* formats: ``trainer.precision=bf16-mixed`` and ``trainer.compile=true`` beside float32 without compiling, one process:
  items a second, and the largest difference of a loss, relative.
* memory: ``trainer.activation_checkpointing`` at published sizes: bytes kept for the way back by one micro-batch (views
  of one storage once, without the parameters), and seconds of its way forwards and back.

    python benchmarks/processes.py [--parts processes sharded formats memory] [--recipes ...] [--steps 12] [--batch 8]
        [--minutes 60]

One process imports everything once; every run is a fork of it with the real command line and the preset ``tiny``.
Rates are means over the lines of metrics (one a step) after the first third of the steps. Results are added line by
line to results/processes.jsonl, with the load of the machine, and the table to results/processes.md; what is there
already with the same settings is not repeated, and nothing is begun after ``--minutes``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from measuring import RESULTS, facts
from random_kills import Command, attempt, wait

RECIPES = ("molecules/selformer", "timeseries/ts2vec", "graphs/masked-edge", "audio/ssamba", "pointcloud/i2p-mae",
           "medical3d/adam-v2")  # fmt: skip
PROCESSES: dict[str, tuple[int, list[str]]] = {
    "one": (1, ["trainer.accumulate=2"]),
    "ddp": (2, ["trainer.strategy=ddp"]),
    "fsdp": (2, ["trainer.strategy=fsdp"]),
}
IN_RECIPE = "molecules/selformer"
GENERIC = ("simclr", "vicreg", "cmim", "masked-features", "matryoshka-2d", "mlcd", "token-alignment")
SECOND = {"objective=mlcd": "--init-from {}", "objective=token-alignment": "objective.teacher={}"}
"""Objectives that begin with a model: how its folder is given."""
METHODS: dict[str, list[str]] = {
    "core-tuning": [],
    "metrix": [],
    "hydra": ["method.embedding=8", "method.gate_hidden=8"],
    "shrinkmatch": ["--labels", "24"],
    "sherl": [],
    "stationary": ["method.slots=8"],
    "experts": ["method.domain=site"],
    "class-gaussian-contrast": [],
}
OPTIMISERS: dict[str, list[str]] = {"own": [], "sgd": ["optimiser.name=sgd"], "eps": ["optimiser.eps=1e-4"]}
SHARDED = {"steps": 4, "batch": 4}  # few: differences grow with the steps
ROUNDING = 1e-5
FORMATS: dict[str, list[str]] = {
    "float32": [],
    "bf16-mixed": ["trainer.precision=bf16-mixed"],
    "compile": ["trainer.compile=true"],
}
PUBLISHED = {
    "molecules/selformer, 12 x 768, 16 x 128 tokens": ("molecules/selformer", "paper", ["data.batch_size=16"]),
    "pointcloud/point-m2ae, 4 x 2,048 points": ("pointcloud/point-m2ae", "paper", ["data.batch_size=4"]),
}
LONGEST = 1200.0  # seconds of one run
RESULT = RESULTS / "processes.jsonl"


def main() -> None:
    import lightning.pytorch  # noqa: F401  once for all forks

    from repcore import registry
    from repcore.cli.main import run  # noqa: F401

    options = parse_arguments()
    torch.set_num_threads(1)
    registry.default()
    until = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory() as temporary:
        for key, make in due(options, Path(temporary)):
            if time.monotonic() > until:
                print(f"{options.minutes} minutes are over; the same command goes on")
                break
            load = round(os.getloadavg()[0], 2)
            line = {**key, "load_at_start": load, **make(), **facts(["repcore", "torch", "lightning"])}
            with RESULT.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            (RESULTS / "processes.md").write_text(page(known()), encoding="utf-8")
            print(json.dumps({name: value for name, value in line.items() if name not in ("machine", "versions")}))


def known() -> list[dict[str, Any]]:
    """Lines that are there already."""
    return [json.loads(one) for one in RESULT.read_text(encoding="utf-8").splitlines()] if RESULT.is_file() else []


def due(options: argparse.Namespace, root: Path) -> Iterator[tuple[dict[str, Any], Any]]:
    """What is not measured yet: its key, and what measures it."""
    settings = {"steps": options.steps, "batch": options.batch}
    keys: list[tuple[dict[str, Any], Any]] = []
    for recipe in options.recipes:
        if "processes" in options.parts:
            key = {"part": "processes", "recipe": recipe, **settings}
            keys.append((key, lambda recipe=recipe: compare_processes(recipe, options, root)))
    for case in sharded_cases(options.recipes) if "sharded" in options.parts else ():
        key = {"part": "sharded", "recipe": case, **SHARDED}
        keys.append((key, lambda case=case: compare_sharded(case, root)))
    for recipe in options.recipes:
        for name in FORMATS if "formats" in options.parts else ():
            key = {"part": "formats", "recipe": recipe, "format": name, **settings}
            keys.append((key, lambda recipe=recipe, name=name: compare_format(recipe, name, options, root)))
    for name in PUBLISHED if "memory" in options.parts else ():
        keys.append(({"part": "memory", "recipe": name}, lambda name=name: compare_memory(name, root)))
    there = [{name: line.get(name) for name in ("part", "recipe", "format", "steps", "batch")} for line in known()]
    for key, make in keys:
        if not any(all(one.get(name) == value for name, value in key.items()) for one in there):
            yield key, make


def trained(
    recipe: str,
    extra: Sequence[str],
    processes: int,
    options: argparse.Namespace,
    folder: Path,
    begin: Sequence[str] = (),
) -> str:
    """One run below a folder, unless it is there; how it ended, in words, empty if well. ``begin``: the command and
    what it takes, where that is not to train the recipe."""
    if (folder / "runs" / "r" / "model").is_dir():
        return ""
    folder.mkdir(parents=True)
    domain, name = recipe.split("/")
    train = ["train", name, "--preset", "tiny", "data.validation_limit=8", "data.limit=256"]
    words = [
        domain, *(begin or train), "--name", "r", "--device", "cpu", f"trainer.steps={options.steps}",
        f"trainer.validate_every={options.steps}", "trainer.log_every=1", f"data.batch_size={options.batch}", *extra,
    ]  # fmt: skip
    codes = wait(attempt(Command([], lambda _: {}, "", processes=processes), words, folder), time.monotonic() + LONGEST)
    if codes is not None and not any(codes):
        return ""
    said = (folder / "said-0.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"ended with {codes}: {' '.join(said[-4:])[:400]}"


def losses(folder: Path) -> list[float]:
    """All losses of a run, validation included."""
    lines = (folder / "runs" / "r" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [float(json.loads(line)["loss"]) for line in lines]


def rate(folder: Path) -> float:
    """Items a second after the first third of the steps."""
    lines = map(json.loads, (folder / "runs" / "r" / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    rates = [line["items_per_second"] for line in lines if line["split"] == "train"]
    late = rates[len(rates) // 3 :]
    return len(late) / sum(1 / one for one in late)


def parameters(folder: Path) -> dict[str, torch.Tensor]:
    """Of the last checkpoint, with buffers."""
    path = folder / "runs" / "r" / "checkpoints" / "last.ckpt"
    content = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    return {name: one.double() for name, one in content.items() if isinstance(one, torch.Tensor) and one.numel()}


def compare_processes(recipe: str, options: argparse.Namespace, root: Path) -> dict[str, Any]:
    """One recipe in one and in two processes."""
    found: dict[str, Any] = {}
    base = root / recipe.replace("/", "-")
    for name, (count, extra) in PROCESSES.items():
        folder = base / name
        problem = trained(recipe, extra, count, options, folder)
        if problem:
            found[name] = {"problem": problem}
            continue
        found[name] = {"items_per_second": round(rate(folder), 2)}
        if name != "one" and "problem" not in found["one"]:
            found[name].update(
                **differences(base, name),
                efficiency=round(found[name]["items_per_second"] / (2 * found["one"]["items_per_second"]), 3),
            )
    return found


def sharded_cases(recipes: Sequence[str]) -> list[str]:
    """Recipes, with an objective behind a blank where it is not the recipe's; all there are, unless some are named."""
    from repcore import registry

    if tuple(recipes) != RECIPES:
        return list(recipes)
    known = [one.full_name for one in registry.default().entries("recipe")]
    objectives = [f"{IN_RECIPE} objective={name}" for name in GENERIC]
    return [*known, *objectives, *(f"{IN_RECIPE} method={name}" for name in METHODS)]


def compare_sharded(case: str, root: Path) -> dict[str, Any]:
    """One recipe or objective with whole and with shared parameters, by optimiser."""
    recipe, *objective = case.split(" ")
    few = argparse.Namespace(**SHARDED)
    begin: list[str] = []
    for what in list(objective):
        if what in SECOND:
            objective += SECOND[what].format(donor(root)).split(" ")
        elif what.startswith("method="):
            name = what.removeprefix("method=")
            begin = ["finetune", donor(root), "--data", str(labelled_molecules(root)), "--label", "kind"]
            begin += ["--method", name, "--no-plain"]
            objective = METHODS[name]
    found: dict[str, Any] = {}
    for name, optimiser in OPTIMISERS.items():
        if name == "eps" and found["own"].get("loss_difference", 0.0) <= ROUNDING:
            continue
        base = root / f"{case.replace('/', '-').replace(' ', '-')}-{name}"
        arms = {arm: PROCESSES[arm] for arm in ("one", "fsdp")}
        problems = [
            trained(recipe, [*objective, *optimiser, *extra], count, few, base / arm, begin)
            for arm, (count, extra) in arms.items()
        ]
        found[name] = {"problem": "; ".join(filter(None, problems))} if any(problems) else differences(base, "fsdp")
    return found


def differences(base: Path, arm: str) -> dict[str, float]:
    """Largest difference of a loss and of a number of the checkpoint between an arm and one process."""
    ours, alone = parameters(base / arm), parameters(base / "one")
    pairs = zip(losses(base / arm), losses(base / "one"), strict=True)
    return {
        "loss_difference": max(abs(a - b) for a, b in pairs),
        "parameter_difference": max(float((ours[key] - alone[key]).abs().max()) for key in alone),
    }


def compare_format(recipe: str, name: str, options: argparse.Namespace, root: Path) -> dict[str, Any]:
    """One recipe in one number format, beside float32 without compiling."""
    base = root / f"{recipe.replace('/', '-')}-formats"
    for one in dict.fromkeys(("float32", name)):
        problem = trained(recipe, FORMATS[one], 1, options, base / one)
        if problem:
            return {"problem": problem}
    pairs = list(zip(losses(base / name), losses(base / "float32"), strict=True))
    difference = max(abs(a - b) / max(abs(b), 1e-12) for a, b in pairs)
    return {"items_per_second": round(rate(base / name), 2), "relative_loss_difference": difference}


def compare_memory(name: str, root: Path) -> dict[str, Any]:
    """What a micro-batch keeps for the way back, and how long it takes, with and without recomputing."""
    from repcore import registry
    from repcore.config.resolve import resolve_run
    from repcore.reporting import LogReporter
    from repcore.training.assembly import assemble
    from repcore.training.costs import measure
    from repcore.training.plan import stream_order

    recipe, preset, extra = PUBLISHED[name]
    found: dict[str, Any] = {}
    for asked in ("false", "true"):
        overrides = [*extra, f"trainer.activation_checkpointing={asked}"]
        if recipe.startswith("molecules"):
            overrides += ["dataset=molecules/smiles-table", f"dataset.path={long_molecules(root)}"]
        resolved = resolve_run(registry.default(), recipe, preset=preset, overrides=overrides)
        parts = assemble(resolved, LogReporter())
        seen = measure(parts, stream_order(parts), "cpu")
        found["recomputed" if asked == "true" else "kept"] = {
            "kept_bytes": seen.kept_bytes, "seconds": round(seen.compute_seconds, 2), "parameters": seen.parameters,
        }  # fmt: skip
    return found


def donor(root: Path) -> str:
    """A model to begin with, trained once."""
    problem = trained(IN_RECIPE, [], 1, argparse.Namespace(**SHARDED), root / "donor")
    if problem:
        raise SystemExit(f"the model to begin with: {problem}")
    return str(root / "donor" / "runs" / "r" / "model")


def labelled_molecules(root: Path) -> Path:
    """60 chains that end in one of three atoms, the label, from three sites."""
    path, draw = root / "labelled.csv", random.Random(0)
    ends = {"alcohol": "O", "amine": "N", "chloride": "Cl"}
    rows = [f"{'C' * draw.randint(2, 20)}{ends[kind]},{kind},{draw.choice('xyz')}" for kind in [*ends] * 20]
    path.write_text("\n".join(["smiles,kind,site", *rows, ""]))
    return path


def long_molecules(root: Path) -> Path:
    """64 chains of 126 atoms: 128 tokens each."""
    path, draw = root / "long.csv", random.Random(0)
    chains = ("".join(draw.choice(["C", "CO", "CN"]) for _ in range(126))[:126] for _ in range(64))
    path.write_text("smiles\n" + "".join(f"{one.rstrip('ON')}{'C' * 126}"[:126] + "\n" for one in chains))
    return path


def page(lines: Sequence[Mapping[str, Any]]) -> str:
    """The figures as Markdown."""
    out = ["# Processes, formats, memory", "", "Made with `benchmarks/processes.py`, which says what is measured."]
    out += ["Where the load is near the number of cores or above it, rates and efficiencies say nothing."]
    out += ["Items are those of a micro-batch.", ""]
    out += ["| recipe, items | arm | steps | items a second | efficiency | loss differs by | checkpoint by | load |"]
    out += ["|" + "---|" * 8]
    for line in lines:
        if line["part"] == "processes":
            for arm in PROCESSES:
                one = line[arm]
                cells = [one.get("problem", one.get("items_per_second")), one.get("efficiency", ""),
                         _small(one.get("loss_difference")), _small(one.get("parameter_difference"))]  # fmt: skip
                what = f"{line['recipe']}, {line['batch']}"
                out.append(
                    "| " + " | ".join(map(str, [what, arm, line["steps"], *cells, line["load_at_start"]])) + " |"
                )
    out += [
        "",
        "Two processes that share parameters out (`fsdp`; four steps of two micro-batches of four) against one:",
    ]
    out += ["largest difference of a loss, and of a number of the checkpoint, by optimiser (`eps`: the recipe's, with"]
    out += ["Adam's constant at 1e-4, where its own losses differ by more than 1e-5).", ""]
    out += ["| recipe | own: loss | checkpoint | sgd: loss | checkpoint | eps: loss | checkpoint |", "|" + "---|" * 7]
    for line in lines:
        if line["part"] == "sharded":
            cells = [_reason(one.get("problem")) or _small(one.get(what))
                     for one in (line.get(name, {}) for name in OPTIMISERS)
                     for what in ("loss_difference", "parameter_difference")]  # fmt: skip
            out.append("| " + " | ".join([line["recipe"], *cells]) + " |")
    out += ["", "| recipe | format | items a second | loss differs by, relative | load |", "|" + "---|" * 5]
    for line in lines:
        if line["part"] == "formats":
            cells = [line.get("problem", line.get("items_per_second")), _small(line.get("relative_loss_difference"))]
            out.append(
                "| " + " | ".join(map(str, [line["recipe"], line["format"], *cells, line["load_at_start"]])) + " |"
            )
    out += ["", "| network and micro-batch | kept, MiB | seconds | recomputed: kept, MiB | seconds | load |"]
    out += ["|" + "---|" * 6]
    for line in lines:
        if line["part"] == "memory":
            cells = [f"{line[arm][what] / (2**20 if what == 'kept_bytes' else 1):,.2f}"
                     for arm in ("kept", "recomputed") for what in ("kept_bytes", "seconds")]  # fmt: skip
            out.append("| " + " | ".join([line["recipe"], *cells, str(line["load_at_start"])]) + " |")
    return "\n".join(out) + "\n"


def _reason(problem: str | None) -> str:
    """What an error says first, out of all that a run printed."""
    found = re.search(r"\w+Error: .*?(?=   |$)", problem or "")
    return found[0] if found else problem or ""


def _small(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Several processes against one.")
    parser.add_argument("--parts", nargs="+", default=["processes", "sharded", "formats", "memory"])
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES))
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=60.0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
