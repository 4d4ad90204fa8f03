"""repcore: learn, embed and probe representations from unlabelled scientific and sensory data.

Public names are resolved on first use, so that ``import repcore`` costs milliseconds.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from repcore.api.estimators import fit
    from repcore.api.featurizer import Featurizer
    from repcore.api.labelled import finetune, probe
    from repcore.api.published import import_checkpoint, pull
    from repcore.api.runs import Run, train
    from repcore.embedding.model import Model, load
    from repcore.errors import RepcoreError
    from repcore.hooks import hookimpl

__all__ = [
    "Featurizer", "Model", "RepcoreError", "Run", "__version__", "finetune", "fit", "hookimpl", "import_checkpoint",
    "load", "probe", "pull", "train",
]  # fmt: skip

_HOMES = {
    "Featurizer": "repcore.api.featurizer",
    "Model": "repcore.embedding.model",
    "RepcoreError": "repcore.errors",
    "Run": "repcore.api.runs",
    "finetune": "repcore.api.labelled",
    "fit": "repcore.api.estimators",
    "hookimpl": "repcore.hooks",
    "import_checkpoint": "repcore.api.published",
    "load": "repcore.embedding.model",
    "probe": "repcore.api.labelled",
    "pull": "repcore.api.published",
    "train": "repcore.api.runs",
}


def _wait_briefly() -> None:
    """Threads of torch that wait for one another give their core away after microseconds, not milliseconds.

    Where any other process wants a core, the thread that all others wait for gets it late, while they count: steps take
    ten times as long and more (`benchmarks/busy_machine.py`). GNU OpenMP, which torch brings, reads this when it is
    loaded; what the user has said stays.
    """
    if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


_wait_briefly()


def __getattr__(name: str) -> Any:  # whatever the public name is
    import importlib

    if name == "__version__":
        from repcore.plugins import core_version

        return core_version()
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'repcore' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
