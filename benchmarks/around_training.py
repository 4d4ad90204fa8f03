"""From ``repcore DOMAIN train RECIPE --preset tiny`` to the finished report: seconds by share, forecast and truth.

    python benchmarks/around_training.py                                  # results/around_training.json and .md
    python benchmarks/around_training.py --before OTHER/.venv/bin/python  # an older checkout beside it, in turns
    python benchmarks/around_training.py --only molecules --steps 30 --rounds 3

Each run is a fresh process with a fresh cache. Processor seconds are those of the process and its children; seconds on
the clock are only worth something on a machine that does nothing else. On a busy one say --threads 1: threads that wait
for a core count as work. The forecast is the first sentence "about ...";
the truth is the time from that sentence to the name of the report, after which Python only ends.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

RECIPES = {
    "molecules": "selformer",
    "audio": "ssamba",
    "graphs": "masked-edge",
    "medical3d": "alice",
    "pointcloud": "i2p-mae",
    "timeseries": "ts2vec",
}
SHARES = {  # module -> (where in it, share)
    "repcore.training.assembly": (("assemble", "opening and preparing"),),
    "repcore.training.estimate": (("estimate_run", "forecast"),),
    "repcore.training.module": (("ObjectiveModule.training_step", "steps"), ("ObjectiveModule.evaluate", "validation")),
    "repcore.training.listeners": (("Validation._run", "diagnosis"),),  # what is left of it without evaluate
    "repcore.training.checkpointing": (("Checkpoints.save", "checkpoints"),),
    "repcore.training.run": (("_export", "model and its pictures"),),
    "repcore.report.held_out": (("held_out", "report: vectors, raw inputs"),),
    "repcore.report.map": (("layouts", "report: maps"),),
    "repcore.report.build": (("build_report", "report: drawing and writing"),),
}
UNITS = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}


class Shares(MetaPathFinder, Loader):
    """Times named functions of modules as these are imported: seconds and processor seconds without those inside."""

    def __init__(self) -> None:
        self.spent: dict[str, list[float]] = {}
        self._open: list[list[float]] = []
        self._behind: dict[str, Loader] = {}

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        found = PathFinder.find_spec(name, path, target) if name in SHARES else None
        if found is not None and found.loader is not None:
            self._behind[name], found.loader = found.loader, self
        return found

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._behind[spec.name].create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        behind = self._behind[module.__name__]
        module.__loader__ = behind
        if module.__spec__ is not None:
            module.__spec__.loader = behind
        behind.exec_module(module)
        for where, share in SHARES[module.__name__]:
            *owners, name = where.split(".")
            owner: Any = module
            for one in owners:
                owner = getattr(owner, one)
            setattr(owner, name, self.timed(getattr(owner, name), share))

    def timed(self, function: Callable[..., Any], share: str) -> Callable[..., Any]:
        """The function, whose time counts for a share."""

        def call(*arguments: Any, **named: Any) -> Any:
            began, inside = (time.perf_counter(), time.process_time()), [0.0, 0.0]
            self._open.append(inside)
            try:
                return function(*arguments, **named)
            finally:
                self._open.pop()
                took = [time.perf_counter() - began[0], time.process_time() - began[1]]
                total = self.spent.setdefault(share, [0.0, 0.0])
                for place in (0, 1):
                    total[place] += took[place] - inside[place]
                    if self._open:
                        self._open[-1][place] += took[place]

        return call


def inner(target: Path, arguments: list[str]) -> None:
    """The command itself, with its shares written to a file."""
    shares = Shares()
    sys.meta_path.insert(0, shares)
    sys.argv = ["repcore", *arguments]
    try:
        runpy.run_module("repcore", run_name="__main__")
    finally:
        target.write_text(json.dumps({"shares": shares.spent, "memory": memory()}), encoding="utf-8")


def memory() -> int:
    """Most resident bytes of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def said_seconds(words: str) -> float:
    """``1 min 20 s`` as a number."""
    return sum(float(number) * UNITS[unit] for number, unit in re.findall(r"([\d.]+) (ms|min|s|h)\b", words))


