"""Settings of the dense fine-tuning task."""

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
