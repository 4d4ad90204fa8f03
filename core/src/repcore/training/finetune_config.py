"""Settings of fine-tuning beyond those of any run: how the pre-trained part is treated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from repcore.config.schema import setting

HEAD_RATE = 1e-3
"""Learning rate of a head where that of the encoder is smaller and nothing else is set."""


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """Learning rates by depth, and a first phase in which only the head learns."""

    layer_decay: float = setting(
        1.0, "factor on the learning rate a layer further from the head; 1 = all the same", above=0, max=1
    )
    head_lr_factor: float | None = setting(
        None,
        "learning rate of the head over that of the encoder's last layer; null = what makes it 1e-3, at least 1",
        above=0,
    )
    head_start: Literal["linear", "random"] = setting(
        "linear", "last layer of the head (of items): first fitted to the frozen encoder's training features, or random"
    )
    frozen_epochs: float = setting(0.0, "epochs in which only the head learns", "epochs", min=0)

    label_share: float = setting(
        1.0, "share of the labelled training elements (points, voxels, ...) that are used", above=0, max=1
    )
    labels_per_class: int | None = setting(
        None, "labelled training elements of each class that are used; null = all", min=1
    )

    draw: Literal["parts", "whole"] = setting(
        "parts", "training items of large samples with labels of elements: random parts where the domain draws them"
    )

    def __post_init__(self) -> None:
        if not 0.0 < self.layer_decay <= 1.0:
            raise ValueError(f"layer_decay={self.layer_decay} is outside 0 < layer_decay <= 1")
        if self.head_lr_factor is not None and self.head_lr_factor <= 0.0:
            raise ValueError(f"head_lr_factor={self.head_lr_factor} is not above 0")
        if not 0.0 < self.label_share <= 1.0:
            raise ValueError(f"label_share={self.label_share} is outside 0 < label_share <= 1")
        if self.labels_per_class is not None and self.labels_per_class < 1:
            raise ValueError(f"labels_per_class={self.labels_per_class} is below 1")
        if self.frozen_epochs < 0.0:
            raise ValueError(f"frozen_epochs={self.frozen_epochs} is below 0")

    def head_factor(self, lr: float) -> float:
        """Learning rate of the head over ``lr``: as set, else what lifts it to ``HEAD_RATE``, at least 1."""
        return max(1.0, HEAD_RATE / lr) if self.head_lr_factor is None else self.head_lr_factor
