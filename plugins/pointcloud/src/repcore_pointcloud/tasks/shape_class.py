"""Fine-tuning on whole shapes: the published head over the coarse tokens, with augmentation, smoothing and voting.

Source: `ZrrSkywalker/I2P-MAE` (fine-tune model); method card, sections 2.7 and 4. Differs: augmentation is drawn per
cloud; votes are the same augmented copies for every cloud and their number is fixed beforehand (the published figure is
the best of 49 rounds on test).

Symbols: B clouds, C width of coarse tokens, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repcore.errors import ConfigError
from repcore.evaluation.tasks.configs import ClassificationConfig
from repcore.evaluation.tasks.item import ClassificationTask
from repcore.interfaces import Batch
from repcore.specs import TargetSpec
from repcore_pointcloud.configs.i2p_mae import ShapeClassConfig
from repcore_pointcloud.encoders.i2p_mae import LEVELS, HierarchicalPointEncoder, pool_tokens
from repcore_pointcloud.objectives.point_augmentation import augmented, check_augmentation, draw_augmentation

VOTE_SEED = 0


class ShapeClassTask(ClassificationTask):
    """Task ``pointcloud/shape-class``: one class a shape; cross-entropy with label smoothing.

    Args:
        config: head, augmentation, votes; local radius and group sizes for this training.
        encoder: fine-tuned along with the head.
        target: a class target with names.

    Call:
        batch -> raw outputs (B, K). Training batches are augmented; in eval mode ``votes`` copies are averaged.

    Raises:
        ConfigError: settings outside their range.
    """

    def __init__(self, config: ShapeClassConfig, encoder: HierarchicalPointEncoder, target: TargetSpec) -> None:
        check_augmentation(config, "task")
        if not 0.0 <= config.label_smoothing < 1.0:
            raise ConfigError(
                f"label_smoothing={config.label_smoothing} is outside 0 <= share < 1", field="task.label_smoothing"
            )
        if config.votes < 1:
            raise ConfigError(f"votes={config.votes} is not positive", field="task.votes")
        super().__init__(ClassificationConfig(), encoder, target)
        self.settings = config
        encoder.use_for_task(config.neighbours, config.local_radius)
        width = encoder.config.widths[-1]
        self.norm = nn.LayerNorm(width)
        inputs = width * (2 if config.pooling == "mean-max" else 1)
        head = class_head(inputs, config.hidden_widths, self.outputs, config.dropout)
        self.classifier = head  # type: ignore[assignment]  # another head than core's

    def forward(self, batch: Batch) -> Tensor:
        """Raw outputs (B, K)."""
        assert isinstance(self.encoder, HierarchicalPointEncoder)
        points = self.encoder.points_of(batch)
        if self.training:
            return self.outputs_of(batch, augmented(points, draw_augmentation(self.settings, points)))
        if self.settings.votes == 1:
            return self.outputs_of(batch, points)
        generator = torch.Generator(points.device).manual_seed(VOTE_SEED)
        total = points.new_zeros(len(points), self.outputs)
        for _ in range(self.settings.votes):
            one = draw_augmentation(self.settings, points[:1], generator)  # the same for all: batch-independent
            total += self.outputs_of(batch, augmented(points, _for_all(one, len(points))))
        return total / self.settings.votes

    def outputs_of(self, batch: Batch, points: Tensor) -> Tensor:
        """Raw outputs for clouds (B, N, 3)."""
        inputs = {**batch.inputs, "points": points}
        tokens = self.encoder(Batch(inputs=inputs, size=batch.size)).tokens[LEVELS[0]].values
        out: Tensor = self.classifier(pool_tokens(self.norm(tokens), self.settings.pooling))
        return out

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Scalar; 0 with a graph when no item is labelled. The smoothed share of a label goes to the other classes."""
        flat = labels.reshape(len(outputs))
        known = ~torch.isnan(flat) if flat.is_floating_point() else torch.ones_like(flat, dtype=torch.bool)
        if not bool(known.any()):
            return outputs.sum() * 0.0
        # torch spreads its share over all K classes, the true one included
        share = self.settings.label_smoothing * self.outputs / (self.outputs - 1)
        return F.cross_entropy(outputs[known], flat[known].long(), label_smoothing=min(1.0, share))


def class_head(inputs: int, hidden: tuple[int, int], outputs: int, dropout: float) -> nn.Sequential:
    """Two rounds of linear, batch norm, ReLU, dropout, and a last linear layer."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(dropout)]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


def _for_all(draws: dict[str, Tensor], clouds: int) -> dict[str, Tensor]:
    """Draws made for one cloud, repeated for all."""
    return {name: value.expand(clouds, *value.shape[1:]) for name, value in draws.items()}
