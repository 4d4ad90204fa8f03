"""glibc told to keep freed memory, beside glibc as it is: processor seconds and peak memory of whole commands.

glibc maps every tensor above 32 MiB anew. Two of its own variables let it keep blocks up to 128 MiB for the next step:

    MALLOC_MMAP_THRESHOLD_=134217728 MALLOC_TRIM_THRESHOLD_=17179869184 repcore ...

For each system the preset ``tiny`` is trained and its data set is embedded without and with them, in turns; and two
steps are made on one random graph. One thread; needs Linux with glibc.

    python benchmarks/allocator.py [--rounds 3] [--steps 40] [--only molecules/selformer ...]

Writes results/allocator.json and .md after each system.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measuring import RESULTS, facts, ratios, spread, write_result

SYSTEMS = (
    "molecules/selformer", "audio/ssamba", "graphs/masked-edge", "medical3d/alice", "medical3d/adam-v2",
    "pointcloud/i2p-mae", "pointcloud/fac", "timeseries/ts2vec",
)  # fmt: skip
GRAPH = "random graph"
KEEPING = {"MALLOC_MMAP_THRESHOLD_": str(128 * 2**20), "MALLOC_TRIM_THRESHOLD_": str(16 * 2**30)}
ARMS: dict[str, dict[str, str]] = {"given back": {}, "kept": KEEPING}


def measured(command: Sequence[str], arm: str, cache: Path) -> dict[str, float]:
    """Processor seconds of a command and its children, and MiB that one of these processes held at most."""
    environment = {**os.environ, **ARMS[arm], "REPCORE_CACHE": str(cache)}
    environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        said = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{said[-2000:]}")
    return {"seconds": used.ru_utime + used.ru_stime, "mib": used.ru_maxrss / 1024}


def runs_of(system: str, arm: str, steps: int, folder: Path) -> dict[str, dict[str, float]]:
    """What is measured of one system in one round and arm."""
    if system == GRAPH:
        command = [sys.executable, str(Path(__file__).with_name("graphs_random.py")), "300000", "--steps", "2"]
        return {"2 steps": measured(command, arm, folder)}
    domain, recipe = system.split("/")
    program, cache, out = [sys.executable, "-m", "repcore"], folder / "cache", folder / arm.split()[0]
    train = [domain, "train", recipe, "--preset", "tiny", "--out", str(out), f"trainer.steps={steps}"]
    found = {"train": measured([*program, *train, "--name", "run"], arm, cache)}
    model, data = out / "run" / "model", builtin(out / "run" / "config.json")
    found["embed"] = measured([*program, "embed", str(model), data, "-o", str(out / "e.parquet")], arm, cache)
    return found


def builtin(config: Path) -> str:
    """The recipe's own data set by its name."""
    name: str = json.loads(config.read_text(encoding="utf-8"))["dataset"]["name"]
    return name


def page(record: dict[str, Any]) -> str:
    about = (
        f"`benchmarks/allocator.py`, {record['date']}, one thread, {record['rounds']} rounds in turns, "
        f"{record['steps']} steps of the preset tiny and an embedding of the recipe's own data; medians. "
        "Peak: of the command or of its largest child. The random graph: 300,000 nodes, two steps."
    )
    head = "| system | command | processor s, given back | kept | times faster | peak MiB, given back | kept | ratio |"
    lines = [
        "# glibc told to keep freed memory, beside glibc as it is",
        "",
        about,
        "",
        head,
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in record["rows"]:
        seconds, peak = row["seconds"], row["mib"]
        cells = [row["system"], row["command"], seconds["given back"]["median"], seconds["kept"]["median"]]
        cells += [row["times"]["median"], peak["given back"]["median"], peak["kept"]["median"], row["peak"]["median"]]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--only", nargs="+", choices=[*SYSTEMS, GRAPH], default=[*SYSTEMS, GRAPH])
    parser.add_argument("--out", type=Path, default=RESULTS / "allocator.json")
    options = parser.parse_args()
    record: dict[str, Any] = {**facts(("repcore", "torch")), "rounds": options.rounds, "steps": options.steps}
    record["rows"] = []
    for system in options.only:
        found: dict[str, dict[str, list[dict[str, float]]]] = {}
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory() as folder:
                for arm in ARMS:
                    for command, one in runs_of(system, arm, options.steps, Path(folder)).items():
                        found.setdefault(command, {}).setdefault(arm, []).append(one)
        for command, arms in found.items():
            values = {what: {arm: [one[what] for one in arms[arm]] for arm in ARMS} for what in ("seconds", "mib")}
            row = {"system": system, "command": command, "load": round(os.getloadavg()[0], 1)}
            row |= {
                what: {arm: spread(one, 2 if what == "seconds" else 0) for arm, one in arms.items()}
                for what, arms in values.items()
            }
            row["times"] = ratios(values["seconds"]["kept"], values["seconds"]["given back"])
            row["peak"] = ratios(values["mib"]["given back"], values["mib"]["kept"])
            record["rows"].append(row)
            print(row, flush=True)
        write_result("allocator", record, options.out)
        options.out.with_suffix(".md").write_text(page(record), encoding="utf-8")


if __name__ == "__main__":
    main()
