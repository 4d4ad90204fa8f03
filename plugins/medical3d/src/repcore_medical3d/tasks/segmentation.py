"""Task ``medical3d/segmentation``: a class for every voxel or pixel, from a U-shaped decoder.

Backbones of volumes bring their own decoder along from pre-training (or from a published file); only the layer to
classes is new. Encoders of images (and of volumes, ``convnext`` and ``resnet``) get a light one on the maps of all
stages. Probabilities, class values and ignored labels are those of core's task about elements.

Source of the light decoder's use: the few-shot protocol of Adam (3, 6, 12, 24 labelled images; AdamW 2e-4, warm-up,
cosine; Dice loss over the flattened batch with smooth 1). Differs: any number of axes; a light decoder.

Symbols: B cubes or images, K classes, S edges, E = B * prod(S) elements.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repcore.errors import ConfigError
from repcore.evaluation.tasks.dense import DenseClassification
from repcore.interfaces import Batch
from repcore.specs import TargetSpec
from repcore_medical3d.configs.segmentation import SegmentationTaskConfig
from repcore_medical3d.encoders.anatomy import AnatomyEncoder, input_channels
from repcore_medical3d.encoders.convnext import CONVOLUTIONS
from repcore_medical3d.encoders.volume_backbone import channels_of

SMOOTH = 1.0
TRIED_EDGE = 64  # pixels of the image that shows the widths of all stages


def finest_map(backbone: nn.Module, volume: Tensor) -> Tensor:
    """The decoder's last map (B, C, s, s, s) of cubes (B, channels, S, S, S)."""
    pyramid = backbone.pyramid(volume)  # type: ignore[operator]  # a backbone of volumes
    first = backbone.first_decoder_map(pyramid)  # type: ignore[operator]
    found: Tensor = backbone.finest_decoder_map(pyramid, first, volume)  # type: ignore[operator]
    return found


class StagesDecoder(nn.Module):
    """Class scores at full size from the maps of all stages.

    Args:
        depths: channels of the image and of every stage, fine to coarse.
        classes: K.
        width: channels of every level.
        axes: 2 or 3.

    Call:
        maps: (B, C_i, *S_i), the first at full size.
    Returns:
        scores (B, K, *S).
    """

    def __init__(self, depths: Sequence[int], classes: int, width: int, axes: int) -> None:
        super().__init__()
        convolution = CONVOLUTIONS[axes]
        self.mode = "bilinear" if axes == 2 else "trilinear"
        self.reduce = nn.ModuleList([convolution(depth, width, 1) for depth in depths])
        self.mix = nn.ModuleList(
            [
                nn.Sequential(
                    convolution(width, width, 3, padding=1), nn.GroupNorm(math.gcd(width, 8), width), nn.GELU()
                )
                for _ in depths[1:]
            ]
        )
        self.score = convolution(width, classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        found = self.reduce[-1](maps[-1])
        for level in range(len(maps) - 2, -1, -1):
            found = F.interpolate(found, maps[level].shape[2:], mode=self.mode, align_corners=False)
            found = self.mix[level](found + self.reduce[level](maps[level]))
        scores: Tensor = self.score(found)
        return scores


class Segmentation(DenseClassification):
    """A decoder and a layer to classes: a transposed convolution (1^3 where the decoder reaches full size) on that of a
    backbone of volumes, or :class:`StagesDecoder`.

    Args:
        config: see :class:`SegmentationTaskConfig`.
        encoder: a backbone with ``finest_decoder_map``, or an :class:`AnatomyEncoder`.
        target: of voxels (pixels).

    Call: batch of cubes or images -> logits (E, K), in the order of the voxels.

    Raises:
        ConfigError: an encoder that is neither, or fewer than two classes.
    """

    def __init__(self, config: SegmentationTaskConfig, encoder: nn.Module, target: TargetSpec) -> None:
        self.has_own_decoder = hasattr(encoder, "finest_decoder_map")
        if not (self.has_own_decoder or isinstance(encoder, AnatomyEncoder)):
            raise ConfigError(
                f"{type(encoder).__name__} has no U-shaped decoder and no stages for one",
                hint="medical3d/nnformer, swin-unetr, convnext or resnet, or --task voxel-classification",
            )
        super().__init__(config, encoder, target)
        self.only_dice = config.loss_kind == "dice"
        was_training = encoder.training
        with torch.no_grad():
            head = self._on_decoder(encoder.eval()) if self.has_own_decoder else self._on_stages(encoder.eval(), config)
        encoder.train(was_training)
        self.classifier = head  # type: ignore[assignment]

    def _on_decoder(self, encoder: nn.Module) -> nn.Module:
        settings: Any = encoder.config  # of a backbone of volumes
        edge = int(settings.crop_edge)
        device = next(encoder.parameters()).device
        finest = finest_map(encoder, torch.zeros(1, channels_of(settings), edge, edge, edge, device=device))
        factor = edge // finest.shape[2]
        return nn.ConvTranspose3d(finest.shape[1], self.outputs, factor, stride=factor)

    def _on_stages(self, encoder: Any, config: SegmentationTaskConfig) -> nn.Module:
        shape = (1, input_channels(encoder.config), *[TRIED_EDGE] * encoder.axes)
        blank = torch.zeros(shape, device=next(encoder.parameters()).device)
        name = "image" if encoder.axes == 2 else "volume"
        depths = [one.shape[1] for one in encoder.stage_maps(Batch(inputs={name: blank}, size=1))]
        return StagesDecoder(depths, self.outputs, config.decoder_width, encoder.axes)

    def forward(self, batch: Batch) -> Tensor:
        encoder: Any = self.encoder  # either kind
        found = finest_map(encoder, batch.inputs["volume"]) if self.has_own_decoder else encoder.stage_maps(batch)
        logits: Tensor = self.classifier(found)
        return logits.flatten(2).movedim(1, 2).reshape(-1, self.outputs)

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Scalar; see :meth:`DenseClassification.loss`, or with ``loss_kind="dice"`` :func:`foreground_dice`."""
        if not self.only_dice:
            return super().loss(outputs, labels)
        labels = labels.reshape(-1)
        self._check(outputs, labels)
        numbers, known = self.classes(labels)
        return foreground_dice(outputs[known], numbers[known]) if bool(known.any()) else outputs.sum() * 0.0


def foreground_dice(logits: Tensor, wanted: Tensor) -> Tensor:
    """1 - mean Dice of the classes but the first, each over all elements.

    Args:
        logits: (E, K).
        wanted: class numbers int64 (E,).
    """
    shares = logits.float().softmax(1)
    truth = F.one_hot(wanted, logits.shape[1]).to(shares.dtype)
    overlap, total = (shares * truth).sum(0), (shares + truth).sum(0)
    return 1.0 - ((2 * overlap + SMOOTH) / (total + SMOOTH))[1:].mean()
