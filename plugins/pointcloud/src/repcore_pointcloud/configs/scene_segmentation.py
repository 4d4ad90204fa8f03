"""Settings of the dense fine-tuning task of scenes. Standard library only, but for core's settings."""

from __future__ import annotations

from dataclasses import dataclass, field

from repcore.evaluation.tasks.dense_configs import DenseClassificationConfig


@dataclass(frozen=True, kw_only=True)
class SceneSegmentationConfig(DenseClassificationConfig):
    """A class for every point."""

    lovasz_weight: float = field(default=1.0, metadata={"help": "weight of the Lovasz-softmax loss; 0 = off", "min": 0})
    cluster_weight: float = field(
        default=0.0, metadata={"help": "weight of clustering-based supervision; 0 = off", "min": 0}
    )
    cluster_width: int = field(default=64, metadata={"help": "channels of the contrasted features", "min": 1})
    clusters_per_class: int = field(default=40, metadata={"help": "sub-clusters of a class", "min": 1})
    reference_compat: bool = field(default=False, metadata={"help": "published behaviour of the clustering"})
