"""How long threads wait for one another is set before torch is loaded, and left alone where the user has said it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

ASKED = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
TELL = "import os; print(os.environ.get('GOMP_SPINCOUNT'))"


@pytest.mark.parametrize(
    ("said", "first", "expected"),
    [
        ({}, "import repcore", "1000"),
        ({"GOMP_SPINCOUNT": "5"}, "import repcore", "5"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "import repcore", "None"),
        ({}, "import torch, repcore", "None"),  # too late: the library has read it
    ],
)
def test_threads_wait_briefly_unless_the_user_has_said_how_long(
    said: dict[str, str], first: str, expected: str
) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ASKED} | said
    words = [sys.executable, "-c", f"{first}; {TELL}"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == expected
