"""What the benchmark scripts of this folder share: paired timing, facts about the machine, result files."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def interleaved(
    contenders: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    warm_up: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of each contender in each round; all run once a round, so that a slow spell hits all of them.

    Args:
        clock: ``time.process_time`` where others use the machine: seconds of work, not those on the wall.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(warm_up + rounds):
        for name, contender in contenders.items():
            start = clock()
            contender()
            if number >= warm_up:
                seconds[name].append(clock() - start)
    return seconds


def spread(values: Sequence[float], digits: int = 4) -> dict[str, float]:
    """Median, lowest, highest and number of values."""
    rounded = {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}
    return {**{name: round(value, digits) for name, value in rounded.items()}, "rounds": len(values)}


def ratios(first: Sequence[float], second: Sequence[float]) -> dict[str, float]:
    """How many times longer ``second`` took than ``first``, paired by round."""
    return spread([other / one for one, other in zip(first, second, strict=True)], 3)


def facts(packages: Sequence[str]) -> dict[str, Any]:
    """Date, machine and versions."""
    versions = {}
    for name in packages:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "date": date.today().isoformat(),
        "machine": {
            "cores": os.cpu_count(),
            "processor": _processor(),
            "load_at_start": round(os.getloadavg()[0], 2),
            "python": platform.python_version(),
        },
        "versions": versions,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def write_result(name: str, record: Mapping[str, Any], target: Path | None = None) -> Path:
    """Write ``results/NAME.json`` (or ``target``)."""
    path = target or RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return path
