"""Task ``pointcloud/scene-segmentation``: a class for every point, optionally with clustering-based supervision.

Source: Feng et al. 2023 (arXiv 2307.14605) for the regulariser and its total loss: cross-entropy + contrast +
Lovasz-softmax (Berman et al. 2018, arXiv 1705.08790). Differs: see
:mod:`repcore_pointcloud.objectives.cluster3dseg`; the contrasted features are a linear projection of the encoder's.

Symbols: N points of a batch, K classes, D contrasted channels.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repcore.evaluation.tasks.dense import DenseClassification, at_elements, flat_tokens, level_tokens
from repcore.interfaces import Batch
from repcore.specs import TargetSpec
from repcore_pointcloud.configs.cluster3dseg import ClusterContrastConfig
from repcore_pointcloud.configs.scene_segmentation import SceneSegmentationConfig
from repcore_pointcloud.objectives.cluster3dseg import ClusterContrast


class SceneSegmentation(DenseClassification):
    """Core's classes of elements on voxel features, with Lovasz-softmax and, where asked for, contrasted sub-clusters.

    Args:
        config: classes and weights of the losses; tokens are those of voxels unless named.
        encoder: with token level ``voxel`` whose ``source`` leads from points to voxels.
        target: class target of level ``point``; ``ignore`` marks points without a label.

    Call:
        batch -> (N, K + D): logits, then contrasted features (D = 0 without clustering).
        ``predict`` gives probabilities (N, K).

    Raises:
        ConfigError: fewer than two classes, or an encoder without voxel features.
    """

    def __init__(self, config: SceneSegmentationConfig, encoder: nn.Module, target: TargetSpec) -> None:
        width = config.width or getattr(encoder, "level_widths", {}).get("voxel")
        config = dataclasses.replace(config, tokens=config.tokens or "voxel", width=width)
        super().__init__(config, encoder, target)
        self.settings = config
        self.contrast: ClusterContrast | None = None
        if config.cluster_weight:
            assert config.width is not None
            self.projection = nn.Linear(config.width, config.cluster_width)
            self.contrast = ClusterContrast(
                ClusterContrastConfig(
                    classes=self.outputs,
                    feature_width=config.cluster_width,
                    clusters_per_class=config.clusters_per_class,
                    ignored_label=self.outputs,
                    reference_compat=config.reference_compat,
                )
            )

    def forward(self, batch: Batch) -> Tensor:
        tokens = level_tokens(self.encoder(batch), self.settings.tokens)
        rows = flat_tokens(tokens)
        parts = [self.classifier(rows)]
        if self.contrast is not None:
            parts.append(self.projection(rows))
        return at_elements(tokens, torch.cat(parts, dim=1))

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy over labelled points, plus the weighted others; 0 with a gradient without labelled points.

        Raises:
            ShapeError: other numbers of points and labels.
        """
        total = super().loss(outputs[:, : self.outputs], labels)
        numbers, known = self.classes(labels.reshape(-1))
        known = known & torch.isfinite(outputs.detach()).all(1)
        if not bool(known.any()):
            return total
        logits, classes = outputs[known, : self.outputs], numbers[known]
        if self.settings.lovasz_weight:
            total = total + self.settings.lovasz_weight * lovasz_softmax(logits.softmax(1), classes)
        if self.contrast is not None:
            total = total + self.settings.cluster_weight * self._contrasted(self.contrast, outputs[known], classes)
        return total

    def _contrasted(self, contrast: ClusterContrast, outputs: Tensor, classes: Tensor) -> Tensor:
        features, logits = outputs[:, self.outputs :], outputs[:, : self.outputs]
        if self.training:  # anchors are the first that fit; points stand in the order of their voxels
            order = torch.randperm(len(classes), device=classes.device)
            features, classes, logits = features[order], classes[order], logits[order]
        terms = contrast(features, classes, logits.argmax(1))
        if torch.is_grad_enabled() and self.training:
            anchors = F.normalize(features.detach(), dim=1)[terms.anchor_index]
            contrast.update(anchors, terms.sub_labels)
        return terms.loss

    def predict(self, outputs: Tensor) -> Tensor:
        """Class probabilities (N, K)."""
        return outputs[:, : self.outputs].float().softmax(dim=-1)


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
