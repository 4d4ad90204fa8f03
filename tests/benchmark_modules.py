"""Modules of ``benchmarks/`` for tests."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from tests.conftest import ROOT


def of_benchmarks(name: str) -> Any:  # a module
    """A module of ``benchmarks/``, which are no package; their folder stays off the path otherwise."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.pop(0)
