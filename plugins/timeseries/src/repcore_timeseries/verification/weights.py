"""Stored weights into modules whose parameters have the published names."""

from __future__ import annotations

from torch import nn

from repcore.verification.golden import Golden


def load_part(module: nn.Module, golden: Golden, prefix: str) -> None:
    """Every tensor below ``prefix.`` goes into the module, which takes exactly these."""
    start = f"{prefix}."
    module.load_state_dict({name.removeprefix(start): golden.weights[name] for name in golden.weights
                            if name.startswith(start)})  # fmt: skip
