"""Task ``medical3d/segmentation``: a class for every voxel or pixel, from a U-shaped decoder.

Backbones of volumes bring their own decoder along from pre-training (or from a published file); only the layer to
classes is new. Encoders of images (and of volumes, ``convnext`` and ``resnet``) get a light one on the maps of all
stages. Probabilities, class values and ignored labels are those of core's task about elements.

Source of the light decoder's use: the few-shot protocol of Adam (3, 6, 12, 24 labelled images; AdamW 2e-4, warm-up,
cosine; Dice loss over the flattened batch with smooth 1). Differs: any number of axes; a light decoder.

Symbols: B cubes or images, K classes, S edges, E = B * prod(S) elements.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from repcore.evaluation.tasks.dense import DenseClassification
from repcore.interfaces import Batch
from repcore.specs import TargetSpec
from repcore_medical3d.configs.segmentation import SegmentationTaskConfig
from repcore_medical3d.encoders.decoding import decoded, decoder_for

SMOOTH = 1.0


class Segmentation(DenseClassification):
    """A decoder and a layer to classes, see :func:`repcore_medical3d.encoders.decoding.decoder_for`.

    Args:
        config: see :class:`SegmentationTaskConfig`.
        encoder: a backbone with ``finest_decoder_map``, or an :class:`AnatomyEncoder`.
        target: of voxels (pixels).

    Call: batch of cubes or images -> logits (E, K), in the order of the voxels.

    Raises:
        ConfigError: an encoder that is neither, or fewer than two classes.
    """

    def __init__(self, config: SegmentationTaskConfig, encoder: nn.Module, target: TargetSpec) -> None:
        super().__init__(config, encoder, target)
        self.only_dice = config.loss_kind == "dice"
        self.classifier = decoder_for(encoder, self.outputs, config.decoder_width)  # type: ignore[assignment]

    def forward(self, batch: Batch) -> Tensor:
        return decoded(self.encoder, self.classifier, batch).flatten(2).movedim(1, 2).reshape(-1, self.outputs)

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
