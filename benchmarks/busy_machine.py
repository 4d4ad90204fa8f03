"""A training step while other processes want the cores: threads that wait briefly against GNU OpenMP's own waiting.

repcore sets GOMP_SPINCOUNT=1000 where the user has said nothing (core/src/repcore/__init__.py). Here each step is timed
by `repcore DOMAIN train RECIPE --dry-run` in processes of its own, with as many threads as torch takes, beside 0, 1 and
2 processes that do nothing but count; once as it is, once with 300000, which is what the library does by itself. Rounds
are interleaved.

    python benchmarks/busy_machine.py [--rounds 3] [--only medical3d molecules]    # a machine that does nothing else
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from measuring import RESULTS, facts, spread, write_result

RECIPES = {"medical3d": "alice", "pointcloud": "i2p-mae", "molecules": "selformer", "audio": "ssamba"}
WAITS = {"repcore's": {}, "the library's": {"GOMP_SPINCOUNT": "300000"}}
BUSY = (0, 1, 2)
STEP = re.compile(r"^one step: +([0-9.]+) ms", re.MULTILINE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--out", type=Path, default=RESULTS / "busy_machine.json")
    options = parser.parse_args()
    record: dict[str, Any] = facts(("repcore", "torch")) | {"unit": "ms", "rows": []}
    for domain in options.only:
        for busy in BUSY:
            seconds: dict[str, list[float]] = {name: [] for name in WAITS}
            with busy_processes(busy):
                for _ in range(options.rounds):
                    for name, environment in WAITS.items():
                        seconds[name].append(step_ms(domain, environment))
            row = {"domain": domain, "busy": busy, **{name: spread(values, 0) for name, values in seconds.items()}}
            record["rows"].append(row)
            print(line(row), flush=True)
            write_result("busy_machine", record, options.out)
            options.out.with_suffix(".md").write_text(table(record), encoding="utf-8")


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """So many processes that count while this is open."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for one in running:
            one.kill()
            one.wait()


def step_ms(domain: str, environment: dict[str, str]) -> float:
    """What a dry run says of a step.

    Raises:
        RuntimeError: the command failed.
    """
    words = [sys.executable, "-m", "repcore", domain, "train", RECIPES[domain], "--preset", "tiny", "--dry-run"]
    kept = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_NUM_THREADS")}
    done = subprocess.run(words, capture_output=True, text=True, env=kept | environment, check=False)
    found = STEP.search(done.stdout)
    if done.returncode or found is None:
        raise RuntimeError(f"{' '.join(words)}\n{done.stdout[-500:]}{done.stderr[-1000:]}")
    return float(found[1])


def line(row: dict[str, Any]) -> str:
    cells = [f"{row[name]['median']:.0f} ({row[name]['lowest']:.0f} to {row[name]['highest']:.0f})" for name in WAITS]
    times = row["the library's"]["median"] / row["repcore's"]["median"]
    return "| " + " | ".join([row["domain"], str(row["busy"]), *cells, f"{times:.1f}"]) + " |"


def table(record: dict[str, Any]) -> str:
    machine = record["machine"]
    head: Sequence[str] = [
        "# A step while other processes want the cores",
        "",
        f"`benchmarks/busy_machine.py`, {record['date']}, {machine['cores']} x {machine['processor']}; preset `tiny`,",
        "milliseconds of one step as `--dry-run` tells it: median (lowest to highest).",
        "",
        "| domain | busy processes | repcore's waiting | the library's | times |",
        "|---|---|---|---|---|",
    ]
    return "\n".join([*head, *map(line, record["rows"]), ""])


if __name__ == "__main__":
    main()
