"""repcore: learn, embed and probe representations from unlabelled scientific and sensory data.

Public names are resolved on first use, so that ``import repcore`` costs milliseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from repcore.embedding.model import Model, load
    from repcore.errors import RepcoreError
    from repcore.hooks import hookimpl

__all__ = ["Model", "RepcoreError", "__version__", "hookimpl", "load"]

_HOMES = {
    "Model": "repcore.embedding.model",
    "RepcoreError": "repcore.errors",
    "hookimpl": "repcore.hooks",
    "load": "repcore.embedding.model",
}


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
