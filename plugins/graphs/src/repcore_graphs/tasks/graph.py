"""Graph classification with the published head: one class of several, or several yes/no labels.

Losses, missing labels and class weights are core's (:mod:`repcore.evaluation.tasks.item`); only the head differs.

Symbols: B graphs, D width of the graph vector, H hidden width, K outputs.
"""

from __future__ import annotations

from torch import Tensor, nn

from repcore.evaluation.tasks.configs import ClassificationConfig, MultilabelConfig
from repcore.evaluation.tasks.item import ClassificationTask, MultilabelTask
from repcore.interfaces import Features
from repcore.specs import TargetSpec
from repcore_graphs.configs.tasks import GraphTaskConfig


class ClassifierHead(nn.Module):
    """Linear(D, H) ReLU Dropout Linear(H, H/2) ReLU Dropout Linear(H/2, K).

    Source: public repository harryjo97/EHGNN.

    Args:
        in_width: D.
        hidden_width: H.
        out_width: K.
        dropout: of both hidden layers.
    """

    def __init__(self, in_width: int, hidden_width: int, out_width: int, *, dropout: float = 0.5) -> None:
        super().__init__()
        half = max(1, hidden_width // 2)
        self.layers = nn.Sequential(
            nn.Linear(in_width, hidden_width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden_width, half),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(half, out_width),
        )

    def forward(self, features: Features) -> Tensor:
        """Outputs (B, K) from ``features.pooled``."""
        outputs: Tensor = self.layers(features.pooled)
        return outputs


def _head(config: GraphTaskConfig, encoder: nn.Module, outputs: int) -> ClassifierHead:
    hidden = config.hidden_width or int(encoder.config.hidden_width)  # type: ignore[union-attr, arg-type]
    return ClassifierHead(int(encoder.dim), hidden, outputs, dropout=config.dropout)  # type: ignore[arg-type]


class GraphClassification(ClassificationTask):
    """One class of K a graph; settings and call as core's classification task."""

    def __init__(self, config: GraphTaskConfig, encoder: nn.Module, target: TargetSpec) -> None:
        generic = ClassificationConfig(
            dropout=config.dropout, outputs=config.outputs, class_weights=config.class_weights
        )
        super().__init__(generic, encoder, target)
        self.classifier = _head(config, encoder, self.outputs)  # type: ignore[assignment]


class GraphMultilabel(MultilabelTask):
    """K yes/no labels a graph; unlabelled entries are left out of the loss, as published for OGB."""

    def __init__(self, config: GraphTaskConfig, encoder: nn.Module, target: TargetSpec) -> None:
        generic = MultilabelConfig(
            dropout=config.dropout,
            outputs=config.outputs,
            class_weights=config.class_weights,
            largest_weight=config.largest_weight,
        )
        super().__init__(generic, encoder, target)
        self.classifier = _head(config, encoder, self.outputs)  # type: ignore[assignment]
