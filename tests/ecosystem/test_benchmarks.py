"""Every benchmark is run by a target of the Makefile, or said there to be called by hand."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def scripts() -> set[str]:
    """Benchmarks that are run, not imported."""
    return {one.stem for one in (ROOT / "benchmarks").glob("*.py") if "__main__" in one.read_text("utf-8")}


def test_every_benchmark_is_reached_by_a_target() -> None:
    text = (ROOT / "Makefile").read_text("utf-8")
    assert {name for name in scripts() if not re.search(rf"\b{name}\b", text)} == set()


def test_targets_name_benchmarks_that_exist() -> None:
    planned = subprocess.run(
        ["make", "--dry-run", "proof", "DATA=.", "PYTHON=true"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    timings = re.search(r"for script in ([\w ]+);", planned)
    assert timings
    named = {*timings[1].split(), *re.findall(r"benchmarks/(\w+)\.py", planned)}
    assert named <= scripts()
    assert len(named) > 25
