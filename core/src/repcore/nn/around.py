"""A module around another that passes for it: whatever it does not have itself is the inner one's."""

from __future__ import annotations

from typing import Any

from torch import nn


class Around(nn.Module):
    """Subclasses say what is different.

    Args:
        inner: the module, under the name ``inner`` in the state.
    """

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def __getattr__(self, name: str) -> Any:  # asked for what neither instance nor class has
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "inner" or name.startswith("__"):
                raise
            return getattr(super().__getattr__("inner"), name)
