"""External teachers: networks whose weights come with a user and never train here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Frozen(nn.Module):
    """A teacher that follows device and dtype, stays in eval mode, and is in no checkpoint and no optimiser.

    Only its identity is recorded: a resumed run compares it and refuses another teacher. An EMA teacher is not for
    this class: it is an ordinary submodule without gradients.

    Args:
        module: the teacher; its parameters lose ``requires_grad``.
        name: what people call it.
        sha256: of the weights file.

    Call: as the teacher, without gradients.
    """

    def __init__(self, module: nn.Module, name: str, sha256: str) -> None:
        super().__init__()
        self.name = name
        self.sha256 = sha256
        # In a tuple, so that torch does not register it: no keys in state_dict, nothing in parameters().
        self._held = (module.eval().requires_grad_(False),)

    @property
    def module(self) -> nn.Module:
        """The teacher itself."""
        return self._held[0]

    def identity(self) -> dict[str, str]:
        """What config, model card and resume checks record."""
        return {"name": self.name, "sha256": self.sha256}

    def forward(self, *args: Any, **kwargs: Any) -> Any:  # whatever the teacher takes and gives
        with torch.no_grad():
            return self.module(*args, **kwargs)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Frozen:
        super()._apply(fn, recurse)  # to(), cuda(), half(), ... all come through here
        self.module._apply(fn, recurse)
        return self

    def extra_repr(self) -> str:
        return f"name={self.name!r}, sha256={self.sha256[:12]!r}"
