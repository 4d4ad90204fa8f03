"""Settings of the dense fine-tuning task, and of the command that fine-tunes with few labels."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class SceneSegmentationConfig:
    """A class for every point."""

    classes: int | None = field(default=None, metadata={"help": "number of classes; null = names of the target"})
    lovasz_weight: float = field(default=1.0, metadata={"help": "weight of the Lovasz-softmax loss; 0 = off"})
    cluster_weight: float = field(default=0.0, metadata={"help": "weight of clustering-based supervision; 0 = off"})
    cluster_width: int = field(default=64, metadata={"help": "channels of the contrasted features"})
    clusters_per_class: int = field(default=40, metadata={"help": "sub-clusters of a class"})
    reference_compat: bool = field(default=False, metadata={"help": "published behaviour of the clustering"})


@dataclass(frozen=True, kw_only=True)
class SceneFinetuningConfig:
    """Fine-tuning of a whole network with few labelled points."""

    steps: int = field(default=60, metadata={"help": "optimiser steps"})
    warmup_steps: int = field(default=10, metadata={"help": "steps of linear rise"})
    lr: float = field(default=1e-3, metadata={"help": "peak learning rate of AdamW, of the encoder"})
    head_lr_factor: float = field(default=10.0, metadata={"help": "times that of the encoder, for new layers"})
    weight_decay: float = field(default=0.01, metadata={"help": "of AdamW"})
    window_points: int = field(default=20_000, metadata={"help": "thinned points of a step's view", "unit": "points"})
    crop_share: tuple[float, float] = field(
        default=(0.8, 1.0), metadata={"help": "kept share of a view's extent; small parts lack most classes"}
    )
    rotation_deg: float = field(default=180.0, metadata={"help": "largest turn about the vertical", "unit": "degree"})
    scale: tuple[float, float] = field(default=(0.9, 1.1), metadata={"help": "range of the factor on lengths"})
    cluster_weight: float = field(default=0.0, metadata={"help": "weight of clustering-based supervision; 0 = off"})
    seed: int = field(default=0, metadata={"help": "of the new layer, of views and of labelled points"})