def measured(python: str, domain: str, recipe: str, more: Sequence[str], threads: int | None) -> dict[str, Any]:
    """One run in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        command = [python, "-u", __file__, "--inner", str(place / "shares.json"), domain, "train", recipe]
        command += ["--preset", "tiny", "--out", folder, "--name", "run", *more]
        environment = {**os.environ, "REPCORE_CACHE": str(place / "cache")}
        if threads is not None:
            environment |= {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
        began, said, reported, forecast, lines = time.perf_counter(), 0.0, 0.0, 0.0, []
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                if line.startswith("about ") and not said:
                    said, forecast = time.perf_counter(), said_seconds(line.partition(":")[0])
                if line.startswith("report: "):
                    reported = time.perf_counter()
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        ended = time.perf_counter()
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{''.join(lines[-20:])}")
        found = json.loads((place / "shares.json").read_text(encoding="utf-8"))
    clock, processor = ended - began, used.ru_utime + used.ru_stime
    shares = dict(found["shares"])
    shares["imports and the rest"] = [
        clock - sum(one[0] for one in shares.values()), processor - sum(one[1] for one in shares.values())
    ]  # fmt: skip
    return {
        "clock": clock,
        "processor": processor,
        "memory": max(found["memory"], used.ru_maxrss * 1024),
        "forecast": forecast,
        "truth": reported - said if said and reported else None,
        "shares": shares,
    }


def summary(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Medians of rounds."""
    from measuring import spread

    names = dict.fromkeys(name for one in rounds for name in one["shares"])
    shares = {
        name: [
            round(statistics.median(one["shares"].get(name, (0, 0))[place] for one in rounds), 2) for place in (0, 1)
        ]
        for name in names
    }
    known = [one for one in rounds if one["truth"] and one["forecast"]]
    return {
        "clock_seconds": spread([one["clock"] for one in rounds], 2),
        "processor_seconds": spread([one["processor"] for one in rounds], 2),
        "peak_mib": round(max(one["memory"] for one in rounds) / 2**20),
        "forecast_seconds": [round(one["forecast"], 1) for one in known],
        "true_seconds": [round(one["truth"], 1) for one in known],
        "forecast_by_truth": spread([one["forecast"] / one["truth"] for one in known], 3) if known else None,
        "shares_clock_and_processor_seconds": shares,
    }


def page(record: Mapping[str, Any]) -> str:
    """The result for people."""
    lines = [
        "# From the command to the finished report",
        "",
        (
            f"`benchmarks/around_training.py`, {record['date']}, {record['machine']['processor']}, "
            f"{record['machine']['cores']} cores, load {record['machine']['load_at_start']} at the start and "
            f"{record['load_at_end']} at the end; preset tiny, {record['steps'] or 'all'} steps, "
            f"{record['rounds']} rounds, {record['threads'] or 'all'} threads, medians. "
            "Processor seconds are of the process and its children."
        ),
        "",
        "| domain | code | clock s | processor s | peak MiB | forecast s | truth s | forecast / truth |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for domain, codes in record["domains"].items():
        for code, one in codes.items():
            ratio = one["forecast_by_truth"]["median"] if one["forecast_by_truth"] else "-"
            lines.append(
                f"| {domain} | {code} | {one['clock_seconds']['median']} | {one['processor_seconds']['median']} | "
                f"{one['peak_mib']} | {one['forecast_seconds']} | {one['true_seconds']} | {ratio} |"
            )
    lines += ["", "Processor seconds by share:", ""]
    for domain, codes in record["domains"].items():
        names = list(
            dict.fromkeys(name for one in codes.values() for name in one["shares_clock_and_processor_seconds"])
        )
        lines += [f"| {domain} | {' | '.join(codes)} |", "|---|" + "---|" * len(codes)]
        for name in names:
            cells = [one["shares_clock_and_processor_seconds"].get(name, (0, 0))[1] for one in codes.values()]
            lines.append(f"| {name} | {' | '.join(str(cell) for cell in cells)} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    from measuring import RESULTS, facts, write_result

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", help="Python of another environment, whose repcore is measured beside this one")
    parser.add_argument("--only", nargs="+", choices=RECIPES, default=list(RECIPES), help="domains")
    parser.add_argument("--steps", type=int, help="steps instead of those of the preset")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, help="of numerical libraries: 1 where others use the machine")
    parser.add_argument("--out", type=Path, help="result file instead of results/around_training.json")
    options = parser.parse_args()
    more = [] if options.steps is None else [f"trainer.steps={options.steps}"]
    codes = {**({"before": options.before} if options.before else {}), "now": sys.executable}
    target = options.out or RESULTS / "around_training.json"
    record: dict[str, Any] = {**facts(["torch", "lightning"]), "steps": options.steps, "rounds": options.rounds}
    record["threads"] = options.threads
    record["domains"] = {}
    for domain in options.only:
        found: dict[str, list[dict[str, Any]]] = {code: [] for code in codes}
        for _ in range(options.rounds):
            for code, python in codes.items():
                found[code].append(measured(python, domain, RECIPES[domain], more, options.threads))
                figures = {key: found[code][-1][key] for key in ("clock", "processor", "forecast", "truth")}
                print(domain, code, figures, flush=True)
        record["domains"][domain] = {code: summary(rounds) for code, rounds in found.items()}
        record["load_at_end"] = round(os.getloadavg()[0], 2)
        write_result("around_training", record, target)  # after each domain: a run that is stopped keeps what it has
        target.with_suffix(".md").write_text(page(record), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inner"]:
        inner(Path(sys.argv[2]), sys.argv[3:])
    else:
        main()
