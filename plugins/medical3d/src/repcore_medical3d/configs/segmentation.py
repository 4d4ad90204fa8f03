"""Settings of segmentation tasks. Standard library only, and core's settings of tasks about elements."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from repcore.evaluation.tasks.dense_configs import DenseClassificationConfig


@dataclass(frozen=True, kw_only=True)
class SegmentationTaskConfig(DenseClassificationConfig):
    """A class for every voxel through the decoder; ``head`` and ``dropout`` have no effect."""

    dice_weight: float = field(
        default=1.0, metadata={"help": "weight of the soft Dice loss beside cross-entropy", "unit": "", "min": 0}
    )
    loss_kind: Literal["both", "dice"] = field(
        default="both",
        metadata={"help": "cross-entropy and Dice, or only Dice of the classes but the first (few labelled images)"},
    )
    decoder_width: int = field(
        default=16,
        metadata={"help": "channels of the decoder on stages of convnext and resnet", "unit": "channels", "min": 1},
    )

    def __post_init__(self) -> None:
        if self.decoder_width < 1:
            raise ValueError(f"decoder_width={self.decoder_width} is below 1")
