"""Freed tensors of many sizes go back to the system."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import torch
from repcore.memory import return_freed_memory

def resident_mib():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024

held = [torch.ones(64 * 1024 + 512 * number) for number in range(1200)]
keep = held[::2]          # every other one stays: the freed ones lie between them
full = resident_mib()
del held
before = resident_mib()
return_freed_memory()
print(full, before, resident_mib())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the resident size from /proc")
def test_holes_between_living_tensors_are_returned() -> None:
    settings = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}  # all from the heap
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={**os.environ, **settings}, capture_output=True, text=True, check=True
    )
    full, before, after = (float(word) for word in done.stdout.split())
    assert before > full - 10  # nothing goes back by itself: the test would show nothing otherwise
    assert after < before - 300  # half of 855 MiB was freed
