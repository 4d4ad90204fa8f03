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
        "learning rate of the head over that of the encoder's last layer; null = what makes it 1e-3, at least 1, and 1 "
        "for the layer that head_start=probe has fitted",
        above=0,
    )
    head_start: Literal["auto", "probe", "linear", "random"] = setting(
        "auto",
        "last layer of the head (of items): probe = the linear probe's fit to the frozen encoder's training features, "
        "linear = one as sure as held-out training rows confirm, random; auto = probe for few rows, else linear",
    )
    keep_start: Literal["auto", "unless-surely-worse", "unless-worse", "never"] = setting(
        "auto",
        "whether that start may be what is kept: unless a trained step's validation loss is smaller (surely: by more "
        "than its standard error over rows); auto = surely for few rows",
    )
    norm_statistics: Literal["auto", "kept", "moving"] = setting(
        "auto", "running means and variances of the encoder's batch norms in training; auto = kept for few rows"
    )
    few_rows: int = setting(
        500, "labelled rows below which auto means few, and steps, rate and task follow from the rows; 0 = never", min=0
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
