"""Fine-tuning on sounds: the published head (layer norm, linear) with SpecAugment, noise and mixup.

Source: `SiavashShams/ssamba`, `amba_models.py` (mlp_head), `traintest.py`; method card, sections 2.6 and 4.
Differs: losses act on logits in validation too (the reference feeds them probabilities); missing labels take no part.

Symbols: B clips, E width, K outputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from repcore.errors import ConfigError, ShapeError
from repcore.evaluation.tasks.configs import ClassificationConfig, MultilabelConfig
from repcore.evaluation.tasks.item import ClassificationTask, MultilabelTask
from repcore.interfaces import Batch, Features
from repcore.specs import TargetSpec
from repcore_audio.configs.ssamba import SoundTaskConfig
from repcore_audio.encoders.ssamba import Ssamba
from repcore_audio.tasks.augmentation import (
    Mixing,
    add_noise,
    draw_mixing,
    mask_stretch,
    mix_spectrograms,
    roll_clips,
)


class _SoundTask:
    """What both tasks add to core's: pooling, head, augmentation. Mixed into a task of core."""

    settings: SoundTaskConfig
    encoder: nn.Module
    training: bool
    mixing: Mixing | None = None

    def pooled(self, features: Features) -> Tensor:
        """What the head reads, (B, E)."""
        assert isinstance(self.encoder, Ssamba)
        return self.encoder.pool(features, "mean" if self.settings.pooling == "ft_avgtok" else "cls")

    def augmented(self, batch: Batch) -> Batch:
        """A training batch after mixup, masking, noise and shift; remembers who was mixed for the loss."""
        settings, inputs = self.settings, dict(batch.inputs)
        values: Tensor = inputs["spectrogram"]
        normalisation = inputs.get("normalisation")
        if normalisation is None and (settings.mixup > 0 or settings.mask_level == "zero"):
            raise ShapeError("batch.inputs has no 'normalisation'", hint="task.mixup=0 task.mask_level=mean")
        if normalisation is not None and float(torch.rand(())) < settings.mixup:
            self.mixing = draw_mixing(len(values), settings.mixup_concentration, values.device)
            values = mix_spectrograms(values, normalisation, self.mixing)
            if inputs.get("frames") is not None:
                inputs["frames"] = torch.maximum(inputs["frames"], inputs["frames"][self.mixing.partner])
        fill = values.new_zeros(len(values), 1, 1)
        if settings.mask_level == "zero" and normalisation is not None:
            fill = (-normalisation[:, 0] / normalisation[:, 1])[:, None, None]
        for widest, axis in ((settings.frequency_mask, 2), (settings.time_mask, 1)):
            if widest:
                values = mask_stretch(values, widest, axis, fill)
        if settings.noise > 0:
            values = add_noise(values, settings.noise)
        if settings.roll:
            values = roll_clips(values, settings.roll)
        return Batch(
            {**inputs, "spectrogram": values}, batch.size, batch.views, batch.sample_id, batch.targets, batch.domain
        )

    def head_outputs(self, batch: Batch) -> Tensor:
        """Raw outputs (B, K); training batches are augmented first."""
        self.mixing = None
        active = self.settings
        if self.training and (active.mixup or active.frequency_mask or active.time_mask or active.noise or active.roll):
            batch = self.augmented(batch)
        out: Tensor = self.classifier(self.pooled(self.encoder(batch)))  # type: ignore[attr-defined]
        return out

    def mixed_loss(self, plain: Any, outputs: Tensor, labels: Tensor) -> Tensor:
        """Loss against the own labels and the partners', by share."""
        own: Tensor = plain(outputs, labels)
        if self.mixing is None:
            return own
        other: Tensor = plain(outputs, labels[self.mixing.partner])
        return self.mixing.share * own + (1.0 - self.mixing.share) * other


def sound_head(width: int, outputs: int) -> nn.Sequential:
    """Layer norm and a linear layer."""
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, outputs))


class SoundClassTask(_SoundTask, ClassificationTask):
    """Task ``audio/sound-class``: one class a clip; cross-entropy.

    Args:
        config: head and augmentation.
        encoder: fine-tuned along with the head.
        target: a class target with names.

    Raises:
        ConfigError: settings outside their range.
    """

    def __init__(self, config: SoundTaskConfig, encoder: Ssamba, target: TargetSpec) -> None:
        check_settings(config)
        ClassificationTask.__init__(self, ClassificationConfig(class_weights=config.class_weights), encoder, target)
        self.settings = config
        self.classifier = sound_head(encoder.width, self.outputs)  # type: ignore[assignment]  # another head than core's

    def forward(self, batch: Batch) -> Tensor:
        """Raw outputs (B, K)."""
        return self.head_outputs(batch)

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return self.mixed_loss(super().loss, outputs, labels)


class SoundLabelsTask(_SoundTask, MultilabelTask):
    """Task ``audio/sound-labels``: several labels a clip; binary cross-entropy.

    Args and Raises: as :class:`SoundClassTask`, with a multilabel target.
    """

    def __init__(self, config: SoundTaskConfig, encoder: Ssamba, target: TargetSpec) -> None:
        check_settings(config)
        MultilabelTask.__init__(self, MultilabelConfig(class_weights=config.class_weights), encoder, target)
        self.settings = config
        self.classifier = sound_head(encoder.width, self.outputs)  # type: ignore[assignment]  # another head than core's

    def forward(self, batch: Batch) -> Tensor:
        """Raw outputs (B, K)."""
        return self.head_outputs(batch)

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return self.mixed_loss(super().loss, outputs, labels)


def check_settings(config: SoundTaskConfig) -> None:
    """Ranges of the task's settings.

    Raises:
        ConfigError: one is outside.
    """
    if not 0.0 <= config.mixup <= 1.0:
        raise ConfigError(f"mixup={config.mixup} is outside 0 <= mixup <= 1", field="task.mixup")
    for name in ("frequency_mask", "time_mask", "noise", "roll"):
        if getattr(config, name) < 0:
            raise ConfigError(f"{name}={getattr(config, name)} is negative", field=f"task.{name}")
