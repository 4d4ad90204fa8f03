"""The optional methods of an objective, with what core does when an objective does not have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from repcore.errors import ConfigError
from repcore.interfaces import Progress


def before_step(objective: nn.Module, progress: Progress) -> None:
    """Let the objective change gradients before the optimiser; nothing when it has no such rule."""
    rule = getattr(objective, "before_step", None)
    if rule is not None:
        rule(progress)


def after_step(objective: nn.Module, progress: Progress, carried: Sequence[Mapping[str, Any]]) -> None:
    """Let the objective change its state after the optimiser; nothing when it has no such rule."""
    rule = getattr(objective, "after_step", None)
    if rule is not None:
        rule(progress, carried)


def exported_encoder(objective: nn.Module, branch: str = "default") -> nn.Module:
    """The encoder that becomes the model: ``encoder_for_export(branch)``, else the attribute ``encoder``.

    Raises:
        ConfigError: the objective has neither, or no branch of this name.
    """
    rule = getattr(objective, "encoder_for_export", None)
    encoder = rule(branch) if rule is not None else getattr(objective, "encoder", None)
    if rule is None and branch != "default":
        raise ConfigError(f"{type(objective).__name__} has no branch {branch!r}", expected="default")
    if not isinstance(encoder, nn.Module):
        raise ConfigError(
            f"{type(objective).__name__} has no encoder to export",
            hint="keep the encoder in self.encoder, or define encoder_for_export(branch)",
        )
    return encoder
