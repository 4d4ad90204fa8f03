"""Settings of the training of an anatomical-embedding network on own scans."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class EmbeddingTrainingConfig:
    """Two overlapping crops of a scan: the same place must have the same vector, other places must not."""

    base: int = field(default=16, metadata={"help": "channels of the stem; published 64"})
    width: int = field(default=32, metadata={"help": "width of the vectors; published 128"})
    spacing_mm: float = field(default=4.0, metadata={"help": "voxel edge of the input; published 2", "unit": "mm"})
    crop: tuple[int, int, int] = field(
        default=(16, 48, 48),
        metadata={"help": "crop along slices, rows, columns; published 32, 96, 96", "unit": "voxels"},
    )
    scale: tuple[float, float] = field(default=(0.8, 1.2), metadata={"help": "range of the zoom of each crop"})
    noise: float = field(default=0.25, metadata={"help": "largest noise, as a share of the crop's standard deviation"})
    points: int = field(default=100, metadata={"help": "places compared in each pair of crops"})
    hardest: int = field(default=2000, metadata={"help": "most similar other places that negatives are drawn from"})
    negatives: int = field(default=500, metadata={"help": "negatives of each place"})
    neighbourhood_mm: float = field(
        default=20.0, metadata={"help": "closer places are no fine negatives", "unit": "mm"}
    )
    coarse_neighbourhood_mm: float = field(
        default=25.0, metadata={"help": "closer cells are no coarse negatives", "unit": "mm"}
    )
    temperature: float = field(default=0.5, metadata={"help": "divides similarities; published 0.5"})
    batch_size: int = field(default=3, metadata={"help": "scans of a step"})
    steps: int = field(default=2000, metadata={"help": "optimiser steps; published 20000"})
    lr: float = field(default=0.02, metadata={"help": "peak learning rate of SGD with momentum 0.9"})
    warmup_steps: int = field(default=100, metadata={"help": "steps of linear rise; published 500"})
    weight_decay: float = field(default=1e-4, metadata={"help": "of SGD"})
    seed: int = field(default=0, metadata={"help": "of weights, crops and negatives"})
