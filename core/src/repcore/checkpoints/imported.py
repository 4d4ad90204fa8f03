"""What a converter of published weights returns (see ``CheckpointSpec.target``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from repcore.checkpoints.keymap import LoadReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """Published weights in this project's form.

    Args:
        encoder_config: the encoder's config dataclass.
        state: complete state of ``encoder(encoder_config)``.
        report: what happened to every published key.
        preprocessor: a ready preprocessor that feeds the encoder as the checkpoint wants it; None when the plugin's
            default needs nothing from the file.
        preprocessor_name: registered name of that preprocessor.
        preprocessor_config: its config dataclass.
        heads: further states by part, for continued training: ``{"objective": {...}, "task": {...}}``.
        notices: licence and attribution of the weights, for the model card.
    """

    encoder_config: Any  # the plugin's own dataclass
    state: Mapping[str, Tensor]
    report: LoadReport
    preprocessor: Any = None  # the plugin's own class
    preprocessor_name: str = ""
    preprocessor_config: Any = None  # the plugin's own dataclass
    heads: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    notices: str = ""
