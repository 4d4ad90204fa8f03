"""Settings of clustering-based supervision (Cluster3Dseg)."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class ClusterContrastConfig:
    """Sub-clusters of classes (or of regions) and the contrast between them."""

    classes: int = field(default=19, metadata={"help": "classes of the labels", "min": 1})
    feature_width: int = field(default=64, metadata={"help": "channels of the contrasted features", "min": 1})
    clusters_per_class: int = field(default=40, metadata={"help": "sub-clusters of a class", "min": 1})
    fewer_clusters_classes: tuple[int, ...] = field(
        default=(), metadata={"help": "classes with fewer sub-clusters; the paper: 7 and 8 of SemanticKITTI", "min": 0}
    )
    fewer_clusters: int = field(default=10, metadata={"help": "sub-clusters of those classes", "min": 1})
    ignored_label: int = field(default=255, metadata={"help": "label that means unlabelled"})
    center_momentum: float = field(default=0.9999, metadata={"help": "weight of the old centre", "min": 0, "max": 1})
    temperature: float = field(default=0.1, metadata={"help": "divides cosine similarities", "above": 0})
    base_temperature: float = field(
        default=2.0, metadata={"help": "terms are scaled by temperature / this", "above": 0}
    )
    maximum_anchors: int = field(default=100, metadata={"help": "anchors of a batch, over all classes", "min": 1})
    queue_per_cluster: int = field(default=50, metadata={"help": "stored features of a sub-cluster", "min": 1})
    enqueued_per_step: int = field(
        default=10, metadata={"help": "most features a sub-cluster stores in one step", "min": 1}
    )
    sinkhorn_power: float = field(default=25.0, metadata={"help": "sharpness of the balanced assignment", "above": 0})
    sinkhorn_stop: float = field(
        default=0.1, metadata={"help": "change of the scales at which iterations end", "above": 0}
    )
    sinkhorn_check_every: int = field(default=10, metadata={"help": "iterations between checks", "min": 1})
    loss_factor: float = field(default=0.5, metadata={"help": "weight of the sum of the three terms", "min": 0})
    reference_compat: bool = field(
        default=False, metadata={"help": "the published behaviour with its six errors, for comparison"}
    )
