"""Fine-tuning on labels of radiographs with the published augmentation and test-time averaging.

Source: the ChestX-ray14 protocol of Adam-v2's public code (random-resized crops, flips, 7 degrees; ten-crop averages of
probabilities). Differs: augmentation is one interpolation of a batch; probabilities are averaged in the encoder's own
input size.

Symbols: B images, K outputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from repcore.errors import ConfigError
from repcore.evaluation.tasks.configs import ClassificationConfig, MultilabelConfig
from repcore.evaluation.tasks.item import ClassificationTask, MultilabelTask
from repcore.interfaces import Batch
from repcore.specs import TargetSpec
from repcore_medical3d.configs.anatomy_tasks import RadiographTaskConfig
from repcore_medical3d.encoders.anatomy import AnatomyEncoder
from repcore_medical3d.layers.boxes import Boxes, CropRange, random_crops
from repcore_medical3d.layers.sampling import rotations, sample_views


class _RadiographTask:
    """What both tasks add to core's: crops and turns. Mixed into a task of core."""

    settings: RadiographTaskConfig
    encoder: nn.Module
    training: bool

    def logits(self, batch: Batch) -> Tensor:
        """(B, K) of one augmented view in training; of ten crops' mean probability otherwise."""
        assert isinstance(self.encoder, AnatomyEncoder)
        images = self.encoder.images(batch)
        classify: Any = self.classifier  # type: ignore[attr-defined]  # core's, replaced below
        if self.training:
            result: Tensor = classify(self.encoder.embed(self.augmented(images)))
            return result
        if not self.settings.ten_crops:
            plain: Tensor = classify(self.encoder(batch).pooled)
            return plain
        views = ten_crops(images, self.settings.crop_share, _edge(self.encoder, images))
        each = classify(self.encoder.embed(views.flatten(0, 1))).unflatten(0, views.shape[:2])
        return self.averaged(each)

    def averaged(self, logits: Tensor) -> Tensor:
        """Logits (B, K) whose probabilities are the mean of those of (B, 10, K)."""
        raise NotImplementedError

    def augmented(self, images: Tensor) -> Tensor:
        """One crop of each image, turned and perhaps mirrored, at the encoder's input size."""
        encoder = self.encoder
        assert isinstance(encoder, AnatomyEncoder)
        # a task has no generator: like dropout it draws from the global stream, which a run reseeds for each batch
        generator = torch.Generator(device=images.device).manual_seed(int(torch.randint(2**31, (1,))))
        whole = _whole(images)
        boxes = random_crops(whole, [CropRange(self.settings.crop_area)], is_centred=False, generator=generator)
        turn = rotations((len(images), 1), self.settings.degrees, encoder.axes, generator)
        size = [_edge(encoder, images)] * encoder.axes
        views = sample_views(images, boxes, size, turn)[:, 0]
        is_mirrored = torch.rand(len(views), generator=generator, device=views.device) < self.settings.flip
        return torch.where(is_mirrored.view(-1, *[1] * (views.ndim - 1)), views.flip(-1), views)


class RadiographClassTask(_RadiographTask, ClassificationTask):
    """Task ``medical3d/radiograph-class``: one class an image; cross-entropy.

    Args:
        config: augmentation and test crops.
        encoder: fine-tuned along with the linear layer.
        target: a class target with names.

    Raises:
        ConfigError: settings outside their range, or an encoder of another kind.
    """

    def __init__(self, config: RadiographTaskConfig, encoder: AnatomyEncoder, target: TargetSpec) -> None:
        _check(config, encoder)
        ClassificationTask.__init__(self, ClassificationConfig(dropout=config.dropout), encoder, target)
        self.settings = config
        self.classifier = _head(encoder, self.outputs, config.dropout)  # type: ignore[assignment]

    def forward(self, batch: Batch) -> Tensor:
        """Raw outputs (B, K)."""
        return self.logits(batch)

    def averaged(self, logits: Tensor) -> Tensor:
        return logits.softmax(-1).mean(1).clamp_min(1e-12).log()


class RadiographLabelsTask(_RadiographTask, MultilabelTask):
    """Task ``medical3d/radiograph-labels``: several yes/no findings an image; binary cross-entropy.

    Args and Raises: as :class:`RadiographClassTask`, with a multilabel target.
    """

    def __init__(self, config: RadiographTaskConfig, encoder: AnatomyEncoder, target: TargetSpec) -> None:
        _check(config, encoder)
        MultilabelTask.__init__(self, MultilabelConfig(dropout=config.dropout), encoder, target)
        self.settings = config
        self.classifier = _head(encoder, self.outputs, config.dropout)  # type: ignore[assignment]

    def forward(self, batch: Batch) -> Tensor:
        """Raw outputs (B, K)."""
        return self.logits(batch)

    def averaged(self, logits: Tensor) -> Tensor:
        return torch.logit(logits.sigmoid().mean(1), eps=1e-7)


def ten_crops(images: Tensor, share: float, size: int) -> Tensor:
    """Four corners, the centre, and their mirror images: (B, 10, C, *size)."""
    whole = _whole(images)
    sides = torch.floor(whole.extent * share)
    room = whole.extent - sides
    axes = room.shape[-1]
    corners = [[0.0] * axes, [1.0] * axes, [0.0] + [1.0] * (axes - 1), [1.0] + [0.0] * (axes - 1), [0.5] * axes]
    origin = torch.floor(room * room.new_tensor(corners))
    views = sample_views(images, Boxes(origin, sides.expand_as(origin)), [size] * axes)
    return torch.cat([views, views.flip(-1)], dim=1)


def _whole(images: Tensor) -> Boxes:
    extent = torch.tensor([float(edge) for edge in images.shape[2:]], device=images.device)
    extent = extent.expand(len(images), 1, -1)
    return Boxes(torch.zeros_like(extent), extent)


def _edge(encoder: AnatomyEncoder, images: Tensor) -> int:
    return encoder.config.input_size or min(images.shape[2:])


def _head(encoder: AnatomyEncoder, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(encoder.dim, outputs))


def _check(config: RadiographTaskConfig, encoder: nn.Module) -> None:
    if not isinstance(encoder, AnatomyEncoder):
        raise ConfigError(f"{type(encoder).__name__} is no encoder of Adam", hint="--task classification")
    if not 0 < config.crop_area[0] <= config.crop_area[1] <= 1:
        raise ConfigError(f"crop_area={config.crop_area} is not a range of shares", field="task.crop_area")
    if not 0 < config.crop_share <= 1:
        raise ConfigError(f"crop_share={config.crop_share} is no share", field="task.crop_share")
