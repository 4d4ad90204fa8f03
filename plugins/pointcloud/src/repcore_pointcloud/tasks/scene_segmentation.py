"""Task ``pointcloud/scene-segmentation``: a class for every point, optionally with clustering-based supervision.

Source: Feng et al. 2023 (arXiv 2307.14605) for the regulariser and its total loss: cross-entropy + contrast +
Lovasz-softmax (Berman et al. 2018, arXiv 1705.08790). Differs: see
:mod:`repcore_pointcloud.objectives.cluster3dseg`; the contrasted features are a linear projection of the encoder's.

Symbols: N points of a batch, K classes, D contrasted channels.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repcore.errors import ConfigError, DataError, ShapeError
from repcore.interfaces import Batch
from repcore.specs import TargetSpec
from repcore_pointcloud.configs.cluster3dseg import ClusterContrastConfig
from repcore_pointcloud.configs.scene_segmentation import SceneSegmentationConfig
from repcore_pointcloud.objectives.cluster3dseg import ClusterContrast


class SceneSegmentation(nn.Module):
    """Linear head on voxel features, spread to points.

    Args:
        config: classes and weights of the losses.
        encoder: with token level ``voxel`` whose ``source`` leads from points to voxels.
        target: class target of level ``point``; ``ignore`` marks points without a label.

    Call:
        batch -> (N, K + D): logits, then contrasted features (D = 0 without clustering).
        ``predict`` gives probabilities (N, K).

    Raises:
        ConfigError: number of classes unknown.
    """

    def __init__(self, config: SceneSegmentationConfig, encoder: nn.Module, target: TargetSpec) -> None:
        super().__init__()
        classes = config.classes or len(target.names)
        if classes < 2:
            raise ConfigError(f"{classes} classes for target {target.name!r}", hint="task.classes")
        self.config, self.encoder, self.target, self.classes = config, encoder, target, classes
        width = int(getattr(encoder, "level_widths", {}).get("voxel", 0))
        if not width:
            raise ConfigError(f"encoder {type(encoder).__name__} has no voxel features")
        self.classifier = nn.Linear(width, classes)
        self.contrast: ClusterContrast | None = None
        if config.cluster_weight:
            self.projection = nn.Linear(width, config.cluster_width)
            self.contrast = ClusterContrast(
                ClusterContrastConfig(
                    classes=classes,
                    feature_width=config.cluster_width,
                    clusters_per_class=config.clusters_per_class,
                    ignored_label=classes,
                    reference_compat=config.reference_compat,
                )
            )

    def fit_targets(self, values: np.ndarray) -> None:
        """Checks training labels.

        Raises:
            DataError: one that is no class.
        """
        known = np.asarray(values, np.float64).reshape(-1)
        known = known[~np.isnan(known)]
        if self.target.ignore is not None:
            known = known[known != self.target.ignore]
        if not len(known) or known.min() < 0 or known.max() >= self.classes:
            raise DataError(f"labels of {self.target.name!r} are not class numbers 0 .. {self.classes - 1}")

    def forward(self, batch: Batch) -> Tensor:
        tokens = self.encoder(batch).tokens["voxel"]
        rows = tokens.values if tokens.source is None else tokens.values[tokens.source.clamp(min=0)]
        parts = [self.classifier(rows)]
        if self.contrast is not None:
            parts.append(self.projection(rows))
        return torch.cat(parts, dim=1)

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy over labelled points, plus the weighted others; 0 with a gradient without labelled points.

        Raises:
            ShapeError: other numbers of points and labels.
        """
        if len(labels) != len(outputs):
            raise ShapeError(f"{len(labels)} labels for {len(outputs)} points")
        known = labels >= 0
        if self.target.ignore is not None:
            known = known & (labels != self.target.ignore)
        if not bool(known.any()):
            return outputs.sum() * 0.0
        logits, classes = outputs[known, : self.classes], labels[known].long()
        total = F.cross_entropy(logits, classes)
        if self.config.lovasz_weight:
            total = total + self.config.lovasz_weight * lovasz_softmax(logits.softmax(1), classes)
        if self.contrast is not None:
            features = outputs[known, self.classes :]
            if self.training:  # anchors are the first that fit; points stand in the order of their voxels
                order = torch.randperm(len(classes), device=classes.device)
                features, classes, logits = features[order], classes[order], logits[order]
            terms = self.contrast(features, classes, logits.argmax(1))
            if torch.is_grad_enabled() and self.training:
                anchors = F.normalize(features.detach(), dim=1)[terms.anchor_index]
                self.contrast.update(anchors, terms.sub_labels)
            total = total + self.config.cluster_weight * terms.loss
        return total

    def predict(self, outputs: Tensor) -> Tensor:
        """Class probabilities (N, K)."""
        return outputs[:, : self.classes].float().softmax(dim=-1)


def lovasz_softmax(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Lovasz extension of the Jaccard loss, the mean over classes that occur.

    Args:
        probabilities: (N, K). labels: int64 (N,).
    """
    losses = []
    for number in torch.unique(labels).tolist():
        truth = (labels == number).to(probabilities.dtype)
        errors, order = (truth - probabilities[:, number]).abs().sort(descending=True)
        ordered = truth[order]
        intersection = ordered.sum() - ordered.cumsum(0)
        union = ordered.sum() + (1.0 - ordered).cumsum(0)
        jaccard = 1.0 - intersection / union
        steps = torch.cat([jaccard[:1], jaccard.diff()])
        losses.append((errors * steps).sum())
    return torch.stack(losses).mean()
