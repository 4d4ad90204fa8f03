"""Settings of segmentation tasks. Standard library only, and core's settings of tasks about elements."""

from __future__ import annotations

from dataclasses import dataclass, field

from repcore.evaluation.tasks.dense_configs import DenseClassificationConfig


@dataclass(frozen=True, kw_only=True)
class SegmentationTaskConfig(DenseClassificationConfig):
    """A class for every voxel through the decoder; ``head`` and ``dropout`` have no effect."""

    dice_weight: float = field(
        default=1.0, metadata={"help": "weight of the soft Dice loss beside cross-entropy", "unit": ""}
    )
