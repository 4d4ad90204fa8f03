"""Task ``medical3d/segmentation``: a class for every voxel, from the backbone's own U-shaped decoder.

The decoder comes along from pre-training (or from a published file); only the layer to classes is new. Loss,
probabilities, class values and ignored labels are those of core's task about elements.

Symbols: B cubes, K classes, S edge.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from repcore.errors import ConfigError
from repcore.evaluation.tasks.dense import DenseClassification
from repcore.interfaces import Batch
from repcore.specs import TargetSpec
from repcore_medical3d.configs.segmentation import SegmentationTaskConfig
from repcore_medical3d.encoders.volume_backbone import channels_of


def finest_map(backbone: nn.Module, volume: Tensor) -> Tensor:
    """The decoder's last map (B, C, s, s, s) of cubes (B, channels, S, S, S)."""
    pyramid = backbone.pyramid(volume)  # type: ignore[operator]  # a backbone of volumes
    first = backbone.first_decoder_map(pyramid)  # type: ignore[operator]
    found: Tensor = backbone.finest_decoder_map(pyramid, first, volume)  # type: ignore[operator]
    return found


class Segmentation(DenseClassification):
    """Backbone, decoder, and a transposed convolution (1^3 where the decoder reaches full size) to classes.

    Args:
        config: see :class:`SegmentationTaskConfig`.
        encoder: a backbone with ``finest_decoder_map``.
        target: of voxels.

    Call: batch of cubes -> logits (B * S^3, K), voxels in the order of the cube.

    Raises:
        ConfigError: a backbone without a U-shaped decoder, or fewer than two classes.
    """

    def __init__(self, config: SegmentationTaskConfig, encoder: nn.Module, target: TargetSpec) -> None:
        if not hasattr(encoder, "finest_decoder_map"):
            raise ConfigError(
                f"{type(encoder).__name__} has no U-shaped decoder",
                hint="medical3d/nnformer or medical3d/swin-unetr, or --task voxel-classification",
            )
        super().__init__(config, encoder, target)
        edge, was_training = int(encoder.config.crop_edge), encoder.training  # type: ignore[union-attr, arg-type]
        with torch.no_grad():
            finest = finest_map(encoder.eval(), torch.zeros(1, channels_of(encoder.config), edge, edge, edge))
        encoder.train(was_training)
        factor = edge // finest.shape[2]
        self.classifier = nn.ConvTranspose3d(finest.shape[1], self.outputs, factor, stride=factor)  # type: ignore[assignment]

    def forward(self, batch: Batch) -> Tensor:
        logits: Tensor = self.classifier(finest_map(self.encoder, batch.inputs["volume"]))
        return logits.flatten(2).movedim(1, 2).reshape(-1, self.outputs)
