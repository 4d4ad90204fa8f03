"""Settings of the training of an anatomical-embedding network on own scans."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class EmbeddingTrainingConfig:
    """Two overlapping crops of a scan: the same place must have the same vector, other places must not."""

    base: int = field(default=16, metadata={"help": "channels of the stem; published 64", "min": 1})
    width: int = field(default=32, metadata={"help": "width of the vectors; published 128", "min": 1})
    spacing_mm: float = field(
        default=4.0, metadata={"help": "voxel edge of the input; published 2", "unit": "mm", "above": 0}
    )
    crop: tuple[int, int, int] = field(
        default=(16, 48, 48),
        metadata={"help": "crop along slices, rows, columns; published 32, 96, 96", "unit": "voxels", "min": 1},
    )
    scale: tuple[float, float] = field(
        default=(0.8, 1.2), metadata={"help": "range of the zoom of each crop", "above": 0}
    )
    noise: float = field(
        default=0.25, metadata={"help": "largest noise, as a share of the crop's standard deviation", "min": 0}
    )
    points: int = field(default=100, metadata={"help": "places compared in each pair of crops", "min": 1})
    hardest: int = field(
        default=2000, metadata={"help": "most similar other places that negatives are drawn from", "min": 1}
    )
    negatives: int = field(default=500, metadata={"help": "negatives of each place", "min": 1})
    neighbourhood_mm: float = field(
        default=20.0, metadata={"help": "closer places are no fine negatives", "unit": "mm", "min": 0}
    )
    coarse_neighbourhood_mm: float = field(
        default=25.0, metadata={"help": "closer cells are no coarse negatives", "unit": "mm", "min": 0}
    )
    temperature: float = field(default=0.5, metadata={"help": "divides similarities; published 0.5", "above": 0})
    batch_size: int = field(default=3, metadata={"help": "scans of a step", "min": 1})
    steps: int = field(default=2000, metadata={"help": "optimiser steps; published 20000", "min": 1})
    lr: float = field(default=0.02, metadata={"help": "peak learning rate of SGD with momentum 0.9", "above": 0})
    warmup_steps: int = field(default=100, metadata={"help": "steps of linear rise; published 500", "min": 0})
    weight_decay: float = field(default=1e-4, metadata={"help": "of SGD", "min": 0})
    seed: int = field(default=0, metadata={"help": "of weights, crops and negatives", "min": 0})
